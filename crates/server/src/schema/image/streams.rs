//! Image streams, and what is shown of them: tags, images, layers and secrets.

use imagestream_apiserver::schema::meta::TEXTS;
use imagestream_apiserver::schema::{
    API_VERSION, INT64, KIND, LIST_METADATA, List, METADATA, Object, Schema, TEXT, field,
};

use super::{HOME, IMAGE};
use crate::schema::core::{OBJECT_REFERENCE, SECRETS};

pub(super) static TAG_IMPORT_POLICY: Object = Object::new(
    HOME,
    "TagImportPolicy",
    "How an image is imported.",
    &[
        field(
            "insecure",
            1,
            Schema::Boolean,
            "Whether a registry without TLS, or with a certificate that nobody vouches for, is good enough.",
        ),
        field(
            "scheduled",
            2,
            Schema::Boolean,
            "Whether the tag is imported again from time to time to follow the registry.",
        ),
        field(
            "importMode",
            3,
            Schema::Text("v1.ImportModeType"),
            "What is made of a manifest list: `Legacy` takes the image for one platform, `PreserveOriginal` takes all.",
        ),
    ],
);

pub(super) static TAG_REFERENCE_POLICY: Object = Object::new(
    HOME,
    "TagReferencePolicy",
    "How users of a tag are told to pull its image.",
    &[field(
        "type",
        1,
        Schema::Text("v1.TagReferencePolicyType"),
        "Where they pull it: `Source` for the registry that it came from, `Local` for the integrated one.",
    )
    .required()],
);

static TAG_REFERENCE: Object = Object::new(
    HOME,
    "TagReference",
    "What a tag of a stream is to point to, and how it follows that.",
    &[
        field("name", 1, TEXT, "The name of the tag.").required(),
        field(
            "annotations",
            2,
            Schema::Map(&TEXT),
            "Values that tools keep with the tag; they show up on the image stream tag.",
        ),
        field(
            "from",
            3,
            Schema::Object(&OBJECT_REFERENCE),
            "What the tag points to: an image stream tag, an image stream image or an image in a registry.",
        ),
        field(
            "reference",
            4,
            Schema::Boolean,
            "Whether the tag is only a pointer, which is never imported.",
        ),
        field(
            "generation",
            5,
            INT64,
            "The generation of the stream that last changed the tag; the tag is imported while its newest event is older.",
        ),
        field(
            "importPolicy",
            6,
            Schema::Object(&TAG_IMPORT_POLICY),
            "How the image is imported.",
        ),
        field(
            "referencePolicy",
            7,
            Schema::Object(&TAG_REFERENCE_POLICY),
            "How users of the tag are told to pull its image.",
        ),
    ],
);

static TAG_REFERENCES: List = List::by_key(Schema::Object(&TAG_REFERENCE), "name");

static IMAGE_LOOKUP_POLICY: Object = Object::new(
    HOME,
    "ImageLookupPolicy",
    "Whether workloads may use a stream by its name.",
    &[field(
        "local",
        3,
        Schema::Boolean,
        "Whether an image in the namespace's workloads that names the stream is replaced by the stream's image.",
    )
    .required()],
);

static IMAGE_STREAM_SPEC: Object = Object::new(
    HOME,
    "ImageStreamSpec",
    "What a stream is to contain.",
    &[
        field(
            "lookupPolicy",
            3,
            Schema::Object(&IMAGE_LOOKUP_POLICY),
            "Whether workloads may use the stream by its name.",
        ),
        field(
            "dockerImageRepository",
            1,
            TEXT,
            "A repository of which all tags are imported; better name the tags that are wanted in tags.",
        ),
        field(
            "tags",
            2,
            Schema::List(&TAG_REFERENCES),
            "The tags that the stream is to have, and what each points to.",
        ),
    ],
);

