//! Which repositories a stream may refer to: those of allowed registries, and those that it refers to already.

use std::collections::BTreeSet;

use super::tag::DOCKER_IMAGE;
use crate::allowed_registries::{AllowedRegistries, NotAllowed, Transport};
use crate::reference::ImageReference;
use crate::types::{ImageStream, TagReference};

/// An annotation of a stream: its registry may be spoken to in plain HTTP.
const INSECURE: &str = "openshift.io/image.insecureRepository";

/// The registries that are allowed, and repositories that were accepted before.
#[derive(Debug, Clone)]
pub(super) struct Accepted<'a> {
    registries: &'a AllowedRegistries,
    /// In full form, `host/path`.
    repositories: BTreeSet<String>,
}

impl<'a> Accepted<'a> {
    /// The allowed registries only.
    pub(super) fn new(registries: &'a AllowedRegistries) -> Self {
        Self {
            registries,
            repositories: BTreeSet::new(),
        }
    }

    /// Also every repository that `stored` refers to: a list that became shorter does not break what exists.
    pub(super) fn with_stored(mut self, stored: &ImageStream) -> Self {
        let repository = &stored.spec.docker_image_repository;
        if !repository.is_empty() {
            self.add(repository);
        }
        for tag in stored.spec.tags.values() {
            self = self.with_tag(tag);
        }
        for event in stored.status.tags.values().flat_map(|history| &history.items) {
            self.add(&event.docker_image_reference);
        }
        self
    }

    /// Also the repository that a stored tag refers to.
    pub(super) fn with_tag(mut self, stored: &TagReference) -> Self {
        if let Some(from) = &stored.from
            && from.kind.as_deref() == Some(DOCKER_IMAGE)
        {
            self.add(from.name.as_deref().unwrap_or_default());
        }
        self
    }

    fn add(&mut self, reference: &str) {
        if let Ok(reference) = ImageReference::parse(reference) {
            self.repositories.insert(full_repository(&reference));
        }
    }

    pub(super) fn check(&self, reference: &ImageReference, transport: Transport) -> Result<(), NotAllowed> {
        if self.repositories.contains(&full_repository(reference)) {
            return Ok(());
        }
        self.registries.check(&reference.registry, transport)
    }
}

/// The repository with everything that a client would add.
fn full_repository(reference: &ImageReference) -> String {
    reference.defaulted().repository()
}

/// Whether the annotations of a stream say that its registry may be spoken to in plain HTTP.
pub(super) fn is_insecure(metadata: &crate::types::ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(INSECURE))
        .is_some_and(|value| value == "true")
}

/// How a registry would be spoken to.
pub(super) fn transport(insecure: bool) -> Transport {
    if insecure {
        Transport::Any
    } else {
        Transport::Secure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_the_same_however_it_is_written() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (reference, repository) in [
            ("busybox".to_owned(), "docker.io/library/busybox"),
            ("busybox:glibc".into(), "docker.io/library/busybox"),
            (format!("docker.io/busybox@{digest}"), "docker.io/library/busybox"),
            ("library/busybox:1".into(), "docker.io/library/busybox"),
            (
                format!("r.svc:5000/openshift/httpd@{digest}"),
                "r.svc:5000/openshift/httpd",
            ),
        ] {
            let parsed = ImageReference::parse(&reference).unwrap();
            assert_eq!(full_repository(&parsed), repository, "{reference}");
        }
    }
}
