//! Going over from [client-side apply][1], whose last configuration is an annotation, without conflicts.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/server-side-apply/#upgrading-from-client-side-apply-to-server-side-apply

use serde_json::Value;

use super::Tracking;
use super::conflict::Conflict;
use super::set::Set;
use super::typed::{check, compare, to_set};
use crate::decode;
use crate::metadata;

/// Who applied on the client's side, and goes over.
pub(super) const MANAGER: &str = "kubectl";
/// The last configuration that was applied on the client's side.
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Bytes that all annotations together may have.
const MAX_ANNOTATIONS: usize = 256 << 10;

fn last_applied(object: &Value) -> Option<&str> {
    let annotation = object.get("metadata")?.get("annotations")?.get(ANNOTATION)?;
    annotation.as_str().filter(|text| !text.is_empty())
}

/// Drops conflicts about fields that are still as they were last applied.
pub(super) fn excuse(conflicts: &mut Vec<Conflict>, live: &Value, tracking: &Tracking<'_>) {
    let Some(owned) = unchanged(live, tracking) else {
        return;
    };
    for conflict in conflicts.iter_mut() {
        conflict.fields = conflict.fields.difference(&owned);
    }
    conflicts.retain(|conflict| !conflict.fields.is_empty());
}

fn unchanged(live: &Value, tracking: &Tracking<'_>) -> Option<Set> {
    let (applied, _) = decode::untyped(last_applied(live)?.as_bytes()).ok()?;
    let is_same_version =
        applied.get("apiVersion").and_then(Value::as_str) == Some(&tracking.kind.api_version());
    if !is_same_version || !check(&applied, tracking.schema()).is_empty() {
        return None;
    }
    let changes = compare(&applied, live, tracking.schema()).ok()?;
    let applied = to_set(&applied, tracking.schema()).ok()?;
    Some(
        applied
            .difference(&changes.written())
            .difference(&changes.removed),
    )
}

/// Writes the configuration into the annotation, if the object has it, so that going back is possible.
pub(super) fn renew(object: &mut Value, config: &Value) {
    if last_applied(object).is_none() {
        return;
    }
    let mut config = config.clone();
    let annotations = |object: &mut Value| {
        let annotations = metadata::of(object)?.get_mut("annotations")?;
        annotations.as_object_mut().map(std::mem::take)
    };
    if let Some(mut kept) = annotations(&mut config) {
        kept.remove(ANNOTATION);
        if let Some(metadata) = metadata::of(&mut config) {
            metadata.insert("annotations".into(), kept.into());
        }
    }
    let mut text = config.to_string();
    if text.len() > MAX_ANNOTATIONS {
        // Too long for an annotation: an empty one ends client-side apply.
        text.clear();
    }
    if let Some(mut all) = annotations(object) {
        all.insert(ANNOTATION.into(), text.into());
        if let Some(metadata) = metadata::of(object) {
            metadata.insert("annotations".into(), all.into());
        }
    }
}
