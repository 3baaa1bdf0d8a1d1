//! The schemas of kinds as [JSON schemas][1], the way Kubernetes publishes its own.
//!
//! [1]: https://spec.openapis.org/oas/v3.0.3#schema-object

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::Api;
use crate::kind::Resource;
use crate::schema::{
    API_VERSION, Field, KIND, LIST_METADATA, List, Merge, Object, Schema, TEXT, discovery, field, meta,
};

/// The version of OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// 2.0
    V2,
    /// 3.0
    V3,
}

const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";

static WATCH_EVENT: Object = Object::new(
    meta::HOME,
    "WatchEvent",
    "A change that a watch reports.",
    &[
        field(
            "type",
            1,
            TEXT,
            "What happened: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.",
        )
        .required(),
        field(
            "object",
            2,
            Schema::Raw,
            "The object after the change, or a status for an error.",
        )
        .required(),
    ],
);

/// The definitions that a document refers to.
pub(super) struct Definitions {
    pub(super) dialect: Dialect,
    /// Which kinds each definition is of.
    kinds: BTreeMap<String, Vec<Value>>,
    found: Map<String, Value>,
}

impl Definitions {
    /// No definitions yet, of a server with these kinds.
    pub(super) fn new(dialect: Dialect, api: &Api) -> Self {
        let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut add = |definition: String, group: &str, version: &str, kind: &str| {
            let kind = json!({"group": group, "version": version, "kind": kind});
            let kinds = kinds.entry(definition).or_default();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        };
        for object in [
            &meta::STATUS,
            &discovery::API_VERSIONS,
            &discovery::API_GROUP,
            &discovery::API_GROUP_LIST,
            &discovery::API_RESOURCE_LIST,
            &meta::DELETE_OPTIONS,
            &WATCH_EVENT,
        ] {
            add(name(object), "", "v1", object.name);
        }
        for endpoint in api.endpoints() {
            let resource = endpoint.resource();
            let kind = resource.kind;
            add(name(kind.schema), kind.group, kind.version, kind.kind);
            if !resource.list_kind.is_empty() {
                add(list_name(resource), kind.group, kind.version, resource.list_kind);
            }
            // They are decoded as if they were kinds of every group.
            for object in [&meta::DELETE_OPTIONS, &WATCH_EVENT] {
                add(name(object), kind.group, kind.version, object.name);
            }
        }
        Self {
            dialect,
            kinds,
            found: Map::new(),
        }
    }

    /// The definitions that were referred to, by their names.
    pub(super) fn into_map(self) -> Map<String, Value> {
        self.found
    }

    /// A reference to an object's definition.
    pub(super) fn object(&mut self, object: &Object) -> Value {
        self.defined(name(object), |definitions| {
            definitions.body(object.description, object.fields, object.atomic)
        })
    }

    /// A reference to the definition of a resource's list.
    pub(super) fn list(&mut self, resource: &Resource) -> Value {
        self.defined(list_name(resource), |definitions| {
            let items = definitions.object(resource.kind.schema);
            let description = format!("A list of {}.", resource.plural);
            let mut body = definitions.body(&description, &[KIND, API_VERSION, LIST_METADATA], false);
            set(&mut body, "required", json!(["items"]));
            if let Some(Value::Object(properties)) = body.get_mut("properties") {
                let description = format!("The {}.", resource.plural);
                let items = json!({"type": "array", "items": items, "description": description});
                properties.insert("items".into(), items);
            }
            body
        })
    }

    /// A reference to the definition of a patch.
    pub(super) fn patch(&mut self) -> Value {
        let text = "A change to an object, in one of the formats of patches.";
        let body = json!({"type": "object", "description": text});
        self.defined(format!("{}.Patch", meta::HOME), |_| body)
    }

    /// A reference to the definition of an event of a watch.
    pub(super) fn watch_event(&mut self) -> Value {
        self.object(&WATCH_EVENT)
    }

    fn defined(&mut self, name: String, body: impl FnOnce(&mut Self) -> Value) -> Value {
        let prefix = match self.dialect {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        };
        let reference = json!({"$ref": format!("{prefix}{name}")});
        if !self.found.contains_key(&name) {
            // It is there before it is complete, as a type may be part of itself.
            self.found.insert(name.clone(), Value::Null);
            let mut body = body(self);
            if let Some(kinds) = self.kinds.get(&name) {
                set(&mut body, "x-kubernetes-group-version-kind", json!(kinds));
            }
            self.found.insert(name, body);
        }
        reference
    }

