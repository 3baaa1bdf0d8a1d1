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
        let set = set.to_value()?;
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
