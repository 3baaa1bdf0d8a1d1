//! Writes content to disk in the forms that `skopeo copy` reads: an
//! [OCI image layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md) and the
//! [`dir:` form](https://github.com/containers/image/blob/main/docs/containers-transports.5.md).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::content::{Content, RepositoryContent};
use crate::image::pretty;

impl Content {
    /// Writes one repository as an OCI image layout; `oci:DIRECTORY:TAG` then names its images.
    pub fn write_oci_layout(&self, repository: &str, directory: &Path) -> std::io::Result<()> {
        let held = self.held(repository);
        let blobs = directory.join("blobs").join("sha256");
        std::fs::create_dir_all(&blobs)?;
        for blob in held.blobs.values() {
            std::fs::write(blobs.join(hex(&blob.digest)), &blob.bytes)?;
        }
        for manifest in held.manifests.values() {
            std::fs::write(blobs.join(hex(&manifest.digest)), &manifest.body)?;
        }
        let entries: Vec<_> = held
            .tags
            .iter()
            .filter_map(|(tag, digest)| {
                let mut entry = held.manifests.get(digest)?.descriptor();
                entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
                Some(entry)
            })
            .collect();
        std::fs::write(
            directory.join("oci-layout"),
            json!({"imageLayoutVersion": "1.0.0"}).to_string(),
        )?;
        let index = json!({"schemaVersion": 2, "manifests": entries});
        std::fs::write(directory.join("index.json"), pretty(&index))
    }

    /// Writes what one tag points to, with all members and blobs, so that `dir:DIRECTORY` names it.
    pub fn write_dir(&self, repository: &str, reference: &str, directory: &Path) -> std::io::Result<()> {
        let held = self.held(repository);
        std::fs::create_dir_all(directory)?;
        std::fs::write(directory.join("version"), "Directory Transport Version: 1.1\n")?;
        let top = self.manifest(repository, reference);
        std::fs::write(directory.join("manifest.json"), &top.body)?;
        write_parts(held, &top.digest, directory)
    }

    /// Writes every tag of every repository, in trees that `skopeo sync --src dir` copies in one go. Returns each
    /// tree with the path that its repositories have in common: skopeo keeps the last part of a name only.
    pub fn write_sync_trees(&self, directory: &Path) -> std::io::Result<Vec<(PathBuf, String)>> {
        let mut trees = BTreeMap::new();
        for (repository, held) in &self.repositories {
            let (parent, name) = repository.rsplit_once('/').unwrap_or(("", repository));
            let next = directory.join(trees.len().to_string());
            let tree = trees.entry(parent.to_owned()).or_insert(next);
            for tag in held.tags.keys() {
                self.write_dir(repository, tag, &tree.join(format!("{name}:{tag}")))?;
            }
        }
        Ok(trees.into_iter().map(|(parent, tree)| (tree, parent)).collect())
    }
}

/// Blobs and members of a manifest, named by the hex part of their digests.
fn write_parts(held: &RepositoryContent, digest: &str, directory: &Path) -> std::io::Result<()> {
    let Some(manifest) = held.manifests.get(digest) else {
        return Ok(());
    };
    let body = manifest.json();
    let layers = body["layers"].as_array().into_iter().flatten();
    for entry in layers.chain([&body["config"]]) {
        if let Some(blob) = entry["digest"].as_str().and_then(|digest| held.blobs.get(digest)) {
            std::fs::write(directory.join(hex(&blob.digest)), &blob.bytes)?;
        }
    }
    for entry in body["manifests"].as_array().into_iter().flatten() {
        if let Some(member) = entry["digest"]
            .as_str()
            .and_then(|digest| held.manifests.get(digest))
        {
            let name = format!("{}.manifest.json", hex(&member.digest));
            std::fs::write(directory.join(name), &member.body)?;
            write_parts(held, &member.digest, directory)?;
        }
    }
    Ok(())
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}
