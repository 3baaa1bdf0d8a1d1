//! Which thing a path names, and the healthy answer to it.

use std::ops::Bound;

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use serde_json::json;

use super::reply::Reply;
use crate::content::RepositoryContent;
use crate::registry::{LinkForm, Switches};

/// What a path of the
/// [specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints) names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Ping,
    Token,
    Tags(&'a str),
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Unknown,
}

impl<'a> Route<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        if path == "/token" {
            return Self::Token;
        }
        if path == "/v2" || path == "/v2/" {
            return Self::Ping;
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return Self::Unknown;
        };
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Self::Tags(repository);
        }
        if let Some((repository, reference)) = rest.rsplit_once("/manifests/") {
            return Self::Manifest(repository, reference);
        }
        match rest.rsplit_once("/blobs/") {
            Some((repository, digest)) => Self::Blob(repository, digest),
            None => Self::Unknown,
        }
    }

    /// The repository that a token has to open.
    pub(super) fn repository(&self) -> Option<&'a str> {
        match self {
            Self::Tags(name) | Self::Manifest(name, _) | Self::Blob(name, _) => Some(name),
            Self::Ping | Self::Token | Self::Unknown => None,
        }
    }

    /// The 404 for this sort of thing.
    pub(super) fn missing(&self) -> Reply {
        match self {
            Self::Tags(_) => Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry"),
            Self::Manifest(..) => Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            Self::Blob(..) => Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
            Self::Ping | Self::Token | Self::Unknown => {
                Reply::new(404, Bytes::from_static(b"404 page not found\n"))
            }
        }
    }
}

pub(super) fn look_up(switches: &Switches, route: &Route<'_>, head: &Parts, own_url: &str) -> Reply {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Reply::error(405, "UNSUPPORTED", "this registry is read-only");
    }
    let held = |name: &str| switches.content.repositories.get(name);
    match route {
        Route::Ping => Reply::json(200, &json!({})),
        Route::Tags(name) => match held(name) {
            Some(held) => tags(switches, name, held, head, own_url),
            None => route.missing(),
        },
        Route::Manifest(name, reference) => match held(name).and_then(|held| held.find(reference)) {
            Some(manifest) => {
                let reply = Reply::new(200, manifest.body.clone())
                    .with_header("content-type", manifest.media_type.clone());
                match switches.without_digest_header {
                    true => reply,
                    false => reply.with_header("docker-content-digest", manifest.digest.clone()),
                }
            }
            None => route.missing(),
        },
        Route::Blob(name, digest) => match held(name).and_then(|held| held.blobs.get(*digest)) {
            Some(blob) => Reply::new(200, blob.bytes.clone())
                .with_header("content-type", "application/octet-stream".to_owned())
                .with_header("docker-content-digest", blob.digest.clone()),
            None => route.missing(),
        },
        Route::Token | Route::Unknown => route.missing(),
    }
}

fn tags(switches: &Switches, name: &str, held: &RepositoryContent, head: &Parts, own_url: &str) -> Reply {
    let asked = parameter(head, "n").and_then(|n| n.parse::<usize>().ok());
    let size = match (asked, switches.page_size) {
        (Some(asked), Some(most)) => asked.min(most),
        (Some(size), None) | (None, Some(size)) => size,
        (None, None) => usize::MAX,
    };
    let after = match parameter(head, "last") {
        Some(last) => Bound::Excluded(last),
        None => Bound::Unbounded,
    };
    let mut rest = held.tags.range((after, Bound::Unbounded)).map(|(tag, _)| tag);
    let page: Vec<&String> = rest.by_ref().take(size).collect();
    let reply = Reply::json(200, &json!({"name": name, "tags": page}));
    match page.last().filter(|_| rest.next().is_some()) {
        Some(last) => {
            let base = match switches.link_form {
                LinkForm::Relative => "",
                LinkForm::Absolute => own_url,
            };
            let link = format!("<{base}/v2/{name}/tags/list?last={last}&n={size}>; rel=\"next\"");
            reply.with_header("link", link)
        }
        None => reply,
    }
}

/// A page of three tags, and always another one.
pub(super) fn endless_tags(head: &Parts) -> Reply {
    let path = head.uri.path();
    let from: u64 = parameter(head, "last")
        .and_then(|last| last.trim_start_matches("endless-").parse().ok())
        .unwrap_or(0);
    let page: Vec<String> = (from + 1..=from + 3).map(|at| format!("endless-{at}")).collect();
    let name = Route::of(path).repository().unwrap_or_default();
    Reply::json(200, &json!({"name": name, "tags": page})).with_header(
        "link",
        format!("<{path}?last=endless-{}&n=3>; rel=\"next\"", from + 3),
    )
}

fn parameter(head: &Parts, name: &str) -> Option<String> {
    url::form_urlencoded::parse(head.uri.query()?.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_things() {
        for (path, route) in [
            ("/v2", Route::Ping),
            ("/v2/", Route::Ping),
            ("/v20", Route::Unknown),
            ("/v2/a/b/tags/list", Route::Tags("a/b")),
            ("/v2/a/b/manifests/latest", Route::Manifest("a/b", "latest")),
            (
                "/v2/a/manifests/b/manifests/1",
                Route::Manifest("a/manifests/b", "1"),
            ),
            ("/v2/a/blobs/sha256:1", Route::Blob("a", "sha256:1")),
            ("/v2/_catalog", Route::Unknown),
            ("/token", Route::Token),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
