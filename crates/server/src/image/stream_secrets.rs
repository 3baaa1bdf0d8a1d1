//! `imagestreams/secrets`: the pull secrets of a namespace, which imports into its streams use.

use std::sync::Arc;

use imagestream_api::types::{EmbeddedSecret, GROUP, ListMeta, Secret, SecretList, Status};
use imagestream_apiserver::endpoint::{Endpoint, Outcome, Reply, Request};
use imagestream_apiserver::errors;
use imagestream_apiserver::kind::{Kind, Resource, Verb};
use imagestream_registry::keychain::Keychain;
use serde_json::Value;

use super::stream_write::{complete, typed};
use crate::context::Context;
use crate::schema;

/// Set to `true`, it keeps a pull secret for other uses.
const EXCLUDED: &str = "openshift.io/image.excludeSecret";
/// The type of secrets that hold what older versions of Docker wrote.
const DOCKERCFG: &str = "kubernetes.io/dockercfg";
/// The type of secrets that hold what `docker login` writes.
const DOCKERCONFIGJSON: &str = "kubernetes.io/dockerconfigjson";

static PULL_SECRETS: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "SecretList",
    schema: &schema::image::SECRET_LIST,
    package: "image",
    description: "SecretList is a list of Secret.",
};

/// `imagestreams/secrets`
pub static STREAM_SECRETS: Resource = Resource {
    kind: &PULL_SECRETS,
    plural: "imagestreams",
    subresource: "secrets",
    singular: "",
    list_kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
};

/// The endpoint. The stream that a request names need not exist: the secrets are those of its namespace.
#[must_use]
pub fn endpoint(context: &Arc<Context>) -> Arc<dyn Endpoint> {
    Arc::new(StreamSecrets {
        context: Arc::clone(context),
    })
}

struct StreamSecrets {
    context: Arc<Context>,
}

impl StreamSecrets {
    async fn secrets(&self, request: &Request) -> Result<Outcome, Box<Status>> {
        if !request.query.is_empty() {
            // No options are defined for this, and those of a list are not taken for them.
            let message = "converting (url.Values) to (v1.ListOptions): unknown conversion";
            return Err(errors::bad_request(message).into());
        }
        let (secrets, revision) = pull_secrets(&self.context, &request.info.namespace).await?;
        let list = SecretList {
            metadata: ListMeta {
                resource_version: Some(revision.to_string()),
                ..ListMeta::default()
            },
            items: secrets.into_iter().map(EmbeddedSecret::from).collect(),
        };
        Ok(Outcome::ok(complete(&list)?))
    }
}

impl Endpoint for StreamSecrets {
    fn resource(&self) -> &'static Resource {
        &STREAM_SECRETS
    }

    fn verbs(&self) -> &'static [Verb] {
        &[Verb::Get]
    }

    fn get<'a>(&'a self, request: &'a Request) -> Reply<'a> {
        Box::pin(self.secrets(request))
    }
}

/// The secrets of a namespace that images are pulled with, by name, and the revision that they show.
///
/// # Errors
/// Those of the store.
pub(crate) async fn pull_secrets(
    context: &Context,
    namespace: &str,
) -> Result<(Vec<Secret>, u64), Box<Status>> {
    let (all, revision) = context.secrets.all_that_open(namespace).await?;
    let mut secrets = Vec::new();
    for encoded in all {
        let secret: Secret = match encoded.to_value().and_then(typed) {
            Ok(secret) => secret,
            Err(_) => {
                // Why may tell something of what is in it.
                tracing::error!(namespace, "a stored secret can't be read and lets nobody in");
                continue;
            }
        };
        let annotations = secret.metadata.annotations.as_ref();
        let excluded = annotations.and_then(|annotations| annotations.get(EXCLUDED));
        if matches!(secret.type_.as_deref(), Some(DOCKERCFG | DOCKERCONFIGJSON))
            && excluded.is_none_or(|excluded| excluded != "true")
        {
            secrets.push(secret);
        }
    }
    Ok((secrets, revision))
}

/// Whether an object is a secret that images may be pulled with.
pub(crate) fn is_pull_secret(secret: &Value) -> bool {
    matches!(secret["type"].as_str(), Some(DOCKERCFG | DOCKERCONFIGJSON))
}

