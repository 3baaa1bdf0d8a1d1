//! How many imports the controllers made, under the names that OpenShift's controllers count them with.

use std::sync::Arc;

use imagestream_api::reference::ImageReference;
use imagestream_api::status;
use imagestream_api::types::{ImageStreamImport, ImageStreamImportSpec, Status};
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::labels::HostLabels;

/// Most registries that are counted by name.
const MAX_REGISTRIES: usize = 1000;

/// The counters of one server. Clones count together.
#[derive(Clone)]
pub(crate) struct ImportMetrics {
    successes: IntCounterVec,
    errors: IntCounterVec,
    registries: Arc<HostLabels>,
}

/// Whether this server runs the controllers, as Kubernetes' own programs tell that.
///
/// # Errors
/// If there is a metric of its name already.
pub(crate) fn leads(registry: &Registry) -> Result<IntGauge, prometheus::Error> {
    let gauges = IntGaugeVec::new(
        Opts::new(
            "leader_election_master_status",
            "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. \
             'name' is the string used to identify the lease. Please make sure to group by name.",
        ),
        &["name"],
    )?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges.with_label_values(&["controllers"]))
}

impl ImportMetrics {
    /// Counters that are shown with those of `registry`.
    ///
    /// # Errors
    /// If there are some of their names already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            successes: IntCounterVec::new(
                Opts::new(
                    "openshift_imagestreamcontroller_success_count",
                    "Counts successful image stream imports - both scheduled and not scheduled - per image registry",
                ),
                &["scheduled", "registry"],
            )?,
            errors: IntCounterVec::new(
                Opts::new(
                    "openshift_imagestreamcontroller_error_count",
                    "Counts number of failed image stream imports - both scheduled and not scheduled - per image \
                     registry and failure reason",
                ),
                &["scheduled", "registry", "reason"],
            )?,
            registries: Arc::new(HostLabels::up_to(MAX_REGISTRIES)),
        };
        registry.register(Box::new(metrics.successes.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        Ok(metrics)
    }

    /// Counts each image of an import, and its repository as one.
    pub(super) fn imported(&self, import: &ImageStreamImport, scheduled: bool) {
        let ImageStreamImport { spec, status, .. } = import;
        let images = spec.images.iter().zip(&status.images);
        for (asked, result) in images {
            let found = result.image.as_ref();
            let found = found.map_or("", |image| &image.docker_image_reference);
            self.count(asked.from.name.as_deref(), found, &result.status, scheduled);
        }
        if let (Some(asked), Some(result)) = (&spec.repository, &status.repository) {
            self.count(asked.from.name.as_deref(), "", &result.status, scheduled);
        }
    }

    /// Counts an import that failed as a whole.
    pub(super) fn failed(&self, spec: &ImageStreamImportSpec, status: &Status, scheduled: bool) {
        if spec.images.is_empty() && spec.repository.is_none() {
            return;
        }
        self.error(scheduled, "", status.reason.as_deref().unwrap_or_default());
    }

    fn count(&self, asked: Option<&str>, found: &str, status: &Status, scheduled: bool) {
        let Some(host) = host(asked.unwrap_or_default()).or_else(|| host(found)) else {
            self.error(scheduled, "", "InvalidImageReference");
            return;
        };
        let host = self.registries.of(&host);
        if status::is_success(status) {
            self.successes.with_label_values(&[flag(scheduled), host]).inc();
        } else {
            self.error(scheduled, host, status.reason.as_deref().unwrap_or_default());
        }
    }

    fn error(&self, scheduled: bool, host: &str, reason: &str) {
        let reason = if reason.is_empty() { "Unknown" } else { reason };
        self.errors
            .with_label_values(&[flag(scheduled), host, reason])
            .inc();
    }
}

fn flag(scheduled: bool) -> &'static str {
    if scheduled { "true" } else { "false" }
}

/// The registry of a reference; nothing if it is none.
fn host(reference: &str) -> Option<String> {
    if reference.is_empty() {
        return None;
    }
    let reference = ImageReference::parse(reference).ok()?;
    Some(if reference.registry.is_empty() {
        "docker.io".into()
    } else {
        reference.registry
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn import(images: &[(&str, Value)], repository: Option<Value>) -> ImageStreamImport {
        let spec: Vec<Value> = images
            .iter()
            .map(|(from, _)| json!({"from": {"kind": "DockerImage", "name": from}}))
            .collect();
        let results: Vec<Value> = images
            .iter()
            .map(|(_, status)| json!({"status": status}))
            .collect();
        let mut import = json!({"spec": {"import": true, "images": spec}, "status": {"images": results}});
        if let Some(status) = repository {
            import["spec"]["repository"] = json!({"from": {"kind": "DockerImage", "name": "r.test/a"}});
            import["status"]["repository"] =
                json!({"status": status, "images": [{"status": {"status": "Success"}}]});
        }
        serde_json::from_value(import).unwrap()
    }

    fn shown(registry: &Registry) -> Vec<String> {
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.replace("openshift_imagestreamcontroller_", ""))
            .collect()
    }

    #[test]
    fn images_are_counted_by_registry_and_reason_and_a_repository_as_one() {
        let registry = Registry::new();
        let metrics = ImportMetrics::register(&registry).unwrap();
        let success = json!({"status": "Success"});
        let failure = |reason: &str| json!({"status": "Failure", "reason": reason});
        metrics.imported(
            &import(
                &[
                    ("a/b:1", success.clone()),
                    ("r.test:5000/a:1", success.clone()),
                    ("r.test:5000/a:2", failure("NotFound")),
                    ("r.test:5000/a:3", failure("")),
                    ("Not A Reference", failure("Invalid")),
                ],
                Some(failure("Unauthorized")),
            ),
            false,
        );
        metrics.imported(&import(&[("a/b:1", success)], None), true);
        let asked = import(&[("a/b:1", json!({}))], None);
        metrics.failed(
            &asked.spec,
            &status::conflict("imagestreamimports", "s", "changed"),
            true,
        );
        assert_eq!(
            shown(&registry),
            [
                "error_count{reason=\"Conflict\",registry=\"\",scheduled=\"true\"} 1",
                "error_count{reason=\"InvalidImageReference\",registry=\"\",scheduled=\"false\"} 1",
                "error_count{reason=\"NotFound\",registry=\"r.test:5000\",scheduled=\"false\"} 1",
                "error_count{reason=\"Unauthorized\",registry=\"r.test\",scheduled=\"false\"} 1",
                "error_count{reason=\"Unknown\",registry=\"r.test:5000\",scheduled=\"false\"} 1",
                "success_count{registry=\"docker.io\",scheduled=\"false\"} 1",
                "success_count{registry=\"docker.io\",scheduled=\"true\"} 1",
                "success_count{registry=\"r.test:5000\",scheduled=\"false\"} 1",
            ]
        );
    }

    #[test]
    fn registries_beyond_the_limit_are_counted_together() {
        let registry = Registry::new();
        let metrics = ImportMetrics::register(&registry).unwrap();
        for number in 0..MAX_REGISTRIES + 5 {
            let name = format!("r{number}.test/a:1");
            metrics.imported(&import(&[(&name, json!({"status": "Success"}))], None), false);
        }
        let lines = shown(&registry);
        assert_eq!(lines.len(), MAX_REGISTRIES + 1);
        assert!(
            lines.contains(&"success_count{registry=\"other\",scheduled=\"false\"} 5".to_owned()),
            "{lines:?}"
        );
    }
}
