//! The kinds with which administrators say how images are imported: [config.openshift.io/v1][1] and the older
//! `ImageContentSourcePolicy` of operator.openshift.io/v1alpha1. Protobuf has none of them.
//!
//! [1]: https://github.com/openshift/api/tree/master/config/v1

use imagestream_apiserver::schema::meta::TEXTS;
use imagestream_apiserver::schema::{API_VERSION, Field, KIND, List, METADATA, Object, Schema, TEXT, field};

/// Where the types of config.openshift.io/v1 are defined.
pub const HOME: &str = "io.openshift.config.v1";

/// Where the types of operator.openshift.io/v1alpha1 are defined.
pub const OPERATOR_HOME: &str = "io.openshift.operator.v1alpha1";

const IMPORT_MODE: Schema = Schema::Text("v1.ImportModeType");

/// A field of a kind that protobuf does not have.
const fn json_field(name: &'static str, schema: Schema, description: &'static str) -> Field {
    field(name, 0, schema, description)
}

const OBJECT_METADATA: Field = Field {
    number: 0,
    ..METADATA
};

static REGISTRY_LOCATION: Object = Object::new(
    HOME,
    "RegistryLocation",
    "A registry from which images may be imported.",
    &[
        json_field(
            "domainName",
            TEXT,
            "The host of the registry, with a port if it is not 443, or 80 for an insecure one; may have `*`.",
        )
        .required(),
        json_field(
            "insecure",
            Schema::Boolean,
            "Whether a registry without TLS, or with a certificate that nobody vouches for, is good enough.",
        ),
    ],
);

static REGISTRY_LOCATIONS: List = List::of(Schema::Object(&REGISTRY_LOCATION));

static CONFIG_MAP_NAME_REFERENCE: Object = Object::new(
    HOME,
    "ConfigMapNameReference",
    "Which config map is meant.",
    &[json_field("name", TEXT, "The name of the config map.").required()],
);

static REGISTRY_SOURCES: Object = Object::new(
    HOME,
    "RegistrySources",
    "How registries are used.",
    &[
        json_field(
            "insecureRegistries",
            Schema::List(&TEXTS),
            "Registries that may do without TLS, or with a certificate that nobody vouches for.",
        ),
        json_field(
            "blockedRegistries",
            Schema::List(&TEXTS),
            "Registries that are not used; all others are.",
        ),
        json_field(
            "allowedRegistries",
            Schema::List(&TEXTS),
            "The only registries that nodes use; imports are not limited by it.",
        ),
        json_field(
            "containerRuntimeSearchRegistries",
            Schema::List(&TEXTS),
            "Registries that nodes search for images without a registry in their name.",
        ),
    ],
);

static IMAGE_SPEC: Object = Object::new(
    HOME,
    "ImageSpec",
    "How images are to be handled.",
    &[
        json_field(
            "allowedRegistriesForImport",
            Schema::List(&REGISTRY_LOCATIONS),
            "The only registries from which users may import images; empty for all.",
        ),
        json_field(
            "externalRegistryHostnames",
            Schema::List(&TEXTS),
            "Hosts under which the integrated registry is known outside; the first is shown in streams.",
        ),
        json_field(
            "additionalTrustedCA",
            Schema::Object(&CONFIG_MAP_NAME_REFERENCE),
            "A config map with certificates by which registries are trusted, each under the host of its registry.",
        ),
        json_field(
            "registrySources",
            Schema::Object(&REGISTRY_SOURCES),
            "How registries are used.",
        ),
        json_field(
            "imageStreamImportMode",
            IMPORT_MODE,
            "The import mode of tags that name none: `Legacy` or `PreserveOriginal`.",
        ),
    ],
);

static IMAGE_STATUS: Object = Object::new(
    HOME,
    "ImageStatus",
    "How images are handled.",
    &[
        json_field(
            "internalRegistryHostname",
            TEXT,
            "The host of the integrated registry inside.",
        ),
        json_field(
            "externalRegistryHostnames",
            Schema::List(&TEXTS),
            "Hosts under which the integrated registry is known outside.",
        ),
        json_field(
            "imageStreamImportMode",
            IMPORT_MODE,
            "The import mode that is used for tags that name none.",
        ),
    ],
);

/// How images are handled.
pub static IMAGE_CONFIG: Object = Object::new(
    HOME,
    "Image",
    "How images are handled everywhere; only the object named `cluster` counts.",
    &[
        KIND,
        API_VERSION,
        OBJECT_METADATA,
        json_field(
            "spec",
            Schema::Object(&IMAGE_SPEC),
            "How images are to be handled.",
        )
        .required(),
        json_field("status", Schema::Object(&IMAGE_STATUS), "How images are handled."),
    ],
);

static IMAGE_MIRRORS: List = List::set(TEXT);

const SOURCE: Field = json_field(
    "source",
    TEXT,
    "The repository, a beginning of it or `*.domain`, as images name it.",
)
.required();

