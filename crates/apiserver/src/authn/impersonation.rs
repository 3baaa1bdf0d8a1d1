//! Acting as somebody else: see "[User impersonation](https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation)".

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::user::{self, UserInfo};
use crate::rbac::Target;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// The verb that the requester needs on each of the [`checks`](Impersonation::checks).
pub const VERB: &str = "impersonate";

/// The most groups and extra values in one request: each costs an authorization check.
const MAX_VALUES: usize = 256;

/// Why the impersonation headers of a request make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImpersonationError {
    /// A group, uid or extra is given, but no user that has it.
    #[error("requested to impersonate a group, uid or extra without impersonating a user")]
    NoUser,
    /// `Impersonate-User` or `Impersonate-Uid` occurs more than once.
    #[error("{0} occurs more than once")]
    Repeated(HeaderName),
    /// A value isn't UTF-8.
    #[error("the value of {0} is not UTF-8")]
    NotText(HeaderName),
    /// More groups and extra values than [`MAX_VALUES`].
    #[error("more than {MAX_VALUES} groups and extra values")]
    TooMany,
}

/// One thing that the requester must be allowed to `impersonate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    group: &'static str,
    resource: &'static str,
    subresource: String,
    namespace: String,
    name: String,
}

impl Check {
    /// What to ask the authorizer about, with the verb [`VERB`].
    #[must_use]
    pub fn target(&self) -> Target<'_> {
        Target::Resource {
            group: self.group,
            resource: self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
        }
    }
}

/// Somebody whom a request wants to act as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impersonation {
    /// Who the request is from if every check passes.
    pub user: UserInfo,
    /// What the requester must be allowed to impersonate, all of it.
    pub checks: Vec<Check>,
}

impl Impersonation {
    /// Reads the headers of a request; nothing if it acts for its own user.
    ///
    /// # Errors
    /// The headers contradict each other or can't be read.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, ImpersonationError> {
        let name = single(headers, &USER)?;
        let uid = single(headers, &UID)?;
        let groups = headers
            .get_all(GROUP)
            .into_iter()
            .map(|value| text(&GROUP, value))
            .filter(|group| group.as_ref().map_or(true, |group| !group.is_empty()))
            .collect::<Result<Vec<_>, _>>()?;
        let extra = extra(headers)?;
        if groups.len() + extra.values().map(Vec::len).sum::<usize>() > MAX_VALUES {
            return Err(ImpersonationError::TooMany);
        }
        if name.is_empty() {
            return if uid.is_empty() && groups.is_empty() && extra.is_empty() {
                Ok(None)
            } else {
                Err(ImpersonationError::NoUser)
            };
        }
        let checks = checks(&name, &uid, &groups, &extra);
        let groups = completed(&name, groups);
        Ok(Some(Self {
            user: UserInfo {
                name,
                uid,
                groups,
                extra,
            },
            checks,
        }))
    }
}

/// Removes the headers, so that nobody after the check takes them for unchecked ones or passes them on.
pub fn remove_headers(headers: &mut HeaderMap) {
    let extra: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(EXTRA_PREFIX))
        .cloned()
        .collect();
    for name in extra.iter().chain([&USER, &UID, &GROUP]) {
        headers.remove(name);
    }
}

fn single(headers: &HeaderMap, name: &HeaderName) -> Result<String, ImpersonationError> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(String::new()),
        (Some(value), None) => text(name, value),
        // Which one is meant? A proxy in front may have looked at the other.
        (Some(_), Some(_)) => Err(ImpersonationError::Repeated(name.clone())),
    }
}

fn text(name: &HeaderName, value: &HeaderValue) -> Result<String, ImpersonationError> {
    let text =
        std::str::from_utf8(value.as_bytes()).map_err(|_| ImpersonationError::NotText(name.clone()))?;
    Ok(text.to_owned())
}

/// The extra values by their keys. Keys are lower-case and percent-encoded where a header name couldn't
/// hold them; one that doesn't decode is taken as it stands.
fn extra(headers: &HeaderMap) -> Result<BTreeMap<String, Vec<String>>, ImpersonationError> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(encoded) = name.as_str().strip_prefix(EXTRA_PREFIX) else {
            continue;
        };
        let key = percent_decode_str(encoded)
            .decode_utf8()
            .map_or(encoded.to_owned(), |key| key.to_lowercase());
        extra.entry(key).or_default().push(text(name, value)?);
    }
    Ok(extra)
}

fn checks(name: &str, uid: &str, groups: &[String], extra: &BTreeMap<String, Vec<String>>) -> Vec<Check> {
    let check = |group, resource, subresource: &str, name: &str| Check {
        group,
        resource,
        subresource: subresource.to_owned(),
        namespace: String::new(),
        name: name.to_owned(),
    };
    let who = match user::service_account_of(name) {
        Some((namespace, account)) => Check {
            namespace: namespace.to_owned(),
            ..check("", "serviceaccounts", "", account)
        },
        None => check("", "users", "", name),
    };
    let mut checks = vec![who];
    checks.extend(groups.iter().map(|group| check("", "groups", "", group)));
    for (key, values) in extra {
        checks.extend(
            values
                .iter()
                .map(|value| check("authentication.k8s.io", "userextras", key, value)),
        );
    }
    if !uid.is_empty() {
        checks.push(check("authentication.k8s.io", "uids", "", uid));
    }
    checks
}

