//! What a registry or its token service is given to prove who asks.
//!
//! See the [Docker token](https://distribution.github.io/distribution/spec/auth/token/) and
//! [OAuth2](https://distribution.github.io/distribution/spec/auth/oauth/) specifications.

use std::fmt;

/// A credential for one registry. `Debug` never shows a secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// User name and password, for basic authentication and for asking for tokens.
    Basic {
        /// The user; may be empty.
        username: String,
        /// The password or access token; may be empty.
        password: String,
    },
    /// A refresh token, exchanged for access tokens by OAuth2.
    IdentityToken {
        /// The account the token belongs to, if it is known.
        username: Option<String>,
        /// The refresh token.
        token: String,
    },
}

impl Credential {
    /// User and password, if both are set: the only form in which they are ever sent.
    pub(crate) fn user_and_password(&self) -> Option<(&str, &str)> {
        match self {
            Self::Basic { username, password } if !username.is_empty() && !password.is_empty() => {
                Some((username, password))
            }
            _ => None,
        }
    }

    /// The account that tokens are asked for.
    pub(crate) fn account(&self) -> Option<&str> {
        match self {
            Self::Basic { username, .. } => Some(username.as_str()),
            Self::IdentityToken { username, .. } => username.as_deref(),
        }
        .filter(|account| !account.is_empty())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => f
                .debug_struct("Basic")
                .field("username", username)
                .finish_non_exhaustive(),
            Self::IdentityToken { username, .. } => f
                .debug_struct("IdentityToken")
                .field("username", username)
                .finish_non_exhaustive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_names_the_user_but_no_secret() {
        let basic = Credential::Basic {
            username: "ann".into(),
            password: "hunter2".into(),
        };
        let identity = Credential::IdentityToken {
            username: None,
            token: "refresh-me".into(),
        };
        let shown = format!("{basic:?} {identity:?}");
        assert!(shown.contains("ann"), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("refresh-me"),
            "{shown}"
        );
    }

    #[test]
    fn half_a_pair_is_no_pair() {
        for (username, password) in [("", "p"), ("u", ""), ("", "")] {
            let credential = Credential::Basic {
                username: username.into(),
                password: password.into(),
            };
            assert_eq!(credential.user_and_password(), None);
        }
    }
}