static TAG_EVENT: Object = Object::new(
    HOME,
    "TagEvent",
    "An image that a tag pointed to.",
    &[
        field(
            "created",
            1,
            Schema::Time,
            "When the tag began to point to the image.",
        )
        .required(),
        field(
            "dockerImageReference",
            2,
            TEXT,
            "From where the image can be pulled.",
        )
        .required(),
        field("image", 3, TEXT, "The name of the image, which is its digest.").required(),
        field(
            "generation",
            4,
            INT64,
            "The generation of the tag that led to the image.",
        )
        .required(),
    ],
);

static TAG_EVENTS: List = List::of(Schema::Object(&TAG_EVENT));

static TAG_EVENT_CONDITION: Object = Object::new(
    HOME,
    "TagEventCondition",
    "How the last attempt to update a tag went.",
    &[
        field(
            "type",
            1,
            Schema::Text("v1.TagEventConditionType"),
            "What the condition is about: `ImportSuccess`.",
        )
        .required(),
        field(
            "status",
            2,
            Schema::Text("v1.ConditionStatus"),
            "Whether it is so: `True`, `False` or `Unknown`.",
        )
        .required(),
        field(
            "lastTransitionTime",
            3,
            Schema::Time,
            "When the status of the condition changed last.",
        ),
        field(
            "reason",
            4,
            TEXT,
            "A word for programs that says why the status is as it is.",
        ),
        field(
            "message",
            5,
            TEXT,
            "A sentence for people that says why the status is as it is.",
        ),
        field(
            "generation",
            6,
            INT64,
            "The generation of the tag that was tried.",
        )
        .required(),
    ],
);

static TAG_EVENT_CONDITIONS: List = List::of(Schema::Object(&TAG_EVENT_CONDITION));

static NAMED_TAG_EVENT_LIST: Object = Object::new(
    HOME,
    "NamedTagEventList",
    "The history of a tag.",
    &[
        field("tag", 1, TEXT, "The name of the tag.").required(),
        field(
            "items",
            2,
            Schema::List(&TAG_EVENTS),
            "The images that the tag pointed to, newest first.",
        )
        .required(),
        field(
            "conditions",
            3,
            Schema::List(&TAG_EVENT_CONDITIONS),
            "How the last attempt to update the tag went, if it failed.",
        ),
    ],
);

static NAMED_TAG_EVENT_LISTS: List = List::by_key(Schema::Object(&NAMED_TAG_EVENT_LIST), "tag");

static IMAGE_STREAM_STATUS: Object = Object::new(
    HOME,
    "ImageStreamStatus",
    "What a stream contains.",
    &[
        field(
            "dockerImageRepository",
            1,
            TEXT,
            "The repository of the stream in the integrated registry; empty without one.",
        ),
        field(
            "tags",
            2,
            Schema::List(&NAMED_TAG_EVENT_LISTS),
            "The history of each tag.",
        ),
        field(
            "publicDockerImageRepository",
            3,
            TEXT,
            "The same repository under its name outside the cluster.",
        ),
    ],
);

/// An image stream.
pub static IMAGE_STREAM: Object = Object::new(
    HOME,
    "ImageStream",
    "Tags that point to images, with the history of each: like a repository whose images may be in any registry.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "spec",
            2,
            Schema::Object(&IMAGE_STREAM_SPEC),
            "What the stream is to contain.",
        ),
        field(
            "status",
            3,
            Schema::Object(&IMAGE_STREAM_STATUS),
            "What the stream contains.",
        ),
    ],
);

/// A tag of a stream with its image, as `imagestreamtags` has it.
pub static IMAGE_STREAM_TAG: Object = Object::new(
    HOME,
    "ImageStreamTag",
    "A tag of an image stream, named `stream:tag`, with the image that it points to.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "tag",
            2,
            Schema::Object(&TAG_REFERENCE),
            "What the tag is to point to; missing if the stream does not say.",
        )
        .required(),
        field(
            "generation",
            3,
            INT64,
            "The generation of the image that the tag points to.",
        )
        .required(),
        field(
            "conditions",
            4,
            Schema::List(&TAG_EVENT_CONDITIONS),
            "How the last attempt to update the tag went, if it failed.",
        ),
        field(
            "image",
            5,
            Schema::Object(&IMAGE),
            "The image that the tag points to.",
        )
        .required(),
        field(
            "lookupPolicy",
            6,
            Schema::Object(&IMAGE_LOOKUP_POLICY),
            "Whether workloads may use the stream by its name.",
        )
        .required(),
    ],
);

