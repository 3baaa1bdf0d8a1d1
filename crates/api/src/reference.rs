//! Image references: `[registry/][namespace/]name[:tag][@digest]`, parsed, defaulted and formatted.
//!
//! The grammar is that of the [distribution project's reference package][1]; the splitting into registry,
//! namespace and name, and the derived forms, are those of the image API.
//!
//! [1]: https://pkg.go.dev/github.com/distribution/reference

use std::fmt;

use crate::digest::{self, Digest, DigestError};

/// The longest repository name, in bytes.
const NAME_MAX: usize = 255;
/// The longest tag, in bytes.
const TAG_MAX: usize = 128;
/// The fewest hex digits that make the text after `@` look like a digest.
const HEX_MIN: usize = 32;
/// The host names of Docker Hub.
const HUB_HOSTS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// A reference to an image or a repository, split the way the image API splits it.
///
/// A part that is not given is empty. `tag` and `id` may both be set.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    /// Host and optional port, as written.
    pub registry: String,
    /// First component of the repository path, if there are at least two.
    pub namespace: String,
    /// The rest of the repository path.
    pub name: String,
    /// Tag.
    pub tag: String,
    /// Digest.
    pub id: String,
}

/// Why a string is not an image reference. The texts are those of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The string is empty.
    #[error("repository name must have at least one component")]
    Empty,
    /// The string would be a reference if it were in lower case.
    #[error("repository name must be lowercase")]
    Uppercase,
    /// The string does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// The repository name is longer than 255 bytes.
    #[error("repository name must not be more than 255 characters")]
    NameTooLong,
    /// The digest algorithm or length is wrong.
    #[error(transparent)]
    Digest(DigestError),
}

/// What the grammar tells apart: name (with host), tag, digest.
struct Parts<'a> {
    name: &'a str,
    tag: &'a str,
    digest: &'a str,
}

impl ImageReference {
    /// Parses and splits `text`.
    ///
    /// # Errors
    /// [`ReferenceError`], with the API's text.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let parts = parse_parts(text)?;
        let (registry, path) = split_registry(text, parts.name);
        let (namespace, name) = path.split_once('/').unwrap_or(("", path));
        let registry_only = path.is_empty();
        Ok(Self {
            registry: registry.into(),
            namespace: namespace.into(),
            name: name.into(),
            tag: if registry_only {
                String::new()
            } else {
                parts.tag.into()
            },
            id: parts.digest.into(),
        })
    }

    /// Whether the registry is one of Docker Hub's names.
    #[must_use]
    pub fn is_docker_hub(&self) -> bool {
        HUB_HOSTS.contains(&self.registry.as_str())
    }

    /// The digest, if `id` is one.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        Digest::parse(&self.id).ok()
    }

    /// `[registry/][namespace/]name` with `@id` (the tag is dropped), `:id` if the id is no digest, or `:tag`;
    /// empty when the name is empty.
    #[must_use]
    pub fn exact(&self) -> String {
        if self.name.is_empty() {
            return String::new();
        }
        let repository = self.repository();
        match (self.id.as_str(), self.tag.as_str()) {
            ("", "") => repository,
            ("", tag) => format!("{repository}:{tag}"),
            (id, _) if self.digest().is_some() => format!("{repository}@{id}"),
            (id, _) => format!("{repository}:{id}"),
        }
    }

    /// `[registry/][namespace/]name`, without tag or digest.
    #[must_use]
    pub fn repository(&self) -> String {
        let parts = [&self.registry, &self.namespace, &self.name];
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("/")
    }

    /// `[namespace/]name`: the name by which the registry knows the repository.
    #[must_use]
    pub fn repository_name(&self) -> String {
        Self {
            registry: String::new(),
            ..self.clone()
        }
        .repository()
    }

    /// The same reference with registry `docker.io`, namespace `library` (on Docker Hub) and tag `latest`
    /// where these are missing.
    #[must_use]
    pub fn defaulted(&self) -> Self {
        let mut out = self.clone();
        if out.registry.is_empty() {
            out.registry = "docker.io".into();
        }
        out.add_library();
        if out.tag.is_empty() {
            out.tag = "latest".into();
        }
        out
    }

    /// [`exact`](Self::exact), with namespace `library` where a Docker Hub host is named without one.
    #[must_use]
    pub fn with_library(&self) -> String {
        let mut out = self.clone();
        out.add_library();
        out.exact()
    }

    fn add_library(&mut self) {
        if self.namespace.is_empty() && self.is_docker_hub() {
            self.namespace = "library".into();
        }
    }

    /// The same reference without the tag if the id is a digest; an id that is no digest becomes the tag.
    #[must_use]
    pub fn most_specific(&self) -> Self {
        let mut out = self.clone();
        if out.digest().is_some() {
            out.tag.clear();
        } else if !out.id.is_empty() && out.tag.is_empty() {
            out.tag = std::mem::take(&mut out.id);
        }
        out
    }

    /// The same reference without what the defaults would add again.
    #[must_use]
    pub fn minimal(&self) -> Self {
        let mut out = self.clone();
        if out.tag == "latest" {
            out.tag.clear();
        }
        if out.is_docker_hub() {
            out.registry = "docker.io".into();
            if out.namespace == "library" {
                out.namespace.clear();
            }
        }
        out
    }

    /// `https://` and the host that is contacted for this registry.
    #[must_use]
    pub fn registry_url(&self) -> String {
        format!("https://{}", self.contacted_host())
    }

    /// The host (and port) that is contacted: Docker Hub's API lives at `registry-1.docker.io`.
    #[must_use]
    pub fn contacted_host(&self) -> &str {
        match self.registry.as_str() {
            "" | "docker.io" | "index.docker.io" => "registry-1.docker.io",
            other => other,
        }
    }

    /// The form used for talking to registries and in error messages: exact, with `docker.io/` and `library/`
    /// where the distribution client would add them. No tag is added.
    ///
    /// # Errors
    /// [`ReferenceError`] when the exact form is no reference to the distribution client.
    pub fn normalised(&self) -> Result<String, ReferenceError> {
        normalise(&self.exact())
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.exact())
    }
}

