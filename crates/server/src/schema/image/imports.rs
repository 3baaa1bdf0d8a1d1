//! Imports: looking at images in registries and writing what is found into streams.

use imagestream_apiserver::schema::meta::{STATUS, TEXTS};
use imagestream_apiserver::schema::{API_VERSION, KIND, List, METADATA, Object, Schema, TEXT, field};

use super::streams::{TAG_IMPORT_POLICY, TAG_REFERENCE_POLICY};
use super::{HOME, IMAGE, IMAGE_STREAM};
use crate::schema::core::{LOCAL_OBJECT_REFERENCE, OBJECT_REFERENCE};

static IMAGE_IMPORT_SPEC: Object = Object::new(
    HOME,
    "ImageImportSpec",
    "An image to import.",
    &[
        field(
            "from",
            1,
            Schema::Object(&OBJECT_REFERENCE),
            "Where the image is; of kind `DockerImage`.",
        )
        .required(),
        field(
            "to",
            2,
            Schema::Object(&LOCAL_OBJECT_REFERENCE),
            "The tag of the stream that is to point to the image; the image's own tag if none is named.",
        ),
        field(
            "importPolicy",
            3,
            Schema::Object(&TAG_IMPORT_POLICY),
            "How the image is imported.",
        ),
        field(
            "includeManifest",
            4,
            Schema::Boolean,
            "Whether the answer has the manifest of the image.",
        ),
        field(
            "referencePolicy",
            5,
            Schema::Object(&TAG_REFERENCE_POLICY),
            "How users of the tag are told to pull its image.",
        ),
    ],
);

static IMAGE_IMPORT_SPECS: List = List::of(Schema::Object(&IMAGE_IMPORT_SPEC));

static REPOSITORY_IMPORT_SPEC: Object = Object::new(
    HOME,
    "RepositoryImportSpec",
    "A repository of which all tags, up to a limit, are to be imported.",
    &[
        field(
            "from",
            1,
            Schema::Object(&OBJECT_REFERENCE),
            "Where the repository is; of kind `DockerImage`.",
        )
        .required(),
        field(
            "importPolicy",
            2,
            Schema::Object(&TAG_IMPORT_POLICY),
            "How the images are imported.",
        ),
        field(
            "includeManifest",
            3,
            Schema::Boolean,
            "Whether the answer has the manifests of the images.",
        ),
        field(
            "referencePolicy",
            4,
            Schema::Object(&TAG_REFERENCE_POLICY),
            "How users of the tags are told to pull their images.",
        ),
    ],
);

static IMAGE_STREAM_IMPORT_SPEC: Object = Object::new(
    HOME,
    "ImageStreamImportSpec",
    "What to import.",
    &[
        field(
            "import",
            1,
            Schema::Boolean,
            "Whether what is found is written into the stream, or only shown.",
        )
        .required(),
        field(
            "repository",
            2,
            Schema::Object(&REPOSITORY_IMPORT_SPEC),
            "A repository of which all tags are to be imported.",
        ),
        field(
            "images",
            3,
            Schema::List(&IMAGE_IMPORT_SPECS),
            "Images to import.",
        ),
    ],
);

static IMAGES: List = List::of(Schema::Object(&IMAGE));

static IMAGE_IMPORT_STATUS: Object = Object::new(
    HOME,
    "ImageImportStatus",
    "How the import of an image went.",
    &[
        field(
            "status",
            1,
            Schema::Object(&STATUS),
            "Whether the image was found, and if not, why.",
        )
        .required(),
        field("image", 2, Schema::Object(&IMAGE), "The image, if it was found."),
        field("tag", 3, TEXT, "The tag of the stream that points to the image."),
        field(
            "manifests",
            4,
            Schema::List(&IMAGES),
            "The member images, if the image is a manifest list that was preserved.",
        ),
    ],
);

static IMAGE_IMPORT_STATUSES: List = List::of(Schema::Object(&IMAGE_IMPORT_STATUS));

static REPOSITORY_IMPORT_STATUS: Object = Object::new(
    HOME,
    "RepositoryImportStatus",
    "How the import of a repository went.",
    &[
        field(
            "status",
            1,
            Schema::Object(&STATUS),
            "Whether the tags could be listed, and if not, why.",
        ),
        field(
            "images",
            2,
            Schema::List(&IMAGE_IMPORT_STATUSES),
            "How the import of each tag went.",
        ),
        field(
            "additionalTags",
            3,
            Schema::List(&TEXTS),
            "Tags that were not imported because there are more than the limit.",
        ),
    ],
);

static IMAGE_STREAM_IMPORT_STATUS: Object = Object::new(
    HOME,
    "ImageStreamImportStatus",
    "How an import went.",
    &[
        field(
            "import",
            1,
            Schema::Object(&IMAGE_STREAM),
            "The stream after the import; missing if nothing was to be written.",
        ),
        field(
            "repository",
            2,
            Schema::Object(&REPOSITORY_IMPORT_STATUS),
            "How the import of the repository went.",
        ),
        field(
            "images",
            3,
            Schema::List(&IMAGE_IMPORT_STATUSES),
            "How the import of each image went, in the order in which they were named.",
        ),
    ],
);

/// An import.
pub static IMAGE_STREAM_IMPORT: Object = Object::new(
    HOME,
    "ImageStreamImport",
    "A request to look at images in registries and to write what is found into the stream of the same name.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "spec",
            2,
            Schema::Object(&IMAGE_STREAM_IMPORT_SPEC),
            "What to import.",
        )
        .required(),
        field(
            "status",
            3,
            Schema::Object(&IMAGE_STREAM_IMPORT_STATUS),
            "How the import went.",
        )
        .required(),
    ],
);
