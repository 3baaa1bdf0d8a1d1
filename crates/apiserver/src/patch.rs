//! Changes to an object that are not the whole object: [the kinds of patch][1] and their limits.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply

use json_patch::PatchOperation;
use json_patch::jsonptr::PointerBuf;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;

use crate::decode;
use crate::errors;
use crate::schema::Object;

mod go_value;
mod strategic;

use go_value::GoValue;

/// Operations that a JSON patch may have.
pub const MAX_OPERATIONS: usize = 10_000;

/// Values that one JSON patch may copy, move or bring. It is the product of operations and the size of what
/// they are about that would keep the server busy, and an object that copies itself into itself grows with
/// each step.
const MAX_MOVED: usize = 1_000_000;

/// A patch that can be applied, also again after a conflict.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// [RFC 6902](https://www.rfc-editor.org/rfc/rfc6902)
    Json(json_patch::Patch),
    /// [RFC 7386](https://www.rfc-editor.org/rfc/rfc7386)
    Merge(Value),
    /// [Kubernetes' own][1].
    ///
    /// [1]: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
    Strategic(Value),
}

fn undecodable(error: impl std::fmt::Display) -> Box<Status> {
    errors::bad_request(format!("error decoding patch: {error}")).into()
}

/// How Go names the type of a value.
fn named(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Patch {
    /// Reads a JSON patch; the second part is what is wrong with it beside: keys that occur twice.
    pub fn json(body: &[u8]) -> Result<(Self, Vec<String>), Box<Status>> {
        let (value, duplicates) = decode::untyped(body).map_err(undecodable)?;
        let Value::Array(operations) = &value else {
            return Err(undecodable(format_args!(
                "json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
                named(&value)
            )));
        };
        if operations.len() > MAX_OPERATIONS {
            let error = format_args!(
                "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                operations.len()
            );
            return Err(errors::request_entity_too_large(error).into());
        }
        let patch = serde_json::from_value(value).map_err(undecodable)?;
        let duplicates = duplicates.iter().map(|found| format!("json patch {found}"));
        Ok((Self::Json(patch), duplicates.collect()))
    }

    /// Reads a JSON merge patch; the second part are the keys that occur twice.
    pub fn merge(body: &[u8]) -> Result<(Self, Vec<String>), Box<Status>> {
        let (value, duplicates) = object(body).map_err(undecodable)?;
        Ok((Self::Merge(value), duplicates))
    }

    /// Reads a strategic merge patch; the second part are the keys that occur twice.
    pub fn strategic(body: &[u8]) -> Result<(Self, Vec<String>), Box<Status>> {
        let (value, duplicates) = object(body).map_err(errors::bad_request)?;
        Ok((Self::Strategic(value), duplicates))
    }

    /// Changes `object`, whose fields `schema` knows. An object that could not be changed is lost.
    pub fn apply(&self, mut object: Value, schema: &'static Object) -> Result<Patched, Box<Status>> {
        let mut strategic = None;
        match self {
            Self::Json(patch) => apply_json(&mut object, patch)?,
            Self::Merge(patch) => json_patch::merge(&mut object, patch),
            Self::Strategic(patch) => {
                let mut patch = patch.clone();
                object = strategic::apply(object, &mut patch, schema).map_err(|error| error.status())?;
                strategic = Some(patch);
            }
        }
        Ok(Patched { object, strategic })
    }
}

/// A changed object.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    /// The object.
    pub object: Value,
    /// What Kubernetes shows of a strategic merge patch that made no valid object.
    strategic: Option<Value>,
}

impl Patched {
    /// What error texts show where the object turns out not to be one of its kind: a strategic merge patch, or what
    /// another patch made.
    pub fn shown(&self) -> String {
        match &self.strategic {
            Some(patch) => GoValue(patch).to_string(),
            None => self.object.to_string(),
        }
    }
}

fn object(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let (value, duplicates) = decode::untyped(body).map_err(|error| error.to_string())?;
    if !value.is_object() {
        return Err(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            named(&value)
        ));
    }
    Ok((value, duplicates))
}

/// Operation by operation, so that one that would make the object too large or too deep is not carried out.
fn apply_json(object: &mut Value, patch: &json_patch::Patch) -> Result<(), Box<Status>> {
    let mut moved = 0;
    for operation in &patch.0 {
        let brought = match operation {
            PatchOperation::Add(add) => Some((&add.path, Some(&add.value))),
            PatchOperation::Replace(replace) => Some((&replace.path, Some(&replace.value))),
            PatchOperation::Copy(copy) => Some((&copy.path, object.pointer(copy.from.as_str()))),
            PatchOperation::Move(shift) => Some((&shift.path, object.pointer(shift.from.as_str()))),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
        };
        let mut depth = 0;
        if let Some((path, Some(value))) = brought {
            depth = path.count() + measure(value, &mut moved);
        }
        moved += shifted(object, operation);
        if moved > MAX_MOVED || depth > decode::MAX_DEPTH {
            let error = "the JSON patch makes the object too large or too deep";
            return Err(errors::request_entity_too_large(error).into());
        }
        // Whatever does not fit: Kubernetes tells no more.
        json_patch::patch_unsafe(object, std::slice::from_ref(operation))
            .map_err(|_| errors::unprocessable())?;
    }
    Ok(())
}

/// What it costs to make room in a list, or to close a gap, in values that are copied: it takes much longer to copy a
/// value than to shift it.
fn shifted(object: &Value, operation: &PatchOperation) -> usize {
    const SHIFTED_FOR_ONE: usize = 64;
    let in_list = |path: &PointerBuf| {
        let list = path.parent().and_then(|list| object.pointer(list.as_str()));
        list.and_then(Value::as_array).map_or(0, Vec::len)
    };
    let values = match operation {
        PatchOperation::Add(add) => in_list(&add.path),
        PatchOperation::Copy(copy) => in_list(&copy.path),
        PatchOperation::Remove(remove) => in_list(&remove.path),
        PatchOperation::Move(shift) => in_list(&shift.path) + in_list(&shift.from),
        PatchOperation::Replace(_) | PatchOperation::Test(_) => 0,
    };
    values / SHIFTED_FOR_ONE
}

/// How deep a value is. Adds to `size` the values in it, and stops where they are too many.
fn measure(value: &Value, size: &mut usize) -> usize {
    *size += 1;
    if *size > MAX_MOVED {
        return 0;
    }
    match value {
        Value::Array(items) => 1 + items.iter().map(|item| measure(item, size)).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(|item| measure(item, size)).max().unwrap_or(0),
        // A long text counts as the many values that would take as much memory.
        Value::String(text) => {
            *size += text.len() / 32;
            0
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
