//! One line of the audit log.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::authn::UserInfo;
use crate::request_info::RequestInfo;

/// Bytes of a client's name for itself that are kept.
const MAX_USER_AGENT: usize = 1024;

/// An event at the level `Metadata`, of a request that is over.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind", rename = "Event")]
pub(in crate::serve) struct Event {
    #[serde(flatten)]
    pub(in crate::serve) fixed: Fixed,
    #[serde(rename = "auditID")]
    pub(in crate::serve) audit_id: String,
    #[serde(rename = "requestURI")]
    pub(in crate::serve) request_uri: String,
    pub(in crate::serve) verb: String,
    pub(in crate::serve) user: User,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::serve) impersonated_user: Option<User>,
    #[serde(rename = "sourceIPs")]
    pub(in crate::serve) source_ips: [String; 1],
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::serve) user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::serve) object_ref: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::serve) response_status: Option<ResponseStatus>,
    #[serde(serialize_with = "micro_time")]
    pub(in crate::serve) request_received_timestamp: Timestamp,
    #[serde(serialize_with = "micro_time")]
    pub(in crate::serve) stage_timestamp: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::serve) annotations: BTreeMap<&'static str, String>,
}

/// What all events have in common.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::serve) struct Fixed {
    api_version: &'static str,
    level: &'static str,
    stage: &'static str,
}

impl Default for Fixed {
    fn default() -> Self {
        Self {
            api_version: "audit.k8s.io/v1",
            level: "Metadata",
            stage: "ResponseComplete",
        }
    }
}

/// Who asked.
#[derive(Debug, Default, Serialize)]
pub(in crate::serve) struct User {
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
}

impl From<&UserInfo> for User {
    fn from(user: &UserInfo) -> Self {
        Self {
            username: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
        }
    }
}

/// What was asked about.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::serve) struct ObjectRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

impl ObjectRef {
    /// The object of a request, if it is about one.
    pub(in crate::serve) fn of(info: &RequestInfo) -> Option<Self> {
        info.is_resource.then(|| Self {
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            api_group: info.group.clone(),
            api_version: info.version.clone(),
            subresource: info.subresource.clone(),
        })
    }
}

/// What was answered.
#[derive(Debug, Serialize)]
pub(in crate::serve) struct ResponseStatus {
    metadata: Empty,
    code: u16,
}

#[derive(Debug, Serialize)]
struct Empty {}

impl ResponseStatus {
    pub(in crate::serve) fn new(code: u16) -> Self {
        Self {
            metadata: Empty {},
            code,
        }
    }
}

/// A client's name for itself, of bounded length.
pub(in crate::serve) fn shortened(user_agent: &str) -> String {
    if user_agent.len() <= MAX_USER_AGENT {
        return user_agent.to_owned();
    }
    let end = user_agent.floor_char_boundary(MAX_USER_AGENT);
    format!("{}...TRUNCATED", &user_agent[..end])
}

/// RFC 3339 with microseconds, as Kubernetes writes its `MicroTime`.
fn micro_time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.6}"))
}
