//! Who changes something that turns out not to exist creates it, and must be allowed to do that, too. As in Kubernetes,
//! this is only known once the object was looked for, long after the request was authorized.

use imagestream_apiserver::errors;
use imagestream_apiserver::kind::Verb;
use imagestream_apiserver::rbac::authorizer::refusal;
use imagestream_apiserver::rbac::{Attributes, Target};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::Write;
use crate::context::Context;

pub(super) fn admit(context: &Context, write: &Write<'_>) -> Result<(), Box<Status>> {
    let Write {
        request, resource, ..
    } = write;
    let verb = Verb::Create.as_str();
    if write.verb != Verb::Create || request.info.verb == verb {
        return Ok(());
    }
    let name = &*request.info.name;
    let attributes = Attributes {
        user: &request.user,
        verb,
        target: Target::Resource {
            group: resource.kind.group,
            resource: resource.plural,
            subresource: resource.subresource,
            // A new namespace is not yet one whose roles could count.
            namespace: if resource.namespaced {
                &request.info.namespace
            } else {
                ""
            },
            name,
        },
    };
    let decision = context.authorizer.authorize(&attributes);
    if decision.allowed {
        return Ok(());
    }
    let refusal = refusal(&attributes, &decision.reason);
    Err(errors::forbidden(write.group_resource(), name, refusal).into())
}
