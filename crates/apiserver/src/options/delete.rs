//! Options of a deletion: [propagation][1], preconditions, dry run.
//!
//! [1]: https://kubernetes.io/docs/concepts/architecture/garbage-collection/#cascading-deletion

use imagestream_api::field::{FieldError, Path};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;

use super::{Query, check_dry_run, refuse};
use crate::decode::{META_SCHEME, Target, decode};
use crate::errors;
use crate::negotiation::BodyFormat;
use crate::schema::meta::DELETE_OPTIONS;

/// What becomes of the objects that the deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropagationPolicy {
    /// They are deleted first.
    Foreground,
    /// They are deleted afterwards.
    Background,
    /// They stay.
    Orphan,
}

/// Options of a deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Do everything but delete.
    pub dry_run: bool,
    /// Seconds that the object may take to end.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents; `None` leaves it to the resource.
    pub propagation_policy: Option<PropagationPolicy>,
    /// The deletion is for the object with this uid alone.
    pub uid: Option<String>,
    /// The deletion is for the object in this state alone.
    pub resource_version: Option<String>,
    /// The client named the old option `orphanDependents` to have dependents deleted: it is told by a 202 if the object
    /// stays for a while.
    pub tells_of_delay: bool,
}

/// The options as they were sent.
#[derive(Default)]
struct Sent {
    dry_run: Vec<String>,
    grace_period_seconds: Option<i64>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// Reads the body or, where there is none, the query.
    pub fn from_request(body: &[u8], format: BodyFormat, query: &str) -> Result<Self, Box<Status>> {
        let sent = if body.is_empty() {
            from_query(&Query::new(query))?
        } else {
            from_body(body, format)?
        };
        sent.checked()
    }
}

fn from_query(query: &Query) -> Result<Sent, Box<Status>> {
    let text = |name: &str| query.first(name).map(str::to_owned);
    Ok(Sent {
        dry_run: query.all("dryRun").into_iter().map(str::to_owned).collect(),
        grace_period_seconds: query.number("gracePeriodSeconds")?,
        orphan_dependents: query.boolean("orphanDependents"),
        propagation_policy: text("propagationPolicy"),
        ..Sent::default()
    })
}

fn from_body(body: &[u8], format: BodyFormat) -> Result<Sent, Box<Status>> {
    let read = |group: &str| {
        let target = Target {
            group,
            version: "v1",
            kind: "DeleteOptions",
            schema: &DELETE_OPTIONS,
            is_registered: &|_| false,
            package: "internalversion",
            scheme: META_SCHEME,
        };
        decode(body, format, &target)
    };
    let decoded = read("").or_else(|error| match &error.kind {
        // Every group has this kind; clients send the group of what they delete.
        Some(found) if found.kind == "DeleteOptions" => read(&found.group),
        _ => Err(error),
    });
    // The error has no status of its own where Kubernetes decodes options.
    let value = decoded.map_err(errors::untyped)?.value;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let precondition = |name: &str| text(value.get("preconditions").and_then(|given| given.get(name)));
    let dry_run = value.get("dryRun").and_then(Value::as_array);
    Ok(Sent {
        dry_run: dry_run
            .into_iter()
            .flatten()
            .filter_map(|value| text(Some(value)))
            .collect(),
        grace_period_seconds: value.get("gracePeriodSeconds").and_then(Value::as_i64),
        orphan_dependents: value.get("orphanDependents").and_then(Value::as_bool),
        propagation_policy: text(value.get("propagationPolicy")),
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
    })
}

impl Sent {
    fn checked(self) -> Result<DeleteOptions, Box<Status>> {
        let path = Path::root("propagationPolicy");
        let mut errors = Vec::new();
        let orphan = self.orphan_dependents.map(|orphan| {
            if orphan {
                PropagationPolicy::Orphan
            } else {
                PropagationPolicy::Background
            }
        });
        if let (Some(policy), Some(_)) = (&self.propagation_policy, orphan) {
            errors.push(FieldError::invalid(
                &path,
                policy.as_str(),
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        let policy = match self.propagation_policy.as_deref() {
            None => orphan,
            Some("Foreground") => Some(PropagationPolicy::Foreground),
            Some("Background") => Some(PropagationPolicy::Background),
            Some("Orphan") => Some(PropagationPolicy::Orphan),
            Some(other) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported(&path, other, &supported));
                None
            }
        };
        let dry_run: Vec<&str> = self.dry_run.iter().map(String::as_str).collect();
        errors.extend(check_dry_run(&dry_run));
        refuse("DeleteOptions", &errors)?;
        Ok(DeleteOptions {
            dry_run: !dry_run.is_empty(),
            grace_period_seconds: self.grace_period_seconds,
            propagation_policy: policy,
            uid: self.uid,
            resource_version: self.resource_version,
            tells_of_delay: self.orphan_dependents == Some(false),
        })
    }
}
