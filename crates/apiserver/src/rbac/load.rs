//! Roles and bindings from an administrator's file: YAML documents of [rbac.authorization.k8s.io/v1](https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/).

use imagestream_api::field::quoted;
use k8s_openapi::Resource;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::policy::Object;
use super::validation;

/// The largest file that is read, in bytes: room for tens of thousands of bindings.
pub const MAX_BYTES: usize = 16 << 20;
const MAX_DOCUMENTS: usize = 100_000;
const MAX_DEPTH: usize = 32;

/// Why a file of roles and bindings is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is larger than [`MAX_BYTES`].
    #[error("it is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// It isn't YAML, or too deep or intricate to be a file of roles.
    #[error("{0}")]
    Yaml(String),
    /// A document isn't a role or a binding.
    #[error("document {document}{}: {problem}", if name.is_empty() { String::new() } else { format!(" ({kind} {})", quoted(name)) })]
    Document {
        /// Its place in the file, from 1. Empty documents don't count.
        document: usize,
        /// Its kind as written.
        kind: String,
        /// Its name as written; may be empty.
        name: String,
        /// The field and what is wrong with it.
        problem: String,
    },
}

/// Reads all documents of a file.
///
/// # Errors
/// The first mistake found: a file that is only half understood would grant something else than its author meant.
pub fn load(yaml: &str) -> Result<Vec<Object>, LoadError> {
    if yaml.len() > MAX_BYTES {
        return Err(LoadError::TooLarge);
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: MAX_DOCUMENTS,
            max_depth: MAX_DEPTH,
            max_events: MAX_BYTES,
            max_nodes: MAX_BYTES,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: true,
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(yaml, options)
        .map_err(|error| LoadError::Yaml(error.without_snippet().to_string()))?;
    let mut objects = Vec::with_capacity(documents.len());
    for (index, document) in documents.into_iter().enumerate() {
        let kind = text(&document, "/kind");
        let name = text(&document, "/metadata/name");
        let object = read(&document, &kind).map_err(|problem| LoadError::Document {
            document: index + 1,
            kind,
            name,
            problem,
        })?;
        objects.push(object);
    }
    Ok(objects)
}

fn read(document: &Value, kind: &str) -> Result<Object, String> {
    if !document.is_object() {
        return Err("expected an object with apiVersion and kind".into());
    }
    let version = text(document, "/apiVersion");
    if version != "rbac.authorization.k8s.io/v1" {
        return Err(format!(
            "apiVersion: expected \"rbac.authorization.k8s.io/v1\", not {}",
            quoted(&version)
        ));
    }
    let mut object = match kind {
        "Role" => Object::Role(typed(document, |role: &Role| &role.metadata)?),
        "ClusterRole" => Object::ClusterRole(typed(document, |role: &ClusterRole| &role.metadata)?),
        "RoleBinding" => Object::RoleBinding(typed(document, |binding: &RoleBinding| &binding.metadata)?),
        "ClusterRoleBinding" => {
            Object::ClusterRoleBinding(typed(document, |binding: &ClusterRoleBinding| &binding.metadata)?)
        }
        other => {
            return Err(format!(
                "kind: expected Role, ClusterRole, RoleBinding or ClusterRoleBinding, not {}",
                quoted(other)
            ));
        }
    };
    validation::set_defaults(&mut object);
    match validation::validate(&object).as_slice() {
        [] => Ok(object),
        errors => Err(errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")),
    }
}

/// Reads a document as its type, names the field that doesn't fit, and refuses fields that the type hasn't:
/// a misspelt `resourceNames` would otherwise widen a rule to all names.
fn typed<T: DeserializeOwned + Serialize + Resource>(
    document: &Value,
    metadata: fn(&T) -> &ObjectMeta,
) -> Result<T, String> {
    let object: T = serde_path_to_error::deserialize(document)
        .map_err(|error| format!("{}: {}", error.path(), error.inner()))?;
    let understood = serde_json::to_value(&object).map_err(|error| error.to_string())?;
    if let Some(field) = unknown_field(document, &understood, "") {
        return Err(format!("{field}: unknown field"));
    }
    let metadata = metadata(&object);
    let name = metadata.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return Err("metadata.name: Required value".into());
    }
    if let Some(mistake) = validation::name_error(name) {
        return Err(format!(
            "metadata.name: Invalid value: {}: {mistake}",
            quoted(name)
        ));
    }
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    match (T::URL_PATH_SEGMENT.starts_with("cluster"), namespace.is_empty()) {
        (true, false) => Err("metadata.namespace: not allowed on this type".into()),
        (false, true) => Err("metadata.namespace: Required value".into()),
        _ => Ok(object),
    }
}

/// The path of the first field of a document that got lost when it was read as its type.
fn unknown_field(document: &Value, understood: &Value, path: &str) -> Option<String> {
    match (document, understood) {
        (Value::Object(document), Value::Object(understood)) => document.iter().find_map(|(key, value)| {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            match understood.get(key) {
                Some(counterpart) => unknown_field(value, counterpart, &path),
                None if value.is_null() => None,
                None => Some(path),
            }
        }),
        (Value::Array(document), Value::Array(understood)) => document
            .iter()
            .zip(understood)
            .enumerate()
            .find_map(|(index, (value, counterpart))| {
                unknown_field(value, counterpart, &format!("{path}[{index}]"))
            }),
        _ => None,
    }
}

fn text(document: &Value, pointer: &str) -> String {
    document
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(yaml: &str) -> String {
        load(yaml).expect_err("the file should be refused").to_string()
    }

    #[test]
    fn documents_of_the_four_kinds_are_read_with_their_defaults() {
        let objects = load(
            r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "lab:reader", labels: {a: b}}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}, {nonResourceURLs: ["/x/*"], verbs: [get]}]
---
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: r, namespace: n}
rules: null
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: b, namespace: n}
roleRef: {kind: Role, name: r, apiGroup: rbac.authorization.k8s.io}
subjects: [{kind: User, name: u}, {kind: ServiceAccount, name: s}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: b}
roleRef: {kind: ClusterRole, name: "lab:reader", apiGroup: rbac.authorization.k8s.io}
"#,
        )
        .expect("a good file");
        let [
            Object::ClusterRole(role),
            Object::Role(_),
            Object::RoleBinding(binding),
            Object::ClusterRoleBinding(_),
        ] = objects.as_slice()
        else {
            panic!("four kinds in the order of the file, not {objects:?}");
        };
        assert_eq!(role.rules.as_ref().map(Vec::len), Some(2));
        let groups: Vec<_> = binding
            .subjects
            .iter()
            .flatten()
            .map(|subject| subject.api_group.as_deref())
            .collect();
        assert_eq!(groups, [Some("rbac.authorization.k8s.io"), Some("")]);
    }

    #[test]
    fn mistakes_name_the_document_and_the_field() {
        let role =
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r, namespace: n}\n";
        let cluster_role =
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: c}\n";
        let binding =
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: b}\n";
        for (yaml, expected) in [
            (
                "just text".to_owned(),
                "document 1: expected an object with apiVersion and kind",
            ),
            (
                "kind: Role".to_owned(),
                r#"document 1: apiVersion: expected "rbac.authorization.k8s.io/v1", not """#,
            ),
            (
                "{apiVersion: rbac.authorization.k8s.io/v1, kind: Pod, metadata: {name: p}}".to_owned(),
                r#"document 1 (Pod "p"): kind: expected Role, ClusterRole, RoleBinding or ClusterRoleBinding, not "Pod""#,
            ),
            (
                format!(
                    "{role}---\n{role}rules: [{{apiGroups: [''], resources: [x], verbs: [get], resourcenames: [a]}}]"
                ),
                r#"document 2 (Role "r"): rules[0].resourcenames: unknown field"#,
            ),
            (
                format!("{role}rules: [{{verbs: get}}]"),
                r#"document 1 (Role "r"): rules[0].verbs: invalid type: string "get", expected a sequence"#,
            ),
            (
                format!("{role}rules: [{{verbs: [get], nonResourceURLs: [/x], apiGroups: ['']}}]"),
                r#"document 1 (Role "r"): rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs; rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and non-resource URLs"#,
            ),
            (
                format!("{cluster_role}rules: [{{verbs: []}}]"),
                r#"document 1 (ClusterRole "c"): rules[0].verbs: Required value: verbs must contain at least one value; rules[0].apiGroups: Required value: resource rules must supply at least one api group; rules[0].resources: Required value: resource rules must supply at least one resource"#,
            ),
            (
                format!("{cluster_role}aggregationRule: {{}}"),
                r#"document 1 (ClusterRole "c"): aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"#,
            ),
            (
                format!(
                    "{cluster_role}aggregationRule: {{clusterRoleSelectors: [{{matchExpressions: [{{key: a, operator: is, values: [b]}}]}}]}}"
                ),
                r#"document 1 (ClusterRole "c"): aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: Invalid value: "is": not a valid selector operator"#,
            ),
            (
                format!("{binding}roleRef: {{kind: Role, name: r}}"),
                r#"document 1 (ClusterRoleBinding "b"): roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#,
            ),
            (
                format!(
                    "{binding}roleRef: {{kind: ClusterRole, name: c}}\nsubjects: [{{kind: user, name: u}}, {{kind: ServiceAccount, name: s}}, {{kind: Group, name: ''}}]"
                ),
                r#"document 1 (ClusterRoleBinding "b"): subjects[0].kind: Unsupported value: "user": supported values: "Group", "ServiceAccount", "User"; subjects[1].namespace: Required value; subjects[2].name: Required value"#,
            ),
            (
                "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r}}".to_owned(),
                r#"document 1 (Role "r"): metadata.namespace: Required value"#,
            ),
            (
                "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: a/b}}"
                    .to_owned(),
                r#"document 1 (ClusterRole "a/b"): metadata.name: Invalid value: "a/b": may not contain '/'"#,
            ),
        ] {
            assert_eq!(problem(&yaml), expected, "{yaml}");
        }
    }

    #[test]
    fn broken_and_hostile_yaml_is_refused_where_it_breaks() {
        assert!(problem("a: [").contains("line 1"), "{}", problem("a: ["));
        assert!(
            problem("a: 1\na: 2").contains("duplicate"),
            "{}",
            problem("a: 1\na: 2")
        );
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        assert!(matches!(load(&deep), Err(LoadError::Yaml(_))));
        let laughs: String = (1..30)
            .map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1))
            .collect();
        assert!(matches!(
            load(&format!("a0: &a0 [x]\n{laughs}")),
            Err(LoadError::Yaml(_))
        ));
        assert!(matches!(
            load(&" ".repeat(MAX_BYTES + 1)),
            Err(LoadError::TooLarge)
        ));
    }
}
