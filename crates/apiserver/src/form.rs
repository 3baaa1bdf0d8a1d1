//! The form of a resource's objects in the store, and what a server must know of them to choose and show them.

use serde_json::Value;

use crate::kind::Resource;
use crate::storage::Seal;

/// What of an object is stored, selected and shown, and how. Needs nothing but the object.
pub trait Form: Send + Sync + 'static {
    /// What the objects are.
    fn resource(&self) -> &'static Resource;

    /// The object as clients see it, where that is not as it is stored.
    fn shown(&self, _stored: &Value) -> Option<Value> {
        None
    }

    /// By which fields it can be selected.
    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "metadata.namespace"]
    }

    /// The value of a selectable field of an object as it is stored.
    fn field<'v>(&self, stored: &'v Value, field: &str) -> &'v str {
        let found = field.split('.').try_fold(stored, |value, name| value.get(name));
        found.and_then(Value::as_str).unwrap_or_default()
    }

    /// The object of a bookmark, without resource version: what an empty object of the kind looks like.
    fn empty(&self) -> Value {
        serde_json::json!({"metadata": {}})
    }

    /// What a new object is compared with to tell which fields somebody set.
    fn unset(&self) -> Value {
        let mut object = self.empty();
        if let Some(fields) = object.as_object_mut() {
            fields.insert("metadata".into(), serde_json::json!({}));
        }
        object
    }

    /// How it is made unreadable in the store, if it is.
    fn seal(&self) -> Option<&dyn Seal> {
        None
    }
}

/// The form of a resource without particulars.
pub struct Plain(pub &'static Resource);

impl Form for Plain {
    fn resource(&self) -> &'static Resource {
        self.0
    }
}
