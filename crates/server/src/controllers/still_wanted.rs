//! What of an import that was carried out for one version of a stream is still wanted by a later one. Pure.

use imagestream_api::types::{ImageStream, ImageStreamImport};
use imagestream_import::apply::CHECKED;

use super::import_controller::INSECURE;
use crate::image::repository_note::RepositoryNote;

/// Leaves in an import, made for a stream as it was `before`, what the stream as it is `now` wants in just the same way
/// and nobody else has dealt with meanwhile. Everything else in the stream may have changed.
pub(super) fn keep(import: &mut ImageStreamImport, before: &ImageStream, now: &ImageStream) {
    keep_tags(import, |tag| {
        before.spec.tags.get(tag) == now.spec.tags.get(tag)
            && before.status.tags.get(tag) == now.status.tags.get(tag)
    });
    if repository(before) != repository(now) {
        import.spec.repository = None;
        import.status.repository = None;
    }
}

/// Leaves in an import the items for these tags, with their results, and its repository.
fn keep_tags(import: &mut ImageStreamImport, is_kept: impl Fn(&str) -> bool) {
    let (spec, results) = (&mut import.spec.images, &mut import.status.images);
    let is_kept: Vec<bool> = spec
        .iter()
        .map(|image| image.to.as_ref().is_some_and(|to| is_kept(&to.name)))
        .collect();
    let mut of_spec = is_kept.iter().copied();
    spec.retain(|_| of_spec.next().unwrap_or_default());
    let mut of_results = is_kept.into_iter();
    results.retain(|_| of_results.next().unwrap_or_default());
}

/// Whether nothing is asked for.
pub(super) fn is_empty(import: &ImageStreamImport) -> bool {
    import.spec.images.is_empty() && import.spec.repository.is_none()
}

/// Everything that says how a stream wants its repository imported, and whether it has been.
fn repository(stream: &ImageStream) -> (&str, Option<&str>, bool, Option<RepositoryNote>) {
    let annotation = |key: &str| stream.metadata.annotations.as_ref()?.get(key);
    let insecure = annotation(INSECURE).map(String::as_str);
    let is_checked = annotation(CHECKED).is_some_and(|checked| !checked.is_empty());
    let note = RepositoryNote::of(stream);
    (&stream.spec.docker_image_repository, insecure, is_checked, note)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stream() -> Value {
        json!({
            "metadata": {"name": "s", "namespace": "n", "annotations": {"other": "a"}},
            "spec": {"dockerImageRepository": "r.test/a", "tags": [
                {"name": "one", "from": {"kind": "DockerImage", "name": "r.test/a:1"}, "generation": 1},
                {"name": "two", "from": {"kind": "DockerImage", "name": "r.test/a:2"}, "generation": 1},
            ]},
            "status": {"tags": [{"tag": "one", "items": [{"image": "sha256:a", "generation": 1}]}]},
        })
    }

    /// What is left of an import of everything, with results, when the stream has become this.
    fn left(now: &Value) -> (Vec<String>, Vec<String>, bool) {
        let mut import: ImageStreamImport = serde_json::from_value(json!({
            "spec": {"images": [{"from": {"name": "r.test/a:1"}, "to": {"name": "one"}},
                                {"from": {"name": "r.test/a:2"}, "to": {"name": "two"}}],
                     "repository": {"from": {"name": "r.test/a"}}},
            "status": {"images": [{"status": {"status": "Success"}, "tag": "1"},
                                  {"status": {"status": "Failure"}, "tag": "2"}],
                       "repository": {"status": {"status": "Success"}}},
        }))
        .unwrap();
        let typed = |stream: &Value| serde_json::from_value(stream.clone()).unwrap();
        keep(&mut import, &typed(&stream()), &typed(now));
        assert_eq!(
            import.spec.repository.is_some(),
            import.status.repository.is_some()
        );
        let asked = import
            .spec
            .images
            .iter()
            .map(|image| image.to.as_ref().unwrap().name.clone());
        let found = import.status.images.iter().map(|image| image.tag.clone());
        (asked.collect(), found.collect(), import.spec.repository.is_some())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn all_is_wanted_as_long_as_only_something_else_changes() {
        let mut now = stream();
        now["metadata"]["annotations"]["other"] = json!("b");
        now["metadata"]["labels"] = json!({"a": "b"});
        let three = json!({"name": "three", "from": {"kind": "DockerImage", "name": "b"}});
        now["spec"]["tags"].as_array_mut().unwrap().push(three);
        assert_eq!(left(&now), (names(&["one", "two"]), names(&["1", "2"]), true));
    }

    #[test]
    fn a_tag_that_was_changed_imported_or_taken_away_is_not_wanted_and_others_are() {
        let two = (names(&["two"]), names(&["2"]), true);
        for (path, value) in [
            ("/spec/tags/0/from/name", json!("r.test/b:1")),
            ("/spec/tags/0/generation", json!(2)),
            ("/spec/tags/0/name", json!("gone")),
            ("/status/tags/0/items/0/image", json!("sha256:b")),
        ] {
            let mut now = stream();
            *now.pointer_mut(path).unwrap() = value;
            assert_eq!(left(&now), two, "{path}");
        }
    }

    #[test]
    fn a_repository_that_was_changed_or_imported_is_not_wanted_and_tags_are() {
        let tags = (names(&["one", "two"]), names(&["1", "2"]), false);
        let mut other = stream();
        other["spec"]["dockerImageRepository"] = json!("r.test/b");
        assert_eq!(left(&other), tags);
        for annotation in [CHECKED, INSECURE] {
            let mut now = stream();
            now["metadata"]["annotations"][annotation] = json!("true");
            assert_eq!(left(&now), tags, "{annotation}");
        }
    }
}
