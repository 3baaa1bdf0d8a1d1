//! The parameters of operations: [the query parameters of the Kubernetes API][1] and the parts of paths.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/common-parameters/common-parameters/

use serde_json::{Map, Value, json};

use super::Act;
use crate::openapi::definitions::Dialect;

/// A parameter in the query or the path.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    name: &'static str,
    is_in_path: bool,
    value: &'static str,
    description: &'static str,
    /// Whether operations of version 2 have it themselves instead of a reference: clients look for it there to find
    /// out what a server can do.
    is_inline: bool,
}

const fn query(name: &'static str, value: &'static str, description: &'static str) -> Parameter {
    Parameter {
        name,
        is_in_path: false,
        value,
        description,
        is_inline: false,
    }
}

const fn in_path(name: &'static str, description: &'static str) -> Parameter {
    Parameter {
        is_in_path: true,
        ..query(name, "string", description)
    }
}

const fn inline(parameter: Parameter) -> Parameter {
    Parameter {
        is_inline: true,
        ..parameter
    }
}

pub(super) static NAME: Parameter = inline(in_path("name", "The name of the object."));
pub(super) static NAMESPACE: Parameter = in_path("namespace", "The namespace of the objects.");
pub(super) static PRETTY: Parameter = query("pretty", "string", "Whether the answer is indented for people.");

static ALLOW_WATCH_BOOKMARKS: Parameter = query(
    "allowWatchBookmarks",
    "boolean",
    "Whether a watch may report from time to time how far it is.",
);
static CONTINUE: Parameter = query(
    "continue",
    "string",
    "The token of the page before, to get the next one.",
);
static DRY_RUN: Parameter = inline(query(
    "dryRun",
    "string",
    "`All` for a request that is only tried out: everything is checked, nothing is written.",
));
static FIELD_MANAGER: Parameter = query(
    "fieldManager",
    "string",
    "Who is said to set the fields; the client's name if nothing is said. Needed to apply.",
);
static FIELD_SELECTOR: Parameter = query("fieldSelector", "string", "Which objects, by their fields.");
static FIELD_VALIDATION: Parameter = inline(query(
    "fieldValidation",
    "string",
    "What becomes of unknown and repeated fields: `Ignore`, `Warn` or `Strict`.",
));
static FORCE: Parameter = query("force", "boolean", "Whether to apply fields that others own.");
static GRACE_PERIOD_SECONDS: Parameter = query(
    "gracePeriodSeconds",
    "integer",
    "How many seconds the object may take to end before it is removed.",
);
static IGNORE_READ_ERROR: Parameter = query(
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "boolean",
    "Whether an object is removed although what is stored of it cannot be read.",
);
static LABEL_SELECTOR: Parameter = query("labelSelector", "string", "Which objects, by their labels.");
static LIMIT: Parameter = query("limit", "integer", "The largest number of objects on a page.");
static ORPHAN_DEPENDENTS: Parameter = query(
    "orphanDependents",
    "boolean",
    "Whether objects that the object owns stay; use propagationPolicy instead.",
);
static PROPAGATION_POLICY: Parameter = query(
    "propagationPolicy",
    "string",
    "What becomes of objects that the object owns: `Orphan`, `Background` or `Foreground`.",
);
static RESOURCE_VERSION: Parameter = query(
    "resourceVersion",
    "string",
    "The state that is wanted, or where a watch begins.",
);
static RESOURCE_VERSION_MATCH: Parameter = query(
    "resourceVersionMatch",
    "string",
    "Whether the state must be that of resourceVersion, `Exact`, or may be newer, `NotOlderThan`.",
);
static SEND_INITIAL_EVENTS: Parameter = query(
    "sendInitialEvents",
    "boolean",
    "Whether a watch begins with an event for each object that there is.",
);
static TIMEOUT_SECONDS: Parameter = query(
    "timeoutSeconds",
    "integer",
    "After how many seconds the answer ends, however far it is.",
);
static WATCH: Parameter = query("watch", "boolean", "Whether changes are reported as they happen.");

static OF_LISTS: [&Parameter; 7] = [
    &CONTINUE,
    &FIELD_SELECTOR,
    &LABEL_SELECTOR,
    &LIMIT,
    &RESOURCE_VERSION,
    &RESOURCE_VERSION_MATCH,
    &TIMEOUT_SECONDS,
];
static OF_WATCHES: [&Parameter; 3] = [&ALLOW_WATCH_BOOKMARKS, &SEND_INITIAL_EVENTS, &WATCH];
static OF_DELETIONS: [&Parameter; 5] = [
    &DRY_RUN,
    &GRACE_PERIOD_SECONDS,
    &IGNORE_READ_ERROR,
    &ORPHAN_DEPENDENTS,
    &PROPAGATION_POLICY,
];
static OF_WRITES: [&Parameter; 3] = [&DRY_RUN, &FIELD_MANAGER, &FIELD_VALIDATION];
static OF_PATCHES: [&Parameter; 1] = [&FORCE];

/// What can be said in the query.
pub(super) fn of(act: Act, can_watch: bool) -> impl Iterator<Item = &'static Parameter> {
    let (first, second): (&[&Parameter], &[&Parameter]) = match act {
        Act::List | Act::ListEverywhere if can_watch => (&OF_LISTS, &OF_WATCHES),
        Act::List | Act::ListEverywhere => (&OF_LISTS, &[]),
        Act::DeleteCollection => (&OF_LISTS, &OF_DELETIONS),
        Act::Delete => (&OF_DELETIONS, &[]),
        Act::Create | Act::Replace => (&OF_WRITES, &[]),
        Act::Patch => (&OF_WRITES, &OF_PATCHES),
        Act::Read => (&[], &[]),
    };
    first.iter().chain(second).copied()
}

/// The parameters that operations of version 2 refer to.
pub(in crate::openapi) fn shared() -> Map<String, Value> {
    OF_LISTS
        .iter()
        .chain(&OF_WATCHES)
        .chain(&OF_DELETIONS)
        .chain(&OF_WRITES)
        .chain(&OF_PATCHES)
        .chain(&[&NAME, &NAMESPACE, &PRETTY])
        .filter(|parameter| !parameter.is_inline)
        .map(|parameter| (parameter.name.to_owned(), parameter.version_2()))
        .collect()
}

impl Parameter {
    /// The parameter, or a reference to it.
    pub(super) fn write(&self, dialect: Dialect) -> Value {
        match dialect {
            Dialect::V2 if self.is_inline => self.version_2(),
            Dialect::V2 => json!({"$ref": format!("#/parameters/{}", self.name)}),
            Dialect::V3 => {
                let mut parameter = self.common();
                parameter.insert("schema".into(), json!({"type": self.value, "uniqueItems": true}));
                parameter.into()
            }
        }
    }

    fn version_2(&self) -> Value {
        let mut parameter = self.common();
        parameter.insert("type".into(), self.value.into());
        parameter.insert("uniqueItems".into(), true.into());
        parameter.into()
    }

    fn common(&self) -> Map<String, Value> {
        let place = if self.is_in_path { "path" } else { "query" };
        let mut parameter = Map::new();
        parameter.insert("name".into(), self.name.into());
        parameter.insert("in".into(), place.into());
        parameter.insert("description".into(), self.description.into());
        if self.is_in_path {
            parameter.insert("required".into(), true.into());
        }
        parameter
    }
}
