//! [NamespaceLifecycle][1]: nothing is created outside of namespaces that exist and stay.
//!
//! [1]: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#namespacelifecycle

use imagestream_apiserver::errors;
use imagestream_apiserver::kind::Verb;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause};

use super::Write;
use crate::context::Context;
use crate::core::namespaces::{NAMESPACES, is_terminating};
use crate::project::PROJECTS;

/// Namespaces that are always there.
const IMMORTAL: [&str; 1] = [crate::core::namespaces::DEFAULT];

pub(super) async fn admit(context: &Context, write: &Write<'_>) -> Result<(), Box<Status>> {
    let namespace = &write.request.info.namespace;
    if [&raw const NAMESPACES, &raw const PROJECTS].contains(&std::ptr::from_ref(write.resource)) {
        let name = &*write.request.info.name;
        if write.verb == Verb::Delete && IMMORTAL.contains(&name) {
            let error = "this namespace may not be deleted";
            return Err(errors::forbidden(write.group_resource(), name, error).into());
        }
        return Ok(());
    }
    // A question about a namespace does not tell whether there is one.
    let is_question = write.resource.kind.group == "authorization.k8s.io";
    if !write.resource.namespaced || is_question || !creates(write) {
        return Ok(());
    }
    let Some(found) = context.namespaces.get("", namespace).await? else {
        return Err(NAMESPACES.not_found(namespace).into());
    };
    if write.verb == Verb::Create && is_terminating(&found.object) {
        return Err(terminating(write, namespace));
    }
    Ok(())
}

/// Whether the write may make a new object. What changes one that exists says itself that there is none.
fn creates(write: &Write<'_>) -> bool {
    match write.verb {
        Verb::Create => true,
        Verb::Update | Verb::Patch => {
            matches!(write.resource.plural, "imagestreamtags" | "imagetags" | "events")
        }
        _ => false,
    }
}

fn terminating(write: &Write<'_>, namespace: &str) -> Box<Status> {
    let error =
        format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = errors::forbidden(write.group_resource(), write.name(), error);
    if let Some(details) = &mut status.details {
        details.causes = Some(vec![StatusCause {
            reason: Some("NamespaceTerminating".into()),
            message: Some(format!("namespace {namespace} is being terminated")),
            field: Some("metadata.namespace".into()),
        }]);
    }
    Box::new(status)
}
