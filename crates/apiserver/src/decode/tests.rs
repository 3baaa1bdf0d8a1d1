#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::{API_VERSION, KIND, List, METADATA, TEXT, field};

static PART: Object = Object::new(
    "com.example.v1",
    "Part",
    "",
    &[
        field("name", 1, TEXT, ""),
        field("weight", 2, Schema::Integer("int64"), ""),
    ],
);

static PARTS: List = List::by_key(Schema::Object(&PART), "name");

static SPEC: Object = Object::new(
    "com.example.v1",
    "WidgetSpec",
    "",
    &[
        field("enabled", 1, Schema::Boolean, ""),
        field("parts", 2, Schema::List(&PARTS), ""),
        field("extra", 3, Schema::Raw, ""),
    ],
);

static WIDGET: Object = Object::new(
    "com.example.v1",
    "Widget",
    "",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field("spec", 2, Schema::Object(&SPEC), ""),
    ],
);

const TARGET: Target<'_> = Target {
    group: "example.com",
    version: "v1",
    kind: "Widget",
    schema: &WIDGET,
    is_registered: &|found| found.kind == "Gadget" && found.group == "example.com" && found.version == "v1",
    package: "example",
    scheme: LEGACY_SCHEME,
};

fn json_body(body: &str) -> Result<Decoded, DecodeError> {
    decode(body.as_bytes(), BodyFormat::Json, &TARGET)
}

fn yaml_body(body: &str) -> Result<Decoded, DecodeError> {
    decode(body.as_bytes(), BodyFormat::Yaml, &TARGET)
}

fn refusal(body: &str, format: BodyFormat) -> String {
    let error = decode(body.as_bytes(), format, &TARGET).unwrap_err();
    let status = error.bad_request("Widget", body.as_bytes());
    assert_eq!(status.code, Some(400));
    status.message.unwrap()
}

#[test]
fn an_object_keeps_its_own_fields_alone() {
    let decoded = json_body(
        r#"{"spec":{"enabled":true,"bogus":{"deep":1},"extra":{"any":{"a":1}},"parts":[{"name":"a","x":1}]},"more":1}"#,
    )
    .unwrap();
    assert_eq!(
        decoded.value,
        json!({"kind": "Widget", "apiVersion": "example.com/v1",
               "spec": {"enabled": true, "extra": {"any": {"a": 1}}, "parts": [{"name": "a"}]}})
    );
    assert_eq!(
        decoded.strict_errors,
        [
            r#"unknown field "spec.bogus""#,
            r#"unknown field "spec.parts[0].x""#,
            r#"unknown field "more""#
        ]
    );
}

#[test]
fn the_zero_time_is_no_time() {
    for (time, is_kept) in [
        ("0001-01-01T00:00:00Z", false),
        ("0001-01-01T01:00:00+01:00", false),
        ("0000-12-31T23:00:00-01:00", false),
        ("0001-01-01T00:00:01Z", true),
        ("2024-01-02T03:04:05Z", true),
        ("0001", true),
    ] {
        let body = json!({"metadata": {"creationTimestamp": time}}).to_string();
        let metadata = &json_body(&body).unwrap().value["metadata"];
        assert_eq!(metadata.get("creationTimestamp").is_some(), is_kept, "{time}");
    }
}

