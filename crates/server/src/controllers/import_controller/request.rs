//! The import that a controller asks for, and what came of each source. Pure.

use std::collections::{BTreeMap, BTreeSet};

use imagestream_api::types::{
    ImageImportSpec, ImageStream, ImageStreamImport, ImageStreamImportSpec, LocalObjectReference, ObjectMeta,
    ObjectReference, RepositoryImportSpec, Status, TagImportPolicy,
};

use super::wanted::{Source, is_importable};

/// The annotation by which a stream's repository may be spoken to without certificates that can be verified.
pub(in crate::controllers) const INSECURE: &str = "openshift.io/image.insecureRepository";

/// An import of these sources of a stream; with `is_full` of all its tags besides. Nothing if there is nothing to ask for.
pub(super) fn request(
    stream: &ImageStream,
    sources: &BTreeSet<Source>,
    is_full: bool,
) -> Option<ImageStreamImport> {
    let is_chosen = |name: &String| is_full || sources.contains(&Source::Tag(name.clone()));
    let tags = stream.spec.tags.iter();
    let images: Vec<ImageImportSpec> = tags
        .filter(|(name, tag)| is_importable(tag) && is_chosen(name))
        .map(|(name, tag)| ImageImportSpec {
            from: from(tag.from.as_ref().and_then(|from| from.name.as_deref())),
            to: Some(LocalObjectReference { name: name.clone() }),
            import_policy: tag.import_policy.clone(),
            reference_policy: tag.reference_policy.clone(),
            include_manifest: false,
        })
        .collect();
    let repository = &stream.spec.docker_image_repository;
    let repository = sources
        .contains(&Source::Repository)
        .then(|| RepositoryImportSpec {
            from: from(Some(repository)),
            import_policy: TagImportPolicy {
                insecure: is_insecure(stream),
                ..TagImportPolicy::default()
            },
            ..RepositoryImportSpec::default()
        });
    if images.is_empty() && repository.is_none() {
        return None;
    }
    Some(ImageStreamImport {
        metadata: ObjectMeta {
            name: stream.metadata.name.clone(),
            namespace: stream.metadata.namespace.clone(),
            // Decided from this state, and for no stream of the same name that comes after it.
            resource_version: stream.metadata.resource_version.clone(),
            uid: stream.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        spec: ImageStreamImportSpec {
            import: true,
            repository,
            images,
        },
        ..ImageStreamImport::default()
    })
}

/// What became of each source that was asked for.
pub(super) fn results(import: &ImageStreamImport) -> BTreeMap<Source, Status> {
    let ImageStreamImport { spec, status, .. } = import;
    let images = spec.images.iter().zip(&status.images);
    let mut results: BTreeMap<Source, Status> = images
        .filter_map(|(asked, result)| {
            let tag = asked.to.as_ref()?.name.clone();
            Some((Source::Tag(tag), result.status.clone()))
        })
        .collect();
    if let Some(repository) = &status.repository {
        results.insert(Source::Repository, repository.status.clone());
    }
    results
}

fn from(name: Option<&str>) -> ObjectReference {
    ObjectReference {
        kind: Some("DockerImage".into()),
        name: name.map(str::to_owned),
        ..ObjectReference::default()
    }
}

fn is_insecure(stream: &ImageStream) -> bool {
    let annotations = stream.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(INSECURE))
        .is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stream() -> ImageStream {
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "resourceVersion": "7", "uid": "u",
                         "annotations": {INSECURE: "true"}},
            "spec": {"dockerImageRepository": "r.test/a", "tags": [
                {"name": "one", "from": {"kind": "DockerImage", "name": "r.test/a:1"},
                 "importPolicy": {"insecure": true, "scheduled": true, "importMode": "PreserveOriginal"},
                 "referencePolicy": {"type": "Local"}},
                {"name": "other", "from": {"kind": "ImageStreamTag", "name": "x:y"}},
                {"name": "two", "from": {"kind": "DockerImage", "name": "r.test/a:2"}},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_request_copies_source_and_policies_of_each_tag_that_is_asked_for() {
        let sources = BTreeSet::from([Source::Tag("one".into()), Source::Tag("other".into())]);
        let import = request(&stream(), &sources, false).unwrap();
        let import: Value = serde_json::to_value(import).unwrap();
        assert_eq!(
            import["metadata"],
            json!({"name": "s", "namespace": "n", "resourceVersion": "7", "uid": "u"})
        );
        assert_eq!(
            import["spec"],
            json!({"import": true, "images": [
                {"from": {"kind": "DockerImage", "name": "r.test/a:1"}, "to": {"name": "one"},
                 "importPolicy": {"insecure": true, "scheduled": true, "importMode": "PreserveOriginal"},
                 "referencePolicy": {"type": "Local"}},
            ]})
        );
    }

    #[test]
    fn a_full_request_is_about_the_repository_and_every_tag_that_can_be_imported() {
        let import = request(&stream(), &BTreeSet::from([Source::Repository]), true).unwrap();
        let tags: Vec<_> = import
            .spec
            .images
            .iter()
            .filter_map(|image| Some(&*image.to.as_ref()?.name))
            .collect();
        assert_eq!(tags, ["one", "two"]);
        let repository = import.spec.repository.unwrap();
        assert_eq!(repository.from.name.as_deref(), Some("r.test/a"));
        assert!(repository.import_policy.insecure && !repository.import_policy.scheduled);
    }

    #[test]
    fn nothing_is_asked_for_where_nothing_can_be_imported() {
        let other = BTreeSet::from([Source::Tag("other".into()), Source::Tag("gone".into())]);
        assert_eq!(request(&stream(), &other, false), None);
    }

    #[test]
    fn results_are_told_by_source() {
        let import: ImageStreamImport = serde_json::from_value(json!({
            "spec": {"images": [{"from": {"name": "a"}, "to": {"name": "one"}}, {"from": {"name": "b"}}]},
            "status": {"images": [{"status": {"status": "Success"}}, {"status": {"status": "Failure"}}],
                       "repository": {"status": {"status": "Failure", "reason": "NotFound"}}},
        }))
        .unwrap();
        let results = results(&import);
        assert_eq!(results.len(), 2);
        assert_eq!(
            results[&Source::Tag("one".into())].status.as_deref(),
            Some("Success")
        );
        assert_eq!(results[&Source::Repository].reason.as_deref(), Some("NotFound"));
    }
}
