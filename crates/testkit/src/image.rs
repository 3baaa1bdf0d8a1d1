//! Single images: a config, layers and the manifest that names them, as
//! [OCI](https://github.com/opencontainers/image-spec/blob/main/manifest.md) or
//! [Docker schema 2](https://distribution.github.io/distribution/spec/manifest-v2-2/).

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::layer::{Blob, Layer, sha256};

/// Media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a Docker schema 2 manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of an OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Media type of a gzipped OCI layer.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of a gzipped Docker layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Which of the two families of manifests an image or a list belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// OCI, with `mediaType` in the body.
    #[default]
    Oci,
    /// OCI as older builders write it: no `mediaType` in the body.
    OciWithoutMediaType,
    /// Docker schema 2.
    Docker,
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Operating system, as Go names it.
    pub os: String,
    /// Architecture, as Go names it.
    pub architecture: String,
    /// Variant of the architecture, such as `v7`.
    pub variant: Option<String>,
}

impl From<&str> for Platform {
    /// Parses `os/architecture[/variant]`.
    fn from(text: &str) -> Self {
        let mut parts = text.split('/').map(str::to_owned);
        Self {
            os: parts.next().unwrap_or_default(),
            architecture: parts.next().expect("a platform is os/architecture[/variant]"),
            variant: parts.next(),
        }
    }
}

impl Platform {
    /// The `platform` object of a list entry.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut platform = json!({"architecture": self.architecture, "os": self.os});
        if let Some(variant) = &self.variant {
            platform["variant"] = json!(variant);
        }
        platform
    }
}

/// A manifest as a registry stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Digest that the registry knows it by.
    pub digest: String,
    /// `Content-Type` it is served with.
    pub media_type: String,
    /// The exact bytes.
    pub body: Bytes,
}

impl StoredManifest {
    /// A manifest known by the digest of its bytes.
    pub fn new(media_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self {
            digest: sha256(&body),
            media_type: media_type.into(),
            body,
        }
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The descriptor that lists name this manifest by.
    #[must_use]
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.body.len()})
    }
}

/// An image with all its parts, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// The manifest.
    pub manifest: StoredManifest,
    /// The config blob.
    pub config: Blob,
    /// The layers, base first.
    pub layers: Vec<Blob>,
}

/// Describes a single image. The same calls give the same bytes and so the same digests.
#[derive(Debug, Clone)]
pub struct Image {
    format: Format,
    platform: Platform,
    layers: Vec<Layer>,
    created: String,
    author: Option<String>,
    config: Map<String, Value>,
    annotations: Map<String, Value>,
    raw_config: Option<Bytes>,
}

impl Default for Image {
    fn default() -> Self {
        Self::new()
    }
}

impl Image {
    /// A linux/amd64 OCI image with one small layer and a `PATH`.
    #[must_use]
    pub fn new() -> Self {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let config = json!({"Env": [path], "Cmd": ["/bin/sh"]});
        Self {
            format: Format::default(),
            platform: Platform::from("linux/amd64"),
            layers: vec![base_layer()],
            created: "2024-05-01T12:00:00Z".to_owned(),
            author: None,
            config: config.as_object().cloned().unwrap_or_default(),
            annotations: Map::new(),
            raw_config: None,
        }
    }

    /// Chooses between OCI and Docker.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Docker schema 2 in place of OCI.
    #[must_use]
    pub fn docker(self) -> Self {
        self.format(Format::Docker)
    }

    /// Sets the platform that the config names.
    #[must_use]
    pub fn platform(mut self, platform: impl Into<Platform>) -> Self {
        self.platform = platform.into();
        self
    }

