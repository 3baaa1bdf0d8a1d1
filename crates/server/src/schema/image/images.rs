//! Images and their signatures.

use imagestream_apiserver::schema::{API_VERSION, INT64, KIND, List, METADATA, Object, Schema, TEXT, field};

use super::HOME;

static IMAGE_MANIFEST: Object = Object::new(
    HOME,
    "ImageManifest",
    "A member of a manifest list or image index: the image for one platform.",
    &[
        field(
            "digest",
            1,
            TEXT,
            "The digest of the member's manifest, by which its image is found.",
        )
        .required(),
        field("mediaType", 2, TEXT, "The media type of the member's manifest.").required(),
        field(
            "manifestSize",
            3,
            INT64,
            "The size of the member's manifest in bytes.",
        )
        .required(),
        field(
            "architecture",
            4,
            TEXT,
            "The processor architecture that the member is for, such as `amd64`.",
        )
        .required(),
        field(
            "os",
            5,
            TEXT,
            "The operating system that the member is for, such as `linux`.",
        )
        .required(),
        field(
            "variant",
            6,
            TEXT,
            "The variant of the architecture, such as `v7` of `arm`.",
        ),
    ],
);

static IMAGE_MANIFESTS: List = List::of(Schema::Object(&IMAGE_MANIFEST));

static IMAGE_LAYER: Object = Object::new(
    HOME,
    "ImageLayer",
    "A layer of an image.",
    &[
        field("name", 1, TEXT, "The digest of the layer.").required(),
        field(
            "size",
            2,
            INT64,
            "The size of the layer in bytes, as it is downloaded.",
        )
        .required(),
        field("mediaType", 3, TEXT, "The media type of the layer.").required(),
    ],
);

static IMAGE_LAYERS: List = List::of(Schema::Object(&IMAGE_LAYER));

static SIGNATURE_CONDITION: Object = Object::new(
    HOME,
    "SignatureCondition",
    "What was found out about a signature.",
    &[
        field(
            "type",
            1,
            Schema::Text("v1.SignatureConditionType"),
            "What the condition is about: `Trusted` or `ForImage`.",
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
            "lastProbeTime",
            3,
            Schema::Time,
            "When the condition was looked at last.",
        ),
        field(
            "lastTransitionTime",
            4,
            Schema::Time,
            "When the status of the condition changed last.",
        ),
        field(
            "reason",
            5,
            TEXT,
            "A word for programs that says why the status is as it is.",
        ),
        field(
            "message",
            6,
            TEXT,
            "A sentence for people that says why the status is as it is.",
        ),
    ],
);

static SIGNATURE_CONDITIONS: List = List::by_key(Schema::Object(&SIGNATURE_CONDITION), "type");

static SIGNATURE_ISSUER: Object = Object::new(
    HOME,
    "SignatureIssuer",
    "Who issued the certificate or key of a signature.",
    &[
        field("organization", 1, TEXT, "The organization of the issuer.").inlined_from(1),
        field("commonName", 2, TEXT, "The common name of the issuer.").inlined_from(1),
    ],
);

static SIGNATURE_SUBJECT: Object = Object::new(
    HOME,
    "SignatureSubject",
    "Who made a signature.",
    &[
        field("organization", 1, TEXT, "The organization of the signer.").inlined_from(1),
        field("commonName", 2, TEXT, "The common name of the signer.").inlined_from(1),
        field(
            "publicKeyID",
            2,
            TEXT,
            "Which public key belongs to the private key that made the signature, such as the end of its fingerprint.",
        )
        .required(),
    ],
);

/// A signature of an image, by itself or in the image.
pub static IMAGE_SIGNATURE: Object = Object::new(
    HOME,
    "ImageSignature",
    "A signature of an image, with what verifiers found out about it; all but its content is for information.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "type",
            2,
            TEXT,
            "The type of the signature, such as `AtomicImageV1`.",
        )
        .required(),
        field("content", 3, Schema::Bytes, "The signature itself.").required(),
        field(
            "conditions",
            4,
            Schema::List(&SIGNATURE_CONDITIONS),
            "What was found out about the signature.",
        ),
        field(
            "imageIdentity",
            5,
            TEXT,
            "What the signature says which image it is for; may be a pull specification.",
        ),
        field(
            "signedClaims",
            6,
            Schema::Map(&TEXT),
            "Further claims that the signature makes.",
        ),
        field(
            "created",
            7,
            Schema::Time,
            "When the signature was made, as it says itself.",
        ),
        field(
            "issuedBy",
            8,
            Schema::Object(&SIGNATURE_ISSUER),
            "Who issued the certificate or key of the signature.",
        ),
        field(
            "issuedTo",
            9,
            Schema::Object(&SIGNATURE_SUBJECT),
            "Who made the signature.",
        ),
    ],
);

// The key is what clients know, although names of signatures are in their metadata.
static IMAGE_SIGNATURES: List = List::by_key(Schema::Object(&IMAGE_SIGNATURE), "name");

static SIGNATURE_BLOBS: List = List::of(Schema::Bytes);

/// An image.
pub static IMAGE: Object = Object::new(
    HOME,
    "Image",
    "The immutable metadata of an image in a registry, named by the digest of its manifest.",
    &[
        KIND,
        API_VERSION,
        METADATA,
        field(
            "dockerImageReference",
            2,
            TEXT,
            "From where the image can be pulled.",
        ),
        field(
            "dockerImageMetadata",
            3,
            Schema::Raw,
            "What the configuration of the image says: its command, environment, author and so on.",
        ),
        field(
            "dockerImageMetadataVersion",
            4,
            TEXT,
            "The version of the format of dockerImageMetadata; `1.0` if nothing else is said.",
        ),
        field(
            "dockerImageManifest",
            5,
            TEXT,
            "The manifest of the image, as the registry sent it.",
        ),
        field(
            "dockerImageLayers",
            6,
            Schema::List(&IMAGE_LAYERS),
            "The layers of the image, base first; empty for a manifest list.",
        ),
        field(
            "signatures",
            7,
            Schema::List(&IMAGE_SIGNATURES),
            "The signatures of the image.",
        ),
        field(
            "dockerImageSignatures",
            8,
            Schema::List(&SIGNATURE_BLOBS),
            "The signatures inside a manifest of schema version 1.",
        ),
        field(
            "dockerImageManifestMediaType",
            9,
            TEXT,
            "The media type of the manifest.",
        ),
        field(
            "dockerImageConfig",
            10,
            TEXT,
            "The configuration of the image, as the registry sent it.",
        ),
        field(
            "dockerImageManifests",
            11,
            Schema::List(&IMAGE_MANIFESTS),
            "The members, if the image is a manifest list or image index; it then has no layers.",
        ),
    ],
);
