//! Where a redirect may lead, and what goes along.
//!
//! Registries send readers of blobs to object stores. Such a place is not the registry: it must not see the caller's
//! credentials ([RFC 9110, section 15.4](https://www.rfc-editor.org/rfc/rfc9110#section-15.4)), nor may the way there
//! become readable for others.

use url::Url;

use crate::error::Error;

/// Most redirects in a row.
pub(super) const MAX_REDIRECTS: usize = 10;

/// The place a `Location` names.
pub(super) fn target(current: &Url, location: &str, insecure: bool) -> Result<Url, Error> {
    let mut next = current
        .join(location)
        .map_err(|error| Error::Malformed(format!("the location of a redirect is no URL: {error}")))?;
    if !matches!(next.scheme(), "http" | "https") || !next.has_host() {
        return Err(Error::Refused(format!(
            "refusing a redirect to a {} URL",
            next.scheme()
        )));
    }
    if current.scheme() == "https" && next.scheme() == "http" && !insecure {
        return Err(Error::Refused(
            "refusing a redirect from https to http".to_owned(),
        ));
    }
    next.set_fragment(None);
    // A redirect must not choose the credentials this client shows either. These setters fail for URLs without a
    // host only.
    let _ = next.set_username("");
    let _ = next.set_password(None);
    Ok(next)
}

/// Whether the credential for `from` may be shown to `to`: the same scheme, host and port.
pub(super) fn is_same_place(from: &Url, to: &Url) -> bool {
    from.origin() == to.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("URL")
    }

    #[test]
    fn locations_are_resolved_against_where_they_were_found() {
        let current = url("https://r.test/v2/a/blobs/x");
        for (location, expected) in [
            ("/else", "https://r.test/else"),
            ("y?z=1#frag", "https://r.test/v2/a/blobs/y?z=1"),
            ("//store.test/x", "https://store.test/x"),
            ("https://me:secret@store.test/x", "https://store.test/x"),
        ] {
            assert_eq!(
                target(&current, location, false).map(String::from).as_deref(),
                Ok(expected),
                "{location}"
            );
        }
    }

    #[test]
    fn encryption_is_given_up_only_for_who_does_not_ask_for_it() {
        let current = url("https://r.test/v2/");
        assert!(target(&current, "http://r.test/v2/", false).is_err());
        assert!(target(&current, "http://r.test/v2/", true).is_ok());
        assert!(target(&url("http://r.test/"), "http://r.test/x", false).is_ok());
        for strange in ["file:///etc/passwd", "ftp://r.test/", "data:,x", "javascript:1"] {
            assert!(target(&current, strange, true).is_err(), "{strange}");
        }
    }

    #[test]
    fn another_scheme_host_or_port_is_another_place() {
        let from = url("https://r.test/v2/");
        assert!(is_same_place(&from, &url("https://r.test:443/x")));
        for other in [
            "http://r.test/v2/",
            "https://r.test:444/",
            "https://s.test/",
            "https://sub.r.test/",
        ] {
            assert!(!is_same_place(&from, &url(other)), "{other}");
        }
    }
}