    /// Replaces the layers with `count` small ones, of which the first is the same for every image.
    #[must_use]
    pub fn layers(mut self, count: usize) -> Self {
        self.layers = (0..count)
            .map(|at| match at {
                0 => base_layer(),
                at => Layer::file(&format!("srv/part-{at}"), format!("part {at}\n").as_bytes()),
            })
            .collect();
        self
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Adds a layer that no image with another `name` has, so that digests differ.
    #[must_use]
    pub fn distinct(self, name: &str) -> Self {
        self.layer(Layer::file("etc/build", format!("{name}\n").as_bytes()))
            .label("org.opencontainers.image.version", name)
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        if let Some(list) = self
            .config
            .entry("Env")
            .or_insert_with(|| json!([]))
            .as_array_mut()
        {
            list.push(json!(format!("{name}={value}")));
        }
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.config.entry("Labels").or_insert_with(|| json!({}))[name] = json!(value);
        self
    }

    /// Exposes a port, such as `8080/tcp`.
    #[must_use]
    pub fn expose(mut self, port: &str) -> Self {
        self.config.entry("ExposedPorts").or_insert_with(|| json!({}))[port] = json!({});
        self
    }

    /// Declares a volume.
    #[must_use]
    pub fn volume(mut self, path: &str) -> Self {
        self.config.entry("Volumes").or_insert_with(|| json!({}))[path] = json!({});
        self
    }

    /// Sets the command.
    #[must_use]
    pub fn cmd(self, words: &[&str]) -> Self {
        self.set("Cmd", json!(words))
    }

    /// Sets the entry point.
    #[must_use]
    pub fn entrypoint(self, words: &[&str]) -> Self {
        self.set("Entrypoint", json!(words))
    }

    /// Sets the user.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.set("User", json!(user))
    }

    /// Sets the working directory.
    #[must_use]
    pub fn workdir(self, path: &str) -> Self {
        self.set("WorkingDir", json!(path))
    }

    /// Sets any field of the config's `config` object.
    #[must_use]
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.config.insert(field.to_owned(), value);
        self
    }

    /// Sets the author.
    #[must_use]
    pub fn author(mut self, author: &str) -> Self {
        self.author = Some(author.to_owned());
        self
    }

    /// Sets when the image was made (RFC 3339).
    #[must_use]
    pub fn created(mut self, time: &str) -> Self {
        time.clone_into(&mut self.created);
        self
    }

    /// Annotates the manifest (OCI only).
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), json!(value));
        self
    }

    /// Replaces the whole config blob, for configs that no builder writes.
    #[must_use]
    pub fn raw_config(mut self, bytes: impl Into<Bytes>) -> Self {
        self.raw_config = Some(bytes.into());
        self
    }

    /// The config blob's JSON.
    fn config_json(&self) -> Value {
        let history: Vec<Value> = (0..self.layers.len())
            .map(|at| json!({"created": self.created, "created_by": format!("COPY part-{at} / # buildkit"), "comment": "buildkit.dockerfile.v0"}))
            .chain([json!({"created": self.created, "created_by": "CMD [\"/bin/sh\"]", "empty_layer": true})])
            .collect();
        let diff_ids: Vec<&str> = self.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let mut config = self.platform.json();
        config["created"] = json!(self.created);
        config["config"] = Value::Object(self.config.clone());
        config["history"] = json!(history);
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        if let Some(author) = &self.author {
            config["author"] = json!(author);
        }
        if self.format == Format::Docker {
            config["docker_version"] = json!("24.0.7");
            config["container_config"] = json!({"Cmd": ["/bin/sh", "-c", "#(nop) "]});
        }
        config
    }

    /// Puts the parts together.
    #[must_use]
    pub fn build(&self) -> BuiltImage {
        let (manifest_type, config_type, layer_type) = match self.format {
            Format::Docker => (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER),
            Format::Oci | Format::OciWithoutMediaType => (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER),
        };
        let config = Blob::new(
            config_type,
            self.raw_config
                .clone()
                .unwrap_or_else(|| self.config_json().to_string().into()),
        );
        let layers: Vec<Blob> = self
            .layers
            .iter()
            .map(|layer| {
                let mut blob = Blob::new(layer_type, layer.bytes.clone());
                blob.declared_size = layer.declared_size.unwrap_or(blob.declared_size);
                blob
            })
            .collect();
        let mut body = json!({
            "schemaVersion": 2,
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        if self.format != Format::OciWithoutMediaType {
            body["mediaType"] = json!(manifest_type);
        }
        if self.format != Format::Docker && !self.annotations.is_empty() {
            body["annotations"] = Value::Object(self.annotations.clone());
        }
        BuiltImage {
            manifest: StoredManifest::new(manifest_type, pretty(&body)),
            config,
            layers,
        }
    }
}

/// The layer that every image stands on.
fn base_layer() -> Layer {
    Layer::file(
        "etc/os-release",
        b"NAME=\"Sample Linux\"\nID=sample\nVERSION_ID=1\n",
    )
}

/// Manifests are written indented, as most builders do; readers must not depend on it.
pub(crate) fn pretty(value: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("a JSON value always serializes")
}
