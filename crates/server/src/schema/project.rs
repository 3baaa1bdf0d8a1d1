//! The kinds of `project.openshift.io/v1` and `user.openshift.io/v1`: namespaces as OpenShift's clients know them, and who
//! one is.

use imagestream_apiserver::schema::meta::TEXTS;
use imagestream_apiserver::schema::{API_VERSION, KIND, METADATA, Object, Schema, TEXT, field};

use super::core::{NAMESPACE_SPEC, NAMESPACE_STATUS};

const PROJECT_HOME: &str = "com.github.openshift.api.project.v1";
const USER_HOME: &str = "com.github.openshift.api.user.v1";

/// A project.
pub static PROJECT: Object = Object::new(
    PROJECT_HOME,
    "Project",
    "A namespace, with what people call it.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "spec",
            2,
            Schema::Object(&NAMESPACE_SPEC),
            "What the project is to be.",
        ),
        field(
            "status",
            3,
            Schema::Object(&NAMESPACE_STATUS),
            "What the project is.",
        ),
    ],
);

/// A request for a project.
pub static PROJECT_REQUEST: Object = Object::new(
    PROJECT_HOME,
    "ProjectRequest",
    "Asks for a project of one's own.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field("displayName", 2, TEXT, "What people call the project."),
        field("description", 3, TEXT, "What the project is for."),
    ],
);

/// A user.
pub static USER: Object = Object::new(
    USER_HOME,
    "User",
    "Somebody who is authenticated.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field("fullName", 2, TEXT, "What people call the user."),
        field(
            "identities",
            3,
            Schema::List(&TEXTS),
            "Where the user is known from. This server knows of none.",
        )
        .required(),
        field(
            "groups",
            4,
            Schema::List(&TEXTS),
            "The groups that the user belongs to.",
        )
        .required(),
    ],
);
