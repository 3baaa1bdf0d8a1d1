//! The limits of a namespace, applied to what is stored in it.

use imagestream_api::limits;
use imagestream_api::types::{ImageStream, Status};
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use k8s_openapi::api::core::v1::LimitRange;

use super::stream_write::typed;
use crate::context::Context;

/// The limit that a stream exceeds, as the text of an error; `compared_with` is the stream as it is.
///
/// # Errors
/// Those of the store.
pub(crate) async fn stream_violation(
    context: &Context,
    stream: &ImageStream,
    compared_with: Option<&ImageStream>,
) -> Result<Option<String>, Box<Status>> {
    let namespace = stream.metadata.namespace.as_deref().unwrap_or_default();
    let limits = of_namespace(context, namespace).await?;
    Ok(limits::stream_violation(stream, compared_with, &limits))
}

/// All limits of a namespace.
///
/// # Errors
/// Those of the store.
pub(crate) async fn of_namespace(context: &Context, namespace: &str) -> Result<Vec<LimitRange>, Box<Status>> {
    let (labels, fields) = (LabelSelector::default(), FieldSelector::default());
    let (found, _) = context.limit_ranges.all(namespace, &labels, &fields).await?;
    found
        .iter()
        .map(|encoded| encoded.to_value().and_then(typed))
        .collect()
}
