//! What is known of the registries beforehand, and what therefore has to come of an import.

use std::collections::BTreeMap;

use serde::Deserialize;

/// All registries and what they hold.
#[derive(Deserialize)]
pub(crate) struct Declared {
    pub(crate) registries: BTreeMap<String, Registry>,
    pub(crate) storages: BTreeMap<String, BTreeMap<String, Repository>>,
}

#[derive(Deserialize)]
pub(crate) struct Registry {
    pub(crate) address: String,
    pub(crate) storage: Option<String>,
    pub(crate) scheme: Option<String>,
    pub(crate) auth: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Repository {
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) manifests: BTreeMap<String, Manifest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    present: bool,
    sha256_of_bytes_matches: Option<bool>,
    media_type: String,
    pub(crate) config: Option<Part>,
    layers: Option<Vec<Part>>,
    manifests: Option<Vec<Member>>,
    fs_layers: Option<serde_json::Value>,
}

#[derive(Deserialize)]
pub(crate) struct Part {
    pub(crate) digest: String,
    size: Option<i64>,
    pub(crate) present: Option<bool>,
}

#[derive(Deserialize)]
struct Member {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: Option<String>,
    os: Option<String>,
}

/// What has to come of an item, by the catalogue of item statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The image with this name, its layers, and the names of the members of a preserved list.
    Image {
        name: String,
        layers: Option<Vec<(String, i64)>>,
        members: Vec<String>,
    },
    /// A failure: its row of the catalogue, code, reason, how the message begins and what it contains.
    Failure {
        row: &'static str,
        code: i32,
        reason: &'static str,
        begin: String,
        contains: String,
    },
}

impl Expected {
    /// An image of which nothing but the name is known.
    pub(crate) fn named(name: &str) -> Self {
        Self::Image {
            name: name.to_owned(),
            layers: None,
            members: Vec::new(),
        }
    }

    pub(crate) fn not_found(name: &str) -> Self {
        Self::Failure {
            row: "manifest unknown",
            code: 404,
            reason: "NotFound",
            begin: format!("dockerimage.image.openshift.io \"{name}\" not found"),
            contains: String::new(),
        }
    }

    pub(crate) fn no_access(name: &str) -> Self {
        Self::Failure {
            row: "access refused",
            code: 401,
            reason: "Unauthorized",
            begin: format!("you may not have access to the container image \"{name}\""),
            contains: String::new(),
        }
    }

    pub(crate) fn wrong_password(name: &str) -> Self {
        Self::Failure {
            row: "incorrect username or password",
            code: 401,
            reason: "Unauthorized",
            begin: format!("incorrect username or password for image \"{name}\""),
            contains: String::new(),
        }
    }

    /// Anything else while fetching.
    pub(crate) fn fetching(name: &str, contains: &str) -> Self {
        Self::internal("fetching failed", &format!("{name}: "), contains)
    }

    pub(crate) fn building(contains: &str) -> Self {
        Self::internal("building the image failed", "", contains)
    }

    pub(crate) fn listing(contains: &str) -> Self {
        Self::internal("listing failed", "", contains)
    }

    pub(crate) fn internal(row: &'static str, begin: &str, contains: &str) -> Self {
        Self::Failure {
            row,
            code: 500,
            reason: "InternalError",
            begin: format!("Internal error occurred: {begin}"),
            contains: contains.to_owned(),
        }
    }
}

impl Repository {
    /// What the manifest with this digest gives. `repository` is the reference without version, `version` how the
    /// item names it (`:tag` or `@digest`), `config_problem` what is wrong with the content of a config.
    pub(crate) fn expected(
        &self,
        repository: &str,
        version: &str,
        digest: &str,
        preserve: bool,
        config_problem: &dyn Fn(&str) -> Option<&'static str>,
    ) -> Expected {
        let name = format!("{repository}{version}");
        let Some(manifest) = self.manifests.get(digest).filter(|manifest| manifest.present) else {
            return Expected::not_found(&name);
        };
        if manifest.sha256_of_bytes_matches == Some(false) {
            // By tag it is what its bytes are, which the declaration does not say.
            return match version.starts_with('@') {
                true => Expected::fetching(
                    &name,
                    "content integrity error: the manifest retrieved with digest",
                ),
                false => Expected::named(""),
            };
        }
        if let Some(members) = &manifest.manifests {
            return match preserve {
                true => self.expected_list(repository, digest, members, config_problem),
                false => self.expected_choice(repository, &name, members, config_problem),
            };
        }
        if manifest.fs_layers.is_some() {
            return Expected::named(digest);
        }
        let Some(config) = &manifest.config else {
            // One without its config, or one that the registry itself can't read.
            return Expected::fetching(
                &name,
                match manifest.media_type.as_str() {
                    "application/vnd.docker.distribution.manifest.v2+json" => "invalid digest format",
                    _ => "received unexpected HTTP status: 500 Internal Server Error",
                },
            );
        };
        if config.present == Some(false) {
            return Expected::fetching(&name, "unknown blob");
        }
        if let Some(problem) = config_problem(&config.digest) {
            return Expected::building(problem);
        }
        Expected::Image {
            name: digest.to_owned(),
            layers: manifest.layers.as_ref().map(|layers| {
                let layer = |layer: &Part| (layer.digest.clone(), layer.size.unwrap_or_default());
                layers.iter().map(layer).collect()
            }),
            members: Vec::new(),
        }
    }

    /// The member for linux/amd64, else the first.
    fn expected_choice(
        &self,
        repository: &str,
        name: &str,
        members: &[Member],
        config_problem: &dyn Fn(&str) -> Option<&'static str>,
    ) -> Expected {
        let is_own = |member: &&Member| {
            member.platform.as_ref().is_some_and(|platform| {
                platform.os.as_deref() == Some("linux") && platform.architecture.as_deref() == Some("amd64")
            })
        };
        let Some(chosen) = members.iter().find(is_own).or(members.first()) else {
            return Expected::fetching(name, "no manifests in manifest list");
        };
        if self.is_list(&chosen.digest) {
            return Expected::building(
                "unsupported image manifest type: *manifestlist.DeserializedManifestList",
            );
        }
        match self.expected(
            repository,
            &format!("@{}", chosen.digest),
            &chosen.digest,
            false,
            config_problem,
        ) {
            // Whatever is fetched for an item, the item is what has failed.
            Expected::Failure {
                row: "manifest unknown",
                ..
            } => Expected::not_found(name),
            expected => expected,
        }
    }

    fn expected_list(
        &self,
        repository: &str,
        digest: &str,
        members: &[Member],
        config_problem: &dyn Fn(&str) -> Option<&'static str>,
    ) -> Expected {
        let mut names = Vec::new();
        for member in members {
            let version = format!("@{}", member.digest);
            match self.expected(repository, &version, &member.digest, false, config_problem) {
                Expected::Image { name, .. } => names.push(name),
                failure => return failure,
            }
        }
        Expected::Image {
            name: digest.to_owned(),
            layers: Some(Vec::new()),
            members: names,
        }
    }

    fn is_list(&self, digest: &str) -> bool {
        self.manifests
            .get(digest)
            .is_some_and(|manifest| manifest.manifests.is_some())
    }
}
