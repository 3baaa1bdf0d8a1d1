//! DockerImage: what an image's configuration says, in the fixed form that `dockerImageMetadata` has.
//!
//! Two versions of the form exist, which differ in the names of their keys: `1.0` and `pre012`. Configuration blobs
//! ([OCI image configuration][1], Docker image JSON and the `v1Compatibility` of schema 1) use the names of `pre012`.
//!
//! [1]: https://github.com/opencontainers/image-spec/blob/main/config.md

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::wire::{is_empty, nullable};
use super::{GROUP, Time};

mod created;
mod fold;

const KIND: &str = "DockerImage";
/// Where servers of this API register the versions: a part of the error text that clients know.
const SCHEME: &str = "pkg/image/apis/image/v1/conversion.go:22";

/// The keys of version 1.0 and of version pre012.
const KEYS: [(&str, &str); 11] = [
    ("Id", "id"),
    ("Parent", "parent"),
    ("Comment", "comment"),
    ("Created", "created"),
    ("Container", "container"),
    ("ContainerConfig", "container_config"),
    ("DockerVersion", "docker_version"),
    ("Author", "author"),
    ("Config", "config"),
    ("Architecture", "architecture"),
    ("Size", "size"),
];

/// Which names the keys of the metadata have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetadataVersion {
    /// `1.0`: capitalised names.
    #[default]
    V1_0,
    /// `pre012`: the names of Docker before 0.12.
    Pre012,
}

impl MetadataVersion {
    /// The version as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::Pre012 => "pre012",
        }
    }

    /// The version that is written like this, with or without the group.
    fn parse(text: &str) -> Option<Self> {
        let text = text
            .strip_prefix(GROUP)
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(text);
        [Self::V1_0, Self::Pre012]
            .into_iter()
            .find(|version| version.as_str() == text)
    }
}

/// Why metadata or a configuration can't be read.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The metadata is of a kind or version that nobody knows.
    #[error("no kind {kind:?} is registered for version {version:?} in scheme {SCHEME:?}")]
    Unregistered {
        /// The kind.
        kind: String,
        /// The group and version.
        version: String,
    },
    /// The JSON is malformed or a value has the wrong type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// What an image's configuration says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, remote = "Self")]
pub struct DockerImage {
    /// Which names the keys have in JSON.
    #[serde(skip)]
    pub version: MetadataVersion,
    /// Digest of the configuration, or the schema 1 id.
    #[serde(deserialize_with = "nullable")]
    pub id: String,
    /// Id of the parent image.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub parent: String,
    /// Comment of the build.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub comment: String,
    /// When the image was built, whole seconds; `null` in JSON if unknown.
    #[serde(deserialize_with = "created::deserialize")]
    pub created: Option<Time>,
    /// Id of the build's container.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub container: String,
    /// Configuration of the build's container.
    #[serde(deserialize_with = "nullable")]
    pub container_config: DockerConfig,
    /// Version of the builder.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub docker_version: String,
    /// Author.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub author: String,
    /// Configuration of containers of this image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<DockerConfig>,
    /// Architecture, in Go's naming.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub architecture: String,
    /// Bytes of the layers (each once) and the configuration in the registry.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub size: i64,
}

impl DockerImage {
    /// Reads `dockerImageMetadata` of an Image whose `dockerImageMetadataVersion` is `version`.
    ///
    /// A header (`kind`, `apiVersion`) inside wins for reading; `version` decides how it is written.
    ///
    /// # Errors
    /// [`MetadataError`]
    pub(super) fn from_value(value: Value, version: &str) -> Result<Self, MetadataError> {
        let written_as = MetadataVersion::parse(version);
        let fields = match value {
            Value::Null => Map::new(),
            Value::Object(fields) => fields,
            other => return Ok(serde_json::from_value::<Form>(other)?.0),
        };
        if fields.is_empty() {
            return Ok(Self {
                version: written_as.unwrap_or_default(),
                ..Self::default()
            });
        }
        let header = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
        let (kind, api_version) = (header("kind"), header("apiVersion"));
        let unregistered = |version: &str| MetadataError::Unregistered {
            kind: if kind.is_empty() { KIND } else { kind }.to_owned(),
            version: if version.contains('/') {
                version.to_owned()
            } else {
                format!("{GROUP}/{version}")
            },
        };
        let written_as = written_as.ok_or_else(|| unregistered(version))?;
        let read_as = if api_version.is_empty() {
            written_as
        } else {
            MetadataVersion::parse(api_version).ok_or_else(|| unregistered(api_version))?
        };
        if !kind.is_empty() && kind != KIND {
            return Err(unregistered(read_as.as_str()));
        }
        let fields = match read_as {
            MetadataVersion::V1_0 => fields,
            MetadataVersion::Pre012 => renamed(fields, |(new, old)| (old, new)),
        };
        let mut image = serde_json::from_value::<Form>(Value::Object(fields))?.0;
        image.version = written_as;
        Ok(image)
    }

