//! Whether the server works: `/healthz`, `/livez` and `/readyz`, as [Kubernetes' servers][1] answer them.
//!
//! [1]: https://kubernetes.io/docs/reference/using-api/health-checks/

use std::fmt::Write;
use std::future::Future;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use imagestream_api::field::quoted;

use super::shutdown::Shutdown;
use crate::respond::{self, ResponseBody};

/// A check that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// One thing without which the server does not work.
pub struct HealthCheck {
    name: &'static str,
    check: Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
    is_vital: bool,
}

impl HealthCheck {
    /// Something that the server needs to answer requests, such as its store: part of `/healthz` and `/readyz`.
    ///
    /// What is wrong is logged and not shown: these paths are open to everyone.
    pub fn new<F, R>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self {
            name,
            check: Box::new(move || Box::pin(check())),
            is_vital: false,
        }
    }

    /// A check that fails only if the process must be started anew: part of `/livez`, too.
    #[must_use]
    pub fn vital(mut self) -> Self {
        self.is_vital = true;
        self
    }

    async fn run(&self) -> bool {
        let result = match tokio::time::timeout(PATIENCE, (self.check)()).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} seconds", PATIENCE.as_secs())),
        };
        if let Err(problem) = &result {
            tracing::warn!(check = self.name, problem, "health check failed");
        }
        result.is_ok()
    }
}

/// All checks of a server.
pub(super) struct HealthChecks {
    checks: Vec<HealthCheck>,
}

/// The paths whose answer everyone may read, without a role.
pub(super) const OPEN_PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];

impl HealthChecks {
    /// These checks, beside the one that always passes.
    pub(super) fn new(mut checks: Vec<HealthCheck>, shutdown: Shutdown) -> Self {
        let ping = HealthCheck::new("ping", || std::future::ready(Ok(()))).vital();
        checks.insert(0, ping);
        checks.push(HealthCheck::new("shutdown", move || {
            let result = if shutdown.has_begun() {
                Err("the server is shutting down".to_owned())
            } else {
                Ok(())
            };
            std::future::ready(result)
        }));
        Self { checks }
    }

    /// Whether the path is one of a health check.
    pub(super) fn is_health(path: &str) -> bool {
        split(path).is_some()
    }

    /// The answer for a path of which [`HealthChecks::is_health`] is true.
    pub(super) async fn answer(&self, path: &str, query: &str) -> Response<ResponseBody> {
        let Some((probe, name)) = split(path) else {
            return respond::not_a_path();
        };
        let checks = self.checks.iter().filter(|check| match probe {
            "livez" => check.is_vital,
            // Whoever restarts what is not healthy would cut off those who still wait.
            "healthz" => check.name != "shutdown",
            _ => true,
        });
        match name {
            None => all(probe, checks.collect(), query).await,
            Some(name) => match checks.into_iter().find(|check| check.name == name) {
                None => respond::not_a_path(),
                Some(check) if check.run().await => text(StatusCode::OK, "ok".into()),
                Some(_) => text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal server error: reason withheld\n".into(),
                ),
            },
        }
    }
}

/// The probe and the check that a path names.
fn split(path: &str) -> Option<(&str, Option<&str>)> {
    let path = path.strip_prefix('/')?;
    let (probe, name) = match path.split_once('/') {
        Some((probe, name)) => (probe, Some(name)),
        None => (path, None),
    };
    matches!(probe, "healthz" | "livez" | "readyz").then_some((probe, name))
}

async fn all(probe: &str, checks: Vec<&HealthCheck>, query: &str) -> Response<ResponseBody> {
    let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let mut excluded: Vec<&str> = parameters
        .iter()
        .filter(|(key, _)| key == "exclude")
        .map(|(_, value)| &**value)
        .collect();
    let results = join_all(checks.iter().map(|check| async {
        if excluded.contains(&check.name) {
            None
        } else {
            Some(check.run().await)
        }
    }))
    .await;
    let mut report = String::new();
    let mut has_failed = false;
    for (check, result) in checks.iter().zip(results) {
        let name = check.name;
        has_failed |= result == Some(false);
        // Writing to a string cannot fail.
        let _ = match result {
            None => writeln!(report, "[+]{name} excluded: ok"),
            Some(true) => writeln!(report, "[+]{name} ok"),
            Some(false) => writeln!(report, "[-]{name} failed: reason withheld"),
        };
    }
    excluded.retain(|name| checks.iter().all(|check| check.name != *name));
    if !excluded.is_empty() {
        let names: Vec<_> = excluded.into_iter().map(quoted).collect();
        let _ = writeln!(
            report,
            "warn: some health checks cannot be excluded: no matches for {}",
            names.join(",")
        );
    }
    if has_failed {
        let _ = writeln!(report, "{probe} check failed");
        return text(StatusCode::INTERNAL_SERVER_ERROR, report);
    }
    if parameters.iter().all(|(key, _)| key != "verbose") {
        return text(StatusCode::OK, "ok".into());
    }
    let _ = writeln!(report, "{probe} check passed");
    text(StatusCode::OK, report)
}

/// A plain text.
pub(super) fn text(code: StatusCode, text: String) -> Response<ResponseBody> {
    let mut response = Response::new(respond::full(text));
    *response.status_mut() = code;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(path: &str, query: &str, is_ending: bool) -> (u16, String) {
        let shutdown = Shutdown::default();
        if is_ending {
            shutdown.begin();
        }
        let checks = vec![
            HealthCheck::new("etcd", || async { Ok(()) }),
            HealthCheck::new("disk", || async { Err("the password is hunter2".to_owned()) }),
        ];
        let answer = HealthChecks::new(checks, shutdown).answer(path, query).await;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_failed_check_is_named_and_its_reason_is_kept() {
        let report = "[+]ping ok\n[+]etcd ok\n[-]disk failed: reason withheld\nhealthz check failed\n";
        assert_eq!(ask("/healthz", "", false).await, (500, report.into()));
        let reason = "internal server error: reason withheld\n";
        assert_eq!(ask("/healthz/disk", "", false).await, (500, reason.into()));
        assert_eq!(ask("/livez", "", false).await, (200, "ok".into()));
    }

    #[tokio::test]
    async fn checks_can_be_asked_one_by_one_or_left_out() {
        assert_eq!(ask("/healthz/etcd", "", false).await, (200, "ok".into()));
        assert_eq!(ask("/livez/ping", "", false).await, (200, "ok".into()));
        assert_eq!(ask("/livez/etcd", "", false).await.0, 404);
        assert_eq!(ask("/healthz/", "", false).await.0, 404);
        assert_eq!(ask("/healthz", "exclude=disk", false).await, (200, "ok".into()));
        let report = "[+]ping ok\n[+]etcd ok\n[+]disk excluded: ok\n[+]shutdown ok\n\
                      warn: some health checks cannot be excluded: no matches for \"x\",\"y\"\nreadyz check passed\n";
        assert_eq!(
            ask("/readyz", "verbose&exclude=disk&exclude=x&exclude=y", false).await,
            (200, report.into())
        );
    }

    #[tokio::test]
    async fn a_server_that_ends_is_healthy_but_not_ready() {
        assert_eq!(ask("/healthz", "exclude=disk", true).await.0, 200);
        let (code, report) = ask("/readyz", "exclude=disk", true).await;
        assert!(
            code == 500 && report.contains("[-]shutdown failed"),
            "{code} {report}"
        );
    }

    #[test]
    fn other_paths_are_no_health_checks() {
        for path in ["/healthzz", "/health", "healthz", "/", "/api/healthz"] {
            assert!(!HealthChecks::is_health(path), "{path}");
        }
    }
}
