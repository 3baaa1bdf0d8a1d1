//! Manifests and configurations that this process fetched before.
//!
//! Content is found again only under the registry and repository that it came from, and only once the registry has
//! accepted the caller for the manifest at hand. So nobody learns what is in a digest that a registry under their
//! control merely names.

use std::sync::Arc;

use bytes::Bytes;
use imagestream_api::digest::Digest;
use imagestream_registry::FetchedManifest;
use moka::sync::Cache;

/// Memory for manifests and configurations, in bytes.
const CONTENT_BYTES: u64 = 16 << 20;
/// Tags whose last digest is remembered.
const TAGS: u64 = 100_000;
/// Layers whose size is remembered.
const LAYERS: u64 = 2048;
/// What one entry costs beside its content, in bytes, roughly.
const ENTRY_BYTES: usize = 256;

/// A repository at one registry: where content came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// Host and port that is contacted.
    pub(crate) host: Arc<str>,
    /// Repository name.
    pub(crate) repository: Arc<str>,
    /// Read without verified TLS: what is only claimed there must not reach those who ask securely.
    pub(crate) insecure: bool,
}

type Key = (Origin, Digest);

/// Content by origin and digest. Shared by all imports of a process.
#[derive(Debug, Clone)]
pub(crate) struct ContentCache {
    manifests: Cache<Key, Arc<FetchedManifest>>,
    configs: Cache<Key, Bytes>,
    tags: Cache<(Origin, Box<str>), Digest>,
    layer_sizes: Cache<Key, u64>,
}

impl Default for ContentCache {
    fn default() -> Self {
        let weight = |bytes: usize| u32::try_from(bytes + ENTRY_BYTES).unwrap_or(u32::MAX);
        Self {
            manifests: Cache::builder()
                .max_capacity(CONTENT_BYTES / 2)
                .weigher(move |_: &Key, manifest: &Arc<FetchedManifest>| {
                    weight(manifest.body.len() + manifest.media_type.len())
                })
                .build(),
            configs: Cache::builder()
                .max_capacity(CONTENT_BYTES / 2)
                .weigher(move |_: &Key, config: &Bytes| weight(config.len()))
                .build(),
            tags: Cache::new(TAGS),
            layer_sizes: Cache::new(LAYERS),
        }
    }
}

impl ContentCache {
    /// The manifest that a tag named when it was last fetched.
    pub(crate) fn tagged(&self, origin: &Origin, tag: &str) -> Option<Arc<FetchedManifest>> {
        let digest = self.tags.get(&(origin.clone(), tag.into()))?;
        self.manifest(origin, &digest)
    }

    pub(crate) fn manifest(&self, origin: &Origin, digest: &Digest) -> Option<Arc<FetchedManifest>> {
        self.manifests.get(&(origin.clone(), digest.clone()))
    }

    pub(crate) fn keep_manifest(&self, origin: &Origin, tag: Option<&str>, manifest: &Arc<FetchedManifest>) {
        if let Some(tag) = tag {
            self.tags
                .insert((origin.clone(), tag.into()), manifest.digest.clone());
        }
        let key = (origin.clone(), manifest.digest.clone());
        self.manifests.insert(key, Arc::clone(manifest));
    }

    pub(crate) fn config(&self, origin: &Origin, digest: &Digest) -> Option<Bytes> {
        self.configs.get(&(origin.clone(), digest.clone()))
    }

    pub(crate) fn keep_config(&self, origin: &Origin, digest: &Digest, config: Bytes) {
        self.configs.insert((origin.clone(), digest.clone()), config);
    }

    pub(crate) fn layer_size(&self, origin: &Origin, digest: &Digest) -> Option<u64> {
        self.layer_sizes.get(&(origin.clone(), digest.clone()))
    }

    pub(crate) fn keep_layer_size(&self, origin: &Origin, digest: &Digest, size: u64) {
        self.layer_sizes.insert((origin.clone(), digest.clone()), size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(host: &str, repository: &str) -> Origin {
        Origin {
            host: host.into(),
            repository: repository.into(),
            insecure: false,
        }
    }

    #[test]
    fn content_is_found_only_where_it_came_from() {
        let cache = ContentCache::default();
        let here = origin("r.example", "a/b");
        let digest = Digest::sha256_of(b"manifest");
        let manifest = Arc::new(FetchedManifest {
            media_type: String::new(),
            body: Bytes::from_static(b"manifest"),
            digest: digest.clone(),
        });
        cache.keep_manifest(&here, Some("v1"), &manifest);
        cache.keep_config(&here, &digest, Bytes::from_static(b"config"));
        assert!(cache.tagged(&here, "v1").is_some() && cache.config(&here, &digest).is_some());
        let insecure = Origin {
            insecure: true,
            ..here.clone()
        };
        for elsewhere in [
            origin("r.example", "a/c"),
            origin("evil.example", "a/b"),
            insecure,
        ] {
            assert!(cache.tagged(&elsewhere, "v1").is_none());
            assert!(cache.manifest(&elsewhere, &digest).is_none());
            assert!(cache.config(&elsewhere, &digest).is_none());
        }
        assert!(cache.tagged(&here, "v2").is_none());
    }
}
