//! The roles and bindings that are there from the start: [default roles][1], and OpenShift's for image streams.
//!
//! [1]: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings

use imagestream_apiserver::errors;
use imagestream_apiserver::metadata;
use imagestream_apiserver::rbac::load::load;
use imagestream_apiserver::rbac::policy::Object;
use imagestream_store::{Precondition, StoreError, Write};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use super::roles::to_value;
use crate::context::Context;

/// Roles and bindings that belong together.
struct Defaults {
    /// Where the store remembers that they were created, so that those that were deleted stay away.
    created: &'static str,
    yaml: &'static str,
}

/// All of them. What comes later is a new entry: a store from before it gets it at the next start.
const DEFAULTS: [Defaults; 2] = [
    Defaults {
        created: "/imagestream/bootstrap/roles",
        yaml: include_str!("bootstrap.yaml"),
    },
    Defaults {
        created: "/imagestream/bootstrap/openshift-roles",
        yaml: include_str!("bootstrap_openshift.yaml"),
    },
];

/// Creates all of them in a store that has never had them. What an administrator made under such a name stays.
///
/// # Errors
/// Those of the store.
pub(super) async fn create(context: &Context) -> Result<(), Box<Status>> {
    for defaults in &DEFAULTS {
        defaults.create(context).await?;
    }
    Ok(())
}

impl Defaults {
    async fn create(&self, context: &Context) -> Result<(), Box<Status>> {
        let failed = imagestream_apiserver::storage::failed;
        let is_there = async |key: &str| {
            let found = context.store.get(key, None).await.map_err(failed)?;
            Ok::<_, Box<Status>>(found.is_some())
        };
        if is_there(self.created).await? {
            return Ok(());
        }
        let mut preconditions = vec![Precondition::Absent(self.created.into())];
        let mut writes = vec![Write::Put(self.created.into(), bytes())];
        for object in self.objects()? {
            let of_kind = match object {
                Object::Role(_) => 0,
                Object::ClusterRole(_) => 1,
                Object::RoleBinding(_) => 2,
                Object::ClusterRoleBinding(_) => 3,
            };
            let mut value = to_value(&object).map_err(errors::internal_error)?;
            metadata::identify(&mut value, Timestamp::now());
            let write = context.rbac[of_kind].put(&value)?;
            if is_there(write.key()).await? {
                continue;
            }
            preconditions.push(Precondition::Absent(write.key().to_owned()));
            writes.push(write);
        }
        match context.store.commit(&preconditions, &writes).await {
            // Another server of the same store was first.
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn objects(&self) -> Result<Vec<Object>, Box<Status>> {
        load(self.yaml).map_err(|error| errors::internal_error(error).into())
    }
}

fn bytes() -> bytes::Bytes {
    bytes::Bytes::from_static(b"1")
}

#[cfg(test)]
mod tests {
    use imagestream_apiserver::authn::UserInfo;
    use imagestream_apiserver::rbac::policy::Origin;
    use imagestream_apiserver::rbac::{Attributes, Authorizer, Policy, Target};

    use super::*;

    fn may(user: &UserInfo, verb: &str, target: Target<'_>) -> bool {
        let mut policy = Policy::new();
        for object in DEFAULTS.iter().flat_map(|defaults| defaults.objects().unwrap()) {
            policy.put(object, Origin::Stored);
        }
        Authorizer::new(policy)
            .authorize(&Attributes { user, verb, target })
            .allowed
    }

    #[test]
    fn whoever_is_known_may_look_around_and_ask_what_they_may_but_no_more() {
        let user = UserInfo {
            name: "ann".into(),
            ..UserInfo::default()
        }
        .authenticated();
        let resource = |group, resource| Target::Resource {
            group,
            resource,
            subresource: "",
            namespace: "n",
            name: "",
        };
        assert!(may(&user, "get", Target::Path("/apis/image.openshift.io/v1")));
        assert!(may(
            &user,
            "create",
            resource("authorization.k8s.io", "selfsubjectaccessreviews")
        ));
        assert!(!may(&user, "get", Target::Path("/metrics")));
        assert!(!may(
            &user,
            "list",
            resource("image.openshift.io", "imagestreams")
        ));
        assert!(!may(&user, "get", resource("", "secrets")));
        let nobody = UserInfo::anonymous();
        assert!(may(&nobody, "get", Target::Path("/healthz")));
        assert!(!may(&nobody, "get", Target::Path("/apis")));
    }

    #[test]
    fn admin_edit_and_view_gather_what_each_may_do_with_streams() {
        let mut policy = Policy::new();
        for object in DEFAULTS.iter().flat_map(|defaults| defaults.objects().unwrap()) {
            policy.put(object, Origin::Stored);
        }
        let has = |role: &str, resource: &str, verb: &str| {
            policy.cluster_role_rules(role).unwrap().iter().any(|rule| {
                rule.resources.iter().flatten().any(|known| known == resource)
                    && rule.verbs.iter().any(|known| known == verb)
            })
        };
        assert!(has("view", "imagestreams", "watch") && !has("view", "imagestreams", "create"));
        assert!(!has("view", "secrets", "get"));
        assert!(has("edit", "imagestreamimports", "create") && !has("edit", "rolebindings", "create"));
        assert!(has("admin", "rolebindings", "create") && has("admin", "imagestreams", "get"));
    }
}