/// Adds `docker.io/` and `library/` to a reference string as the distribution client does.
///
/// # Errors
/// [`ReferenceError`] when the result does not follow the grammar.
pub fn normalise(exact: &str) -> Result<String, ReferenceError> {
    if is_bare_identifier(exact) {
        return Err(ReferenceError::Format);
    }
    let (host, remainder) = match exact.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        _ => ("docker.io", exact),
    };
    let host = if host == "index.docker.io" {
        "docker.io"
    } else {
        host
    };
    let library = if host == "docker.io" && !remainder.contains('/') {
        "library/"
    } else {
        ""
    };
    let name = remainder.split_once(':').map_or(remainder, |(name, _)| name);
    if name.to_lowercase() != name {
        return Err(ReferenceError::Uppercase);
    }
    let normalised = format!("{host}/{library}{remainder}");
    parse_parts(if exact.is_empty() { exact } else { &normalised }).map_err(|error| {
        if error == ReferenceError::Empty {
            ReferenceError::Format
        } else {
            error
        }
    })?;
    Ok(normalised)
}

/// 64 hex digits alone name an image id, never a repository.
fn is_bare_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn parse_parts(text: &str) -> Result<Parts<'_>, ReferenceError> {
    let Some(parts) = match_grammar(text) else {
        return Err(if text.is_empty() {
            ReferenceError::Empty
        } else if match_grammar(&text.to_lowercase()).is_some() {
            ReferenceError::Uppercase
        } else {
            ReferenceError::Format
        });
    };
    if parts.name.len() > NAME_MAX {
        return Err(ReferenceError::NameTooLong);
    }
    if !parts.digest.is_empty() {
        match Digest::parse(parts.digest) {
            Err(error @ (DigestError::Algorithm | DigestError::Length)) => {
                return Err(ReferenceError::Digest(error));
            }
            // The grammar admits upper-case hex; the digest itself does not.
            Err(DigestError::Format) => return Err(ReferenceError::Format),
            Ok(_) => {}
        }
    }
    Ok(parts)
}

/// `name [":" tag] ["@" digest]`. None of the three can contain what separates it from the next, except that
/// a host may hold a `:` before the last `/`.
fn match_grammar(text: &str) -> Option<Parts<'_>> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) if is_digest(digest) => (rest, digest),
        Some(_) => return None,
        None => (text, ""),
    };
    let last_component = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[last_component..].split_once(':') {
        Some((component, tag)) if is_tag(tag) => (&rest[..last_component + component.len()], tag),
        Some(_) => return None,
        None => (rest, ""),
    };
    is_name(name).then_some(Parts { name, tag, digest })
}

fn is_name(name: &str) -> bool {
    let path = match name.split_once('/') {
        Some((first, path)) if is_host(first) => path,
        _ => name,
    };
    path.split('/').all(is_component)
}

fn is_host(host: &str) -> bool {
    let (labels, port) = host
        .split_once(':')
        .map_or((host, None), |(labels, port)| (labels, Some(port)));
    let port_fits = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    port_fits
        && labels.split('.').all(|label| {
            let bytes = label.as_bytes();
            !bytes.is_empty()
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
                && bytes[0] != b'-'
                && bytes[bytes.len() - 1] != b'-'
        })
}

/// Runs of `[a-z0-9]` joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let is_word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_are_words = bytes.first().is_some_and(is_word) && bytes.last().is_some_and(is_word);
    ends_are_words
        && bytes.split(is_word).all(|separator| {
            matches!(separator, [] | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
        })
}

/// Whether this is a tag: up to 128 letters, digits, `_`, `.` and `-`, not beginning with one of the last two.
#[must_use]
pub fn is_tag(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    bytes.len() <= TAG_MAX
        && bytes
            .first()
            .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        digest::algorithm_is_well_formed(algorithm)
            && hex.len() >= HEX_MIN
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// The registry and the repository path. A single component that looks like a host is the registry, with
/// whatever follows it.
fn split_registry<'a>(text: &'a str, name: &'a str) -> (&'a str, &'a str) {
    match name.split_once('/') {
        None if name.contains('.') || name.starts_with("localhost") => (text, ""),
        None => ("", name),
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
        Some(_) => ("", name),
    }
}

#[cfg(test)]
mod tests;
