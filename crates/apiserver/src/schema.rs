//! What the fields of a kind are: enough to find fields that it does not have, values of a wrong type, and
//! how a strategic merge patch treats each list. A kind states its schema as one `static` tree.

pub mod meta;

/// What a JSON value is read into.
#[derive(Debug, Clone, Copy)]
pub enum Schema {
    /// Anything, kept as it is and not looked into.
    Raw,
    /// Anything; only keys that occur twice are found in it.
    Untyped,
    /// A string. The name of its type is for error texts; usually `string`.
    Text(&'static str),
    /// `true` or `false`.
    Boolean,
    /// A whole number. The name of its type is for error texts: `int64`.
    Integer(&'static str),
    /// Any number.
    Number,
    /// An object whose fields are known.
    Object(&'static Object),
    /// A list.
    List(&'static List),
    /// An object whose keys are free.
    Map(&'static Schema),
}

/// A string of no special type.
pub const TEXT: Schema = Schema::Text("string");

/// An object whose fields are known.
#[derive(Debug)]
pub struct Object {
    /// The name of the type in error texts, without a package: `ObjectMeta`.
    pub name: &'static str,
    /// The package of the type in error texts: `v1`.
    pub package: &'static str,
    /// What it may have.
    pub fields: &'static [(&'static str, Schema)],
}

impl Object {
    /// The field called `name`, which is told apart from `Name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<(&'static str, Schema)> {
        self.fields.iter().find(|(field, _)| *field == name).copied()
    }
}

/// A list, and what a strategic merge patch does with it.
#[derive(Debug)]
pub struct List {
    /// What is in it.
    pub items: Schema,
    /// How a patch changes it.
    pub merge: Merge,
}

/// What a [strategic merge patch][1] does with a list.
///
/// [1]: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Replaces it.
    Replace,
    /// Merges the objects that have the same value in this field.
    ByKey(&'static str),
    /// Adds the values that it does not have.
    Values,
}

impl Schema {
    /// The name of the type in error texts.
    #[must_use]
    pub fn type_name(self) -> String {
        match self {
            Self::Raw => "runtime.RawExtension".into(),
            Self::Untyped => "interface {}".into(),
            Self::Text(name) | Self::Integer(name) => name.into(),
            Self::Boolean => "bool".into(),
            Self::Number => "float64".into(),
            Self::Object(object) => format!("{}.{}", object.package, object.name),
            Self::List(list) => format!("[]{}", list.items.type_name()),
            Self::Map(values) => format!("map[string]{}", values.type_name()),
        }
    }
}
