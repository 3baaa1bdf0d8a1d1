//! Where a stream can be pulled from: the repository fields of its status.

use crate::reference::ImageReference;
use crate::types::ImageStream;

/// The hosts of the integrated registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryHosts {
    /// Inside of the cluster.
    pub internal: Option<String>,
    /// Outside of the cluster; the first one is shown.
    pub external: Vec<String>,
}

impl RegistryHosts {
    /// The internal host, if one is configured.
    #[must_use]
    pub fn internal(&self) -> Option<&str> {
        self.internal.as_deref().filter(|host| !host.is_empty())
    }

    fn external(&self) -> Option<&str> {
        self.external
            .iter()
            .map(String::as_str)
            .find(|host| !host.is_empty())
    }

    /// Where a stream can be pulled from, inside of the cluster and outside, if its spec names this repository.
    #[must_use]
    pub fn repositories(&self, namespace: &str, name: &str, of_spec: &str) -> (String, String) {
        let at = |host: &str| format!("{host}/{namespace}/{name}");
        let repository = self.internal().map_or_else(|| of_spec.to_owned(), at);
        let public = self.external().map(at).unwrap_or_default();
        (repository, public)
    }
}

/// Fills in both fields, whatever they say.
pub fn fill_in(stream: &mut ImageStream, hosts: &RegistryHosts) {
    let namespace = stream.metadata.namespace.as_deref().unwrap_or_default();
    let name = stream.metadata.name.as_deref().unwrap_or_default();
    let (repository, public) = hosts.repositories(namespace, name, &stream.spec.docker_image_repository);
    stream.status.docker_image_repository = repository;
    stream.status.public_docker_image_repository = public;
}

/// The repository that a text names together with a tag or digest. Nothing if it names neither, or is no reference: then
/// the text stays as it is.
#[must_use]
pub fn untagged(text: &str) -> Option<String> {
    let reference = ImageReference::parse(text).ok()?;
    let is_repository = reference.tag.is_empty() && reference.id.is_empty();
    (!is_repository).then(|| reference.repository())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_integrated_registry_goes_before_the_repository_of_the_spec() {
        for (spec, internal, external, repository, public) in [
            ("a/b", None, vec![], "a/b", ""),
            ("a/b", Some("registry:5000"), vec![], "registry:5000/n/s", ""),
            ("", None, vec![], "", ""),
            (
                "",
                Some("registry:5000"),
                vec!["reg.example.com".to_owned(), "other.example.com".into()],
                "registry:5000/n/s",
                "reg.example.com/n/s",
            ),
        ] {
            let mut stream: ImageStream = serde_json::from_value(json!({
                "metadata": {"name": "s", "namespace": "n"}, "spec": {"dockerImageRepository": spec},
                "status": {"dockerImageRepository": "sent", "publicDockerImageRepository": "sent"}
            }))
            .unwrap();
            let internal = internal.map(str::to_owned);
            fill_in(&mut stream, &RegistryHosts { internal, external });
            assert_eq!(stream.status.docker_image_repository, repository);
            assert_eq!(stream.status.public_docker_image_repository, public);
        }
    }
}
