//! [ResourceQuota][1]: who creates something is charged for it.
//!
//! [1]: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#resourcequota

use std::sync::Arc;

use imagestream_api::types::GROUP;
use imagestream_apiserver::admission::Admitted;
use imagestream_apiserver::kind::Resource;
use imagestream_apiserver::metadata;
use imagestream_apiserver::options::{self, WriteOptions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;

use super::Write;
use crate::context::Context;
use crate::core::quota::{Charge, Quotas, names_of};

/// How quotas count streams that come about by an import or a tag; streams that are created are counted twice.
const STREAMS: &str = "openshift.io/imagestreams";

pub(super) async fn admit(
    context: &Context,
    quotas: &Arc<Quotas>,
    write: &Write<'_>,
) -> Result<Admitted, Box<Status>> {
    let Some(charge) = charge(context, write).await? else {
        return Ok(Admitted::freely());
    };
    let query = &write.request.query;
    let dry_run =
        WriteOptions::from_query(options::Write::Create, query).is_ok_and(|options| options.dry_run);
    quotas
        .charge(charge, write.group_resource(), write.name(), dry_run)
        .await
}

/// What a write is charged for.
async fn charge(context: &Context, write: &Write<'_>) -> Result<Option<Charge>, Box<Status>> {
    let resource = write.resource;
    if !resource.namespaced || !resource.subresource.is_empty() {
        return Ok(None);
    }
    let namespace = &write.request.info.namespace;
    let stream = match (resource.kind.group, resource.plural) {
        (GROUP, "imagestreamimports") => imported_stream(write),
        (GROUP, "imagestreamtags") => {
            let (stream, _) = write.name().split_once(':').unwrap_or((write.name(), ""));
            Some(stream)
        }
        _ => return Ok(created(context, write)),
    };
    let Some(stream) = stream else {
        return Ok(None);
    };
    if context.streams.get(namespace, stream).await?.is_some() {
        return Ok(None);
    }
    Ok(Some(Charge {
        namespace: namespace.clone(),
        of: context.streams.resource(),
        name: stream.to_owned(),
        counted_as: vec![STREAMS.into()],
    }))
}

/// The stream that an import writes to, if it writes anything.
fn imported_stream<'a>(write: &'a Write<'_>) -> Option<&'a str> {
    let spec = write.object?.get("spec")?;
    let is_recorded = spec.get("import") == Some(&Value::Bool(true));
    let has_images = spec
        .get("images")
        .and_then(Value::as_array)
        .is_some_and(|images| !images.is_empty());
    let has_repository = spec.get("repository").is_some_and(Value::is_object);
    (is_recorded && (has_images || has_repository)).then(|| write.name())
}

/// The charge for an object of a stored kind.
fn created(context: &Context, write: &Write<'_>) -> Option<Charge> {
    let resource: &'static Resource = write.resource;
    let is_stored = context
        .kinds()
        .iter()
        .any(|objects| std::ptr::eq(objects.resource(), resource));
    let object = write.object.filter(|_| is_stored)?;
    Some(Charge {
        namespace: write.request.info.namespace.clone(),
        of: resource,
        name: metadata::text(object, "name").to_owned(),
        counted_as: names_of(resource),
    })
}
