//! Whether a user may make a request: the question to the authorizer, and the refusal as a status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::health::OPEN_PATHS;
use crate::authn::{Impersonation, UserInfo, impersonation};
use crate::errors::{self, GroupResource};
use crate::rbac::authorizer::refusal;
use crate::rbac::{Attributes, Authorizer, Decision, Target};
use crate::request_info::RequestInfo;

/// A request that is refused.
pub(super) struct Refused {
    pub(super) decision: Decision,
    pub(super) status: Box<Status>,
}

/// Whether the user may make the request; what allows it.
///
/// Health is everyone's: who probes has no account. The roles that count are those of the cluster and of the namespace
/// `scope`, if that is not empty.
pub(super) fn check(
    authorizer: &Authorizer,
    user: &UserInfo,
    info: &RequestInfo,
    scope: &str,
) -> Result<Decision, Refused> {
    if !info.is_resource && OPEN_PATHS.contains(&info.path.as_str()) {
        return Ok(Decision {
            allowed: true,
            reason: String::new(),
        });
    }
    let target = if info.is_resource {
        Target::Resource {
            group: &info.group,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: scope,
            name: &info.name,
        }
    } else {
        Target::Path(&info.path)
    };
    ask(
        authorizer,
        &Attributes {
            user,
            verb: &info.verb,
            target,
        },
    )
}

/// Whether the user may act as somebody else.
pub(super) fn check_impersonation(
    authorizer: &Authorizer,
    user: &UserInfo,
    wanted: &Impersonation,
) -> Result<(), Refused> {
    for check in &wanted.checks {
        let attributes = Attributes {
            user,
            verb: impersonation::VERB,
            target: check.target(),
        };
        ask(authorizer, &attributes)?;
    }
    Ok(())
}

fn ask(authorizer: &Authorizer, attributes: &Attributes<'_>) -> Result<Decision, Refused> {
    let decision = authorizer.authorize(attributes);
    if decision.allowed {
        return Ok(decision);
    }
    let (resource, name) = match attributes.target {
        Target::Path(_) => (GroupResource::new("", ""), ""),
        Target::Resource {
            group,
            resource,
            name,
            ..
        } => (GroupResource::new(group, resource), name),
    };
    let status = errors::forbidden(resource, name, refusal(attributes, &decision.reason));
    Err(Refused {
        decision,
        status: status.into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(method: &str, path: &str) -> serde_json::Value {
        let user = UserInfo::anonymous();
        let info = RequestInfo::new(method, path, "");
        let refused = check(&Authorizer::default(), &user, &info, &info.namespace)
            .err()
            .unwrap();
        serde_json::to_value(&*refused.status).unwrap()
    }

    #[test]
    fn refusals_have_the_words_and_details_of_a_real_servers_answers() {
        assert_eq!(
            refused("GET", "/apis/image.example/v1"),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                   "message": "forbidden: User \"system:anonymous\" cannot get path \"/apis/image.example/v1\"",
                   "reason": "Forbidden", "details": {}, "code": 403})
        );
        assert_eq!(
            refused("GET", "/apis/image.example/v1/namespaces/n/streams/s"),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                   "message": "streams.image.example \"s\" is forbidden: User \"system:anonymous\" cannot get resource \
                               \"streams\" in API group \"image.example\" in the namespace \"n\"",
                   "reason": "Forbidden",
                   "details": {"name": "s", "group": "image.example", "kind": "streams"}, "code": 403})
        );
    }

    #[test]
    fn health_is_open_and_its_single_checks_are_not() {
        let user = UserInfo::anonymous();
        let allowed = |path| {
            let info = RequestInfo::new("GET", path, "verbose");
            check(&Authorizer::default(), &user, &info, &info.namespace).is_ok()
        };
        for path in OPEN_PATHS {
            assert!(allowed(path), "{path}");
        }
        for path in ["/healthz/etcd", "/metrics", "/version", "/"] {
            assert!(!allowed(path), "{path}");
        }
    }
}
