//! `imagestreamimports`: reads images from registries, answers with what was found and, if asked to, records it in a
//! stream.

use std::sync::Arc;
use std::time::Duration;

use imagestream_api::defaults;
use imagestream_api::field::{self, FieldError, quoted};
use imagestream_api::stream::source::StreamKey;
use imagestream_api::types::{
    GROUP, ImageStream, ImageStreamImport, ImageStreamImportStatus, Status, Time, Typed,
};
use imagestream_api::validation;
use imagestream_apiserver::admission::Creation;
use imagestream_apiserver::authn::UserInfo;
use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::errors::{self, GroupResource};
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use imagestream_apiserver::metadata;
use imagestream_apiserver::options::WriteOptions;
use imagestream_apiserver::rbac::Target;
use imagestream_import::{Credentials, Progress, apply};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::import_record::{Recording, record};
use super::policy;
use super::stream_secrets::{keychain, pull_secrets};
use super::stream_write::{complete, may, read, typed};
use crate::context::Context;
use crate::schema;

/// How much later than the request its import would end by itself.
const AFTER_THE_REQUEST: Duration = Duration::from_secs(1);

static IMAGE_STREAM_IMPORT: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "ImageStreamImport",
    schema: &schema::image::IMAGE_STREAM_IMPORT,
    package: "image",
    description: "The image stream import resource provides an easy way for a user to find and import container \
                  images from other container image registries into the server.",
};

/// `imagestreamimports`
pub static IMAGE_STREAM_IMPORTS: Resource = Resource {
    kind: &IMAGE_STREAM_IMPORT,
    plural: "imagestreamimports",
    subresource: "",
    singular: "imagestreamimport",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// The endpoint.
#[must_use]
pub fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(ImageStreamImports {
        context: Arc::clone(context),
    })
}

struct ImageStreamImports {
    context: Arc<Context>,
}

impl ImageStreamImports {
    async fn import(
        &self,
        request: &Request,
        mut object: Value,
        options: WriteOptions,
        creation: Creation<'_>,
    ) -> Result<Outcome, Box<Status>> {
        metadata::refuse_generated_name(&object)?;
        metadata::identify(&mut object, request.now);
        let import: ImageStreamImport = typed(object.clone())?;
        check(&import)?;
        let admitted = creation.admit_valid(&object).await?;
        let effects = Effects {
            dry_run: options.dry_run,
            notes_repository: false,
        };
        let (import, makes_stream) = carry_out(&self.context, request, import, effects).await?;
        if makes_stream {
            admitted.stored();
        }
        Ok(Outcome::created(complete(&import)?))
    }
}

/// What an import does besides what it is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effects {
    /// Do everything but store.
    pub(crate) dry_run: bool,
    /// Note in the stream how the import of its repository went, so that a failed one is not forgotten. Clients' own
    /// imports only keep such a note up to date.
    pub(crate) notes_repository: bool,
}

/// Carries out an import, defaulted and valid, as the user of `request`, and returns it with its status, and whether it made
/// the stream.
///
/// # Errors
/// 422 if nothing may be imported from there, or if the stream would be invalid; 404 and 409 if the stream is not in the
/// state that the import supposes; those of the store.
async fn carry_out(
    context: &Context,
    request: &Request,
    mut import: ImageStreamImport,
    effects: Effects,
) -> Result<(ImageStreamImport, bool), Box<Status>> {
    import.status = ImageStreamImportStatus::default();
    check_origin(context, request, &import)?;
    let key = stream_of(&import);
    let stream = target(context, &key, import.metadata.resource_version.as_deref()).await?;
    // If the client goes away this future is dropped, and with it everything that is being fetched.
    import.status = Box::pin(fetch(context, request, &import, &key, stream.as_ref())).await?;
    let makes_stream = import.spec.import && record_and_show(context, request, &mut import, effects).await?;
    apply::clear_manifests(&import.spec, &mut import.status);
    Ok((import, makes_stream))
}

/// Reads what an import, defaulted, for this stream asks for, as the user of `request`: that becomes its status, and
/// nothing is recorded.
///
/// # Errors
/// 422 if the import is invalid or nothing may be imported from there; those of the store.
pub(crate) async fn find(
    context: &Context,
    request: &Request,
    import: &mut ImageStreamImport,
    stream: &ImageStream,
) -> Result<(), Box<Status>> {
    import.status = ImageStreamImportStatus::default();
    check(import)?;
    check_origin(context, request, import)?;
    let key = stream_of(import);
    import.status = Box::pin(fetch(context, request, import, &key, Some(stream))).await?;
    Ok(())
}

/// Records results that are known, the status of `import`, as every import does, and shows in it what was recorded.
///
/// # Errors
/// 422 if the stream would be invalid; 409 if it is not in the state that the import supposes; those of the store.
pub(crate) async fn record_results(
    context: &Context,
    request: &Request,
    import: &mut ImageStreamImport,
    effects: Effects,
) -> Result<(), Box<Status>> {
    record_and_show(context, request, import, effects).await.map(drop)
}

