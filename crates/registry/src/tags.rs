//! The tags of a repository: `/v2/<name>/tags/list`, page by page.
//!
//! See [listing tags](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags) and, for
//! the `Link` header, [RFC 8288](https://www.rfc-editor.org/rfc/rfc8288).

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use http::Method;
use serde::Deserialize;
use url::Url;

use crate::error::Error;
use crate::feedback::HostFeedback;
use crate::json;
use crate::probe::Probed;
use crate::repository::Repository;
use crate::transport::{Answer, Request};

/// Largest page that is accepted.
const MAX_PAGE_BYTES: usize = 8 << 20;
/// Most tags of one repository; more is not a list that anybody keeps.
const MAX_TAGS: usize = 1_000_000;
/// Most pages of one repository: a registry decides how small they are.
const MAX_PAGES: usize = 10_000;
/// Most bytes of all pages together.
const MAX_LIST_BYTES: usize = 64 << 20;
/// Longest link to a next page.
const MAX_LINK_BYTES: usize = 8 << 10;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// Most pages of a repository whose tags are visited and not kept.
const MAX_VISITED_PAGES: usize = 100_000;
/// How many tags a page is asked to hold: the most that [common registries][1] allow. Without a number some answer all
/// tags of a repository at once.
///
/// [1]: https://distribution.github.io/distribution/spec/api/#listing-image-tags
const PAGE_TAGS: usize = 1_000;

impl Repository {
    /// All tags, in the order of the registry.
    ///
    /// # Errors
    /// What the registry answered or what went wrong on the way; [`Error::Refused`] when the pages lead to another
    /// host, in a circle, or to no end.
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        let mut tags = Vec::new();
        let mut bytes = 0;
        let mut pages = TagPages::new(self, format!("/v2/{}/tags/list", self.name), MAX_PAGES);
        while let Some(request) = pages.request() {
            let answer = self.transport.fetch(self, &request).await?;
            bytes += answer.body.len();
            if bytes > MAX_LIST_BYTES {
                return Err(Error::TooLarge {
                    what: "tag list",
                    limit: MAX_LIST_BYTES,
                });
            }
            tags.extend(pages.take(&answer)?);
            if tags.len() > MAX_TAGS {
                return Err(Error::Refused(format!(
                    "the tag list holds more than {MAX_TAGS} tags"
                )));
            }
        }
        Ok(tags)
    }

    /// All tags, page by page: a repository may be of any size.
    #[must_use]
    pub fn tag_pages(&self) -> TagPages<'_> {
        let path = format!("/v2/{}/tags/list?n={PAGE_TAGS}", self.name);
        TagPages::new(self, path, MAX_VISITED_PAGES)
    }
}

/// The pages of a list of tags, in the order of the registry.
#[derive(Debug)]
pub struct TagPages<'a> {
    repository: &'a Repository,
    /// Of the next page; absent after the last one.
    path: Option<String>,
    /// Hashes, of a key of their own, of the paths that there were: these may be long and many.
    seen: HashSet<u64>,
    hasher: RandomState,
    most: usize,
}

impl<'a> TagPages<'a> {
    fn new(repository: &'a Repository, path: String, most: usize) -> Self {
        Self {
            repository,
            path: Some(path),
            seen: HashSet::new(),
            hasher: RandomState::new(),
            most,
        }
    }

    /// Reads the next page; none after the last one. If the host wants to be left alone this does not wait for it, but
    /// says so. After an error the same page is the next one.
    ///
    /// # Errors
    /// In what is found: those of [`Repository::tags`].
    pub async fn next_if_welcome(&mut self) -> Probed<Option<Vec<String>>> {
        let Some(request) = self.request() else {
            return Probed {
                found: Ok(None),
                feedback: HostFeedback::default(),
            };
        };
        let repository = self.repository;
        let (answer, feedback) = repository.transport.fetch_if_welcome(repository, &request).await;
        Probed {
            found: answer.and_then(|answer| self.take(&answer)).map(Some),
            feedback,
        }
    }

