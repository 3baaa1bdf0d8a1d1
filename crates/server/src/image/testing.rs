//! A server of this group on a store of its own, asked without a network in between.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use imagestream_api::allowed_registries::AllowedRegistries;
use imagestream_api::defaults::ImportMode;
use imagestream_api::stream::repository::RegistryHosts;
use imagestream_api::types::GROUP;
use imagestream_apiserver::admission::AdmitAll;
use imagestream_apiserver::api::Api;
use imagestream_apiserver::authn::UserInfo;
use imagestream_apiserver::authn::user::MASTERS;
use imagestream_apiserver::dispatch::Dispatcher;
use imagestream_apiserver::endpoint::Request;
use imagestream_apiserver::form::{Form, Plain};
use imagestream_apiserver::rbac::policy::Origin;
use imagestream_apiserver::rbac::{Authorizer, Policy, load};
use imagestream_apiserver::request_info::RequestInfo;
use imagestream_apiserver::storage::{Keeping, Objects};
use imagestream_import::{Engine, EngineOptions, Platform};
use imagestream_registry::{Client, ClientOptions};
use imagestream_store::sqlite::{SqliteOptions, SqliteStore};
use imagestream_store::{Limits, Store};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{image_streams, images};
use crate::config::{content_source_policy, image_config, mirror_sets};
use crate::context::Context;
use crate::core::recorder::EventRecorder;
use crate::core::{events, limit_ranges, namespaces, resource_quotas, secrets};
use crate::prune::GuardedStore;
use crate::rbac::roles;
use crate::surroundings::Surroundings;

mod rival;

pub(crate) use rival::Rival;

/// What a test decides about its server.
pub(crate) struct Options {
    pub(crate) hosts: RegistryHosts,
    pub(crate) allowed_registries: AllowedRegistries,
    /// Of one transaction.
    pub(crate) limits: Option<Limits>,
    /// What stands between the server and its store.
    pub(crate) rival: Option<Arc<Rival>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts: RegistryHosts::default(),
            allowed_registries: AllowedRegistries::all(),
            limits: None,
            rival: None,
        }
    }
}

