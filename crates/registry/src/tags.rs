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
use crate::json;
use crate::repository::Repository;
use crate::transport::Request;

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
        let path = format!("/v2/{}/tags/list", self.name);
        let keep = |page: Vec<String>, size: usize| {
            bytes += size;
            if bytes > MAX_LIST_BYTES {
                return Err(Error::TooLarge {
                    what: "tag list",
                    limit: MAX_LIST_BYTES,
                });
            }
            tags.extend(page);
            if tags.len() > MAX_TAGS {
                return Err(Error::Refused(format!(
                    "the tag list holds more than {MAX_TAGS} tags"
                )));
            }
            Ok(())
        };
        self.pages(path, MAX_PAGES, keep).await?;
        Ok(tags)
    }

    /// Shows all tags to `visit`, in the order of the registry, and keeps none: a repository may be of any size.
    ///
    /// # Errors
    /// As of [`Repository::tags`]. `visit` may have seen tags by then.
    pub async fn visit_tags(&self, mut visit: impl FnMut(&str) + Send) -> Result<(), Error> {
        let path = format!("/v2/{}/tags/list?n={PAGE_TAGS}", self.name);
        let show = |page: Vec<String>, _| {
            page.iter().for_each(|tag| visit(tag));
            Ok(())
        };
        self.pages(path, MAX_VISITED_PAGES, show).await
    }

    /// Hands the tags of each page to `take`, with the size of the page in bytes.
    async fn pages(
        &self,
        mut path: String,
        most: usize,
        mut take: impl FnMut(Vec<String>, usize) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        // Hashes of a key of this call's own: links may be long and many.
        let hasher = RandomState::new();
        let mut seen = HashSet::from([hasher.hash_one(&path)]);
        loop {
            let request = Request {
                method: Method::GET,
                path,
                accept: &[],
                not_found: None,
                what: "tag list",
                limit: MAX_PAGE_BYTES,
            };
            let answer = self.transport.fetch(self, &request).await?;
            let page: Page =
                json::decode(&answer.body).map_err(|error| Error::Malformed(error.to_string()))?;
            take(page.tags.unwrap_or_default(), answer.body.len())?;
            let links = answer
                .headers
                .get_all("link")
                .iter()
                .filter_map(|link| link.to_str().ok());
            let Some(link) = links.into_iter().find_map(next_link) else {
                return Ok(());
            };
            path = next_page(&answer.url, link)?;
            if !seen.insert(hasher.hash_one(&path)) {
                return Err(Error::Refused(
                    "the pages of the tag list lead in a circle".to_owned(),
                ));
            }
            if seen.len() > most {
                return Err(Error::Refused(format!("the tag list has more than {most} pages")));
            }
        }
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
