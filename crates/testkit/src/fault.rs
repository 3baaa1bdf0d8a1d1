//! Faults: what a broken, overloaded or hostile registry may do, put on the paths it shall do it on.
//!
//! Paths are those of the [distribution specification](https://github.com/opencontainers/distribution-spec).

use std::time::Duration;

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum FaultKind {
    /// The connection ends before any byte of the response.
    CutBeforeHeaders,
    /// The connection ends after the headers.
    CutAfterHeaders,
    /// The connection ends after half of the body.
    CutMidBody,
    /// The `Docker-Content-Digest` header names another content.
    WrongDigestHeader,
    /// The body is not what its digest says; the headers are.
    WrongBody,
    /// `Content-Length` promises this many bytes, and they come.
    HugeBody(u64),
    /// A chunked body that never ends.
    EndlessBody,
    /// JSON that ends too early.
    MalformedJson,
    /// JSON arrays nested this deep.
    DeepJson(usize),
    /// A redirect (307) to this URL.
    RedirectTo(String),
    /// A redirect (307) to the same path on this base URL, as registries send blobs off to a store.
    RedirectToBase(String),
    /// A redirect to itself.
    RedirectLoop,
    /// The body comes in pieces of `bytes` bytes, one every `every`.
    SlowDrip {
        /// Size of each piece.
        bytes: usize,
        /// Pause before each piece.
        every: Duration,
    },
    /// 404 with the error code of the kind of thing that was asked for.
    Missing,
    /// This answer.
    Status {
        /// Status code.
        status: u16,
        /// Header names and values.
        headers: Vec<(String, String)>,
        /// Body.
        body: String,
    },
    /// Every page of tags has a next page, with new tags.
    EndlessTags,
    /// The `Link` of a tag list points to this URL.
    LinkTo(String),
    /// 401 with a bearer challenge whose realm is this URL.
    ChallengeTo(String),
    /// The token is this many bytes long.
    HugeToken(usize),
    /// No answer, ever.
    Hang,
    /// An additional wait before the answer.
    Delay(Duration),
}

/// A fault, where it happens and how often.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(crate) kind: FaultKind,
    pattern: String,
    method: Option<http::Method>,
    skip: u32,
    times: Option<u32>,
}

impl Fault {
    /// A fault on every request whose path fits `pattern`, in which `*` stands for any run of characters.
    pub fn on(pattern: impl Into<String>, kind: FaultKind) -> Self {
        Self {
            kind,
            pattern: pattern.into(),
            method: None,
            skip: 0,
            times: None,
        }
    }

    /// A plain status without a body.
    pub fn status(pattern: impl Into<String>, status: u16) -> Self {
        Self::on(
            pattern,
            FaultKind::Status {
                status,
                headers: Vec::new(),
                body: String::new(),
            },
        )
    }

    /// A status with the registry's JSON form of errors.
    pub fn error(pattern: impl Into<String>, status: u16, code: &str, message: &str) -> Self {
        Self::on(
            pattern,
            FaultKind::Status {
                status,
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string(),
            },
        )
    }

    /// Only for requests of this method.
    #[must_use]
    pub fn method(mut self, method: http::Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Only `times` times; after that the registry is healthy again.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Lets the first `requests` fitting requests pass.
    #[must_use]
    pub fn after(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Whether this request meets the fault; counts it if so.
    pub(crate) fn strikes(&mut self, method: &http::Method, path: &str) -> bool {
        if self.method.as_ref().is_some_and(|wanted| wanted != method) || !fits(&self.pattern, path) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        match &mut self.times {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }
}

/// Whether `text` fits a pattern in which `*` stands for any run of characters.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).any(|at| text.is_char_boundary(at) && fits(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_paths() {
        for (pattern, path, expected) in [
            ("/v2/*/manifests/*", "/v2/a/b/manifests/latest", true),
            ("/v2/*/manifests/*", "/v2/a/b/blobs/sha256:1", false),
            ("/v2/", "/v2/a", false),
            ("*", "", true),
            ("*/tags/list", "/v2/a/tags/list", true),
        ] {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_fault_can_wait_and_then_end() {
        let mut fault = Fault::status("*", 500).after(1).times(2);
        let strikes: Vec<bool> = (0..5)
            .map(|_| fault.strikes(&http::Method::GET, "/v2/"))
            .collect();
        assert_eq!(strikes, [false, true, true, false, false]);
    }
}
