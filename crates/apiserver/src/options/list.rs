//! Options of a list, a watch and a deletion of a collection: selectors, [pages][1], [resource versions][2].
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
//! [2]: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions

use imagestream_api::field::{FieldError, Path};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::{Query, refuse};
use crate::errors;
use crate::selectors::field::FieldSelector;
use crate::selectors::label::LabelSelector;

/// How the state that is shown relates to the `resourceVersion` in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceVersionMatch {
    /// It is that state.
    Exact,
    /// It is that state or a later one.
    NotOlderThan,
}

/// Options of a list, a watch and a deletion of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Labels that the objects must have.
    pub label_selector: LabelSelector,
    /// Fields that the objects must have. Which ones there are is for the resource to check.
    pub field_selector: FieldSelector,
    /// Send changes, not a list.
    pub watch: bool,
    /// Bookmarks are welcome in a watch.
    pub allow_watch_bookmarks: bool,
    /// The state that is asked for, as it was sent; see [`resource_version`](super::resource_version).
    pub resource_version: String,
    /// How to take it.
    pub resource_version_match: Option<ResourceVersionMatch>,
    /// Seconds after which a watch ends.
    pub timeout_seconds: Option<u64>,
    /// Objects in a page; `None` for all of them.
    pub limit: Option<u64>,
    /// Where the previous page ended. Empty for the first one.
    pub continue_token: String,
    /// Whether a watch begins with all objects; `None` leaves it to the resource version.
    pub send_initial_events: Option<bool>,
}

/// The field that has an object's name.
const NAME: &str = "metadata.name";

impl ListOptions {
    /// A watch of everything that does not end by itself.
    #[must_use]
    pub fn endless_watch() -> Self {
        Self {
            watch: true,
            timeout_seconds: Some(u64::MAX),
            ..Self::default()
        }
    }

    /// [`ListOptions::endless_watch`] of what happens after a revision: that of a list.
    #[must_use]
    pub fn changes_after(revision: u64) -> Self {
        Self {
            resource_version: revision.to_string(),
            ..Self::changes_from_now()
        }
    }

    /// [`ListOptions::endless_watch`] without what is there already.
    #[must_use]
    pub fn changes_from_now() -> Self {
        Self {
            send_initial_events: Some(false),
            ..Self::endless_watch()
        }
    }

    /// The same for one object, which a path names.
    ///
    /// # Errors
    /// 400 if the field selector asks for another.
    pub fn of_one(self, name: &str) -> Result<Self, Box<Status>> {
        let selector = &self.field_selector;
        if !selector.is_empty() && selector.exact(NAME) != Some(name) {
            let message = "fieldSelector metadata.name doesn't match requested name";
            return Err(errors::bad_request(message).into());
        }
        Ok(Self {
            field_selector: FieldSelector::only(NAME, name),
            ..self
        })
    }

    /// Reads a query. A watch that the path asks for, not the query, is `watch_path`.
    pub fn from_query(query: &str, watch_path: bool) -> Result<Self, Box<Status>> {
        let query = Query::new(query);
        let text = |name: &str| query.first(name).unwrap_or_default();
        let bad = |error: &dyn std::error::Error| errors::bad_request(error.to_string());
        let positive = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
        let label_selector = LabelSelector::parse(text("labelSelector")).map_err(|error| bad(&error))?;
        let field_selector = FieldSelector::parse(text("fieldSelector")).map_err(|error| bad(&error))?;
        let watch = watch_path || query.boolean("watch").unwrap_or_default();
        let send_initial_events = query.boolean("sendInitialEvents");
        let timeout_seconds = positive(query.number("timeoutSeconds")?);
        let limit = positive(query.number("limit")?);
        let how = text("resourceVersionMatch");
        let errors = if watch {
            watch_errors(how, send_initial_events, text("continue"))
        } else {
            list_errors(
                how,
                send_initial_events,
                text("continue"),
                text("resourceVersion"),
            )
        };
        refuse("ListOptions", &errors)?;
        Ok(Self {
            label_selector,
            field_selector,
            watch,
            allow_watch_bookmarks: query.boolean("allowWatchBookmarks").unwrap_or_default(),
            resource_version: text("resourceVersion").into(),
            resource_version_match: match how {
                "Exact" => Some(ResourceVersionMatch::Exact),
                "NotOlderThan" => Some(ResourceVersionMatch::NotOlderThan),
                _ => None,
            },
            timeout_seconds,
            limit,
            continue_token: text("continue").into(),
            send_initial_events,
        })
    }
}

fn list_errors(how: &str, initial: Option<bool>, next: &str, version: &str) -> Vec<FieldError> {
    let path = Path::root("resourceVersionMatch");
    let mut errors = Vec::new();
    if !how.is_empty() {
        if version.is_empty() {
            let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(FieldError::forbidden(&path, detail));
        }
        errors.extend(with_continue(&path, next));
        if !matches!(how, "Exact" | "NotOlderThan") {
            errors.push(FieldError::not_supported(
                &path,
                how,
                &["Exact", "NotOlderThan", ""],
            ));
        }
        if how == "Exact" && version == "0" {
            let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden(&path, detail));
        }
    }
    if initial.is_some() {
        let path = Path::root("sendInitialEvents");
        errors.push(FieldError::forbidden(
            &path,
            "sendInitialEvents is forbidden for list",
        ));
    }
    errors
}

fn watch_errors(how: &str, initial: Option<bool>, next: &str) -> Vec<FieldError> {
    let path = Path::root("resourceVersionMatch");
    let mut errors = Vec::new();
    if initial.is_some() && how != "NotOlderThan" {
        let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(&path, detail));
    }
    if !how.is_empty() {
        if initial.is_none() {
            let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(&path, detail));
        }
        if how != "NotOlderThan" {
            errors.push(FieldError::not_supported(&path, how, &["NotOlderThan"]));
        }
        errors.extend(with_continue(&path, next));
    }
    errors
}

fn with_continue(path: &Path, next: &str) -> Option<FieldError> {
    let detail = "resourceVersionMatch is forbidden when continue is provided";
    (!next.is_empty()).then(|| FieldError::forbidden(path, detail))
}
