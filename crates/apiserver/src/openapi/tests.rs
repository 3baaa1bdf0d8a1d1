#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
use futures::FutureExt;
use http::Request;
use http_body_util::BodyExt;

use super::*;
use crate::samples::api;

/// The status, the body if it is JSON, and the head of an answer.
type Answer = Result<(u16, Value, Response<()>), Box<Status>>;

/// What is answered to a request with these headers.
fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Option<Answer> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let response = match answer(&api(), &head)? {
        Ok(response) => response,
        Err(status) => return Some(Err(status)),
    };
    let (head, body) = response.into_parts();
    let body = body.collect().now_or_never().unwrap().unwrap().to_bytes();
    let document = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Ok((
        head.status.as_u16(),
        document,
        Response::from_parts(head, ()),
    )))
}

fn document(path: &str) -> Value {
    let (code, document, _) = request("GET", path, &[]).unwrap().unwrap();
    assert_eq!(code, 200);
    document
}

fn header(response: &Response<()>, name: http::HeaderName) -> String {
    let value = response.headers().get(name).map(|value| value.to_str().unwrap());
    value.unwrap_or_default().to_owned()
}

/// All references in a document.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.push(reference.clone());
            }
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

const WIDGET: &str = "com.example.v1.Widget";

#[test]
fn what_is_referred_to_is_there_and_nothing_else() {
    for path in [
        "/openapi/v2",
        "/openapi/v3/api/v1",
        "/openapi/v3/apis/example.com/v1",
    ] {
        let document = document(path);
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{path} has {} references", found.len());
        for reference in &found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(
                document.pointer(pointer).is_some_and(Value::is_object),
                "{reference} in {path}"
            );
        }
        let (of_v2, of_v3) = ("/definitions", "/components/schemas");
        let definitions = document
            .pointer(of_v2)
            .or_else(|| document.pointer(of_v3))
            .unwrap();
        for name in definitions.as_object().unwrap().keys() {
            let is_named = found
                .iter()
                .any(|reference| reference.ends_with(&format!("/{name}")));
            assert!(is_named || name.ends_with("WatchEvent"), "{name} in {path}");
        }
    }
}

#[test]
fn every_kind_and_list_has_a_definition_that_names_it() {
    let document = document("/openapi/v2");
    let definitions = document["definitions"].as_object().unwrap();
    for endpoint in api().endpoints() {
        let resource = endpoint.resource();
        for kind in [resource.kind.kind, resource.list_kind] {
            let wanted =
                json!({"group": resource.kind.group, "version": resource.kind.version, "kind": kind});
            let is_named = definitions.values().any(|definition| {
                let kinds = definition["x-kubernetes-group-version-kind"].as_array();
                kinds.is_some_and(|kinds| kinds.contains(&wanted))
            });
            assert!(kind.is_empty() || is_named, "{wanted}");
        }
    }
}

#[test]
fn a_definition_says_what_each_field_holds_and_how_it_is_merged() {
    let document = document("/openapi/v2");
    let spec = &document["definitions"]["com.example.v1.WidgetSpec"];
    assert_eq!(
        spec["properties"],
        json!({
            "parts": {
                "description": "What it is made of.",
                "type": "array",
                "items": {"$ref": "#/definitions/com.example.v1.Part"},
                "x-kubernetes-patch-strategy": "merge",
                "x-kubernetes-patch-merge-key": "name",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"]
            },
            "seal": {"description": "Shows who made it.", "type": "string", "format": "byte"},
            "made": {
                "description": "When it was made.",
                "$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Time"
            },
            "extra": {
                "description": "Anything else.",
                "$ref": "#/definitions/io.k8s.apimachinery.pkg.runtime.RawExtension",
                "x-kubernetes-patch-strategy": "replace"
            },
            "sizes": {
                "description": "Its sizes.",
                "type": "object",
                "additionalProperties": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.api.resource.Quantity"}
            }
        })
    );
    let part = &document["definitions"]["com.example.v1.Part"];
    assert_eq!(part["required"], json!(["name"]));
    assert_eq!(part["properties"]["weight"]["format"], "int64");
}

#[test]
fn version_3_keeps_references_and_descriptions_apart() {
    let document = self::document("/openapi/v3/apis/example.com/v1");
    let spec = &document["components"]["schemas"]["com.example.v1.WidgetSpec"];
    assert_eq!(
        spec["properties"]["made"],
        json!({
            "description": "When it was made.",
            "allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.Time"}]
        })
    );
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(!schemas.contains_key("com.example.v1.Place"), "another group's");
}

#[test]
fn paths_have_the_operations_that_their_resources_have() {
    let document = self::document("/openapi/v3/apis/example.com/v1");
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method != "parameters" {
                found.push(format!(
                    "{} {method} {path}",
                    operation["operationId"].as_str().unwrap()
                ));
            }
        }
    }
    found.sort();
    let base = "/apis/example.com/v1";
    let widgets = format!("{base}/namespaces/{{namespace}}/widgets");
    let expected = [
        format!("createExampleComV1NamespacedWidget post {widgets}"),
        format!("createExampleComV1NamespacedWidgetCheck post {base}/namespaces/{{namespace}}/widgetchecks"),
        format!("deleteExampleComV1CollectionNamespacedWidget delete {widgets}"),
        format!("deleteExampleComV1NamespacedWidget delete {widgets}/{{name}}"),
        format!("getExampleComV1APIResources get {base}/"),
        format!("listExampleComV1NamespacedWidget get {widgets}"),
        format!("listExampleComV1WidgetForAllNamespaces get {base}/widgets"),
        format!("patchExampleComV1NamespacedWidget patch {widgets}/{{name}}"),
        format!("patchExampleComV1NamespacedWidgetStatus patch {widgets}/{{name}}/status"),
        format!("readExampleComV1NamespacedWidget get {widgets}/{{name}}"),
        format!("readExampleComV1NamespacedWidgetStatus get {widgets}/{{name}}/status"),
        format!("replaceExampleComV1NamespacedWidget put {widgets}/{{name}}"),
        format!("replaceExampleComV1NamespacedWidgetStatus put {widgets}/{{name}}/status"),
    ];
    assert_eq!(found, expected);
    let patch = &document["paths"][format!("{widgets}/{{name}}")]["patch"];
    assert_eq!(patch["x-kubernetes-action"], "patch");
    let parameters: Vec<&str> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    assert_eq!(parameters, ["dryRun", "fieldManager", "fieldValidation", "force"]);
}

