//! What a request is about, told from its method, path and query alone, as
//! [Kubernetes' `RequestInfoFactory`][1] tells it. Authorization, audit and routing all look at this.
//!
//! [1]: https://pkg.go.dev/k8s.io/apiserver/pkg/endpoints/request#RequestInfo

use crate::selectors::field::FieldSelector;

/// What a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names a resource. Otherwise only `verb` and `path` mean anything.
    pub is_resource: bool,
    /// The path as it was sent, without the query.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the lower-case HTTP
    /// method for a path that names no resource.
    pub verb: String,
    /// `api` or `apis`.
    pub api_prefix: String,
    /// The group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The namespace; empty for what has none and for lists over all namespaces.
    pub namespace: String,
    /// The resource, in the plural.
    pub resource: String,
    /// The part of the object that is meant: `status`, `scale`. Empty for the object itself.
    pub subresource: String,
    /// The object's name; empty for a collection.
    pub name: String,
    /// All segments that follow the version (and the namespace).
    pub parts: Vec<String>,
    /// Whether the path says that it is a watch: the old form of one.
    pub is_watch_path: bool,
    /// The label selector of a list, watch or deletion of a collection, as it was sent.
    pub label_selector: String,
    /// The field selector of a list, watch or deletion of a collection, as it was sent.
    pub field_selector: String,
}

/// Namespaces are objects, and these are parts of them; anything else behind a namespace's name is a
/// resource in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads a request line. `path` is still percent-encoded, `query` what follows the `?`.
    #[must_use]
    pub fn new(method: &str, path: &str, query: &str) -> Self {
        let mut info = Self {
            path: decoded(path),
            verb: method.to_ascii_lowercase(),
            ..Self::default()
        };
        // Splitting comes before decoding: an encoded slash is part of a name.
        let segments: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(decoded)
            .collect();
        let mut rest = segments.as_slice();
        match rest {
            [prefix, version, more @ ..] if prefix == "api" && !more.is_empty() => {
                info.api_prefix.clone_from(prefix);
                info.version.clone_from(version);
                rest = more;
            }
            [prefix, group, version, more @ ..] if prefix == "apis" && !more.is_empty() => {
                info.api_prefix.clone_from(prefix);
                info.group.clone_from(group);
                info.version.clone_from(version);
                rest = more;
            }
            _ => return info,
        }
        info.is_resource = true;
        info.verb = match method {
            "POST" => "create",
            "GET" | "HEAD" => "get",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "",
        }
        .into();
        // The old form of a watch names it in the path.
        if let [marker, more @ ..] = rest
            && matches!(marker.as_str(), "watch" | "proxy")
        {
            if more.is_empty() {
                info.is_resource = false;
                return info;
            }
            info.is_watch_path = marker == "watch";
            info.verb.clone_from(marker);
            rest = more;
        }
        if let [namespaces, namespace, more @ ..] = rest
            && namespaces == "namespaces"
        {
            info.namespace.clone_from(namespace);
            if more
                .first()
                .is_some_and(|next| !NAMESPACE_SUBRESOURCES.contains(&next.as_str()))
            {
                rest = more;
            }
        }
        info.parts = rest.to_vec();
        let part = |index: usize| rest.get(index).cloned().unwrap_or_default();
        info.resource = part(0);
        info.name = part(1);
        // What a proxy passes on has no subresources: the rest of the path belongs to the other side.
        if info.verb != "proxy" {
            info.subresource = part(2);
        }
        let is_list = info.name.is_empty() && info.verb == "get";
        if is_list {
            info.verb = "list".into();
        }
        if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection".into();
        }
        if matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") {
            info.read_list_options(query, is_list);
        }
        info
    }

    fn read_list_options(&mut self, query: &str, is_list: bool) {
        // Of parameters that are given twice the first counts, even if it is empty, as it does where the list is made:
        // what is authorized must be what is answered.
        let (mut watch, mut label_selector, mut field_selector) = (None, None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "watch" if watch.is_none() => watch = Some(is_true(&value)),
                "labelSelector" if label_selector.is_none() => label_selector = Some(value.into_owned()),
                "fieldSelector" if field_selector.is_none() => field_selector = Some(value.into_owned()),
                _ => {}
            }
        }
        self.label_selector = label_selector.unwrap_or_default();
        self.field_selector = field_selector.unwrap_or_default();
        if self.verb == "list" && watch == Some(true) {
            self.verb = "watch".into();
        }
        // A list of the one object of a name is allowed to whom that object is allowed.
        if is_list
            && let Ok(selector) = FieldSelector::parse(&self.field_selector)
            && let Some(name) = selector.exact("metadata.name")
            && is_path_segment(name)
        {
            self.name = name.to_owned();
        }
    }
}

/// How a query parameter says yes: Kubernetes reads any value but these as true.
#[must_use]
pub fn is_true(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "false" | "0")
}

