//! Manifest lists: [OCI indexes](https://github.com/opencontainers/image-spec/blob/main/image-index.md) and
//! Docker manifest lists, with
//! [BuildKit attestations](https://docs.docker.com/build/metadata/attestations/attestation-storage/) and nesting.

use serde_json::{Value, json};

use crate::image::{BuiltImage, Format, Image, OCI_CONFIG, OCI_MANIFEST, Platform, StoredManifest, pretty};
use crate::layer::Blob;

/// Media type of an OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Describes a list of images, one per platform.
#[derive(Debug, Clone, Default)]
pub struct Index {
    format: Format,
    members: Vec<Member>,
    attestations: bool,
}

#[derive(Debug, Clone)]
enum Member {
    Image(Platform, Box<Image>),
    Nested(Index),
    /// An entry whose manifest does not exist.
    Absent(Platform, String),
}

/// A list with everything it refers to.
#[derive(Debug, Clone)]
pub struct BuiltIndex {
    /// The list itself.
    pub manifest: StoredManifest,
    /// Images that the list names, attestations included.
    pub images: Vec<BuiltImage>,
    /// Lists that the list names.
    pub nested: Vec<BuiltIndex>,
}

impl Index {
    /// An empty OCI index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A list of these images.
    pub fn of<P: Into<Platform>>(members: impl IntoIterator<Item = (P, Image)>) -> Self {
        members.into_iter().fold(Self::new(), |index, (platform, image)| {
            index.member(platform, image)
        })
    }

    /// Chooses between OCI and Docker for the list; the images choose for themselves.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Adds an image; its config names the same platform.
    #[must_use]
    pub fn member(mut self, platform: impl Into<Platform>, image: Image) -> Self {
        let platform = platform.into();
        let image = image.platform(platform.clone());
        self.members.push(Member::Image(platform, Box::new(image)));
        self
    }

    /// Adds a list as a member.
    #[must_use]
    pub fn nested(mut self, index: Index) -> Self {
        self.members.push(Member::Nested(index));
        self
    }

    /// Adds an entry whose manifest the registry does not hold.
    #[must_use]
    pub fn absent(mut self, platform: impl Into<Platform>, digest: &str) -> Self {
        self.members
            .push(Member::Absent(platform.into(), digest.to_owned()));
        self
    }

    /// Adds one attestation manifest per image, as BuildKit does with `--provenance`.
    #[must_use]
    pub fn attested(mut self) -> Self {
        self.attestations = true;
        self
    }

    /// Puts the list together.
    #[must_use]
    pub fn build(&self) -> BuiltIndex {
        let mut images = Vec::new();
        let mut nested = Vec::new();
        let mut entries = Vec::new();
        let mut attestations = Vec::new();
        for member in &self.members {
            match member {
                Member::Image(platform, image) => {
                    let built = image.build();
                    let mut entry = built.manifest.descriptor();
                    entry["platform"] = platform.json();
                    entries.push(entry);
                    if self.attestations {
                        let attestation = attestation(&built.manifest);
                        let mut entry = attestation.manifest.descriptor();
                        entry["platform"] = json!({"architecture": "unknown", "os": "unknown"});
                        entry["annotations"] = json!({
                            "vnd.docker.reference.digest": built.manifest.digest,
                            "vnd.docker.reference.type": "attestation-manifest",
                        });
                        attestations.push((entry, attestation));
                    }
                    images.push(built);
                }
                Member::Nested(index) => {
                    let built = index.build();
                    entries.push(built.manifest.descriptor());
                    nested.push(built);
                }
                Member::Absent(platform, digest) => entries.push(json!({
                    "mediaType": OCI_MANIFEST,
                    "digest": digest,
                    "size": 1234,
                    "platform": platform.json(),
                })),
            }
        }
        for (entry, attestation) in attestations {
            entries.push(entry);
            images.push(attestation);
        }
        let media_type = match self.format {
            Format::Docker => DOCKER_LIST,
            Format::Oci | Format::OciWithoutMediaType => OCI_INDEX,
        };
        let mut body = json!({"schemaVersion": 2, "manifests": entries});
        if self.format != Format::OciWithoutMediaType {
            body["mediaType"] = json!(media_type);
        }
        BuiltIndex {
            manifest: StoredManifest::new(media_type, pretty(&body)),
            images,
            nested,
        }
    }
}

/// What BuildKit stores about how `subject` was built: a config without content and an in-toto statement.
fn attestation(subject: &StoredManifest) -> BuiltImage {
    let digest = subject.digest.trim_start_matches("sha256:");
    let statement: Value = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": "pkg:docker/sample", "digest": {"sha256": digest}}],
        "predicate": {"buildType": "https://mobyproject.org/buildkit@v1"},
    });
    let layer = Blob::new(IN_TOTO, statement.to_string());
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    });
    let config = Blob::new(OCI_CONFIG, config.to_string());
    let mut entry = layer.descriptor();
    entry["annotations"] = json!({"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"});
    let body = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor(),
        "layers": [entry],
    });
    BuiltImage {
        manifest: StoredManifest::new(OCI_MANIFEST, pretty(&body)),
        config,
        layers: vec![layer],
    }
}