    /// Reads a configuration blob or a schema 1 `v1Compatibility`. Keys match whatever their case; unknown keys,
    /// such as `rootfs` and `history`, are skipped.
    ///
    /// # Errors
    /// [`MetadataError::Json`]
    pub fn from_config(config: &[u8]) -> Result<Self, MetadataError> {
        let fields = fold::read(config)?;
        Ok(serde_json::from_value::<Form>(Value::Object(fields))?.0)
    }
}

/// The bare form of version 1.0, without header.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Form(#[serde(with = "DockerImage")] DockerImage);

#[derive(Serialize)]
#[serde(transparent)]
struct FormRef<'a>(#[serde(serialize_with = "DockerImage::serialize")] &'a DockerImage);

fn renamed(
    fields: Map<String, Value>,
    pair: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Map<String, Value> {
    fields
        .into_iter()
        .filter_map(|(key, value)| {
            let (_, to) = KEYS.into_iter().map(&pair).find(|(from, _)| *from == key)?;
            Some((to.to_owned(), value))
        })
        .collect()
}

impl Serialize for DockerImage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Typed<T: Serialize> {
            kind: &'static str,
            api_version: String,
            #[serde(flatten)]
            fields: T,
        }
        let api_version = format!("{GROUP}/{}", self.version.as_str());
        match self.version {
            MetadataVersion::V1_0 => Typed {
                kind: KIND,
                api_version,
                fields: FormRef(self),
            }
            .serialize(serializer),
            MetadataVersion::Pre012 => {
                let form = serde_json::to_value(FormRef(self)).map_err(serde::ser::Error::custom)?;
                let Value::Object(fields) = form else {
                    return Err(serde::ser::Error::custom("metadata is not an object"));
                };
                Typed {
                    kind: KIND,
                    api_version,
                    fields: renamed(fields, |pair| pair),
                }
                .serialize(serializer)
            }
        }
    }
}

/// Configuration of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(
    missing_docs,
    reason = "the names are those of Docker's container configuration"
)]
pub struct DockerConfig {
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub hostname: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub domainname: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub user: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub memory: i64,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub memory_swap: i64,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub cpu_shares: i64,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub cpuset: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub attach_stdin: bool,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub attach_stdout: bool,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub attach_stderr: bool,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub port_specs: Vec<String>,
    #[serde(with = "keys_of_empty_objects", skip_serializing_if = "is_empty")]
    pub exposed_ports: BTreeSet<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub tty: bool,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub open_stdin: bool,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub stdin_once: bool,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub dns: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub image: String,
    #[serde(with = "keys_of_empty_objects", skip_serializing_if = "is_empty")]
    pub volumes: BTreeSet<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub volumes_from: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub working_dir: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub network_disabled: bool,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub security_opts: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub on_build: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A set that JSON writes as an object of empty objects.
mod keys_of_empty_objects {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Empty {}

    pub(super) fn serialize<S: Serializer>(
        keys: &BTreeSet<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(keys.iter().map(|key| (key, Empty {})))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let keys: Option<BTreeMap<String, Option<Empty>>> = Option::deserialize(deserializer)?;
        Ok(keys.unwrap_or_default().into_keys().collect())
    }
}
