//! The user of a request, as [`UserInfo`](https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/#TokenReviewStatus) of the authentication API names its parts.

use std::collections::BTreeMap;

/// The user name of a request without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of everyone who showed valid credentials.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everyone who showed no credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";

const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// Who makes a request. The parts mean nothing to this server beyond what the authorizer reads from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The unique name among active users.
    pub name: String,
    /// Tells users of the same name at different times apart. Empty where the authenticator knows none.
    pub uid: String,
    /// The groups that the user belongs to.
    pub groups: Vec<String>,
    /// Whatever else the authenticator learned, by lower-case key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// The user of a request that shows no credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..Self::default()
        }
    }

    /// Whether the user belongs to the group.
    #[must_use]
    pub fn is_member_of(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The same user as a member of `system:authenticated`.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        if !self.is_member_of(AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.into());
        }
        self
    }
}

/// The user name of a service account.
#[must_use]
pub fn service_account_user_name(namespace: &str, name: &str) -> String {
    format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}")
}

/// The namespace and name of the service account behind a user name, if it is one's.
#[must_use]
pub fn service_account_of(user_name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user_name.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_account_names_are_read_back_and_others_are_not_taken_for_them() {
        assert_eq!(
            service_account_of(&service_account_user_name("ns", "sa")),
            Some(("ns", "sa"))
        );
        for other in [
            "ns:sa",
            "system:serviceaccount:ns",
            "system:serviceaccount::sa",
            "system:serviceaccount:a:b:c",
        ] {
            assert_eq!(service_account_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_user_joins_the_authenticated_group_once() {
        let user = UserInfo {
            name: "u".into(),
            groups: vec!["g".into()],
            ..UserInfo::default()
        };
        assert_eq!(user.authenticated().authenticated().groups, ["g", AUTHENTICATED]);
    }
}