#[test]
fn parts_of_a_path_are_its_parameters() {
    let document = self::document("/openapi/v3/apis/example.com/v1");
    for (path, item) in document["paths"].as_object().unwrap() {
        let named: Vec<&str> = item["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let in_path = path.matches('{').count();
        assert_eq!(named.len(), in_path, "{path}");
        for name in named {
            assert!(path.contains(&format!("{{{name}}}")), "{path}");
        }
    }
}

#[test]
fn the_index_of_version_3_names_documents_that_may_be_kept_for_ever() {
    let index = document("/openapi/v3");
    let place = index["paths"]["apis/example.com/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let (code, document, response) = request("GET", place, &[]).unwrap().unwrap();
    assert_eq!(code, 200);
    assert!(document["components"]["schemas"][WIDGET].is_object());
    assert_eq!(header(&response, CACHE_CONTROL), FOR_EVER);
    assert_eq!(header(&response, CONTENT_TYPE), JSON);
    let (code, _, response) = request("GET", "/openapi/v3/apis/example.com/v1?hash=OLD", &[])
        .unwrap()
        .unwrap();
    assert_eq!((code, header(&response, LOCATION)), (301, place.to_owned()));
    assert_eq!(header(&response, CACHE_CONTROL), "");
}

#[test]
fn a_document_that_the_client_has_is_not_sent_again() {
    let (_, _, response) = request("GET", "/openapi/v2", &[]).unwrap().unwrap();
    let etag = header(&response, ETAG);
    let (code, body, _) = request("GET", "/openapi/v2", &[("If-None-Match", &etag)])
        .unwrap()
        .unwrap();
    assert_eq!((code, body), (304, Value::Null));
    let (code, ..) = request("GET", "/openapi/v2", &[("If-None-Match", "\"other\"")])
        .unwrap()
        .unwrap();
    assert_eq!(code, 200);
}

#[test]
fn version_2_comes_in_json_and_in_protobuf() {
    for (accept, content_type) in [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        (PROTOBUF[0], PROTOBUF[1]),
        (PROTOBUF[1], PROTOBUF[1]),
        ("text/html,application/json;q=0.9", JSON),
    ] {
        let (_, _, response) = request("GET", "/openapi/v2", &[("Accept", accept)])
            .unwrap()
            .unwrap();
        assert_eq!(header(&response, CONTENT_TYPE), content_type, "{accept}");
    }
    let refused = request("GET", "/openapi/v3", &[("Accept", PROTOBUF[0])])
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.code, Some(406));
}

#[test]
fn documents_are_only_read_and_other_paths_are_none_of_them() {
    assert_eq!(
        request("POST", "/openapi/v2", &[]).unwrap().unwrap_err().code,
        Some(405)
    );
    for path in [
        "/openapi",
        "/openapi/",
        "/openapi/v1",
        "/openapi/v3/apis/none.example.com/v1",
        "/api",
    ] {
        assert!(request("GET", path, &[]).is_none(), "{path}");
    }
}

/// The fields of a message: their numbers with what they hold.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = message.split_first().unwrap();
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let length = varint(&mut message);
        match tag & 7 {
            0 => found.push((tag >> 3, vec![u8::try_from(length).unwrap()])),
            2 => {
                let (bytes, rest) = message.split_at(usize::try_from(length).unwrap());
                found.push((tag >> 3, bytes.to_vec()));
                message = rest;
            }
            other => unreachable!("wire type {other}"),
        }
    }
    found
}

fn field(message: &[u8], number: u64) -> Vec<u8> {
    fields(message)
        .into_iter()
        .find(|(found, _)| *found == number)
        .unwrap()
        .1
}

#[test]
fn protobuf_has_the_same_definitions_as_json() {
    let document = self::document("/openapi/v2");
    let written = gnostic::document(&document);
    assert_eq!(field(&written, 1), b"2.0");
    let definitions: BTreeMap<String, Vec<u8>> = fields(&field(&written, 9))
        .into_iter()
        .map(|(_, named)| (String::from_utf8(field(&named, 1)).unwrap(), field(&named, 2)))
        .collect();
    assert!(
        definitions
            .keys()
            .eq(document["definitions"].as_object().unwrap().keys())
    );
    let part = &definitions["com.example.v1.Part"];
    assert_eq!(field(part, 4), b"A part of a widget.");
    assert_eq!(field(part, 19), b"name");
    let widget = &definitions[WIDGET];
    let (_, extension) = fields(widget)
        .into_iter()
        .find(|(number, _)| *number == 31)
        .unwrap();
    assert_eq!(field(&extension, 1), b"x-kubernetes-group-version-kind");
    let kinds: Value = serde_json::from_slice(&field(&field(&extension, 2), 2)).unwrap();
    assert_eq!(
        kinds,
        json!([{"group": "example.com", "version": "v1", "kind": "Widget"}])
    );
}
