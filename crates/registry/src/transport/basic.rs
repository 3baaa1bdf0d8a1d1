//! Basic authentication ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use crate::credential::Credential;

/// The `Authorization` value for a user name with a password; `None` if the credential is not such a pair.
pub(super) fn authorization(credential: Option<&Credential>) -> Option<HeaderValue> {
    let (username, password) = credential?.user_and_password()?;
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_encoded_and_never_shown() {
        let credential = Credential::Basic {
            username: "Aladdin".into(),
            password: "open sesame".into(),
        };
        let value = authorization(Some(&credential)).expect("a pair");
        assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    #[test]
    fn a_refresh_token_is_no_password() {
        let credential = Credential::IdentityToken {
            username: Some("u".into()),
            token: "t".into(),
        };
        assert_eq!(authorization(Some(&credential)), None);
    }
}