#[test]
fn field_names_have_a_case() {
    let decoded = json_body(r#"{"Spec":{"enabled":true}}"#).unwrap();
    assert_eq!(decoded.strict_errors, [r#"unknown field "Spec""#]);
    assert_eq!(decoded.value.get("spec"), None);
}

#[test]
fn a_key_that_occurs_twice_is_found_and_its_last_value_kept() {
    let decoded = json_body(
        r#"{"metadata":{"name":"a","name":"b","labels":{"x":"1","x":"2"}},"spec":{"extra":{"a":1,"a":2}}}"#,
    )
    .unwrap();
    assert_eq!(
        decoded.value["metadata"],
        json!({"name": "b", "labels": {"x": "2"}})
    );
    assert_eq!(
        decoded.strict_errors,
        [
            r#"duplicate field "metadata.name""#,
            r#"duplicate field "metadata.labels.x""#
        ]
    );
}

#[test]
fn a_hostile_number_of_unknown_fields_is_not_all_reported() {
    let fields: Vec<String> = (0..10_000).map(|n| format!("\"f{n}\":1")).collect();
    let decoded = json_body(&format!("{{{}}}", fields.join(","))).unwrap();
    assert_eq!(decoded.strict_errors.len(), 100);
}

#[test]
fn null_is_no_value_in_fields_and_the_empty_one_in_lists_and_maps() {
    let decoded =
        json_body(r#"{"metadata":{"name":null,"labels":{"a":null}},"spec":{"parts":[null],"enabled":null}}"#)
            .unwrap();
    assert_eq!(
        decoded.value,
        json!({"kind": "Widget", "apiVersion": "example.com/v1",
               "metadata": {"labels": {"a": ""}}, "spec": {"parts": [{}]}})
    );
}

#[test]
fn field_validation_decides_what_the_client_is_told() {
    let decoded = || json_body(r#"{"spec":{"bogus":1},"extra":2}"#).unwrap();
    let (_, warnings) = decoded().validated("Widget", FieldValidation::Warn).unwrap();
    assert_eq!(
        warning_headers(&warnings),
        [
            r#"299 - "unknown field \"spec.bogus\"""#,
            r#"299 - "unknown field \"extra\"""#
        ]
    );
    let (_, warnings) = decoded().validated("Widget", FieldValidation::Ignore).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    let status = decoded()
        .validated("Widget", FieldValidation::Strict)
        .unwrap_err();
    assert_eq!(
        status.message.unwrap(),
        "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \
         \"spec.bogus\", unknown field \"extra\""
    );
}

#[test]
fn values_of_a_wrong_type_are_refused_with_their_place() {
    for (body, error) in [
        (
            r#"{"spec":{"enabled":"yes"}}"#,
            "json: cannot unmarshal string into Go struct field WidgetSpec.spec.enabled of type bool",
        ),
        (
            r#"{"spec":{"parts":[{},{"weight":1.5}]}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field Part.spec.parts.weight of type int64",
        ),
        (
            r#"{"spec":{"parts":{}}}"#,
            "json: cannot unmarshal object into Go struct field WidgetSpec.spec.parts of type []v1.Part",
        ),
        (
            r#"{"spec":[1]}"#,
            "json: cannot unmarshal array into Go struct field Widget.spec of type v1.WidgetSpec",
        ),
        (
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
    ] {
        assert_eq!(
            refusal(body, BodyFormat::Json),
            format!("Widget in version \"v1\" cannot be handled as a Widget: {error}")
        );
    }
}

#[test]
fn another_kind_is_refused() {
    assert_eq!(
        refusal(
            r#"{"kind":"Gadget","apiVersion":"example.com/v1"}"#,
            BodyFormat::Json
        ),
        "Gadget in version \"v1\" cannot be handled as a Widget: converting (v1.Gadget) to (example.Widget): \
         unknown conversion"
    );
    assert_eq!(
        refusal(
            r#"{"kind":"Widget","apiVersion":"example.com/v2"}"#,
            BodyFormat::Json
        ),
        "Widget in version \"v2\" cannot be handled as a Widget: no kind \"Widget\" is registered for version \
         \"example.com/v2\" in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
    );
    assert!(
        refusal(r#"{"apiVersion":"a/b/c"}"#, BodyFormat::Json)
            .contains("unexpected GroupVersion string: a/b/c")
    );
}

#[test]
fn what_is_no_object_is_refused_with_its_beginning() {
    assert_eq!(
        refusal("\"x\"", BodyFormat::Json),
        "the object provided is unrecognized (must be of type Widget): couldn't get version/kind; json parse \
         error: json: cannot unmarshal string into Go value of type struct { APIVersion string \
         \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } (227822)"
    );
    assert_eq!(
        refusal(r#"{"kind": "WidgetWidgetWidget", } garbage"#, BodyFormat::Json),
        "the object provided is unrecognized (must be of type Widget): couldn't get version/kind; json parse \
         error: invalid character '}' looking for beginning of object key string \
         ({\"kind\": \"WidgetWidgetWidget\", ...)"
    );
    assert_eq!(
        refusal("", BodyFormat::Json),
        "the object provided is unrecognized (must be of type Widget): couldn't get version/kind; json parse \
         error: unexpected end of JSON input (<empty>)"
    );
    assert!(
        refusal(r#"{"kind":1}"#, BodyFormat::Json)
            .contains("json: cannot unmarshal number into Go struct field .kind of type string (")
    );
}

#[test]
fn depth_is_bounded() {
    let deep = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"spec":{{"extra":{open}{close}}}}}"#)
    };
    assert!(json_body(&deep(100)).is_ok());
    for levels in [126, 1_000, 100_000] {
        let message = json_body(&deep(levels)).unwrap_err().message;
        assert!(message.ends_with("exceeded max depth"), "{levels}: {message}");
    }
    assert!(yaml_body(&deep(50)).is_ok());
    assert!(yaml_body(&deep(1_000)).is_err());
}

#[test]
fn size_is_bounded() {
    assert_eq!(check_size(MAX_BODY), Ok(()));
    let status = check_size(MAX_BODY + 1).unwrap_err();
    assert_eq!(
        (status.code, status.message.as_deref()),
        (Some(413), Some("Request entity too large: limit is 3145728"))
    );
}

#[test]
fn bytes_that_are_no_text_are_replaced_in_json_and_refused_in_yaml() {
    let body = b"{\"metadata\":{\"name\":\"a\xff\"}}";
    let decoded = decode(body, BodyFormat::Json, &TARGET).unwrap();
    assert_eq!(decoded.value["metadata"]["name"], "a\u{fffd}");
    assert!(decode(body, BodyFormat::Yaml, &TARGET).is_err());
}

#[test]
fn yaml_says_the_same_as_json() {
    let decoded = yaml_body(
        "kind: Widget\nspec:\n  enabled: true\n  bogus: x\n  parts:\n  - {name: \"1\", weight: 2}\n  - name: b\n",
    )
    .unwrap();
    assert_eq!(
        decoded.value,
        json!({"kind": "Widget", "apiVersion": "example.com/v1",
               "spec": {"enabled": true, "parts": [{"name": "1", "weight": 2}, {"name": "b"}]}})
    );
    assert_eq!(decoded.strict_errors, [r#"unknown field "spec.bogus""#]);
}

#[test]
fn yaml_keys_that_occur_twice_are_found_with_the_line_of_their_value() {
    let body = "kind: Widget\nmetadata:\n  name: a\nspec:\n  enabled: true\n  enabled: false\nmetadata:\n  name: b\n";
    let decoded = yaml_body(body).unwrap();
    assert_eq!(decoded.value["metadata"], json!({"name": "b"}));
    assert_eq!(
        decoded.strict_errors,
        [
            "yaml: unmarshal errors:\n  line 6: key \"enabled\" already set in map\n  line 8: key \"metadata\" already \
          set in map"
        ]
    );
}

#[test]
fn malformed_yaml_is_refused_with_its_beginning() {
    assert_eq!(
        refusal("a: b: c\n\t- x", BodyFormat::Yaml),
        "the object provided is unrecognized (must be of type Widget): yaml: mapping values are not allowed in \
         this context (613a20623a20630a092d2078)"
    );
}

#[test]
fn yaml_that_grows_when_read_is_refused() {
    let mut body = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..10 {
        let references = vec![format!("*a{}", level - 1); 10].join(",");
        body.push_str(&format!("a{level}: &a{level} [{references}]\n"));
    }
    assert!(yaml_body(&body).is_err());
    let big = "x".repeat(1 << 20);
    let references = vec!["*big"; 2_000].join(",");
    assert!(yaml_body(&format!("big: &big {big}\nlist: [{references}]\n")).is_err());
}

#[test]
fn a_value_is_read_like_a_body() {
    let decoded = from_value(json!({"spec": {"enabled": true, "x": 1}}), &TARGET).unwrap();
    assert_eq!(decoded.strict_errors, [r#"unknown field "spec.x""#]);
    assert!(from_value(json!([]), &TARGET).is_err());
}

#[test]
fn warnings_are_few_short_and_printable() {
    let warning = |text: &str| vec![text.to_owned()];
    assert_eq!(warning_headers(&warning("a\nb")), Vec::<String>::new());
    assert_eq!(warning_headers(&["a".into(), "a".into()]), [r#"299 - "a""#]);
    let many: Vec<String> = (0..100).map(|n| format!("{n}{}", "x".repeat(500))).collect();
    let headers = warning_headers(&many);
    assert_eq!(headers.len(), 16);
    assert!(
        headers
            .iter()
            .all(|header| header.len() == 256 + r#"299 - """#.len())
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[a-z:\\-{}\\[\\]\"&*, \n]{0,32}") {
        for format in [BodyFormat::Json, BodyFormat::Yaml] {
            for body in [bytes.as_slice(), text.as_bytes()] {
                if let Err(error) = decode(body, format, &TARGET) {
                    prop_assert_eq!(error.bad_request("Widget", body).code, Some(400));
                }
            }
        }
    }
}

#[test]
fn an_amount_may_be_a_number_and_a_set_of_fields_is_kept_as_it_is() {
    static LIMIT: Object = Object::new(
        "com.example.v1",
        "Limit",
        "",
        &[
            field("cpu", 1, Schema::Quantity, ""),
            field("memory", 2, Schema::Quantity, ""),
            field("fields", 3, Schema::FieldsV1, ""),
        ],
    );
    let target = Target {
        schema: &LIMIT,
        ..TARGET
    };
    let body = r#"{"cpu": 2, "memory": "1Gi", "fields": {"f:a": {}, "f:b": null}}"#;
    let decoded = decode(body.as_bytes(), BodyFormat::Json, &target).unwrap();
    assert_eq!(
        decoded.value,
        json!({"kind": "Widget", "apiVersion": "example.com/v1",
               "cpu": "2", "memory": "1Gi", "fields": {"f:a": {}, "f:b": null}})
    );
}
