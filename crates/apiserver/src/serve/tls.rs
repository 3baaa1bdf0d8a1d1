//! The server's side of TLS: its certificate, the protocols it speaks, and which client certificates it looks at.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pki::Identity;

/// HTTP/2 as ALPN names it.
pub(super) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key is not PEM.
    #[error("not a certificate or key in PEM: {0}")]
    Pem(#[from] pem::Error),
    /// A certificate or key cannot be used, or they don't belong together.
    #[error("the certificate cannot be served: {0}")]
    Rustls(#[from] rustls::Error),
    /// The authorities for client certificates cannot be used.
    #[error("the authorities for client certificates cannot be used: {0}")]
    Authorities(#[from] VerifierBuilderError),
}

/// All certificates of a PEM text.
///
/// # Errors
/// The text is no PEM.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    Ok(CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>()?)
}

/// TLS with this certificate. Clients may show a certificate of one of the authorities; one of anybody else ends the
/// handshake.
///
/// # Errors
/// A certificate or key cannot be used.
pub fn tls_config(
    serving: &Identity,
    client_authorities: &[CertificateDer<'static>],
) -> Result<ServerConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in client_authorities {
        roots.add(authority.clone())?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(AnyTimeVerifier { inner: verifier }))
        .with_single_cert(
            certificates(&serving.certificate)?,
            PrivateKeyDer::from_pem_slice(serving.key.as_bytes())?,
        )?;
    config.alpn_protocols = vec![H2.into(), HTTP_1_1.into()];
    Ok(config)
}

/// Lets certificates pass that would be good at another time.
///
/// A client whose certificate has ended is answered with 401, which tells its user more than a handshake that fails.
/// That a certificate is valid *now* is asked at each request, because connections outlive certificates.
#[derive(Debug)]
struct AnyTimeVerifier {
    inner: Arc<dyn ClientCertVerifier>,
}

impl AnyTimeVerifier {
    /// A time at which the certificate itself is valid, if it is not so now.
    ///
    /// Only the dates of the client's own certificate are forgiven: these are looked at again, those of authorities
    /// in between are not.
    fn better_time(end_entity: &CertificateDer<'_>, now: UnixTime) -> Option<UnixTime> {
        let (_, certificate) = X509Certificate::from_der(end_entity).ok()?;
        let validity = certificate.validity();
        let second = |timestamp: i64| u64::try_from(timestamp).ok();
        let (not_before, not_after) = (
            second(validity.not_before.timestamp())?,
            second(validity.not_after.timestamp())?,
        );
        let better = if now.as_secs() > not_after {
            not_after
        } else if now.as_secs() < not_before {
            not_before
        } else {
            return None;
        };
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(better)))
    }
}

impl ClientCertVerifier for AnyTimeVerifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now);
        let Err(rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) = &verified
        else {
            return verified;
        };
        match Self::better_time(end_entity, now) {
            Some(time) => self.inner.verify_client_cert(end_entity, intermediates, time),
            None => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
