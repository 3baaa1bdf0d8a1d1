//! `project.openshift.io/v1`: namespaces as OpenShift's clients know them. Whoever may see a namespace sees its project,
//! and whoever may make projects for themselves asks for one.

mod projects;
mod requests;

use std::sync::Arc;

use imagestream_apiserver::endpoint::{Endpoint, Object};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::Value;

use crate::context::Context;
use crate::rbac::PolicySync;

pub(crate) use projects::PROJECTS;

const GROUP: &str = "project.openshift.io";
/// What people call the project.
const DISPLAY_NAME: &str = "openshift.io/display-name";

/// The endpoints of the group, over that of namespaces. `policy` puts the role of whoever asks for a project in force.
pub(crate) fn endpoints(
    context: &Arc<Context>,
    namespaces: &Arc<dyn Endpoint>,
    policy: &Arc<PolicySync>,
) -> Vec<Arc<dyn Endpoint>> {
    vec![
        projects::endpoint(context, namespaces, policy),
        requests::endpoint(context, policy),
    ]
}

/// A namespace as a project.
fn project(namespace: Object) -> Result<Value, Box<Status>> {
    let mut object = namespace.into_value()?;
    if let Some(fields) = object.as_object_mut() {
        fields.insert("kind".into(), "Project".into());
        fields.insert("apiVersion".into(), "project.openshift.io/v1".into());
    }
    Ok(object)
}