/// A tag of a stream with its history, as `imagetags` has it.
pub static IMAGE_TAG: Object = Object::new(
    HOME,
    "ImageTag",
    "A tag of an image stream, named `stream:tag`: what it is to point to, and its history.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "spec",
            2,
            Schema::Object(&TAG_REFERENCE),
            "What the tag is to point to; missing if images were pushed to it.",
        )
        .required(),
        field(
            "status",
            3,
            Schema::Object(&NAMED_TAG_EVENT_LIST),
            "The history of the tag; missing if it never pointed to an image.",
        )
        .required(),
        field(
            "image",
            4,
            Schema::Object(&IMAGE),
            "The image that the tag points to; not in lists.",
        )
        .required(),
    ],
);

/// An image as a stream has it.
pub static IMAGE_STREAM_IMAGE: Object = Object::new(
    HOME,
    "ImageStreamImage",
    "An image that a stream has or had, named `stream@digest`.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field("image", 2, Schema::Object(&IMAGE), "The image.").required(),
    ],
);

/// A push to a stream.
pub static IMAGE_STREAM_MAPPING: Object = Object::new(
    HOME,
    "ImageStreamMapping",
    "An image that a tag of the stream of the same name is to point to from now on, as registries report a push.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "image",
            2,
            Schema::Object(&IMAGE),
            "The image; it is created if it does not exist.",
        )
        .required(),
        field("tag", 3, TEXT, "The tag; `latest` if none is named.").required(),
    ],
);

static IMAGE_LAYER_DATA: Object = Object::new(
    HOME,
    "ImageLayerData",
    "A blob: a layer or a configuration.",
    &[
        field(
            "size",
            1,
            INT64,
            "The size of the blob in bytes; nothing if it is not known.",
        )
        .required(),
        field("mediaType", 2, TEXT, "The media type of the blob; may be empty.").required(),
    ],
);

static IMAGE_BLOB_REFERENCES: Object = Object::new(
    HOME,
    "ImageBlobReferences",
    "The blobs of an image.",
    &[
        field(
            "layers",
            1,
            Schema::List(&TEXTS),
            "The digests of the layers, base first.",
        ),
        field("config", 2, TEXT, "The digest of the configuration."),
        field(
            "imageMissing",
            3,
            Schema::Boolean,
            "Whether the stream has the image but the image itself was deleted; nothing is known of its blobs then.",
        ),
        field(
            "manifests",
            4,
            Schema::List(&TEXTS),
            "The names of the member images, if it is a manifest list.",
        ),
    ],
);

/// All blobs of a stream.
pub static IMAGE_STREAM_LAYERS: Object = Object::new(
    HOME,
    "ImageStreamLayers",
    "Which images a stream has and which blobs they are made of.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "blobs",
            2,
            Schema::Map(&Schema::Object(&IMAGE_LAYER_DATA)),
            "Every blob of the images, by its digest.",
        )
        .required(),
        field(
            "images",
            3,
            Schema::Map(&Schema::Object(&IMAGE_BLOB_REFERENCES)),
            "The images that the tags of the stream point to or pointed to, by their names.",
        )
        .required(),
    ],
);

/// The secrets that help to pull the images of a stream.
pub static SECRET_LIST: Object = Object::new(
    HOME,
    "SecretList",
    "The secrets of the namespace that are for pulling images.",
    &[
        KIND,
        API_VERSION,
        LIST_METADATA,
        field("items", 2, Schema::List(&SECRETS), "The secrets.").required(),
    ],
);
