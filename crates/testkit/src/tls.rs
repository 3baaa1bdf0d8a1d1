//! Certificates for 127.0.0.1 and `localhost` from an authority of its own, and tokens signed with such a key.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

/// A server certificate and the authority that vouches for it.
#[derive(Debug, Clone)]
pub struct ServerIdentity {
    /// PEM of the authority, for clients to trust.
    pub ca_pem: String,
    /// PEM of the certificate.
    pub certificate_pem: String,
    /// PEM of its key.
    pub key_pem: String,
}

impl ServerIdentity {
    /// A new authority and a certificate for 127.0.0.1 and `localhost`.
    #[must_use]
    pub fn generate() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority
            .distinguished_name
            .push(DnType::CommonName, "test registry authority");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
        let mut server =
            CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).expect("valid names");
        server
            .distinguished_name
            .push(DnType::CommonName, "test registry");
        let key = KeyPair::generate().expect("a key");
        let certificate = server.signed_by(&key, &authority).expect("a certificate");
        Self {
            ca_pem: authority.pem(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// The configuration of a server with this identity that offers these protocols.
    pub(crate) fn server_config(&self, protocols: &[&[u8]]) -> Arc<rustls::ServerConfig> {
        let certificate = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).expect("own PEM");
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("own PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("the key fits the certificate");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

/// Signs registry tokens ([JWT](https://distribution.github.io/distribution/spec/auth/jwt/), ES256) that a real
/// registry accepts when it trusts [`TokenSigner::certificate_pem`].
pub struct TokenSigner {
    key: EcdsaKeyPair,
    certificate: rcgen::Certificate,
    issuer: String,
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl TokenSigner {
    /// A new key, and a certificate for it that it signs itself.
    #[must_use]
    pub fn generate(issuer: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, issuer);
        let certificate = params.self_signed(&key).expect("a certificate");
        let key = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &key.serialize_der(),
            &SystemRandom::new(),
        )
        .expect("rcgen makes P-256 keys by default");
        Self {
            key,
            certificate,
            issuer: issuer.to_owned(),
        }
    }

    /// What the registry's `rootcertbundle` has to hold.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// A token for `audience` that allows actions on repositories.
    pub(crate) fn token(
        &self,
        audience: &str,
        access: &[(String, Vec<String>)],
        valid_for: Duration,
        id: u64,
    ) -> String {
        #[allow(
            clippy::disallowed_methods,
            reason = "a real registry compares with the real time"
        )]
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let access: Vec<Value> = access
            .iter()
            .map(|(name, actions)| json!({"type": "repository", "name": name, "actions": actions}))
            .collect();
        let header =
            json!({"typ": "JWT", "alg": "ES256", "x5c": [BASE64_STANDARD.encode(self.certificate.der())]});
        let claims = json!({
            "iss": self.issuer,
            "sub": "",
            "aud": audience,
            "exp": now + valid_for.as_secs(),
            "nbf": now.saturating_sub(10),
            "iat": now,
            "jti": id.to_string(),
            "access": access,
        });
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .expect("P-256 signs");
        format!("{signed}.{}", encode(signature.as_ref()))
    }
}
