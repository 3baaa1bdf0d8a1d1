//! Users from client certificates: see "[X509 client certificates](https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates)".

use std::fmt::Write;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::AttributeTypeAndValue;

use super::user::UserInfo;

/// The key under which the user's `extra` names the certificate that was shown, for the audit log.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Why a certificate names no user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It can't be read.
    #[error("the certificate is malformed")]
    Malformed,
    /// Its subject has no common name.
    #[error("the certificate's subject has no common name")]
    NoCommonName,
    /// A name in its subject isn't text.
    #[error("a name in the certificate's subject is not text")]
    NotText,
}

/// The user that a certificate names, for as long as it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateUser {
    /// The subject's common name is the user's, its organizations are the groups.
    pub user: UserInfo,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl CertificateUser {
    /// Reads a certificate (DER) whose signature and purpose the TLS handshake has verified.
    ///
    /// # Errors
    /// It names no user.
    pub fn from_verified(der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        let subject = certificate.subject();
        let name = match subject.iter_common_name().last() {
            Some(name) => text(name)?,
            None => String::new(),
        };
        if name.is_empty() {
            return Err(CertificateError::NoCommonName);
        }
        let groups = subject.iter_organization().map(text).collect::<Result<_, _>>()?;
        let moment = |seconds| Timestamp::from_second(seconds).map_err(|_| CertificateError::Malformed);
        let validity = certificate.validity();
        let mut user = UserInfo {
            name,
            groups,
            ..UserInfo::default()
        };
        user.extra.insert(CREDENTIAL_ID.into(), vec![credential_id(der)]);
        Ok(Self {
            user: user.authenticated(),
            not_before: moment(validity.not_before.timestamp())?,
            not_after: moment(validity.not_after.timestamp())?,
        })
    }

    /// Whether the certificate is valid at the moment. A connection can outlive its certificate, so that
    /// each request asks again.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

fn text(name: &AttributeTypeAndValue<'_>) -> Result<String, CertificateError> {
    name.as_str()
        .map(ToOwned::to_owned)
        .map_err(|_| CertificateError::NotText)
}

fn credential_id(der: &[u8]) -> String {
    let mut id = String::from("X509SHA256=");
    for byte in Sha256::digest(der) {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 2, 1);
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn the_common_name_is_the_user_and_organizations_are_groups() {
        let der = certificate(&[
            (DnType::CommonName, "änn"),
            (DnType::OrganizationName, "system:masters"),
        ]);
        let shown = CertificateUser::from_verified(&der).unwrap();
        assert_eq!(shown.user.name, "änn");
        assert_eq!(shown.user.groups, ["system:masters", "system:authenticated"]);
        let [id] = shown.user.extra[CREDENTIAL_ID].as_slice() else {
            panic!("one id")
        };
        assert!(
            id.strip_prefix("X509SHA256=").is_some_and(|hex| hex.len() == 64),
            "{id}"
        );
    }

    #[test]
    fn a_certificate_is_valid_between_its_dates() {
        let user = CertificateUser::from_verified(&certificate(&[(DnType::CommonName, "ann")])).unwrap();
        for (moment, valid) in [
            ("2025-12-31T23:59:59Z", false),
            ("2026-01-01T00:00:00Z", true),
            ("2026-02-01T00:00:00Z", true),
            ("2026-02-01T00:00:01Z", false),
        ] {
            assert_eq!(user.is_valid_at(moment.parse().unwrap()), valid, "{moment}");
        }
    }

    #[test]
    fn a_certificate_without_a_name_or_with_rubbish_is_nobodys() {
        let nameless = certificate(&[(DnType::OrganizationName, "system:masters")]);
        assert_eq!(
            CertificateUser::from_verified(&nameless),
            Err(CertificateError::NoCommonName)
        );
        let empty = certificate(&[(DnType::CommonName, "")]);
        assert_eq!(
            CertificateUser::from_verified(&empty),
            Err(CertificateError::NoCommonName)
        );
        let whole = certificate(&[(DnType::CommonName, "ann")]);
        let longer = [whole.as_slice(), b"x"].concat();
        for der in [&b""[..], b"rubbish", &whole[..whole.len() - 1], &longer] {
            assert_eq!(
                CertificateUser::from_verified(der),
                Err(CertificateError::Malformed)
            );
        }
    }
}