/// The credentials in pull secrets.
///
/// # Errors
/// Why one of them can't be read, without a word of what is in it.
pub(crate) fn keychain(secrets: &[Secret]) -> Result<Keychain, String> {
    let mut keychain = Keychain::default();
    for secret in secrets {
        let value = |key: &str| Some(&secret.data.as_ref()?.get(key)?.0);
        let added = match secret.type_.as_deref() {
            Some(DOCKERCONFIGJSON) => {
                value(".dockerconfigjson").map(|document| keychain.add_dockerconfigjson(document))
            }
            Some(DOCKERCFG) => value(".dockercfg").map(|document| keychain.add_dockercfg(document)),
            _ => None,
        };
        added.transpose().map_err(|error| error.to_string())?;
    }
    Ok(keychain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::TestServer;
    use super::*;

    fn secret(namespace: &str, name: &str, kind: &str, excluded: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": namespace, "annotations": {EXCLUDED: excluded}},
               "type": kind, "data": {".dockercfg": "e30="}})
    }

    #[tokio::test]
    async fn the_pull_secrets_of_the_namespace_are_listed_whether_or_not_the_stream_exists() {
        let server = TestServer::start().await;
        for secret in [
            secret("n", "b", DOCKERCFG, "false"),
            secret("n", "a", DOCKERCONFIGJSON, "True"),
            secret("n", "opaque", "Opaque", ""),
            secret("n", "excluded", DOCKERCFG, "true"),
            secret("m", "foreign", DOCKERCFG, ""),
        ] {
            server.store(&server.context.secrets, secret).await;
        }
        let (code, list) = server.get("imagestreams/none/secrets").await;
        assert_eq!(code, 200, "{list}");
        assert_eq!(
            (&list["kind"], &list["apiVersion"]),
            (&json!("SecretList"), &json!("image.openshift.io/v1"))
        );
        let items = list["items"].as_array().unwrap();
        let names: Vec<&Value> = items.iter().map(|item| &item["metadata"]["name"]).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(items[1]["data"][".dockercfg"], "e30=");
        assert_eq!(
            (items[1].get("kind"), &items[1]["type"]),
            (None, &json!(DOCKERCFG))
        );
        let revision = server.context.store.current_revision().await.unwrap();
        assert_eq!(list["metadata"]["resourceVersion"], revision.to_string());
    }

    #[tokio::test]
    async fn a_secret_that_can_not_be_read_keeps_nobody_from_the_others() {
        let server = TestServer::start().await;
        let secrets = &server.context.secrets;
        server.store(secrets, secret("n", "good", DOCKERCFG, "")).await;
        for (name, bytes) in [
            ("short", &b"{"[..]),
            (
                "unsealed",
                br#"{"metadata":{"name":"unsealed","namespace":"n"},"type":7}"#,
            ),
        ] {
            let key = secrets.key("n", name);
            let write = imagestream_store::Write::Put(key, bytes::Bytes::from_static(bytes));
            server.context.store.commit(&[], &[write]).await.unwrap();
        }
        let (found, _) = pull_secrets(&server.context, "n").await.unwrap();
        let names = Vec::from_iter(found.iter().map(|secret| secret.metadata.name.as_deref()));
        assert_eq!(names, [Some("good")]);
    }

    #[tokio::test]
    async fn options_of_lists_are_not_taken() {
        let server = TestServer::start().await;
        let (code, refused) = server.get("imagestreams/s/secrets?labelSelector=a%3Db").await;
        assert_eq!((code, &refused["reason"]), (400, &json!("BadRequest")));
    }

    #[test]
    fn an_unreadable_secret_is_reported_without_its_content() {
        let mut secret = secret("n", "a", DOCKERCFG, "");
        // {"x": {"auth": "c2VjcmV0"}}: no user and password.
        secret["data"][".dockercfg"] = json!("eyJ4IjogeyJhdXRoIjogImMyVmpjbVYwIn19");
        let secret: Secret = serde_json::from_value(secret).unwrap();
        let error = keychain(&[secret]).unwrap_err();
        assert_eq!(
            error,
            "unable to parse auth field, must be formatted as base64(username:password)"
        );
    }
}