/// Whether a name can be in a path at all; one that cannot is not a name to authorize.
fn is_path_segment(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%'])
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Verb, group/version, namespace, resource, subresource, name.
    type Row<'a> = (&'a str, &'a str, &'a str, [&'a str; 6]);

    #[test]
    fn resource_paths_are_told_apart() {
        let cases: &[Row<'_>] = &[
            (
                "GET",
                "/api/v1/namespaces",
                "",
                ["list", "/v1", "", "namespaces", "", ""],
            ),
            (
                "GET",
                "/api/v1/namespaces/a",
                "",
                ["get", "/v1", "a", "namespaces", "", "a"],
            ),
            (
                "PUT",
                "/api/v1/namespaces/a/status",
                "",
                ["update", "/v1", "a", "namespaces", "status", "a"],
            ),
            (
                "PUT",
                "/api/v1/namespaces/a/finalize",
                "",
                ["update", "/v1", "a", "namespaces", "finalize", "a"],
            ),
            (
                "GET",
                "/api/v1/namespaces/a/secrets",
                "",
                ["list", "/v1", "a", "secrets", "", ""],
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/secrets",
                "",
                ["deletecollection", "/v1", "a", "secrets", "", ""],
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/secrets/s",
                "",
                ["delete", "/v1", "a", "secrets", "", "s"],
            ),
            (
                "HEAD",
                "/api/v1/namespaces/a/secrets/s",
                "",
                ["get", "/v1", "a", "secrets", "", "s"],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets",
                "",
                ["list", "g.io/v1", "", "widgets", "", ""],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets/",
                "",
                ["list", "g.io/v1", "", "widgets", "", ""],
            ),
            (
                "POST",
                "/apis/g.io/v1/namespaces/a/widgets",
                "",
                ["create", "g.io/v1", "a", "widgets", "", ""],
            ),
            (
                "PATCH",
                "/apis/g.io/v1/namespaces/a/widgets/w/status",
                "",
                ["patch", "g.io/v1", "a", "widgets", "status", "w"],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets",
                "watch=true",
                ["watch", "g.io/v1", "", "widgets", "", ""],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets",
                "watch=1",
                ["watch", "g.io/v1", "", "widgets", "", ""],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets",
                "watch",
                ["watch", "g.io/v1", "", "widgets", "", ""],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets",
                "watch=false",
                ["list", "g.io/v1", "", "widgets", "", ""],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets",
                "watch=0",
                ["list", "g.io/v1", "", "widgets", "", ""],
            ),
            (
                "GET",
                "/apis/g.io/v1/watch/namespaces/a/widgets",
                "",
                ["watch", "g.io/v1", "a", "widgets", "", ""],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets",
                "fieldSelector=metadata.name%3Dw",
                ["list", "g.io/v1", "", "widgets", "", "w"],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets",
                "watch=1&fieldSelector=metadata.name%3Dw",
                ["watch", "g.io/v1", "", "widgets", "", "w"],
            ),
            (
                "DELETE",
                "/apis/g.io/v1/widgets",
                "fieldSelector=metadata.name%3Dw",
                ["deletecollection", "g.io/v1", "", "widgets", "", ""],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets",
                "fieldSelector=metadata.name!%3Dw",
                ["list", "g.io/v1", "", "widgets", "", ""],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets",
                "fieldSelector=metadata.name%3Dw%2Fx",
                ["list", "g.io/v1", "", "widgets", "", ""],
            ),
            (
                "GET",
                "/apis/g.io/v1/widgets/a%2Fb%3Ac",
                "",
                ["get", "g.io/v1", "", "widgets", "", "a/b:c"],
            ),
        ];
        for (method, path, query, [verb, version, namespace, resource, subresource, name]) in cases {
            let info = RequestInfo::new(method, path, query);
            let found = [
                info.verb,
                format!("{}/{}", info.group, info.version),
                info.namespace,
                info.resource,
                info.subresource,
                info.name,
            ];
            assert!(info.is_resource, "{path}");
            assert_eq!(
                found,
                [verb, version, namespace, resource, subresource, name].map(|text| (*text).to_owned()),
                "{method} {path}?{query}"
            );
        }
    }

    #[test]
    fn a_list_is_authorized_by_the_selector_that_it_is_made_with() {
        use crate::options::ListOptions;

        for query in [
            "fieldSelector=&fieldSelector=metadata.name%3Dw",
            "fieldSelector=metadata.name%3Dw&fieldSelector=",
            "fieldSelector&fieldSelector=metadata.name%3Dw",
            "fieldSelector=metadata.name%3Dw&fieldSelector=metadata.name%3Dx",
            "fieldSelector=metadata.name%3Dw",
            "",
        ] {
            let info = RequestInfo::new("GET", "/api/v1/namespaces/a/secrets", query);
            let options = ListOptions::from_query(query, false).unwrap();
            let chosen = options.field_selector.exact("metadata.name");
            assert_eq!(info.name, chosen.unwrap_or_default(), "{query}");
        }
    }

    #[test]
    fn other_paths_keep_the_method_as_their_verb() {
        for path in [
            "/",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/g.io",
            "/apis/g.io/v1",
            "/healthz",
            "/openapi/v3",
        ] {
            let info = RequestInfo::new("GET", path, "watch=true");
            assert!(!info.is_resource, "{path}");
            assert_eq!((info.verb.as_str(), info.path.as_str()), ("get", path));
        }
    }

    proptest! {
        #[test]
        fn any_request_line_can_be_read(method in "[A-Z]{0,6}", path in "(/[a-z%0-9]{0,8}){0,8}", query in ".*") {
            let info = RequestInfo::new(&method, &path, &query);
            prop_assert!(info.is_resource || info.resource.is_empty());
        }
    }
}
