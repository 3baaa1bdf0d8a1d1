//! Opens the store and the objects of every kind in it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imagestream_api::allowed_registries::AllowedRegistries;
use imagestream_apiserver::form::Form;
use imagestream_apiserver::rbac::{Authorizer, Policy};
use imagestream_apiserver::serve::ServiceError;
use imagestream_apiserver::storage::{Keeping, Objects};
use imagestream_import::{Engine, EngineOptions, Platform};
use imagestream_registry::local_config::LocalConfig;
use imagestream_registry::{Client, ClientOptions};
use imagestream_store::etcd::{EtcdOptions, EtcdStore};
use imagestream_store::sqlite::{SqliteOptions, SqliteStore};
use imagestream_store::{Store, StoreError};

use crate::context::Context;
use crate::core::recorder::EventRecorder;
use crate::core::seal::{SealError, SecretSeal};
use crate::data_dir::DataDir;
use crate::prune::GuardedStore;
use crate::settings::{ImportSettings, Settings, Storage};
use crate::start::StartError;
use crate::{config, core, image, rbac};

/// Largest file of certificates that is read, in bytes.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// Where streams are.
const STREAMS: &str = "/openshift.io/imagestreams/";
/// Where images are.
const IMAGES: &str = "/openshift.io/images/";

/// What is kept on disk: large bodies that are read one at a time.
const ON_DISK: Keeping = Keeping { on_disk: true };
const IN_MEMORY: Keeping = Keeping { on_disk: false };

/// The store that the settings name, and what ends it.
pub(crate) enum Opened {
    Sqlite(SqliteStore),
    Etcd(Box<EtcdStore>),
}

impl Opened {
    /// Opens the store.
    pub(crate) async fn open(settings: &Settings, data: &DataDir) -> Result<Self, StartError> {
        match &settings.storage {
            Storage::Sqlite => Ok(Self::Sqlite(
                SqliteStore::open(data.store(), SqliteOptions::default()).await?,
            )),
            Storage::Etcd {
                endpoints,
                ca_file,
                cert_file,
                key_file,
                prefix,
            } => {
                let mut options = EtcdOptions::new(endpoints.iter().cloned());
                options.key_prefix.clone_from(prefix);
                let read = |name, path: &Option<PathBuf>| {
                    path.as_deref().map(|path| read_pem(name, path)).transpose()
                };
                options.ca_pem = read("storage.caFile", ca_file)?;
                let certificate = read("storage.certFile", cert_file)?;
                options.client_identity_pem = certificate.zip(read("storage.keyFile", key_file)?);
                Ok(Self::Etcd(Box::new(EtcdStore::connect(options).await?)))
            }
        }
    }

    /// The store, in which no stream begins to point at an image that is being pruned.
    pub(crate) async fn store(&self) -> Result<GuardedStore, StoreError> {
        let store: Arc<dyn Store> = match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Etcd(store) => Arc::new(EtcdStore::clone(store)),
        };
        GuardedStore::open(store, STREAMS, IMAGES).await
    }

    /// Finishes what was submitted and lets go of the store.
    pub(crate) async fn close(self) {
        if let Self::Sqlite(store) = self {
            store.close().await;
        }
    }
}

