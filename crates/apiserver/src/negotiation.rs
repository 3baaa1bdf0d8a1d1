//! In which form a client wants its answer, and in which form its body is: [alternate representations][1].
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources

use std::cmp::Reverse;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::errors;

/// The media types that error texts offer, in the order of preference.
pub const MEDIA_TYPES: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// Those that error texts offer for a list, which can also be watched.
pub const LIST_MEDIA_TYPES: [&str; 5] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

/// Those in which a watch can be written.
pub const STREAM_MEDIA_TYPES: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

/// The same for kinds that protobuf does not have.
pub const WITHOUT_PROTOBUF: [&str; 2] = ["application/json", "application/yaml"];

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

impl Encoding {
    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What is made of the object or list before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing.
    Object,
    /// A `Table` of this version of `meta.k8s.io`.
    Table(MetaVersion),
    /// An object's metadata.
    PartialObjectMetadata(MetaVersion),
    /// A list of objects' metadata.
    PartialObjectMetadataList(MetaVersion),
    /// All groups with their resources, in this version of `apidiscovery.k8s.io`.
    Discovery(DiscoveryVersion),
}

/// A version of `meta.k8s.io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaVersion {
    /// `v1`
    V1,
    /// `v1beta1`
    V1Beta1,
}

impl MetaVersion {
    /// The version with its group.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// A version of `apidiscovery.k8s.io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryVersion {
    /// `v2`
    V2,
    /// `v2beta1`
    V2Beta1,
}

impl DiscoveryVersion {
    /// The version without its group.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }
}

/// The form that was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// How the answer is written.
    pub encoding: Encoding,
    /// What it shows.
    pub shape: Shape,
    /// Whether it is to be read by people.
    pub pretty: bool,
}

impl Accepted {
    /// The form of an answer to who asks for none.
    pub const JSON: Self = Self {
        encoding: Encoding::Json,
        shape: Shape::Object,
        pretty: false,
    };

    /// The value of the header `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> String {
        match self.shape {
            Shape::Discovery(version) => format!(
                "{};g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList",
                self.encoding.media_type(),
                version.version()
            ),
            _ => self.encoding.media_type().into(),
        }
    }
}

/// Clauses of an `Accept` header that are looked at; nobody needs more.
const MAX_CLAUSES: usize = 64;

struct Clause<'a> {
    kind: &'a str,
    subtype: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    quality: u16,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next()?;
        let (kind, subtype) = match media_type.split_once('/') {
            Some(both) => both,
            None if media_type == "*" => ("*", "*"),
            None => return None,
        };
        let mut quality = 1000;
        let mut parameters = Vec::new();
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name == "q" {
                // A malformed weight counts as the highest, like a missing one.
                quality = thousandths(value).unwrap_or(1000);
            } else {
                parameters.push((name, value));
            }
        }
        Some(Self {
            kind: kind.trim(),
            subtype: subtype.trim(),
            parameters,
            quality,
        })
    }

    fn encoding(&self) -> Option<Encoding> {
        match (self.kind, self.subtype) {
            ("*", "*") | ("application", "*" | "json") => Some(Encoding::Json),
            ("application", "yaml") => Some(Encoding::Yaml),
            ("application", "vnd.kubernetes.protobuf") => Some(Encoding::Protobuf),
            _ => None,
        }
    }

    fn shape(&self) -> Option<Shape> {
        let of = |name: &str| {
            let found = self.parameters.iter().rfind(|(parameter, _)| *parameter == name);
            found.map_or("", |(_, value)| *value)
        };
        let meta = match (of("g"), of("v")) {
            ("meta.k8s.io", "v1") => Some(MetaVersion::V1),
            ("meta.k8s.io", "v1beta1") => Some(MetaVersion::V1Beta1),
            _ => None,
        };
        match of("as") {
            // A group or a version alone ask for something of no kind.
            "" if of("g").is_empty() && of("v").is_empty() => Some(Shape::Object),
            "Table" => meta.map(Shape::Table),
            "PartialObjectMetadata" => meta.map(Shape::PartialObjectMetadata),
            "PartialObjectMetadataList" => meta.map(Shape::PartialObjectMetadataList),
            "APIGroupDiscoveryList" => match (of("g"), of("v")) {
                ("apidiscovery.k8s.io", "v2") => Some(Shape::Discovery(DiscoveryVersion::V2)),
                ("apidiscovery.k8s.io", "v2beta1") => Some(Shape::Discovery(DiscoveryVersion::V2Beta1)),
                _ => None,
            },
            _ => None,
        }
    }

    fn accepted(&self, serves: &impl Fn(Encoding, Shape) -> bool) -> Option<Accepted> {
        let encoding = self.encoding()?;
        // There is no stream of YAML documents in the API.
        let is_known_stream = |(name, value): &(&str, &str)| {
            *name != "stream" || value.is_empty() || (*value == "watch" && encoding != Encoding::Yaml)
        };
        if self.quality == 0 || !self.parameters.iter().all(is_known_stream) {
            return None;
        }
        let accepted = Accepted {
            encoding,
            shape: self.shape()?,
            pretty: self.parameters.contains(&("pretty", "1")),
        };
        serves(accepted.encoding, accepted.shape).then_some(accepted)
    }
}