/// The groups of the impersonated user: those named, or the ones every service account has, and the one
/// that tells authenticated users from anonymous ones.
fn completed(name: &str, mut groups: Vec<String>) -> Vec<String> {
    if let (Some((namespace, _)), true) = (user::service_account_of(name), groups.is_empty()) {
        groups = vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
        ];
    }
    let has = |wanted: &str| groups.iter().any(|group| group == wanted);
    let implied = if name == user::ANONYMOUS {
        user::UNAUTHENTICATED
    } else {
        user::AUTHENTICATED
    };
    if !has(user::AUTHENTICATED) && !has(user::UNAUTHENTICATED) {
        groups.push(implied.into());
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn read(values: &[(&'static str, &str)]) -> Result<Option<Impersonation>, ImpersonationError> {
        Impersonation::from_headers(&headers(values))
    }

    fn shown(check: &Check) -> String {
        let Check {
            group,
            resource,
            subresource,
            namespace,
            name,
        } = check;
        format!("{group}|{resource}|{subresource}|{namespace}|{name}")
    }

    #[test]
    fn headers_name_a_user_and_what_must_be_allowed() {
        type Case<'a> = (
            &'a [(&'static str, &'a str)],
            &'a str,
            &'a [&'a str],
            &'a [&'a str],
        );
        let cases: &[Case<'_>] = &[
            (
                &[("impersonate-user", "ann")],
                "ann",
                &["system:authenticated"],
                &["|users|||ann"],
            ),
            (
                &[
                    ("impersonate-user", "ann"),
                    ("impersonate-group", "a"),
                    ("impersonate-group", "b"),
                ],
                "ann",
                &["a", "b", "system:authenticated"],
                &["|users|||ann", "|groups|||a", "|groups|||b"],
            ),
            (
                &[("impersonate-user", "system:serviceaccount:ns:robot")],
                "system:serviceaccount:ns:robot",
                &[
                    "system:serviceaccounts",
                    "system:serviceaccounts:ns",
                    "system:authenticated",
                ],
                &["|serviceaccounts||ns|robot"],
            ),
            (
                &[
                    ("impersonate-user", "system:serviceaccount:ns:robot"),
                    ("impersonate-group", "a"),
                ],
                "system:serviceaccount:ns:robot",
                &["a", "system:authenticated"],
                &["|serviceaccounts||ns|robot", "|groups|||a"],
            ),
            (
                &[("impersonate-user", "system:anonymous")],
                "system:anonymous",
                &["system:unauthenticated"],
                &["|users|||system:anonymous"],
            ),
            (
                &[
                    ("impersonate-user", "ann"),
                    ("impersonate-group", "system:unauthenticated"),
                ],
                "ann",
                &["system:unauthenticated"],
                &["|users|||ann", "|groups|||system:unauthenticated"],
            ),
        ];
        for (headers, name, groups, checks) in cases {
            let found = read(headers).unwrap().unwrap();
            assert_eq!(found.user.name, *name);
            assert_eq!(found.user.groups, *groups, "{headers:?}");
            assert_eq!(
                found.checks.iter().map(shown).collect::<Vec<_>>(),
                *checks,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn uid_and_extra_are_checked_in_the_authentication_group() {
        let found = read(&[
            ("impersonate-user", "ann"),
            ("impersonate-uid", "42"),
            ("impersonate-extra-scopes", "view"),
            ("impersonate-extra-scopes", "edit"),
            ("impersonate-extra-example.org%2Fdept%2Fa", "x"),
            ("impersonate-extra-bad%ff", "y"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!(found.user.uid, "42");
        assert_eq!(found.user.extra["scopes"], ["view", "edit"]);
        assert_eq!(found.user.extra["example.org/dept/a"], ["x"]);
        assert_eq!(found.user.extra["bad%ff"], ["y"]);
        assert_eq!(
            found.checks.iter().map(shown).collect::<Vec<_>>(),
            [
                "|users|||ann",
                "authentication.k8s.io|userextras|bad%ff||y",
                "authentication.k8s.io|userextras|example.org/dept/a||x",
                "authentication.k8s.io|userextras|scopes||view",
                "authentication.k8s.io|userextras|scopes||edit",
                "authentication.k8s.io|uids|||42",
            ]
        );
        let Target::Resource {
            resource: "users",
            name: "ann",
            ..
        } = found.checks[0].target()
        else {
            panic!("the first check is about the user");
        };
    }

    #[test]
    fn requests_that_act_for_themselves_have_no_impersonation() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("impersonate-user", ""), ("accept", "*/*")]), Ok(None));
    }

    #[test]
    fn headers_without_a_user_or_with_two_are_refused() {
        for part in ["impersonate-group", "impersonate-uid", "impersonate-extra-x"] {
            assert_eq!(read(&[(part, "x")]), Err(ImpersonationError::NoUser), "{part}");
        }
        let twice = read(&[("impersonate-user", "ann"), ("impersonate-user", "root")]);
        assert_eq!(twice, Err(ImpersonationError::Repeated(USER)));
        let many = vec![("impersonate-group", "g"); MAX_VALUES + 1];
        assert_eq!(
            read(&[&[("impersonate-user", "ann")], many.as_slice()].concat()),
            Err(ImpersonationError::TooMany)
        );
        let mut binary = HeaderMap::new();
        binary.insert(USER, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(
            Impersonation::from_headers(&binary),
            Err(ImpersonationError::NotText(USER))
        );
    }

    #[test]
    fn removed_headers_are_gone_and_others_stay() {
        let mut all = headers(&[
            ("impersonate-user", "a"),
            ("impersonate-group", "a"),
            ("impersonate-uid", "a"),
            ("impersonate-extra-x", "a"),
            ("accept", "a"),
        ]);
        remove_headers(&mut all);
        assert_eq!(all, headers(&[("accept", "a")]));
    }
}
