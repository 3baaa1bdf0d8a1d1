//! Imports that controllers make: the same as a client's own, as a user of their own, and counted.

use std::sync::Arc;
use std::time::Duration;

use imagestream_api::defaults;
use imagestream_api::types::{ImageImportSpec, ImageImportStatus, ImageStream, ImageStreamImport};
use imagestream_apiserver::authn::UserInfo;
use imagestream_apiserver::authn::user::{AUTHENTICATED, service_account_user_name};
use imagestream_apiserver::endpoint::Request;
use imagestream_apiserver::rbac::Authorizer;
use imagestream_apiserver::rbac::load::load;
use imagestream_apiserver::rbac::policy::Origin as Granted;
use imagestream_apiserver::request_info::RequestInfo;
use imagestream_import::apply;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::time::Instant;

use super::import_controller::{host, is_refusal};
use super::metrics::ImportMetrics;
use super::still_wanted;
use crate::context::Context;
use crate::image::imports::{Effects, find, record_results};
use crate::image::stream_write::read;

/// Where the service account would be, if it were one.
const NAMESPACE: &str = "openshift-infra";
/// Its name.
const NAME: &str = "image-import-controller";
/// Longest import of a controller as a whole. Its items end with `import.requestTimeout`.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// How often what was found is recorded in a stream that others keep changing.
const ATTEMPTS: usize = 20;

/// What imports of controllers do.
const EFFECTS: Effects = Effects {
    dry_run: false,
    notes_repository: true,
};