/// The weight of a clause: 0 to 1 with up to three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let whole: u16 = whole.parse().ok()?;
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    Some(whole.checked_mul(1000)?.saturating_add(decimals).min(1000))
}

/// The form for an `Accept` header, among those that this path `serves`.
///
/// # Errors
/// 406, worded for whether it is the media type that is not served or what is to be made of the answer. The text lists
/// the media types that are `offered`.
pub fn negotiate(
    accept: Option<&str>,
    offered: &[&str],
    serves: impl Fn(Encoding, Shape) -> bool,
) -> Result<Accepted, Box<Status>> {
    let accept = accept.unwrap_or_default().trim();
    if accept.is_empty() {
        return Ok(Accepted::JSON);
    }
    let mut clauses: Vec<Clause<'_>> = accept
        .split(',')
        .take(MAX_CLAUSES)
        .filter_map(Clause::parse)
        .collect();
    if clauses.iter().all(|clause| clause.encoding().is_none()) {
        return Err(errors::not_acceptable(offered).into());
    }
    clauses.sort_by_key(|clause| (Reverse(clause.quality), clause.kind == "*", clause.subtype == "*"));
    clauses
        .iter()
        .find_map(|clause| clause.accepted(&serves))
        .ok_or_else(|| errors::no_such_representation(&MEDIA_TYPES).into())
}

fn media_type(content_type: &str) -> String {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().to_ascii_lowercase()
}

/// The format of a body with this `Content-Type`; otherwise 415. Without one it is JSON.
pub fn body_format(content_type: Option<&str>) -> Result<BodyFormat, Box<Status>> {
    match media_type(content_type.unwrap_or_default()).as_str() {
        "" | "application/json" => Ok(BodyFormat::Json),
        "application/yaml" => Ok(BodyFormat::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(BodyFormat::Protobuf),
        _ => Err(errors::unsupported_media_type(&MEDIA_TYPES).into()),
    }
}

/// The kinds of patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902
    Json,
    /// RFC 7386
    Merge,
    /// Kubernetes' own
    StrategicMerge,
    /// Server-side apply, as YAML
    Apply,
}

/// The kind of patch with this `Content-Type`; otherwise 415.
pub fn patch_type(content_type: Option<&str>) -> Result<PatchType, Box<Status>> {
    match media_type(content_type.unwrap_or_default()).as_str() {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::StrategicMerge),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(errors::unsupported_patch_type().into()),
    }
}