const MIRRORS: Field = json_field(
    "mirrors",
    Schema::List(&IMAGE_MIRRORS),
    "Repositories that are asked before the source, in this order.",
);

const MIRROR_SOURCE_POLICY: Field = json_field(
    "mirrorSourcePolicy",
    Schema::Text("v1.MirrorSourcePolicy"),
    "Whether the source is asked if no mirror has the image: `AllowContactingSource` or `NeverContactSource`.",
);

static IMAGE_DIGEST_MIRRORS: Object = Object::new(
    HOME,
    "ImageDigestMirrors",
    "Where else images of a repository can be pulled.",
    &[SOURCE, MIRRORS, MIRROR_SOURCE_POLICY],
);

static IMAGE_DIGEST_MIRRORS_LIST: List = List::of(Schema::Object(&IMAGE_DIGEST_MIRRORS));

static IMAGE_DIGEST_MIRROR_SET_SPEC: Object = Object::new(
    HOME,
    "ImageDigestMirrorSetSpec",
    "The mirrors.",
    &[json_field(
        "imageDigestMirrors",
        Schema::List(&IMAGE_DIGEST_MIRRORS_LIST),
        "The mirrors of each source.",
    )],
);

static IMAGE_DIGEST_MIRROR_SET_STATUS: Object =
    Object::new(HOME, "ImageDigestMirrorSetStatus", "Nothing so far.", &[]);

/// Mirrors for images that are pulled by digest.
pub static IMAGE_DIGEST_MIRROR_SET: Object = Object::new(
    HOME,
    "ImageDigestMirrorSet",
    "Where images that are named by digest can be pulled instead.",
    &[
        KIND,
        API_VERSION,
        OBJECT_METADATA,
        json_field(
            "spec",
            Schema::Object(&IMAGE_DIGEST_MIRROR_SET_SPEC),
            "The mirrors.",
        )
        .required(),
        json_field(
            "status",
            Schema::Object(&IMAGE_DIGEST_MIRROR_SET_STATUS),
            "Nothing so far.",
        ),
    ],
);

static IMAGE_TAG_MIRRORS: Object = Object::new(
    HOME,
    "ImageTagMirrors",
    "Where else images of a repository can be pulled.",
    &[SOURCE, MIRRORS, MIRROR_SOURCE_POLICY],
);

static IMAGE_TAG_MIRRORS_LIST: List = List::of(Schema::Object(&IMAGE_TAG_MIRRORS));

static IMAGE_TAG_MIRROR_SET_SPEC: Object = Object::new(
    HOME,
    "ImageTagMirrorSetSpec",
    "The mirrors.",
    &[json_field(
        "imageTagMirrors",
        Schema::List(&IMAGE_TAG_MIRRORS_LIST),
        "The mirrors of each source.",
    )],
);

static IMAGE_TAG_MIRROR_SET_STATUS: Object =
    Object::new(HOME, "ImageTagMirrorSetStatus", "Nothing so far.", &[]);

/// Mirrors for images that are pulled by tag.
pub static IMAGE_TAG_MIRROR_SET: Object = Object::new(
    HOME,
    "ImageTagMirrorSet",
    "Where images that are named by tag can be pulled instead.",
    &[
        KIND,
        API_VERSION,
        OBJECT_METADATA,
        json_field("spec", Schema::Object(&IMAGE_TAG_MIRROR_SET_SPEC), "The mirrors.").required(),
        json_field(
            "status",
            Schema::Object(&IMAGE_TAG_MIRROR_SET_STATUS),
            "Nothing so far.",
        ),
    ],
);

static REPOSITORY_DIGEST_MIRRORS: Object = Object::new(
    OPERATOR_HOME,
    "RepositoryDigestMirrors",
    "Where else images of a repository can be pulled.",
    &[SOURCE, MIRRORS],
);

static REPOSITORY_DIGEST_MIRRORS_LIST: List = List::of(Schema::Object(&REPOSITORY_DIGEST_MIRRORS));

static IMAGE_CONTENT_SOURCE_POLICY_SPEC: Object = Object::new(
    OPERATOR_HOME,
    "ImageContentSourcePolicySpec",
    "The mirrors.",
    &[json_field(
        "repositoryDigestMirrors",
        Schema::List(&REPOSITORY_DIGEST_MIRRORS_LIST),
        "The mirrors of each source.",
    )],
);

/// The older form of [`IMAGE_DIGEST_MIRROR_SET`].
pub static IMAGE_CONTENT_SOURCE_POLICY: Object = Object::new(
    OPERATOR_HOME,
    "ImageContentSourcePolicy",
    "Where images that are named by digest can be pulled instead; use ImageDigestMirrorSet.",
    &[
        KIND,
        API_VERSION,
        OBJECT_METADATA,
        json_field(
            "spec",
            Schema::Object(&IMAGE_CONTENT_SOURCE_POLICY_SPEC),
            "The mirrors.",
        )
        .required(),
    ],
);
