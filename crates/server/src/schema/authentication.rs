//! The kinds of [authentication.k8s.io/v1][1]: who one is.
//!
//! [1]: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#self-subject-review

use imagestream_apiserver::schema::meta::TEXTS;
use imagestream_apiserver::schema::{API_VERSION, KIND, List, METADATA, Object, Schema, TEXT, field};

/// Where the types of the group are defined.
pub const HOME: &str = "io.k8s.api.authentication.v1";

static EXTRA_VALUES: List = List::of(TEXT).message();
static EXTRA_VALUE: Schema = Schema::List(&EXTRA_VALUES);

static USER_INFO: Object = Object::new(
    HOME,
    "UserInfo",
    "A user, as whoever authenticated them knows them.",
    &[
        field("username", 1, TEXT, "The name, unique among all users."),
        field(
            "uid",
            2,
            TEXT,
            "Tells users of the same name at different times apart.",
        ),
        field(
            "groups",
            3,
            Schema::List(&TEXTS),
            "The groups that the user belongs to.",
        ),
        field(
            "extra",
            4,
            Schema::Map(&EXTRA_VALUE),
            "Further facts about the user.",
        ),
    ],
);

static SELF_SUBJECT_REVIEW_STATUS: Object = Object::new(
    HOME,
    "SelfSubjectReviewStatus",
    "Who asked.",
    &[field(
        "userInfo",
        1,
        Schema::Object(&USER_INFO),
        "The user who asked.",
    )],
);

/// Who one is.
pub static SELF_SUBJECT_REVIEW: Object = Object::new(
    HOME,
    "SelfSubjectReview",
    "Asks who the asking user is.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "status",
            2,
            Schema::Object(&SELF_SUBJECT_REVIEW_STATUS),
            "The answer; only the server sets it.",
        ),
    ],
);