/// The server and the directory of its store.
pub(crate) struct TestServer {
    pub(crate) context: Arc<Context>,
    dispatcher: Dispatcher,
    /// What is to go on as long as the server lives, and what of it has begun.
    tasks: Mutex<Vec<BoxFuture<'static, ()>>>,
    running: JoinSet<()>,
    _directory: tempfile::TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut of_store = SqliteOptions::default();
        if let Some(limits) = options.limits {
            of_store.limits = limits;
        }
        let mut store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(directory.path(), of_store).await.unwrap());
        if let Some(rival) = options.rival {
            store = Arc::new(rival::Contended::new(store, rival));
        }
        let (streams, images) = ("/image.openshift.io/imagestreams/", "/image.openshift.io/images/");
        let guarded = GuardedStore::open(store, streams, images).await;
        let store: Arc<dyn Store> = Arc::new(guarded.unwrap());
        let objects = |form: Arc<dyn Form>| {
            let resource = form.resource();
            let prefix = format!("/{}/{}/", resource.kind.group, resource.plural);
            let keeping = Keeping {
                on_disk: resource.plural == "images",
            };
            Arc::new(Objects::open(Arc::clone(&store), &prefix, form, keeping))
        };
        let mode = ImportMode::Legacy;
        let context = Arc::new(Context {
            authorizer: Arc::new(Authorizer::new(Policy::new())),
            engine: engine(),
            host_credentials: None,
            allowed_registries: options.allowed_registries,
            import_mode: mode,
            import_timeout: Duration::from_secs(30),
            streams: objects(image_streams::form(options.hosts.clone(), mode)),
            hosts: options.hosts,
            images: objects(images::form()),
            namespaces: objects(namespaces::form()),
            secrets: objects(Arc::new(Plain(&secrets::SECRETS))),
            limit_ranges: objects(limit_ranges::form()),
            resource_quotas: objects(resource_quotas::form()),
            events: objects(events::form()),
            recorder: EventRecorder::new().unwrap(),
            image_configs: objects(image_config::form()),
            digest_mirror_sets: objects(mirror_sets::digest_form()),
            tag_mirror_sets: objects(mirror_sets::tag_form()),
            content_source_policies: objects(content_source_policy::form()),
            rbac: roles::forms().map(objects),
            store: Arc::clone(&store),
        });
        Self {
            dispatcher: Dispatcher {
                api: Api::new(super::endpoints(&context)),
                admission: Arc::new(AdmitAll),
            },
            context,
            tasks: Mutex::default(),
            running: JoinSet::new(),
            _directory: directory,
        }
    }

    /// A server with all that surrounds its images. Tasks do not run before [`Self::run_tasks`].
    pub(crate) async fn surrounded() -> Self {
        let server = Self::start().await;
        let surroundings = Surroundings::prepare(&server.context).await.unwrap();
        let mut endpoints = super::endpoints(&server.context);
        endpoints.extend(surroundings.endpoints);
        let dispatcher = Dispatcher {
            api: Api::new(endpoints),
            admission: surroundings.admission,
        };
        Self {
            dispatcher,
            tasks: Mutex::new(surroundings.tasks),
            ..server
        }
    }

    /// Lets the tasks of the server run.
    pub(crate) fn run_tasks(&mut self) {
        for task in self.tasks.get_mut().unwrap().drain(..) {
            self.running.spawn(task);
        }
    }

    /// Puts roles and bindings (YAML) in force.
    pub(crate) fn grant(&self, yaml: &str) {
        for object in load::load(yaml).unwrap() {
            self.context
                .authorizer
                .update(|policy| policy.put(object, Origin::Fixed));
        }
    }

    /// Sends a request; the code and the body that are answered. Only `admin` may do everything. A patch with a field
    /// manager is an apply.
    pub(crate) async fn send(
        &self,
        user: &str,
        method: &str,
        target: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let content_type = match method {
            "PATCH" if target.contains("fieldManager=") => "application/apply-patch+yaml",
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let builder = http::Request::builder().method(method).uri(target);
        let head = builder.header("content-type", content_type).body(()).unwrap();
        let (head, ()) = head.into_parts();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let info = RequestInfo::new(method, head.uri.path(), &query);
        let user = UserInfo {
            name: user.into(),
            groups: (user == "admin").then(|| MASTERS.into()).into_iter().collect(),
            ..UserInfo::default()
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        let request = Request::new(info, user, query, Timestamp::now(), deadline);
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let answer = self.dispatcher.dispatch(Arc::new(request), &head, body).await;
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap())
    }

    /// Sends an object of the namespace `n` to `resource` as a user; what is answered, which must have this code.
    pub(crate) async fn post(&self, user: &str, resource: &str, object: &Value, code: u16) -> Value {
        let target = format!("/apis/{GROUP}/v1/namespaces/n/{resource}");
        let (answered, body) = self.send(user, "POST", &target, Some(object)).await;
        assert_eq!(answered, code, "{body}");
        body
    }

    /// Asks for something in the namespace `n` as the administrator; code and body.
    pub(crate) async fn get(&self, what: &str) -> (u16, Value) {
        let target = format!("/apis/{GROUP}/v1/namespaces/n/{what}");
        self.send("admin", "GET", &target, None).await
    }

    /// Stores an object as it is.
    pub(crate) async fn store(&self, objects: &Objects, object: Value) {
        objects.create(object).await.unwrap();
    }

    /// Names of all images that are stored.
    pub(crate) async fn images(&self) -> Vec<String> {
        let (images, _) = self
            .context
            .images
            .all("", &Default::default(), &Default::default())
            .await
            .unwrap();
        let name = |image: Value| image["metadata"]["name"].as_str().unwrap().to_owned();
        images
            .into_iter()
            .map(|image| name(image.to_value().unwrap()))
            .collect()
    }
}

/// Reads repositories whole, for linux/amd64.
fn engine() -> Engine {
    let options = ClientOptions {
        proxies_from_environment: false,
        ..ClientOptions::default()
    };
    let platform = Platform {
        os: "linux".into(),
        architecture: "amd64".into(),
    };
    Engine::new(
        Client::new(options).unwrap(),
        EngineOptions {
            max_images_per_repository: None,
            platform,
        },
    )
}

/// An import into the stream `s` of images, named in full, into tags.
pub(crate) fn import(images: &[(&str, &str)]) -> Value {
    let image = |(from, to): &(&str, &str)| {
        json!({"from": {"kind": "DockerImage", "name": from}, "to": {"name": to},
               "importPolicy": {"insecure": true}})
    };
    let images: Vec<Value> = images.iter().map(image).collect();
    json!({"kind": "ImageStreamImport", "apiVersion": "image.openshift.io/v1", "metadata": {"name": "s"},
           "spec": {"import": true, "images": images}})
}
