//! Short ways to import from test registries.

use std::time::Duration;

use imagestream_api::types::{
    Image, ImageImportSpec, ImageImportStatus, ImageStream, ImageStreamImportSpec, ImageStreamImportStatus,
    LocalObjectReference, RepositoryImportSpec, RepositoryImportStatus, Time,
};
use imagestream_import::{Credentials, Engine, EngineOptions, Platform, Progress, Request};
use imagestream_registry::sources::RegistryRules;
use imagestream_registry::{Client, ClientOptions};
use imagestream_testkit::content::Content;
use imagestream_testkit::image::Image as TestImage;
use imagestream_testkit::registry::TestRegistry;
use serde_json::json;
use tokio::time::Instant;

/// Long enough for every test that does not wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const PRESERVE: &str = "PreserveOriginal";
pub(crate) const LEGACY: &str = "Legacy";

/// An engine on linux/amd64 that reads repositories whole.
pub(crate) fn engine() -> Engine {
    engine_with(ClientOptions::default(), None)
}

/// An engine that reads at most this many tags of a repository.
pub(crate) fn engine_reading(limit: usize) -> Engine {
    engine_with(ClientOptions::default(), Some(limit))
}

pub(crate) fn engine_with(options: ClientOptions, limit: Option<usize>) -> Engine {
    let options = ClientOptions {
        proxies_from_environment: false,
        ..options
    };
    Engine::new(
        Client::new(options).unwrap(),
        EngineOptions {
            max_images_per_repository: limit,
            platform: Platform {
                os: "linux".to_owned(),
                architecture: "amd64".to_owned(),
            },
        },
    )
}

/// An import as its author puts it together.
#[derive(Default)]
pub(crate) struct Import {
    pub(crate) spec: ImageStreamImportSpec,
    pub(crate) stream: Option<ImageStream>,
    pub(crate) rules: RegistryRules,
    pub(crate) credentials: Credentials,
    pub(crate) time: Option<Duration>,
}

impl Import {
    /// Of a repository whose registry need not be secure.
    pub(crate) fn repository(name: impl Into<String>) -> Self {
        let mut import = Self::default();
        import.spec.repository = Some(repository_spec(name.into()));
        import
    }

    /// Of single images whose registries need not be secure.
    pub(crate) fn images<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        names.into_iter().fold(Self::default(), Self::and)
    }

    /// Of one more image.
    pub(crate) fn and(self, name: impl Into<String>) -> Self {
        self.and_spec(image_spec(name.into()))
    }

    pub(crate) fn and_spec(mut self, spec: ImageImportSpec) -> Self {
        self.spec.images.push(spec);
        self
    }

    /// Of everything in this import mode.
    pub(crate) fn mode(mut self, mode: &str) -> Self {
        for image in &mut self.spec.images {
            mode.clone_into(&mut image.import_policy.import_mode);
        }
        if let Some(repository) = &mut self.spec.repository {
            mode.clone_into(&mut repository.import_policy.import_mode);
        }
        self
    }

    /// By registries that must be secure.
    pub(crate) fn secure(mut self) -> Self {
        for image in &mut self.spec.images {
            image.import_policy.insecure = false;
        }
        if let Some(repository) = &mut self.spec.repository {
            repository.import_policy.insecure = false;
        }
        self
    }

    /// With this user and password for the registry.
    pub(crate) fn by(self, registry: &TestRegistry, user: &str, password: &str) -> Self {
        self.by_at(&registry.host(), user, password)
    }

    /// With this user and password for what the key of a pull secret fits.
    pub(crate) fn by_at(mut self, key: &str, user: &str, password: &str) -> Self {
        let document = json!({"auths": {key: {"username": user, "password": password}}}).to_string();
        self.credentials
            .secrets
            .as_mut()
            .unwrap()
            .add_dockerconfigjson(document.as_bytes())
            .unwrap();
        self
    }

    pub(crate) fn rules(mut self, input: &imagestream_registry::sources::RulesInput) -> Self {
        self.rules = RegistryRules::new(input);
        self
    }

    pub(crate) fn stream(mut self, stream: serde_json::Value) -> Self {
        self.stream = Some(serde_json::from_value(stream).unwrap());
        self
    }

    /// Within this time.
    pub(crate) fn within(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    pub(crate) async fn run(&self, engine: &Engine) -> ImageStreamImportStatus {
        engine
            .run(&Request {
                spec: &self.spec,
                stream: self.stream.as_ref(),
                rules: &self.rules,
                credentials: &self.credentials,
                now: &Time(k8s_openapi::jiff::Timestamp::now()),
                deadline: Instant::now() + self.time.unwrap_or(PATIENCE),
                patience: Instant::now() + self.time.unwrap_or(PATIENCE),
                progress: &Progress::default(),
            })
            .await
    }

    /// Runs with an engine that has seen nothing before.
    pub(crate) async fn run_anew(&self) -> ImageStreamImportStatus {
        self.run(&engine()).await
    }
}

pub(crate) fn image_spec(name: String) -> ImageImportSpec {
    let mut spec = ImageImportSpec::default();
    spec.from.kind = Some("DockerImage".to_owned());
    spec.from.name = Some(name);
    spec.import_policy.insecure = true;
    spec
}

fn repository_spec(name: String) -> RepositoryImportSpec {
    let mut spec = RepositoryImportSpec::default();
    spec.from.kind = Some("DockerImage".to_owned());
    spec.from.name = Some(name);
    spec.import_policy.insecure = true;
    spec
}

pub(crate) fn to(tag: &str) -> Option<LocalObjectReference> {
    Some(LocalObjectReference { name: tag.to_owned() })
}

/// `HOST/repository`.
pub(crate) fn at(registry: &TestRegistry, repository: &str) -> String {
    format!("{}/{repository}", registry.host())
}

/// What was found for the repository.
pub(crate) fn repository(result: &ImageStreamImportStatus) -> &RepositoryImportStatus {
    result.repository.as_ref().expect("a repository was asked for")
}

/// `Success`, or code and message.
pub(crate) fn said(image: &ImageImportStatus) -> String {
    status_said(&image.status)
}

pub(crate) fn status_said(status: &imagestream_api::types::Status) -> String {
    match status.status.as_deref() {
        Some("Success") => "Success".to_owned(),
        _ => format!(
            "{} {}: {}",
            status.code.unwrap_or_default(),
            status.reason.as_deref().unwrap_or_default(),
            status.message.as_deref().unwrap_or_default()
        ),
    }
}

/// The image that was found.
pub(crate) fn image(found: &ImageImportStatus) -> &Image {
    found.image.as_ref().unwrap_or_else(|| panic!("{}", said(found)))
}

/// The name, which is a digest, of the image that was found.
pub(crate) fn digest(found: &ImageImportStatus) -> String {
    image(found).metadata.name.clone().unwrap()
}

/// An image unlike others.
pub(crate) fn named(name: &str) -> TestImage {
    TestImage::new().distinct(name)
}

/// One image per tag of `team/app`.
pub(crate) fn tagged(tags: &[&str]) -> Content {
    tags.iter().fold(Content::new(), |content, tag| {
        content.image("team/app", tag, named(tag))
    })
}

/// The tags of these results, in their order.
pub(crate) fn tags_of(images: &[ImageImportStatus]) -> Vec<&str> {
    images.iter().map(|image| image.tag.as_str()).collect()
}