/// Reads a file of certificates or keys that a setting names.
fn read_pem(setting: &'static str, path: &Path) -> Result<Vec<u8>, StartError> {
    let wrong = |problem: &dyn std::fmt::Display| StartError::Setting {
        name: setting,
        problem: format!("{}: {problem}", path.display()),
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(&error))?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(wrong(&format!("it is larger than {MAX_PEM_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Opens the objects of every kind, and makes what all endpoints share.
pub(crate) async fn context(settings: &Settings, store: &Arc<dyn Store>) -> Result<Context, StartError> {
    let key_file = settings.secret_key_file.as_deref();
    let seal = SecretSeal::open(store, &settings.data_dir, key_file)
        .await
        .map_err(|error| match error {
            SealError::Store(error) => StartError::Store(error),
            error if key_file.is_some() => StartError::Setting {
                name: "secrets.keyFile",
                problem: error.to_string(),
            },
            error => error.into(),
        })?;
    let open = |prefix: &str, form: Arc<dyn Form>, keeping: Keeping| {
        Arc::new(Objects::open(Arc::clone(store), prefix, form, keeping))
    };
    let import = &settings.import;
    let streams = image::image_streams::form(settings.hosts.clone(), import.mode);
    let [roles, cluster_roles, role_bindings, cluster_role_bindings] = rbac::roles::forms();
    let in_memory = |name: &str, form| open(&format!("/kubernetes.io/{name}/"), form, IN_MEMORY);
    let of_config = |name: &str, form| open(&format!("/config.openshift.io/{name}/"), form, IN_MEMORY);
    let mut allowed_registries =
        AllowedRegistries::new(&import.allowed_registries).map_err(|error| StartError::Setting {
            name: "import.allowedRegistries",
            problem: error.to_string(),
        })?;
    if let Some(internal) = settings.hosts.internal() {
        allowed_registries =
            allowed_registries
                .with_integrated(internal)
                .map_err(|error| StartError::Setting {
                    name: "registry.internalHostname",
                    problem: error.to_string(),
                })?;
    }
    // Everyone who may import imports with these, so they must be meant: whoever starts the server has not lent out
    // their own Docker configuration by that.
    let host_credentials = match import.auth_file.as_deref() {
        None => None,
        Some(path) => {
            let config = LocalConfig::load(Some(path)).map_err(|error| StartError::Setting {
                name: "import.authFile",
                problem: error.to_string(),
            })?;
            Some(Arc::new(config))
        }
    };
    Ok(Context {
        store: Arc::clone(store),
        authorizer: Arc::new(Authorizer::new(Policy::new())),
        engine: engine(import)?,
        host_credentials,
        hosts: settings.hosts.clone(),
        allowed_registries,
        import_mode: import.mode,
        import_timeout: import.request_timeout,
        streams: open(STREAMS, streams, IN_MEMORY),
        images: open(IMAGES, image::images::form(), ON_DISK),
        namespaces: in_memory("namespaces", core::namespaces::form()),
        secrets: in_memory("secrets", core::secrets::form(Arc::new(seal))),
        limit_ranges: in_memory("limitranges", core::limit_ranges::form()),
        resource_quotas: in_memory("resourcequotas", core::resource_quotas::form()),
        events: open("/kubernetes.io/events/", core::events::form(), ON_DISK),
        recorder: EventRecorder::new().map_err(ServiceError::from)?,
        image_configs: of_config("images", config::image_config::form()),
        digest_mirror_sets: of_config("imagedigestmirrorsets", config::mirror_sets::digest_form()),
        tag_mirror_sets: of_config("imagetagmirrorsets", config::mirror_sets::tag_form()),
        content_source_policies: open(
            "/operator.openshift.io/imagecontentsourcepolicies/",
            config::content_source_policy::form(),
            IN_MEMORY,
        ),
        rbac: [
            in_memory("roles", roles),
            in_memory("clusterroles", cluster_roles),
            in_memory("rolebindings", role_bindings),
            in_memory("clusterrolebindings", cluster_role_bindings),
        ],
    })
}

fn engine(import: &ImportSettings) -> Result<Engine, StartError> {
    let mut options = ClientOptions {
        trusted_ca_pem: import
            .trusted_ca_file
            .as_deref()
            .map(|path| read_pem("import.trustedCAFile", path))
            .transpose()?,
        // A registry that says nothing ends the import as a whole, as clients know it, and not one item earlier.
        response_timeout: import.request_timeout,
        ..ClientOptions::default()
    };
    if let Some(limit) = import.max_in_flight_per_host {
        options.max_in_flight_per_host = limit;
        options.first_in_flight_per_host = options.first_in_flight_per_host.min(limit);
    }
    let client = Client::new(options).map_err(|error| StartError::Setting {
        name: "import.trustedCAFile",
        problem: error.to_string(),
    })?;
    let options = EngineOptions {
        max_images_per_repository: import.max_images_per_repository,
        platform: Platform::own(),
    };
    Ok(Engine::new(client, options))
}

impl Context {
    /// The objects of every kind.
    pub fn kinds(&self) -> Vec<Arc<Objects>> {
        let single = [
            &self.streams,
            &self.images,
            &self.namespaces,
            &self.secrets,
            &self.limit_ranges,
            &self.resource_quotas,
            &self.events,
            &self.image_configs,
            &self.digest_mirror_sets,
            &self.tag_mirror_sets,
            &self.content_source_policies,
        ];
        single.into_iter().chain(&self.rbac).cloned().collect()
    }
}
