//! What a client asks for beside the object: the [options of each verb][1], from the query or a body, checked
//! as Kubernetes checks them.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/

use imagestream_api::field::{FieldError, FieldValue, Path, is_printable, quoted};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::errors::{self, GroupResource};
use crate::request_info::is_true;

mod delete;
mod list;

pub use delete::{DeleteOptions, PropagationPolicy};
pub use list::{ListOptions, ResourceVersionMatch};

/// What happens to fields that a kind does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, with a warning.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

/// Options of a creation, an update or a patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Do everything but store.
    pub dry_run: bool,
    /// In whose name fields are set. Empty if the client does not say.
    pub field_manager: String,
    /// What happens to fields that the kind does not have.
    pub field_validation: FieldValidation,
    /// Of an apply: take fields from their managers.
    pub force: bool,
}

/// The verbs that take [`WriteOptions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// POST
    Create,
    /// PUT
    Update,
    /// PATCH, but not an apply
    Patch,
    /// PATCH with a configuration to apply
    Apply,
}

impl Write {
    fn kind(self) -> &'static str {
        match self {
            Self::Create => "CreateOptions",
            Self::Update => "UpdateOptions",
            Self::Patch | Self::Apply => "PatchOptions",
        }
    }
}

impl WriteOptions {
    /// Reads the query of a request; 422 if it asks for what there is not.
    pub fn from_query(verb: Write, query: &str) -> Result<Self, Box<Status>> {
        let query = Query::new(query);
        let force = query.boolean("force");
        let field_manager = query.first("fieldManager").unwrap_or_default();
        let mut errors = Vec::new();
        if verb == Write::Patch && force.is_some() {
            errors.push(FieldError::forbidden(
                &Path::root("force"),
                "may not be specified for non-apply patch",
            ));
        }
        if verb == Write::Apply && field_manager.is_empty() {
            errors.push(FieldError::required(
                &Path::root("fieldManager"),
                "is required for apply patch",
            ));
        }
        errors.extend(check_field_manager(field_manager));
        let dry_run = query.all("dryRun");
        errors.extend(check_dry_run(&dry_run));
        let field_validation = match query.first("fieldValidation").unwrap_or_default() {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                errors.push(FieldError::not_supported(
                    &Path::root("fieldValidation"),
                    other,
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        refuse(verb.kind(), &errors)?;
        Ok(Self {
            dry_run: !dry_run.is_empty(),
            field_manager: field_manager.to_owned(),
            field_validation,
            force: force.unwrap_or_default(),
        })
    }
}

/// The `resourceVersion` that a reader wants at least; without one, 0. 500 for what is no number: that is how
/// Kubernetes answers, since the error comes from its storage.
pub fn resource_version(text: &str) -> Result<u64, Box<Status>> {
    if text.is_empty() {
        return Ok(0);
    }
    whole_number(text, "ParseUint").map_err(|error| {
        errors::untyped(format_args!(
            "resourceVersion: Invalid value: {}: {error}",
            quoted(text)
        ))
        .into()
    })
}

/// The [`resource_version`] that a query for one object names. The other options of lists mean nothing there.
///
/// # Errors
/// 500 for what is no number.
pub fn version_to_read(query: &str) -> Result<u64, Box<Status>> {
    let query = Query::new(query);
    resource_version(query.first("resourceVersion").unwrap_or_default())
}

fn refuse(kind: &str, errors: &[FieldError]) -> Result<(), Box<Status>> {
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupResource::new("meta.k8s.io", kind);
    Err(errors::invalid(kind, "", errors).into())
}

fn check_dry_run(values: &[&str]) -> Option<FieldError> {
    if values.iter().all(|value| *value == "All") {
        return None;
    }
    let path = Path::root("dryRun");
    Some(FieldError::not_supported(
        &path,
        FieldValue::json(&values),
        &["All"],
    ))
}

fn check_field_manager(manager: &str) -> Vec<FieldError> {
    const LONGEST: usize = 128;
    let path = Path::root("fieldManager");
    let mut errors = Vec::new();
    if manager.len() > LONGEST {
        errors.push(FieldError::too_long(&path, LONGEST));
    }
    errors.extend(
        manager
            .char_indices()
            .filter(|(_, character)| !is_printable(*character))
            .take(LONGEST)
            .map(|(position, character)| {
                let code = u32::from(character);
                let detail = format!("invalid character U+{code:04X} (at position {position})");
                FieldError::invalid(&path, manager, detail)
            }),
    );
    errors
}

/// The text that Go's `strconv` has for what is no number.
fn whole_number<T: std::str::FromStr<Err = std::num::ParseIntError>>(
    text: &str,
    function: &str,
) -> Result<T, String> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.{function}: parsing {}: {why}", quoted(text))
    })
}

/// The parameters of a query.
struct Query(Vec<(String, String)>);

impl Query {
    fn new(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn all(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|(key, _)| key == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    fn first(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name)?;
        Some(&found.1)
    }

    fn boolean(&self, name: &str) -> Option<bool> {
        self.first(name).map(is_true)
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Box<Status>> {
        let number = self.first(name).map(|text| whole_number(text, "ParseInt"));
        number
            .transpose()
            .map_err(|error| errors::bad_request(error).into())
    }
}

#[cfg(test)]
mod tests;
