//! A repository of a registry: the handle that the verbs hang on.
//!
//! The name's grammar is that of the
//! [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests).

use std::sync::Arc;

use crate::client::Access;
use crate::error::Error;
use crate::transport::Transport;

/// Longest repository name, including its slashes, that a reference can hold.
const MAX_NAME_BYTES: usize = 255;

/// One repository as one caller sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) transport: Transport,
    pub(crate) name: Arc<str>,
    pub(crate) access: Arc<Access>,
}

/// A name that follows the grammar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RepositoryName<'a>(&'a str);

impl<'a> RepositoryName<'a> {
    pub(crate) fn parse(name: &'a str) -> Result<Self, Error> {
        check_name(name)?;
        Ok(Self(name))
    }
}

impl Repository {
    pub(crate) fn new(transport: Transport, name: RepositoryName<'_>, access: Access) -> Self {
        Self {
            transport,
            name: name.0.into(),
            access: Arc::new(access),
        }
    }

    /// The repository name, without the host.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.len() <= MAX_NAME_BYTES && name.split('/').all(is_component) {
        return Ok(());
    }
    let lower = name.to_ascii_lowercase();
    if lower != name && check_name(&lower).is_ok() {
        return Err(Error::RepositoryName("repository name must be lowercase"));
    }
    Err(Error::RepositoryName("invalid reference format"))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let edges_are_alphanumeric = [bytes.first(), bytes.last()]
        .into_iter()
        .all(|edge| edge.is_some_and(is_plain));
    edges_are_alphanumeric
        && bytes.split(is_plain).all(|between| {
            matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|byte| *byte == b'-')
        })
}

fn is_plain(byte: &u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["a", "library/busybox", "a.b/c_d/e__f/g--h---i/0"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in [
            "", "/a", "a/", "a//b", "-a", "a-", "a..b", "a___b", "a._b", "a b", "a/../b", "a?b", "ä",
        ] {
            assert_eq!(
                check_name(bad),
                Err(Error::RepositoryName("invalid reference format")),
                "{bad}"
            );
        }
        assert!(check_name(&"a".repeat(255)).is_ok());
        assert!(check_name(&"a".repeat(256)).is_err());
    }

    #[test]
    fn upper_case_letters_are_named_as_the_reason_if_they_are_the_only_one() {
        let text = |name| check_name(name).expect_err("refused").to_string();
        assert_eq!(text("Team/App"), "repository name must be lowercase");
        assert_eq!(text("Team//App"), "invalid reference format");
    }
}
