//! What the endpoints of the server share: the stored objects of every kind, who may do what, and the import engine.

use std::sync::Arc;

use imagestream_api::allowed_registries::AllowedRegistries;
use imagestream_api::defaults::ImportMode;
use imagestream_api::stream::repository::RegistryHosts;
use imagestream_apiserver::rbac::Authorizer;
use imagestream_apiserver::storage::Objects;
use imagestream_import::Engine;
use imagestream_registry::local_config::LocalConfig;
use imagestream_store::Store;

use crate::core::recorder::EventRecorder;

/// Shared by all endpoints; lives as long as the server.
pub struct Context {
    /// What everything is stored in, for transactions over several kinds.
    pub store: Arc<dyn Store>,
    /// Who may do what; follows the stored roles and bindings.
    pub authorizer: Arc<Authorizer>,
    /// Reads registries.
    pub engine: Engine,
    /// What the host itself has credentials for.
    pub host_credentials: Option<Arc<LocalConfig>>,
    /// The names of the integrated registry.
    pub hosts: RegistryHosts,
    /// Where images may be imported from.
    pub allowed_registries: AllowedRegistries,
    /// The import mode of whoever does not say.
    pub import_mode: ImportMode,
    /// Longest import.
    pub import_timeout: std::time::Duration,

    /// `image.openshift.io` imagestreams
    pub streams: Arc<Objects>,
    /// `image.openshift.io` images
    pub images: Arc<Objects>,
    /// `v1` namespaces
    pub namespaces: Arc<Objects>,
    /// `v1` secrets
    pub secrets: Arc<Objects>,
    /// `v1` limitranges
    pub limit_ranges: Arc<Objects>,
    /// `v1` resourcequotas
    pub resource_quotas: Arc<Objects>,
    /// `v1` events
    pub events: Arc<Objects>,
    /// Tells of what the server does to objects, as events
    pub recorder: EventRecorder,
    /// `config.openshift.io` images: the cluster's image configuration
    pub image_configs: Arc<Objects>,
    /// `config.openshift.io` imagedigestmirrorsets
    pub digest_mirror_sets: Arc<Objects>,
    /// `config.openshift.io` imagetagmirrorsets
    pub tag_mirror_sets: Arc<Objects>,
    /// `operator.openshift.io` imagecontentsourcepolicies
    pub content_source_policies: Arc<Objects>,
    /// `rbac.authorization.k8s.io` roles, clusterroles, rolebindings, clusterrolebindings, in this order
    pub rbac: [Arc<Objects>; 4],
}
