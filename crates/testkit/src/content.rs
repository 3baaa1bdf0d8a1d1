//! What a registry holds: repositories with tags, manifests and blobs, described in a few words.
//!
//! Terms are those of the [distribution specification](https://github.com/opencontainers/distribution-spec).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use crate::image::{BuiltImage, Image, Platform, StoredManifest};
use crate::index::{BuiltIndex, Index};
use crate::layer::{Blob, sha256};
use crate::schema1::Schema1;

/// The content of a registry. The same calls give the same digests.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pub(crate) repositories: BTreeMap<String, RepositoryContent>,
}

/// The content of one repository.
#[derive(Debug, Clone, Default)]
pub struct RepositoryContent {
    /// Tag to manifest digest; the digest may be one that `manifests` lacks.
    pub tags: BTreeMap<String, String>,
    /// Manifests by digest.
    pub manifests: BTreeMap<String, StoredManifest>,
    /// Blobs by digest.
    pub blobs: BTreeMap<String, Blob>,
}

impl Content {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an image under a tag.
    #[must_use]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "images are described in place, in a chain of calls"
    )]
    pub fn image(mut self, repository: &str, tag: &str, image: Image) -> Self {
        self.add_image(repository, Some(tag), &image);
        self
    }

    /// Adds a list of images under a tag, with one attestation per image if wanted.
    #[must_use]
    pub fn index<P: Into<Platform>>(
        mut self,
        repository: &str,
        tag: &str,
        members: impl IntoIterator<Item = (P, Image)>,
        attestations: bool,
    ) -> Self {
        let index = Index::of(members);
        let index = if attestations { index.attested() } else { index };
        self.add_index(repository, Some(tag), &index);
        self
    }

    /// Adds a list that needs more words than [`Content::index`] has.
    #[must_use]
    pub fn index_of(mut self, repository: &str, tag: &str, index: &Index) -> Self {
        self.add_index(repository, Some(tag), index);
        self
    }

    /// Adds a schema 1 manifest under a tag.
    #[must_use]
    pub fn schema1(mut self, repository: &str, tag: &str, manifest: &Schema1) -> Self {
        let (manifest, blobs) = manifest.build();
        let held = self.entry(repository);
        for blob in blobs {
            held.blobs.insert(blob.digest.clone(), blob);
        }
        held.put(Some(tag), manifest);
        self
    }

    /// Adds `count` version tags, `1.0.0` to `1.0.9`, `1.1.0` and so on, each with an image of its own.
    #[must_use]
    pub fn tags(self, repository: &str, count: usize) -> Self {
        self.tags_sharing(repository, count, count)
    }

    /// Adds `count` version tags that share `distinct` images.
    #[must_use]
    pub fn tags_sharing(mut self, repository: &str, count: usize, distinct: usize) -> Self {
        for at in 0..count {
            let image = Image::new().distinct(&format!("build-{}", at % distinct));
            self.add_image(repository, Some(&version_tag(at)), &image);
        }
        self
    }

    /// Adds a tag that points to what another tag points to.
    #[must_use]
    pub fn alias(mut self, repository: &str, tag: &str, existing: &str) -> Self {
        let held = self.entry(repository);
        let digest = held.tags.get(existing).expect("the tag exists").clone();
        held.tags.insert(tag.to_owned(), digest);
        self
    }

    /// Adds an image whose config blob the registry has lost.
    #[must_use]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "images are described in place, in a chain of calls"
    )]
    pub fn image_without_config(mut self, repository: &str, tag: &str, image: Image) -> Self {
        let built = image.build();
        let config = built.config.digest.clone();
        self.store_image(repository, Some(tag), built);
        self.entry(repository).blobs.remove(&config);
        self
    }

    /// Adds a tag that is listed, but whose manifest the registry does not hold.
    #[must_use]
    pub fn dangling_tag(mut self, repository: &str, tag: &str) -> Self {
        let digest = sha256(format!("no manifest for {repository}:{tag}").as_bytes());
        self.entry(repository).tags.insert(tag.to_owned(), digest);
        self
    }

    /// Adds any bytes as a manifest.
    #[must_use]
    pub fn raw_manifest(
        mut self,
        repository: &str,
        tag: &str,
        media_type: &str,
        body: impl Into<Bytes>,
    ) -> Self {
        self.entry(repository)
            .put(Some(tag), StoredManifest::new(media_type, body));
        self
    }

    /// Adds any bytes as a blob.
    #[must_use]
    pub fn blob(mut self, repository: &str, bytes: impl Into<Bytes>) -> Self {
        let blob = Blob::new("application/octet-stream", bytes);
        self.entry(repository).blobs.insert(blob.digest.clone(), blob);
        self
    }

    /// Adds a repository without tags.
    #[must_use]
    pub fn repository(mut self, repository: &str) -> Self {
        self.entry(repository);
        self
    }

    /// Adds an image, and returns the digest of its manifest.
    pub fn add_image(&mut self, repository: &str, tag: Option<&str>, image: &Image) -> String {
        self.store_image(repository, tag, image.build())
    }

    /// Adds a list, and returns its digest.
    pub fn add_index(&mut self, repository: &str, tag: Option<&str>, index: &Index) -> String {
        self.store_index(repository, tag, index.build())
    }

    /// Takes a tag away; what it pointed to stays.
    pub fn remove_tag(&mut self, repository: &str, tag: &str) {
        self.entry(repository).tags.remove(tag);
    }

    /// The names of all repositories.
    pub fn repositories(&self) -> impl Iterator<Item = &str> {
        self.repositories.keys().map(String::as_str)
    }

    /// The tags of a repository, in the order that registries list them.
    #[must_use]
    pub fn tag_names(&self, repository: &str) -> Vec<String> {
        self.held(repository).tags.keys().cloned().collect()
    }

    /// The content of a repository.
    ///
    /// # Panics
    /// If there is no such repository.
    #[must_use]
    pub fn held(&self, repository: &str) -> &RepositoryContent {
        self.repositories
            .get(repository)
            .unwrap_or_else(|| panic!("no repository {repository}"))
    }

    /// The digest that a tag points to.
    ///
    /// # Panics
    /// If there is no such tag.
    #[must_use]
    pub fn digest(&self, repository: &str, tag: &str) -> String {
        let tags = &self.held(repository).tags;
        tags.get(tag)
            .unwrap_or_else(|| panic!("no tag {repository}:{tag}"))
            .clone()
    }

    /// The manifest that a tag or digest points to.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn manifest(&self, repository: &str, reference: &str) -> &StoredManifest {
        self.held(repository)
            .find(reference)
            .unwrap_or_else(|| panic!("no manifest {repository} {reference}"))
    }

    /// The digest of the config of the image that a tag or digest points to.
    #[must_use]
    pub fn config_digest(&self, repository: &str, reference: &str) -> String {
        text(&self.manifest(repository, reference).json()["config"]["digest"])
    }

    /// The config of the image that a tag or digest points to.
    #[must_use]
    pub fn config(&self, repository: &str, reference: &str) -> Value {
        let digest = self.config_digest(repository, reference);
        let blob = self
            .held(repository)
            .blobs
            .get(&digest)
            .expect("the config exists");
        serde_json::from_slice(&blob.bytes).expect("the config is JSON")
    }

    /// The digests of the layers of the image that a tag or digest points to, base first.
    #[must_use]
    pub fn layer_digests(&self, repository: &str, reference: &str) -> Vec<String> {
        digests(&self.manifest(repository, reference).json()["layers"])
    }

    /// The digests of the members of the list that a tag or digest points to, in order.
    #[must_use]
    pub fn member_digests(&self, repository: &str, reference: &str) -> Vec<String> {
        digests(&self.manifest(repository, reference).json()["manifests"])
    }

    fn entry(&mut self, repository: &str) -> &mut RepositoryContent {
        self.repositories.entry(repository.to_owned()).or_default()
    }

    fn store_image(&mut self, repository: &str, tag: Option<&str>, image: BuiltImage) -> String {
        let held = self.entry(repository);
        for blob in image.layers.into_iter().chain([image.config]) {
            held.blobs.insert(blob.digest.clone(), blob);
        }
        held.put(tag, image.manifest)
    }

    fn store_index(&mut self, repository: &str, tag: Option<&str>, index: BuiltIndex) -> String {
        for image in index.images {
            self.store_image(repository, None, image);
        }
        for nested in index.nested {
            self.store_index(repository, None, nested);
        }
        self.entry(repository).put(tag, index.manifest)
    }
}

impl RepositoryContent {
    /// The manifest that a tag or digest points to, if it is there.
    #[must_use]
    pub fn find(&self, reference: &str) -> Option<&StoredManifest> {
        let digest = self.tags.get(reference).map_or(reference, String::as_str);
        self.manifests.get(digest)
    }

    fn put(&mut self, tag: Option<&str>, manifest: StoredManifest) -> String {
        let digest = manifest.digest.clone();
        if let Some(tag) = tag {
            self.tags.insert(tag.to_owned(), digest.clone());
        }
        self.manifests.insert(digest.clone(), manifest);
        digest
    }
}

/// The tag that [`Content::tags`] gives the image at this place.
#[must_use]
pub fn version_tag(at: usize) -> String {
    format!("1.{}.{}", at / 10, at % 10)
}

fn digests(entries: &Value) -> Vec<String> {
    let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|entry| text(&entry["digest"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