/// The same; tells whether the stream was made for it.
async fn record_and_show(
    context: &Context,
    request: &Request,
    import: &mut ImageStreamImport,
    effects: Effects,
) -> Result<bool, Box<Status>> {
    let key = stream_of(import);
    let recording = Recording {
        context,
        request,
        key: &key,
        effects,
    };
    let recorded = record(&recording, import).await?;
    apply::show_recorded(&import.spec, &mut import.status, &recorded.images);
    import.status.import = Some(recorded.stream);
    Ok(recorded.is_new)
}

/// Whether an import is valid.
fn check(import: &ImageStreamImport) -> Result<(), Box<Status>> {
    refuse(import, &validation::image_stream_import(import))
}

/// Whether the user may import from where the import names.
fn check_origin(context: &Context, request: &Request, import: &ImageStreamImport) -> Result<(), Box<Status>> {
    if may_import_from_anywhere(context, &request.user) {
        return Ok(());
    }
    refuse(import, &validation::allowed(import, &context.allowed_registries))
}

fn stream_of(import: &ImageStreamImport) -> StreamKey {
    StreamKey {
        namespace: import.metadata.namespace.clone().unwrap_or_default(),
        name: import.metadata.name.clone().unwrap_or_default(),
    }
}

/// Whoever may create images of any origin may import them from anywhere.
fn may_import_from_anywhere(context: &Context, user: &UserInfo) -> bool {
    // The second one is in the singular: that is how roles grant it.
    ["images", "imagestreammapping"].into_iter().any(|resource| {
        let target = Target::Resource {
            group: GROUP,
            resource,
            subresource: "",
            namespace: "",
            name: "",
        };
        may(context, user, "create", target).allowed
    })
}

/// The stream that the import is for, if it exists and is in the state that the client supposes.
async fn target(
    context: &Context,
    key: &StreamKey,
    supposed: Option<&str>,
) -> Result<Option<ImageStream>, Box<Status>> {
    let stored = read(context, &key.namespace, &key.name).await?;
    let Some(supposed) = supposed.filter(|version| !version.is_empty()) else {
        return Ok(stored.map(|(stream, _)| stream));
    };
    let Some((stream, _)) = stored else {
        return Err(IMAGE_STREAM_IMPORTS.not_found(&key.name).into());
    };
    let version = stream.metadata.resource_version.as_deref().unwrap_or_default();
    if version != supposed {
        let (supposed, version) = (quoted(supposed), quoted(version));
        let why = format!("the image stream was updated from {supposed} to {version}");
        let resource = GroupResource::new(GROUP, "imagestream");
        return Err(errors::conflict(resource, &key.name, why).into());
    }
    Ok(Some(stream))
}

/// Reads everything that the import names, with the pull secrets of its namespace.
async fn fetch(
    context: &Context,
    request: &Request,
    import: &ImageStreamImport,
    key: &StreamKey,
    stream: Option<&ImageStream>,
) -> Result<ImageStreamImportStatus, Box<Status>> {
    let rules = policy::rules(context).await?;
    let (secrets, _) = pull_secrets(context, &key.namespace).await?;
    let credentials = Credentials {
        secrets: keychain(&secrets),
        host: context.host_credentials.clone(),
    };
    let deadline = deadline(context, request);
    let fetch = imagestream_import::Request {
        spec: &import.spec,
        stream,
        rules: &rules,
        credentials: &credentials,
        now: &Time(request.now),
        deadline,
        patience: deadline.min(patience(request)),
        progress: &Progress::default(),
    };
    Ok(context.engine.run(&fetch).await)
}

/// When every item must be settled.
///
/// An administrator may have imports end before requests do: then what was read until then is the answer. Otherwise
/// the request ends with a timeout, as clients know it.
fn deadline(context: &Context, request: &Request) -> Instant {
    let end = Instant::now() + context.import_timeout;
    if end < request.deadline {
        end
    } else {
        request.deadline + AFTER_THE_REQUEST
    }
}

/// Until when registries are waited for that want to be left alone: for half of the time that the request has. The other
/// half is left to ask for what did not have to wait, to record it, and to answer on a busy machine, too.
fn patience(request: &Request) -> Instant {
    let now = Instant::now();
    now + request.deadline.saturating_duration_since(now) / 2
}

impl Endpoint for ImageStreamImports {
    fn resource(&self) -> &'static Resource {
        &IMAGE_STREAM_IMPORTS
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Create]
    }

    fn normalise(&self, object: Value) -> Result<Value, String> {
        let mut import = ImageStreamImport::deserialize(object).map_err(|error| error.to_string())?;
        defaults::image_stream_import(&mut import, self.context.import_mode);
        serde_json::to_value(Typed::new(&import)).map_err(|error| error.to_string())
    }

    fn empty(&self) -> Value {
        json!({"metadata": {}, "spec": {"import": false}, "status": {}})
    }

    fn create<'a>(
        &'a self,
        request: &'a Request,
        object: Value,
        options: WriteOptions,
        creation: Creation<'a>,
    ) -> Reply<'a> {
        Box::pin(self.import(request, object, options, creation))
    }

    fn is_long_running(&self) -> bool {
        true
    }
}

fn refuse(import: &ImageStreamImport, errors: &[FieldError]) -> Result<(), Box<Status>> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = import.metadata.name.as_deref().unwrap_or_default();
    Err(field::invalid("ImageStreamImport", name, errors).into())
}

#[cfg(test)]
mod tests;