    /// Whether there is a next page.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.path.is_some()
    }

    /// What to ask for next.
    fn request(&self) -> Option<Request> {
        Some(Request {
            method: Method::GET,
            path: self.path.clone()?,
            accept: &[],
            not_found: None,
            what: "tag list",
            limit: MAX_PAGE_BYTES,
        })
    }

    /// The tags of a page that was asked for.
    fn take(&mut self, answer: &Answer) -> Result<Vec<String>, Error> {
        let page: Page = json::decode(&answer.body).map_err(|error| Error::Malformed(error.to_string()))?;
        let links = answer.headers.get_all("link").iter();
        let mut links = links.filter_map(|link| link.to_str().ok());
        let next = match links.find_map(next_link) {
            Some(link) => Some(next_page(&answer.url, link)?),
            None => None,
        };
        if let Some(asked) = &self.path {
            self.seen.insert(self.hasher.hash_one(asked));
        }
        if let Some(next) = &next {
            if self.seen.contains(&self.hasher.hash_one(next)) {
                return Err(Error::Refused(
                    "the pages of the tag list lead in a circle".to_owned(),
                ));
            }
            if self.seen.len() >= self.most {
                let most = self.most;
                return Err(Error::Refused(format!("the tag list has more than {most} pages")));
            }
        }
        self.path = next;
        Ok(page.tags.unwrap_or_default())
    }
}

/// Path and query of the next page. A link to another host would have this client ask there in the name of the
/// caller, so it is refused.
fn next_page(current: &Url, link: &str) -> Result<String, Error> {
    if link.len() > MAX_LINK_BYTES {
        return Err(Error::TooLarge {
            what: "link to the next page of tags",
            limit: MAX_LINK_BYTES,
        });
    }
    let next = current
        .join(link)
        .map_err(|error| Error::Malformed(format!("the link to the next page of tags is no URL: {error}")))?;
    if next.origin() != current.origin() {
        let there = next.origin().ascii_serialization();
        return Err(Error::Refused(format!(
            "the link to the next page of tags leads to another host: {there}"
        )));
    }
    let query = next.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{}{query}", next.path()))
}

/// The target of the `next` relation in a `Link` header.
fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some(start) = rest.find('<') {
        let (target, after) = rest.get(start + 1..)?.split_once('>')?;
        let end = end_of_parameters(after);
        let parameters = after.get(..end)?;
        if parameters.split(';').any(is_next_relation) {
            return Some(target);
        }
        rest = after.get(end..)?;
    }
    None
}

/// Where the parameters of one link end: at a comma outside quotes.
fn end_of_parameters(parameters: &str) -> usize {
    let mut quoted = false;
    for (at, byte) in parameters.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    parameters.len()
}

fn is_next_relation(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    let relations = value.trim().trim_matches('"');
    name.trim().eq_ignore_ascii_case("rel")
        && relations
            .split_ascii_whitespace()
            .any(|relation| relation.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_relation_is_found_among_others() {
        let table = [
            (
                r#"</v2/a/tags/list?last=b&n=2>; rel="next""#,
                Some("/v2/a/tags/list?last=b&n=2"),
            ),
            ("</x>; rel=next", Some("/x")),
            ("</x>;title=\"a, b\";REL=\"prev NEXT\"", Some("/x")),
            (r#"</p>; rel="prev", </n>; rel="next""#, Some("/n")),
            (r#"</p>; rel="prev""#, None),
            ("</p>", None),
            ("</p; rel=next", None),
            ("", None),
        ];
        for (header, expected) in table {
            assert_eq!(next_link(header), expected, "{header}");
        }
    }

    #[test]
    fn pages_stay_on_their_host() {
        let current = Url::parse("https://r.test:5000/v2/a/tags/list").expect("URL");
        for (link, expected) in [
            ("/v2/a/tags/list?n=2", "/v2/a/tags/list?n=2"),
            ("list?last=b", "/v2/a/tags/list?last=b"),
            ("https://r.test:5000/v2/a/tags/list?x", "/v2/a/tags/list?x"),
        ] {
            assert_eq!(next_page(&current, link).as_deref(), Ok(expected), "{link}");
        }
        for link in [
            "https://r.test/v2/",
            "http://r.test:5000/v2/",
            "//evil.test/v2/",
            "https://evil.test:5000/",
        ] {
            let text = next_page(&current, link).expect_err(link).to_string();
            assert!(text.contains("leads to another host"), "{text}");
        }
    }
}
