//! What the cluster's configuration says of registries: which are blocked or insecure, and where mirrors are.
//!
//! The objects are OpenShift's [image configuration][image], [ImageDigestMirrorSets][idms], [ImageTagMirrorSets][itms]
//! and their predecessor, [ImageContentSourcePolicies][icsp]. Of the image configuration only blocked and insecure
//! registries count here: where images may be imported from is a setting of the server.
//!
//! [image]: https://docs.openshift.com/container-platform/latest/rest_api/config_apis/image-config-openshift-io-v1.html
//! [idms]: https://docs.openshift.com/container-platform/latest/rest_api/config_apis/imagedigestmirrorset-config-openshift-io-v1.html
//! [itms]: https://docs.openshift.com/container-platform/latest/rest_api/config_apis/imagetagmirrorset-config-openshift-io-v1.html
//! [icsp]: https://docs.openshift.com/container-platform/latest/rest_api/operator_apis/imagecontentsourcepolicy-operator-openshift-io-v1alpha1.html

use imagestream_api::types::Status;
use imagestream_apiserver::selectors::field::FieldSelector;
use imagestream_apiserver::selectors::label::LabelSelector;
use imagestream_apiserver::storage::Objects;
use imagestream_registry::sources::{MirrorGroup, RegistryRules, RulesInput};
use serde_json::Value;

use crate::context::Context;

/// The one image configuration that counts.
const CLUSTER: &str = "cluster";

/// The rules that are in force now.
///
/// # Errors
/// Those of the store.
pub(crate) async fn rules(context: &Context) -> Result<RegistryRules, Box<Status>> {
    let mut input = RulesInput::default();
    if let Some(stored) = context.image_configs.get("", CLUSTER).await? {
        let sources = stored.object.pointer("/spec/registrySources");
        let scopes = |field: &str| texts(sources.and_then(|sources| sources.get(field)));
        input.blocked = scopes("blockedRegistries");
        input.insecure = scopes("insecureRegistries");
    }
    let digest_sets = groups(&context.digest_mirror_sets, "/spec/imageDigestMirrors").await?;
    let policies = groups(&context.content_source_policies, "/spec/repositoryDigestMirrors").await?;
    input.digest_mirrors = digest_sets.into_iter().chain(policies).collect();
    input.tag_mirrors = groups(&context.tag_mirror_sets, "/spec/imageTagMirrors").await?;
    Ok(RegistryRules::new(&input))
}

async fn groups(sets: &Objects, field: &str) -> Result<Vec<MirrorGroup>, Box<Status>> {
    let (sets, _) = sets
        .all("", &LabelSelector::default(), &FieldSelector::default())
        .await?;
    let mut groups = Vec::new();
    for set in sets {
        let set = match set.to_value() {
            Ok(set) => set,
            Err(status) => {
                let why = status.message.unwrap_or_default();
                tracing::error!(
                    field,
                    why,
                    "a stored set of mirrors can't be read and does not count"
                );
                continue;
            }
        };
        let of_set = set.pointer(field).and_then(Value::as_array);
        groups.extend(of_set.into_iter().flatten().map(group));
    }
    Ok(groups)
}

fn group(group: &Value) -> MirrorGroup {
    let text = |field: &str| group.get(field).and_then(Value::as_str).unwrap_or_default();
    MirrorGroup {
        source: text("source").to_owned(),
        mirrors: texts(group.get("mirrors")),
        never_contact_source: text("mirrorSourcePolicy") == "NeverContactSource",
    }
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use imagestream_api::reference::ImageReference;
    use imagestream_registry::sources::PullBy;
    use serde_json::json;

    use super::super::testing::TestServer;
    use super::*;

    fn reference(text: &str) -> ImageReference {
        ImageReference::parse(text).unwrap()
    }

    #[tokio::test]
    async fn without_any_configuration_every_registry_is_contacted_as_it_is() {
        let server = TestServer::start().await;
        let rules = rules(&server.context).await.unwrap();
        let image = reference("quay.io/a/b:c");
        assert!(!rules.blocked(&image) && !rules.insecure(&image));
        assert_eq!(rules.pull_sources(&image, PullBy::Tag).candidates, [image]);
    }

    #[tokio::test]
    async fn all_kinds_of_configuration_count_and_only_the_image_configuration_of_the_cluster() {
        let server = TestServer::start().await;
        let context = &server.context;
        let sources = |registry: &str| {
            json!({"registrySources": {"blockedRegistries": [format!("{registry}/blocked")],
                   "insecureRegistries": [registry], "allowedRegistries": ["nowhere.example.com"]}})
        };
        for (name, registry) in [("cluster", "lab.example.com"), ("other", "other.example.com")] {
            let configuration = json!({"metadata": {"name": name}, "spec": sources(registry)});
            server.store(&context.image_configs, configuration).await;
        }
        let group = |mirror: &str| json!([{"source": "quay.io/a", "mirrors": [mirror]}]);
        for (objects, field, mirror) in [
            (
                &context.digest_mirror_sets,
                "imageDigestMirrors",
                "digests.example.com/a",
            ),
            (&context.tag_mirror_sets, "imageTagMirrors", "tags.example.com/a"),
            (
                &context.content_source_policies,
                "repositoryDigestMirrors",
                "policy.example.com/a",
            ),
        ] {
            let set = json!({"metadata": {"name": "m"}, "spec": {field: group(mirror)}});
            server.store(objects, set).await;
        }
        let rules = rules(context).await.unwrap();
        assert!(rules.blocked(&reference("lab.example.com/blocked/x")));
        assert!(!rules.blocked(&reference("other.example.com/blocked/x")));
        assert!(rules.insecure(&reference("lab.example.com/x")));
        let registries = |image: &str, by: PullBy| -> Vec<String> {
            let sources = rules.pull_sources(&reference(image), by);
            sources
                .candidates
                .into_iter()
                .map(|candidate| candidate.registry)
                .collect()
        };
        let digest = format!("quay.io/a/b@sha256:{}", "0".repeat(64));
        assert_eq!(
            registries(&digest, PullBy::Digest),
            ["digests.example.com", "policy.example.com", "quay.io"]
        );
        assert_eq!(
            registries("quay.io/a/b:c", PullBy::Tag),
            ["tags.example.com", "quay.io"]
        );
    }
}
