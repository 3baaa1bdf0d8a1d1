//! With which credentials the sources of each namespace are looked at, and which namespaces share them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use imagestream_api::reference::ImageReference;
use imagestream_api::types::Status;
use imagestream_import::Credentials;
use imagestream_registry::keychain::Keychain;
use imagestream_registry::sources::{PullBy, RegistryRules};

use crate::context::Context;
use crate::image::stream_secrets::{keychain, pull_secrets};

/// Stands for the credentials that a source would be asked with, without telling anything of them: a hash with a key
/// that nobody knows and that every process makes anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::controllers) struct Fingerprint(pub(super) u64);

/// The credentials of all namespaces that follow something.
pub(in crate::controllers) struct NamespaceCredentials {
    known: HashMap<String, Arc<Credentials>>,
    /// What namespaces without pull secrets share.
    none: Arc<Credentials>,
    key: RandomState,
}

impl NamespaceCredentials {
    pub(in crate::controllers) fn new(context: &Context) -> Self {
        Self {
            known: HashMap::new(),
            none: Arc::new(Credentials {
                secrets: Ok(Keychain::default()),
                host: context.host_credentials.clone(),
            }),
            key: RandomState::new(),
        }
    }

    /// Those of a namespace, as they were when they were last forgotten or read.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn of(
        &mut self,
        context: &Context,
        namespace: &str,
    ) -> Result<Arc<Credentials>, Box<Status>> {
        if let Some(known) = self.known.get(namespace) {
            return Ok(Arc::clone(known));
        }
        let (secrets, _) = pull_secrets(context, namespace).await?;
        let secrets = keychain(&secrets);
        let credentials = match &secrets {
            Ok(keychain) if keychain.is_empty() => Arc::clone(&self.none),
            _ => Arc::new(Credentials {
                secrets,
                host: context.host_credentials.clone(),
            }),
        };
        self.known.insert(namespace.to_owned(), Arc::clone(&credentials));
        Ok(credentials)
    }

    /// Reads those of a namespace again when they are next asked for. Whether they were known.
    pub(super) fn forget(&mut self, namespace: &str) -> bool {
        self.known.remove(namespace).is_some()
    }

    /// Of how many namespaces they are known.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// Reads all again when they are next asked for.
    pub(super) fn forget_all(&mut self) {
        self.known.clear();
    }

    /// Namespaces whose credentials are equal here see the same of a reference, at its source and at its mirrors.
    pub(in crate::controllers) fn fingerprint(
        &self,
        credentials: &Credentials,
        reference: &ImageReference,
        rules: &RegistryRules,
    ) -> Fingerprint {
        let by = match reference.id.is_empty() {
            true => PullBy::Tag,
            false => PullBy::Digest,
        };
        let found: Result<Vec<_>, &String> = match &credentials.secrets {
            Ok(keychain) if keychain.is_empty() => return Fingerprint(0),
            Ok(keychain) => {
                let candidates = rules.pull_sources(reference, by).candidates;
                let wanted = candidates
                    .iter()
                    .map(|candidate| candidate.defaulted().with_library());
                Ok(wanted.map(|wanted| keychain.lookup(&wanted)).collect())
            }
            // Nobody who has such secrets sees anything.
            Err(unreadable) => Err(unreadable),
        };
        match &found {
            Ok(found) if found.iter().all(Option::is_none) => Fingerprint(0),
            found => Fingerprint(self.key.hash_one(found).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use imagestream_registry::sources::{MirrorGroup, RulesInput};
    use serde_json::json;

    use super::*;
    use crate::image::testing::TestServer;

    fn credentials(auths: &[(&str, &str)]) -> Credentials {
        let mut keychain = Keychain::default();
        for (key, password) in auths {
            let document = json!({"auths": {*key: {"username": "u", "password": password}}}).to_string();
            keychain.add_dockerconfigjson(document.as_bytes()).unwrap();
        }
        Credentials {
            secrets: Ok(keychain),
            host: None,
        }
    }

    #[tokio::test]
    async fn namespaces_share_what_they_would_ask_for_with_equal_credentials() {
        let server = TestServer::start().await;
        let all = NamespaceCredentials::new(&server.context);
        let reference = ImageReference::parse("r.test/team/app:1").unwrap();
        let rules = RegistryRules::default();
        let of = |credentials: &Credentials| all.fingerprint(credentials, &reference, &rules);
        let ann = of(&credentials(&[("r.test", "ann")]));
        assert_eq!(of(&credentials(&[])), Fingerprint(0));
        assert_eq!(
            of(&credentials(&[("other.test", "x")])),
            Fingerprint(0),
            "no use there"
        );
        assert_ne!(ann, Fingerprint(0));
        assert_eq!(
            of(&credentials(&[("r.test/team", "ann"), ("other.test", "x")])),
            ann
        );
        assert_ne!(of(&credentials(&[("r.test", "bob")])), ann);
        let again = NamespaceCredentials::new(&server.context);
        let elsewhere = again.fingerprint(&credentials(&[("r.test", "ann")]), &reference, &rules);
        assert_ne!(elsewhere, ann, "the key is another one");
    }

    #[tokio::test]
    async fn who_may_ask_a_mirror_does_not_share_with_who_may_not() {
        let server = TestServer::start().await;
        let all = NamespaceCredentials::new(&server.context);
        let reference = ImageReference::parse("r.test/team/app:1").unwrap();
        let rules = RegistryRules::new(&RulesInput {
            tag_mirrors: vec![MirrorGroup {
                source: "r.test".into(),
                mirrors: vec!["m.test".into()],
                never_contact_source: false,
            }],
            ..RulesInput::default()
        });
        let of = |credentials: &Credentials| all.fingerprint(credentials, &reference, &rules);
        assert_ne!(of(&credentials(&[("m.test", "ann")])), Fingerprint(0));
    }

    #[tokio::test]
    async fn secrets_are_read_again_once_they_were_forgotten() {
        let server = TestServer::start().await;
        let context = &server.context;
        let mut all = NamespaceCredentials::new(context);
        let reference = ImageReference::parse("r.test/team/app:1").unwrap();
        let rules = RegistryRules::default();
        let before = all.of(context, "n").await.unwrap();
        let document = json!({"auths": {"r.test": {"username": "u", "password": "p"}}}).to_string();
        let secret = json!({"metadata": {"name": "pull", "namespace": "n"},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": k8s_openapi::ByteString(document.into_bytes())}});
        server.store(&context.secrets, secret).await;
        assert!(all.forget("n") && !all.forget("n"));
        let after = all.of(context, "n").await.unwrap();
        assert_eq!(all.fingerprint(&before, &reference, &rules), Fingerprint(0));
        assert_ne!(all.fingerprint(&after, &reference, &rules), Fingerprint(0));
    }
}
