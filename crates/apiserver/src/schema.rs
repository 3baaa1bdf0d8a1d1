//! What the fields of a kind are: enough to read it from JSON and protobuf, to find fields that it does not have and
//! values of a wrong type, to merge patches into it and to describe it to clients. A kind states its schema as one
//! `static` tree.

pub mod discovery;
pub mod meta;

/// What a value is read into.
#[derive(Debug, Clone, Copy)]
pub enum Schema {
    /// Any object, kept as it is and not looked into. In protobuf a `runtime.RawExtension`: a message with the JSON
    /// as bytes in field 1.
    Raw,
    /// The set of fields of a managed fields entry, kept as [`Schema::Raw`] is and written like it.
    FieldsV1,
    /// Anything; only keys that occur twice are found in it. Never in protobuf.
    Untyped,
    /// A string. The name of its type is for error texts; usually `string`.
    Text(&'static str),
    /// Bytes; in JSON a string in base64.
    Bytes,
    /// A time in whole seconds; in JSON a string as RFC 3339 has it, in protobuf a message with the seconds since
    /// 1970 in field 1 and nanoseconds, which are 0, in field 2.
    Time,
    /// A time in microseconds, otherwise like [`Schema::Time`].
    MicroTime,
    /// An amount with a unit: a string, for which JSON may have a number. In protobuf a message with the string in
    /// field 1.
    Quantity,
    /// `true` or `false`.
    Boolean,
    /// A whole number. The name of its type is for error texts and tells its size: `int64` or `int32`.
    Integer(&'static str),
    /// Any number. Never in protobuf.
    Number,
    /// An object whose fields are known.
    Object(&'static Object),
    /// A list.
    List(&'static List),
    /// An object whose keys are free. In protobuf a message for each entry: the key in field 1, the value in field 2.
    Map(&'static Schema),
}

/// A string of no special type.
pub const TEXT: Schema = Schema::Text("string");
/// A whole number of up to 64 bits.
pub const INT64: Schema = Schema::Integer("int64");
/// A whole number of up to 32 bits.
pub const INT32: Schema = Schema::Integer("int32");

/// An object whose fields are known.
#[derive(Debug)]
pub struct Object {
    /// Where its type is defined: `io.k8s.api.core.v1`.
    pub home: &'static str,
    /// The name of the type: `ObjectMeta`.
    pub name: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// What it may have.
    pub fields: &'static [Field],
    /// Whether server-side apply owns it as a whole instead of field by field.
    pub atomic: bool,
}

impl Object {
    /// An object with these fields.
    #[must_use]
    pub const fn new(
        home: &'static str,
        name: &'static str,
        description: &'static str,
        fields: &'static [Field],
    ) -> Self {
        Self {
            home,
            name,
            description,
            fields,
            atomic: false,
        }
    }

    /// The same object, owned as a whole by server-side apply.
    #[must_use]
    pub const fn atomic(mut self) -> Self {
        self.atomic = true;
        self
    }

    /// The field called `name`, which is told apart from `Name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The package of the type in error texts: `v1`.
    #[must_use]
    pub fn package(&self) -> &'static str {
        self.home.rsplit('.').next().unwrap_or(self.home)
    }
}

/// A field of an object.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The key in JSON.
    pub name: &'static str,
    /// The number in protobuf; 0 for what is never in protobuf.
    pub number: u32,
    /// For a field that JSON has in the object itself and protobuf in a message inside it: the number of the field
    /// that holds the message. Otherwise 0.
    pub inlined_from: u32,
    /// What it holds.
    pub schema: Schema,
    /// Whether an object without it is incomplete.
    pub required: bool,
    /// One sentence for people.
    pub description: &'static str,
}

impl Field {
    /// The same field, of which an object without it is incomplete.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same field, which protobuf has in the message that is field `number` of the object.
    #[must_use]
    pub const fn inlined_from(mut self, number: u32) -> Self {
        self.inlined_from = number;
        self
    }
}

/// A field that may be missing.
#[must_use]
pub const fn field(name: &'static str, number: u32, schema: Schema, description: &'static str) -> Field {
    Field {
        name,
        number,
        inlined_from: 0,
        schema,
        required: false,
        description,
    }
}

/// The field `kind` of an object that has it. Protobuf has it outside the object.
pub const KIND: Field = field("kind", 0, TEXT, "The kind of the object, in camel case.");

/// The field `apiVersion` of an object that has it. Protobuf has it outside the object.
pub const API_VERSION: Field = field(
    "apiVersion",
    0,
    TEXT,
    "The group and version of the schema that the object follows.",
);

/// The field `metadata` of every object.
pub const METADATA: Field = field(
    "metadata",
    1,
    Schema::Object(&meta::OBJECT_META),
    "What every object has: its name, labels, annotations and owners.",
);

/// The field `metadata` of every list.
pub const LIST_METADATA: Field = field(
    "metadata",
    1,
    Schema::Object(&meta::LIST_META),
    "The state that the list shows, and where its next page begins.",
);

/// A list, and how it is merged.
#[derive(Debug)]
pub struct List {
    /// What is in it.
    pub items: Schema,
    /// How a patch changes it.
    pub merge: Merge,
    /// Whether protobuf has it as a message of its own, with the items in field 1.
    pub is_message: bool,
}

impl List {
    const fn new(items: Schema, merge: Merge) -> Self {
        Self {
            items,
            merge,
            is_message: false,
        }
    }

    /// A list that is replaced as a whole.
    #[must_use]
    pub const fn of(items: Schema) -> Self {
        Self::new(items, Merge::Replace)
    }

    /// A list of objects that are told apart by this field.
    #[must_use]
    pub const fn by_key(items: Schema, key: &'static str) -> Self {
        Self::new(items, Merge::ByKey(key))
    }

    /// A list in which every value is once.
    #[must_use]
    pub const fn set(items: Schema) -> Self {
        Self::new(items, Merge::Values)
    }

    /// The same list as a message of its own in protobuf.
    #[must_use]
    pub const fn message(mut self) -> Self {
        self.is_message = true;
        self
    }
}

/// What a [strategic merge patch][1] does with a list, and who owns what of it in [server-side apply][2].
///
/// [1]: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
/// [2]: https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Replaces it; owned as a whole (`atomic`).
    Replace,
    /// Merges the objects that have the same value in this field; each is owned by itself (`map`).
    ByKey(&'static str),
    /// Adds the values that it does not have; each is owned by itself (`set`).
    Values,
}

impl Schema {
    /// Whether it is kept without being looked into.
    #[must_use]
    pub const fn is_opaque(self) -> bool {
        matches!(self, Self::Raw | Self::FieldsV1)
    }

    /// The name of the type in error texts.
    #[must_use]
    pub fn type_name(self) -> String {
        match self {
            Self::Raw => "runtime.RawExtension".into(),
            Self::FieldsV1 => "v1.FieldsV1".into(),
            Self::Untyped => "interface {}".into(),
            Self::Text(name) | Self::Integer(name) => name.into(),
            // They read themselves from a string.
            Self::Bytes | Self::Time | Self::MicroTime | Self::Quantity => "string".into(),
            Self::Boolean => "bool".into(),
            Self::Number => "float64".into(),
            Self::Object(object) => format!("{}.{}", object.package(), object.name),
            Self::List(list) => format!("[]{}", list.items.type_name()),
            Self::Map(values) => format!("map[string]{}", values.type_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_error_texts_name_them() {
        static TEXTS: List = List::of(TEXT);
        static LIST: Schema = Schema::List(&TEXTS);
        static SECRET: Object = Object::new("io.k8s.api.core.v1", "Secret", "", &[]);
        for (schema, name) in [
            (Schema::Object(&SECRET), "v1.Secret"),
            (Schema::Map(&LIST), "map[string][]string"),
            (INT32, "int32"),
            (Schema::Time, "string"),
        ] {
            assert_eq!(schema.type_name(), name);
        }
    }
}