/// Whether the answer is to be indented: the query says so, or the client is one that people type at.
#[must_use]
pub fn is_pretty(query: &str, user_agent: &str) -> bool {
    match form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "pretty") {
        Some((_, value)) if !value.is_empty() => {
            matches!(&*value, "1" | "t" | "T" | "TRUE" | "true" | "True")
        }
        _ => ["curl", "Wget", "Mozilla/5.0"]
            .iter()
            .any(|client| user_agent.starts_with(client)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
    use proptest::prelude::*;

    use super::*;

    fn form(encoding: Encoding, shape: Shape) -> Accepted {
        Accepted {
            encoding,
            shape,
            pretty: false,
        }
    }

    #[test]
    fn the_best_form_that_is_served_is_chosen() {
        use Encoding::{Json, Protobuf, Yaml};
        let table = Shape::Table(MetaVersion::V1);
        for (accept, expected) in [
            ("", form(Json, Shape::Object)),
            ("*/*", form(Json, Shape::Object)),
            ("application/*", form(Json, Shape::Object)),
            ("application/yaml", form(Yaml, Shape::Object)),
            (
                "application/json;q=0.5, application/yaml",
                form(Yaml, Shape::Object),
            ),
            ("*/*, application/yaml", form(Yaml, Shape::Object)),
            ("application/yaml;q=0, */*;q=0.1", form(Json, Shape::Object)),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                form(Protobuf, Shape::Object),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                form(Json, table),
            ),
            (
                "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
                form(Json, Shape::Table(MetaVersion::V1Beta1)),
            ),
            (
                "application/json;as=Table;v=v2;g=meta.k8s.io,application/json",
                form(Json, Shape::Object),
            ),
            (
                "application/json;as=Nothing;v=v1;g=meta.k8s.io, */*",
                form(Json, Shape::Object),
            ),
            (
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
                form(Json, Shape::PartialObjectMetadataList(MetaVersion::V1)),
            ),
            ("application/json;stream=watch", form(Json, Shape::Object)),
            (
                "application/json;stream=other,application/yaml",
                form(Yaml, Shape::Object),
            ),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
                form(Json, Shape::Discovery(DiscoveryVersion::V2)),
            ),
        ] {
            assert_eq!(
                negotiate(Some(accept), &MEDIA_TYPES, |_, _| true),
                Ok(expected),
                "{accept}"
            );
        }
        assert_eq!(negotiate(None, &MEDIA_TYPES, |_, _| true), Ok(Accepted::JSON));
        assert_eq!(
            negotiate(
                Some("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
                &MEDIA_TYPES,
                |_, shape| { shape == Shape::Object }
            ),
            Ok(Accepted::JSON)
        );
    }

    #[test]
    fn what_is_not_served_is_not_acceptable() {
        for accept in [
            "application/xml",
            "text/csv",
            "application/xml;as=Table",
            "nonsense",
        ] {
            let status = negotiate(Some(accept), &LIST_MEDIA_TYPES, |_, _| true).unwrap_err();
            assert_eq!(status.code, Some(406), "{accept}");
            assert_eq!(
                status.message.as_deref(),
                Some(
                    "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                     application/vnd.kubernetes.protobuf, application/json;stream=watch, \
                     application/vnd.kubernetes.protobuf;stream=watch"
                )
            );
        }
    }

    #[test]
    fn what_cannot_be_made_of_an_answer_is_told_apart_from_media_types() {
        for accept in [
            "application/json;as=Table;v=v2;g=meta.k8s.io",
            "application/json;as=Table",
            "application/json;as=Foo",
            "application/json;v=v1",
            "application/json;q=0",
            "application/yaml;stream=watch",
            "text/csv, application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
        ] {
            let serves = |encoding, shape| encoding != Encoding::Protobuf || shape == Shape::Object;
            let status = negotiate(Some(accept), &LIST_MEDIA_TYPES, serves).unwrap_err();
            assert_eq!((status.code, &status.details), (Some(406), &None), "{accept}");
            assert_eq!(
                status.message.as_deref(),
                Some(
                    "only the following media types are accepted: application/json, application/yaml, \
                     application/vnd.kubernetes.protobuf"
                )
            );
        }
    }

    #[test]
    fn aggregated_discovery_names_itself_in_the_content_type() {
        assert_eq!(
            form(Encoding::Json, Shape::Discovery(DiscoveryVersion::V2)).content_type(),
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        );
        assert_eq!(
            form(Encoding::Yaml, Shape::Table(MetaVersion::V1)).content_type(),
            "application/yaml"
        );
    }

    #[test]
    fn bodies_are_json_or_yaml() {
        assert_eq!(body_format(None), Ok(BodyFormat::Json));
        assert_eq!(
            body_format(Some("Application/JSON; charset=utf-8")),
            Ok(BodyFormat::Json)
        );
        assert_eq!(body_format(Some("application/yaml")), Ok(BodyFormat::Yaml));
        let status = body_format(Some("application/xml")).unwrap_err();
        assert_eq!(
            status.message.as_deref(),
            Some(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json, application/yaml, application/vnd.kubernetes.protobuf"
            )
        );
    }

    #[test]
    fn each_kind_of_patch_has_its_media_type() {
        for (content_type, expected) in [
            ("application/json-patch+json", Some(PatchType::Json)),
            (
                "application/merge-patch+json; charset=utf-8",
                Some(PatchType::Merge),
            ),
            (
                "application/strategic-merge-patch+json",
                Some(PatchType::StrategicMerge),
            ),
            ("application/apply-patch+yaml", Some(PatchType::Apply)),
            ("application/json", None),
        ] {
            assert_eq!(patch_type(Some(content_type)).ok(), expected);
        }
    }

    #[test]
    fn people_get_indented_answers() {
        assert!(is_pretty("pretty=true", ""));
        assert!(is_pretty("a=b&pretty=1", ""));
        assert!(is_pretty("", "curl/8.0"));
        assert!(!is_pretty("pretty=false", "curl/8.0"));
        assert!(!is_pretty("", "kubectl/v1.34"));
    }

    proptest! {
        #[test]
        fn any_header_has_an_answer(accept in "[a-z*/;,=.q0-9 ]{0,64}") {
            let _ = negotiate(Some(&accept), &MEDIA_TYPES, |_, _| true);
        }
    }
}