    fn body(&mut self, description: &str, fields: &[Field], atomic: bool) -> Value {
        let mut properties = Map::new();
        for field in fields {
            let schema = self.schema(field.schema);
            let described = self.described(schema, field.description);
            properties.insert(field.name.to_owned(), described);
        }
        let mut body = json!({"type": "object", "description": description});
        if !properties.is_empty() {
            set(&mut body, "properties", properties.into());
        }
        let required: Vec<&str> = fields
            .iter()
            .filter(|field| field.required)
            .map(|field| field.name)
            .collect();
        if !required.is_empty() {
            set(&mut body, "required", json!(required));
        }
        if atomic {
            set(&mut body, "x-kubernetes-map-type", json!("atomic"));
        }
        body
    }

    /// A property with its description, which version 3 does not allow beside a reference.
    fn described(&self, mut schema: Value, description: &str) -> Value {
        if self.dialect == Dialect::V3
            && let Some(reference) = schema.as_object_mut().and_then(|schema| schema.remove("$ref"))
        {
            set(&mut schema, "allOf", json!([{"$ref": reference}]));
        }
        set(&mut schema, "description", json!(description));
        schema
    }

    fn schema(&mut self, schema: Schema) -> Value {
        match schema {
            Schema::Untyped => json!({}),
            Schema::Text(_) => json!({"type": "string"}),
            Schema::Bytes => json!({"type": "string", "format": "byte"}),
            Schema::Boolean => json!({"type": "boolean"}),
            Schema::Integer(format) => json!({"type": "integer", "format": format}),
            Schema::Number => json!({"type": "number", "format": "double"}),
            Schema::Object(object) => self.object(object),
            Schema::Map(values) => json!({"type": "object", "additionalProperties": self.schema(*values)}),
            Schema::List(list) => self.array(list),
            Schema::Raw => {
                let body = json!({"type": "object", "description": "Any object."});
                let mut schema = self.defined(RAW_EXTENSION.to_owned(), |_| body);
                // There is no telling what parts of it belong together.
                set(&mut schema, "x-kubernetes-patch-strategy", json!("replace"));
                schema
            }
            Schema::FieldsV1 => {
                let text = "A set of fields: `f:` and a name for a field, `k:` and keys or `v:` and a value for an item.";
                let body = json!({"type": "object", "description": text});
                self.defined(format!("{}.FieldsV1", meta::HOME), |_| body)
            }
            Schema::Time => self.time("Time", "A time in whole seconds, as RFC 3339 writes it."),
            Schema::MicroTime => self.time("MicroTime", "A time in microseconds, as RFC 3339 writes it."),
            Schema::Quantity => {
                let mut body =
                    json!({"description": "An amount with a unit, such as `10`, `500m` or `2Gi`."});
                match self.dialect {
                    Dialect::V2 => set(&mut body, "type", json!("string")),
                    Dialect::V3 => set(
                        &mut body,
                        "oneOf",
                        json!([{"type": "string"}, {"type": "number"}]),
                    ),
                }
                self.defined(QUANTITY.to_owned(), |_| body)
            }
        }
    }

    fn time(&mut self, name: &str, description: &str) -> Value {
        let body = json!({"type": "string", "format": "date-time", "description": description});
        self.defined(format!("{}.{name}", meta::HOME), |_| body)
    }

    fn array(&mut self, list: &List) -> Value {
        let mut array = json!({"type": "array", "items": self.schema(list.items)});
        match list.merge {
            Merge::Replace => {}
            Merge::ByKey(key) => {
                set(&mut array, "x-kubernetes-patch-strategy", json!("merge"));
                set(&mut array, "x-kubernetes-patch-merge-key", json!(key));
                if let Schema::Object(item) = list.items
                    && item.field(key).is_some()
                {
                    set(&mut array, "x-kubernetes-list-type", json!("map"));
                    set(&mut array, "x-kubernetes-list-map-keys", json!([key]));
                }
            }
            Merge::Values => {
                set(&mut array, "x-kubernetes-patch-strategy", json!("merge"));
                set(&mut array, "x-kubernetes-list-type", json!("set"));
            }
        }
        array
    }
}

fn name(object: &Object) -> String {
    format!("{}.{}", object.home, object.name)
}

fn list_name(resource: &Resource) -> String {
    format!("{}.{}", resource.kind.schema.home, resource.list_kind)
}

fn set(schema: &mut Value, key: &str, value: Value) {
    if let Value::Object(members) = schema {
        members.insert(key.to_owned(), value);
    }
}
