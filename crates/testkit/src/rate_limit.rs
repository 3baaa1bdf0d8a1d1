//! Rate limits as registries enforce them: 429 with
//! [`Retry-After`](https://www.rfc-editor.org/rfc/rfc9110#field.retry-after) and, if wanted, the `RateLimit-*`
//! headers that [Docker Hub](https://docs.docker.com/docker-hub/usage/) sends.

use std::time::{Duration, Instant};

use hyper::Method;

use crate::fault::fits;

/// At most `requests` requests in each window of `window`.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// Requests that pass in one window.
    pub requests: u32,
    /// Length of a window, which starts with its first request.
    pub window: Duration,
    /// Whether every answer carries `RateLimit-Limit` and `RateLimit-Remaining`.
    pub headers: bool,
    /// Whether a refusal carries `Retry-After` (in whole seconds, at least 1).
    pub retry_after: bool,
    /// Paths that count; `*` stands for any run of characters.
    pub pattern: String,
    /// Whether `HEAD` does not count, as at Docker Hub.
    pub heads_are_free: bool,
}

impl RateLimit {
    /// A limit on everything below a repository, with all headers.
    #[must_use]
    pub fn new(requests: u32, window: Duration) -> Self {
        Self {
            requests,
            window,
            headers: true,
            retry_after: true,
            pattern: "/v2/*/*".to_owned(),
            heads_are_free: false,
        }
    }

    /// Counts only paths that fit.
    #[must_use]
    pub fn only(mut self, pattern: &str) -> Self {
        pattern.clone_into(&mut self.pattern);
        self
    }

    /// Counts no `HEAD`.
    #[must_use]
    pub fn free_heads(mut self) -> Self {
        self.heads_are_free = true;
        self
    }

    /// Says nothing about the limit but 429.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.headers = false;
        self.retry_after = false;
        self
    }
}

/// A limit and how much of the current window is used.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: RateLimit,
    window_start: Option<Instant>,
    used: u32,
}

/// What the limiter says about one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) refused: bool,
    /// Headers to add to the answer, whichever it is.
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Limiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            window_start: None,
            used: 0,
        }
    }

    /// Counts a request at `now`; `None` if the limit isn't about this path.
    pub(crate) fn count(&mut self, method: &Method, path: &str, now: Instant) -> Option<Verdict> {
        if !fits(&self.limit.pattern, path) {
            return None;
        }
        let expired = self
            .window_start
            .is_none_or(|start| now.duration_since(start) >= self.limit.window);
        if expired {
            self.window_start = Some(now);
            self.used = 0;
        }
        let is_free = self.limit.heads_are_free && *method == Method::HEAD;
        let refused = !is_free && self.used >= self.limit.requests;
        if !is_free && !refused {
            self.used += 1;
        }
        let mut headers = Vec::new();
        if self.limit.headers {
            let window = self.limit.window.as_secs();
            headers.push(("ratelimit-limit", format!("{};w={window}", self.limit.requests)));
            headers.push((
                "ratelimit-remaining",
                format!("{};w={window}", self.limit.requests - self.used),
            ));
        }
        if refused && self.limit.retry_after {
            let start = self.window_start.unwrap_or(now);
            let left = self.limit.window.saturating_sub(now.duration_since(start));
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            headers.push(("retry-after", seconds.max(1).to_string()));
        }
        Some(Verdict { refused, headers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_refuses_what_is_too_much_and_then_starts_anew() {
        let mut limiter = Limiter::new(RateLimit::new(2, Duration::from_secs(5)));
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert!(
            !limiter
                .count(&Method::GET, "/v2/a/tags/list", at(0))
                .unwrap()
                .refused
        );
        assert!(
            !limiter
                .count(&Method::GET, "/v2/a/tags/list", at(100))
                .unwrap()
                .refused
        );
        let refusal = limiter.count(&Method::GET, "/v2/a/tags/list", at(1500)).unwrap();
        assert!(refusal.refused);
        assert!(refusal.headers.contains(&("retry-after", "4".to_owned())));
        assert!(
            refusal
                .headers
                .contains(&("ratelimit-remaining", "0;w=5".to_owned()))
        );
        assert!(
            !limiter
                .count(&Method::GET, "/v2/a/tags/list", at(5000))
                .unwrap()
                .refused
        );
        assert_eq!(limiter.count(&Method::GET, "/v2/", at(5000)), None);
    }

    #[test]
    fn heads_that_are_free_pass_and_are_told_what_is_left() {
        let mut limiter = Limiter::new(RateLimit::new(1, Duration::from_secs(5)).free_heads());
        let now = Instant::now();
        let mut count = |method| limiter.count(&method, "/v2/a/manifests/b", now).unwrap();
        assert!(!count(Method::GET).refused);
        assert!(count(Method::GET).refused);
        let free = count(Method::HEAD);
        let left = ("ratelimit-remaining", "0;w=5".to_owned());
        assert!(!free.refused && free.headers.contains(&left), "{free:?}");
    }
}