/// What the user may do. It is in force wherever the controllers run, and not stored.
const ROLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "system:openshift:controller:image-import-controller"}
rules:
- {apiGroups: ["image.openshift.io"], resources: [imagestreams], verbs: [get, list, watch, create, update]}
- {apiGroups: ["image.openshift.io"], resources: [images], verbs: [get, list, watch, create, update, patch, delete]}
- {apiGroups: ["image.openshift.io"], resources: [imagestreamimports], verbs: [create]}
- {apiGroups: [""], resources: [events], verbs: [create, update, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "system:openshift:controller:image-import-controller"}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: "system:openshift:controller:image-import-controller"
subjects: [{kind: ServiceAccount, name: image-import-controller, namespace: openshift-infra}]
"#;

/// Imports as the controllers' user.
pub(crate) struct Importer {
    context: Arc<Context>,
    metrics: ImportMetrics,
    /// Whether scheduled tags are followed: then they wait where others would fail.
    is_schedule_kept: bool,
}

/// Items of an import, with what came of them.
type Items = Vec<(ImageImportSpec, ImageImportStatus)>;

/// Puts the role of the controllers' user in force.
///
/// # Errors
/// Why the role can't be read; never, as it is built in.
pub(super) fn grant(authorizer: &Authorizer) -> Result<(), String> {
    let objects = load(ROLE).map_err(|error| error.to_string())?;
    authorizer.update(|policy| {
        for object in objects {
            policy.put(object, Granted::Fixed);
        }
    });
    Ok(())
}

impl Importer {
    pub(super) fn new(context: &Arc<Context>, metrics: ImportMetrics, is_schedule_kept: bool) -> Self {
        Self {
            context: Arc::clone(context),
            metrics,
            is_schedule_kept,
        }
    }

    /// Imports what `import` asks for, which need not be defaulted, into the stream that it was made for, and returns it
    /// with what was found.
    ///
    /// If the stream is changed meanwhile, what was found is recorded in what it has become, as far as that still wants
    /// the same: whoever keeps writing a stream does not keep it from being imported, and no registry is asked twice.
    /// Items that are not wanted any more are gone from what is returned. A registry's failure is in the status of its
    /// item, and no error. That a host wants to be left alone is recorded of no scheduled tag: it waits as it is.
    ///
    /// # Errors
    /// Why nothing was imported: 409 if the stream is another one by now, or changes all the time; 422 if it would be
    /// invalid or beyond a limit; those of the store.
    pub(crate) async fn import(
        &self,
        stream: &ImageStream,
        mut import: ImageStreamImport,
    ) -> Result<ImageStreamImport, Box<Status>> {
        defaults::image_stream_import(&mut import, self.context.import_mode);
        let spec = import.spec.clone();
        let (left, imported) = match Box::pin(self.find(stream, import)).await {
            Ok((import, left)) => (left, Box::pin(self.record_found(stream, import)).await),
            Err(status) => (Items::new(), Err(status)),
        };
        match &imported {
            Ok(import) => self.metrics.imported(import, false),
            Err(status) => self.metrics.failed(&spec, status, false),
        }
        let mut import = imported?;
        for (asked, result) in left {
            import.spec.images.push(asked);
            import.status.images.push(result);
        }
        apply::clear_manifests(&import.spec, &mut import.status);
        Ok(import)
    }

    /// Reads what is asked for; what is not to be recorded of it is apart.
    async fn find(
        &self,
        stream: &ImageStream,
        mut import: ImageStreamImport,
    ) -> Result<(ImageStreamImport, Items), Box<Status>> {
        let request = request(&import);
        find(&self.context, &request, &mut import, stream).await?;
        let mut left = Items::new();
        if self.is_schedule_kept {
            let items = std::mem::take(&mut import.spec.images)
                .into_iter()
                .zip(std::mem::take(&mut import.status.images));
            for (asked, result) in items {
                if asked.import_policy.scheduled && self.is_refusal(&asked, &result) {
                    left.push((asked, result));
                } else {
                    import.spec.images.push(asked);
                    import.status.images.push(result);
                }
            }
        }
        Ok((import, left))
    }

    fn is_refusal(&self, asked: &ImageImportSpec, result: &ImageImportStatus) -> bool {
        is_refusal(&result.status, || {
            let host = host(asked.from.name.as_deref().unwrap_or_default());
            self.context.engine.client().feedback(&host).is_refusal()
        })
    }

    async fn record_found(
        &self,
        stream: &ImageStream,
        mut import: ImageStreamImport,
    ) -> Result<ImageStreamImport, Box<Status>> {
        let context = &self.context;
        let request = request(&import);
        import.status.import = Some(stream.clone());
        let mut attempts = 0;
        while !still_wanted::is_empty(&import) {
            attempts += 1;
            match record_results(context, &request, &mut import, EFFECTS).await {
                Ok(()) => break,
                Err(status) if status.code == Some(409) && attempts < ATTEMPTS => {
                    let (namespace, name) = (&import.metadata.namespace, &import.metadata.name);
                    let (namespace, name) = (namespace.as_deref(), name.as_deref());
                    let now = read(context, namespace.unwrap_or_default(), name.unwrap_or_default()).await?;
                    let now = now.filter(|(now, _)| now.metadata.uid == stream.metadata.uid);
                    let Some((now, _)) = now else {
                        return Err(status);
                    };
                    still_wanted::keep(&mut import, stream, &now);
                    import
                        .metadata
                        .resource_version
                        .clone_from(&now.metadata.resource_version);
                    import.status.import = Some(now);
                }
                Err(status) => return Err(status),
            }
        }
        Ok(import)
    }

    /// Records what `import` has as its status, which the schedule found out otherwise: the stream is then as if an import
    /// had found it.
    ///
    /// # Errors
    /// Why nothing was recorded: 409 if the stream has changed since the version that the import names; 422 and those of
    /// the store as for [`Importer::import`].
    pub(crate) async fn record(&self, mut import: ImageStreamImport) -> Result<(), Box<Status>> {
        defaults::image_stream_import(&mut import, self.context.import_mode);
        let recorded = record_results(&self.context, &request(&import), &mut import, EFFECTS).await;
        match &recorded {
            Ok(()) => self.metrics.imported(&import, true),
            // Who is late tries again.
            Err(status) if status.code == Some(409) => {}
            Err(status) => self.metrics.failed(&import.spec, status, true),
        }
        recorded
    }
}

/// A request to import, by the controllers' user.
fn request(import: &ImageStreamImport) -> Request {
    let namespace = import.metadata.namespace.as_deref().unwrap_or_default();
    let path = format!("/apis/image.openshift.io/v1/namespaces/{namespace}/imagestreamimports");
    Request::new(
        RequestInfo::new("POST", &path, ""),
        user(),
        String::new(),
        Timestamp::now(),
        Instant::now() + LONGEST,
    )
}

/// The controllers' user.
pub(super) fn user() -> UserInfo {
    UserInfo {
        name: service_account_user_name(NAMESPACE, NAME),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{NAMESPACE}"),
            AUTHENTICATED.into(),
        ],
        ..UserInfo::default()
    }
}
