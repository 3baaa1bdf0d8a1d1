//! Who a request is from: [authentication strategies](https://kubernetes.io/docs/reference/access-authn-authz/authentication/).

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;

use crate::authn::certificates::CertificateError;
use crate::authn::{CertificateUser, Tokens, UserInfo};

/// What is accepted as proof of who somebody is, beside the client certificates that TLS accepts.
#[derive(Debug)]
pub struct Authentication {
    /// The users with tokens.
    pub tokens: Tokens,
    /// Whether who shows nothing is `system:anonymous`, who may do what RBAC allows; otherwise it is 401.
    pub anonymous: bool,
}

impl Default for Authentication {
    /// No tokens; anonymous requests are left to the authorizer, as in Kubernetes.
    fn default() -> Self {
        Self {
            tokens: Tokens::default(),
            anonymous: true,
        }
    }
}

/// The client certificate of a connection, read once.
pub(super) type ShownCertificate = Result<CertificateUser, CertificateError>;

impl Authentication {
    /// Who shows this; nothing if what was shown proves nothing.
    ///
    /// The certificate comes first; a token helps who shows a useless certificate. Wrong credentials never make an
    /// anonymous user.
    pub(super) fn user(
        &self,
        certificate: Option<&ShownCertificate>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Option<UserInfo> {
        if let Some(Ok(shown)) = certificate
            && shown.is_valid_at(now)
        {
            return Some(shown.user.clone());
        }
        match bearer_token(headers) {
            Some(token) => self.tokens.authenticate(token),
            None if certificate.is_none() && self.anonymous => Some(UserInfo::anonymous()),
            None => None,
        }
    }
}

/// The token of a request. One that is not text, and a second one, is a token that nobody has.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).into_iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some("");
    }
    let Ok(text) = value.to_str() else {
        return Some("");
    };
    let (scheme, token) = text.trim().split_once(' ').unwrap_or((text, ""));
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::authn::TokenFile;

    fn user(authentication: &Authentication, values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        authentication
            .user(None, &headers, Timestamp::UNIX_EPOCH)
            .map(|user| user.name)
    }

    #[test]
    fn a_token_is_its_users_and_a_wrong_one_is_nobodys() {
        let authentication = Authentication {
            tokens: Tokens::new(TokenFile::parse("secret,ann,1").unwrap()),
            ..Authentication::default()
        };
        for (values, expected) in [
            (&["Bearer secret"][..], Some("ann")),
            (&["bearer  secret "], Some("ann")),
            (&["Bearer wrong"], None),
            (&["Bearer secrét"], None),
            (&["Bearer secret", "Bearer secret"], None),
            (&["Bearer"], Some("system:anonymous")),
            (&["Basic YTpi"], Some("system:anonymous")),
            (&[], Some("system:anonymous")),
        ] {
            assert_eq!(user(&authentication, values).as_deref(), expected, "{values:?}");
        }
    }

    #[test]
    fn the_users_of_a_new_file_are_there_at_once_and_those_of_the_old_one_are_not() {
        let authentication = Authentication {
            tokens: Tokens::new(TokenFile::parse("secret,ann,1").unwrap()),
            ..Authentication::default()
        };
        let shared = authentication.tokens.clone();
        shared.replace(TokenFile::parse("other,bob,2").unwrap());
        assert_eq!(user(&authentication, &["Bearer secret"]), None);
        assert_eq!(user(&authentication, &["Bearer other"]).as_deref(), Some("bob"));
    }

    #[test]
    fn without_anonymous_users_showing_nothing_is_not_enough() {
        let authentication = Authentication {
            anonymous: false,
            ..Authentication::default()
        };
        assert_eq!(user(&authentication, &[]), None);
        assert_eq!(user(&authentication, &["Bearer secret"]), None);
    }

    #[test]
    fn a_useless_certificate_makes_no_anonymous_user() {
        let shown = Err(CertificateError::NoCommonName);
        let nobody = Authentication::default().user(Some(&shown), &HeaderMap::new(), Timestamp::UNIX_EPOCH);
        assert_eq!(nobody, None);
    }
}
