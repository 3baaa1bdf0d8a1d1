//! The server's own certificate authority and what it issues: see "[PKI certificates and requirements](https://kubernetes.io/docs/setup/best-practices/certificates/)".
//!
//! The authority lives in one directory: `ca.crt`, `ca.key`, `serving.crt`, `serving.key`, `admin.crt` and
//! `admin.key`. Keys are for their owner's eyes only. Each key is written before its certificate, so that a
//! server that dies in between finds a pair that doesn't match and issues a new one.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::atomic_file;
use crate::authn::user::MASTERS;

const DAY: i64 = 24 * 60 * 60;
const CA_LIFETIME: i64 = 3650 * DAY;
const LEAF_LIFETIME: i64 = 365 * DAY;
/// A certificate with less left is renewed.
const LEAF_RENEWAL: i64 = 30 * DAY;
/// The authority outlives everything it issues.
const CA_RENEWAL: i64 = LEAF_LIFETIME + LEAF_RENEWAL;
/// Clients' clocks may be behind by this much.
const CLOCK_SKEW: i64 = 5 * 60;

const MAX_FILE_BYTES: u64 = 64 << 10;

/// Why there is no usable authority.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file or directory can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read or write a key.
    #[error("{}: other users can access this private key (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The authority's certificate is there, but not its key: nothing can be issued, and a new authority
    /// would lock out everyone who trusts this one.
    #[error("{} is there but {} is not; restore the key, or remove the certificate to start a new authority", certificate.display(), key.display())]
    MissingKey {
        /// The certificate that is there.
        certificate: PathBuf,
        /// The key that isn't.
        key: PathBuf,
    },
    /// The authority's key isn't that of its certificate.
    #[error("{} is not the key of {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A file of the authority isn't what its name says.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate could not be made.
    #[error("can't issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The system gives no random numbers.
    #[error("no random numbers for a certificate's serial number")]
    NoRandomness,
}

/// A certificate with its private key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key: for files of mode 0600 and the TLS library only.
    pub key: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// The authority's certificate and the identities it issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pki {
    /// The certificate (PEM) that clients trust, and that client certificates are checked against.
    pub ca_certificate: String,
    /// What the server shows to its clients.
    pub serving: Identity,
    /// A client of the group `system:masters`.
    pub admin: Identity,
}

/// The names under which clients reach the server: loopback, the host's name and the address it listens on.
#[must_use]
pub fn serving_names(listen: IpAddr, hostname: Option<&str>) -> Vec<String> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut names = vec!["localhost".to_owned()];
    names.extend(loopback.iter().map(ToString::to_string));
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    // A name that can't stand in a certificate can't be connected to by TLS either.
    names.extend(
        hostname
            .filter(|name| !name.is_empty() && name.is_ascii())
            .map(str::to_lowercase),
    );
    let mut unique = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}

/// The name of this host, if it has one.
#[must_use]
pub fn hostname() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}

impl Pki {
    /// Opens the authority in a directory, creating what is missing and renewing what ends within 30 days
    /// or doesn't fit (serving names, the authority). Blocks on the disk: call it before serving.
    ///
    /// One process at a time: whoever calls it holds the data directory's lock.
    ///
    /// # Errors
    /// The directory isn't usable, or holds keys that others can read or that don't belong together.
    pub fn open(directory: &Path, serving_names: &[String], now: Timestamp) -> Result<Self, PkiError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| PkiError::Io {
                path: directory.into(),
                source,
            })?;
        let authority = Authority::open(&Pair::of(directory, "ca"), now)?;

        let mut serving = CertificateParams::new(serving_names)?;
        serving.distinguished_name = name(&[(DnType::CommonName, "apiserver")]);
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];

        let mut admin = CertificateParams::default();
        admin.distinguished_name =
            name(&[(DnType::OrganizationName, MASTERS), (DnType::CommonName, "admin")]);
        admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];

        Ok(Self {
            serving: authority.identity(&Pair::of(directory, "serving"), serving, serving_names, now)?,
            admin: authority.identity(&Pair::of(directory, "admin"), admin, &[], now)?,
            ca_certificate: authority.certificate,
        })
    }
}

/// The two files of an identity.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn of(directory: &Path, name: &str) -> Self {
        Self {
            certificate: directory.join(format!("{name}.crt")),
            key: directory.join(format!("{name}.key")),
        }
    }

    fn write(&self, certificate: &str, key: &KeyPair) -> Result<(), PkiError> {
        write(&self.key, &key.serialize_pem(), 0o600)?;
        write(&self.certificate, certificate, 0o644)
    }
}

struct Authority {
    certificate: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn open(files: &Pair, now: Timestamp) -> Result<Self, PkiError> {
        let key = read(&files.key, true)?;
        let certificate = read(&files.certificate, false)?;
        let malformed = |path: &Path, problem: String| PkiError::Malformed {
            path: path.into(),
            problem,
        };
        let key = match (key, &certificate) {
            (Some(pem), _) => KeyPair::from_pem(&pem)
                .map_err(|error| malformed(&files.key, format!("not a private key: {error}")))?,
            (None, None) => KeyPair::generate()?,
            (None, Some(_)) => {
                return Err(PkiError::MissingKey {
                    certificate: files.certificate.clone(),
                    key: files.key.clone(),
                });
            }
        };
        let Some(certificate) = certificate else {
            let subject = format!("apiserver-ca@{}", now.as_second());
            return Self::create(files, name(&[(DnType::CommonName, &subject)]), key, now);
        };
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| malformed(&files.certificate, "not a PEM certificate".into()))?;
        let (subject, ends) = {
            let (_, parsed) = X509Certificate::from_der(&der)
                .map_err(|_| malformed(&files.certificate, "not a certificate".into()))?;
            if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
                return Err(PkiError::Mismatch {
                    certificate: files.certificate.clone(),
                    key: files.key.clone(),
                });
            }
            if !parsed.is_ca() {
                return Err(malformed(
                    &files.certificate,
                    "not the certificate of an authority".into(),
                ));
            }
            let subject: Vec<_> = parsed
                .subject()
                .iter_common_name()
                .filter_map(|name| name.as_str().ok())
                .collect();
            (subject.join(" "), parsed.validity().not_after.timestamp())
        };
        if ends - now.as_second() < CA_RENEWAL && subject.starts_with("apiserver-ca@") {
            // The same name and key: whoever trusts the old certificate trusts what the new one issues.
            return Self::create(files, name(&[(DnType::CommonName, &subject)]), key, now);
        }
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self {
            certificate,
            der,
            issuer,
        })
    }

    fn create(
        files: &Pair,
        subject: DistinguishedName,
        key: KeyPair,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        set_validity(&mut params, now, CA_LIFETIME)?;
        let certificate = params.self_signed(&key)?;
        files.write(&certificate.pem(), &key)?;
        let der = certificate.der().clone();
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self {
            certificate: certificate.pem(),
            der,
            issuer,
        })
    }

    /// The identity in the files if it will do, or else a new one.
    fn identity(
        &self,
        files: &Pair,
        mut params: CertificateParams,
        names: &[String],
        now: Timestamp,
    ) -> Result<Identity, PkiError> {
        let existing = (read(&files.certificate, false)?, read(&files.key, true)?);
        if let (Some(certificate), Some(key)) = existing
            && self.will_do(&certificate, &key, names, now)
        {
            return Ok(Identity { certificate, key });
        }
        let key = KeyPair::generate()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, LEAF_LIFETIME)?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        files.write(&certificate, &key)?;
        Ok(Identity {
            certificate,
            key: key.serialize_pem(),
        })
    }

    /// Whether a certificate is of this authority, belongs to the key, covers the names and isn't about to end.
    fn will_do(&self, certificate: &str, key: &str, names: &[String], now: Timestamp) -> bool {
        let (Ok(der), Ok(key)) = (
            CertificateDer::from_pem_slice(certificate.as_bytes()),
            KeyPair::from_pem(key),
        ) else {
            return false;
        };
        let (Ok((_, own)), Ok((_, authority))) = (
            X509Certificate::from_der(&der),
            X509Certificate::from_der(&self.der),
        ) else {
            return false;
        };
        let (now, validity) = (now.as_second(), own.validity());
        own.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
            && own.issuer() == authority.subject()
            && own.verify_signature(Some(authority.public_key())).is_ok()
            && validity.not_before.timestamp() <= now
            && validity.not_after.timestamp() - now >= LEAF_RENEWAL
            && names.iter().all(|name| has_name(&own, name))
    }
}

fn has_name(certificate: &X509Certificate<'_>, wanted: &str) -> bool {
    let address = wanted.parse::<IpAddr>().ok().map(|address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    });
    let names = certificate.subject_alternative_name().ok().flatten();
    names.is_some_and(|names| {
        names
            .value
            .general_names
            .iter()
            .any(|name| match (name, &address) {
                (GeneralName::IPAddress(own), Some(address)) => own == address,
                (GeneralName::DNSName(own), None) => *own == wanted,
                _ => false,
            })
    })
}

fn name(parts: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, text) in parts {
        name.push(kind.clone(), *text);
    }
    name
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, seconds: i64) -> Result<(), PkiError> {
    let moment = |second: i64| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(second).unwrap_or_default())
    };
    params.not_before = moment(now.as_second().saturating_sub(CLOCK_SKEW));
    params.not_after = moment(now.as_second().saturating_add(seconds));
    let mut serial = [0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| PkiError::NoRandomness)?;
    // A serial number is positive.
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

fn write(path: &Path, content: &str, mode: u32) -> Result<(), PkiError> {
    atomic_file::write(path, content.as_bytes(), mode).map_err(|source| PkiError::Io {
        path: path.into(),
        source,
    })
}

/// Reads a file if it is there. A private one must be its owner's alone.
fn read(path: &Path, private: bool) -> Result<Option<String>, PkiError> {
    let io_error = |source| PkiError::Io {
        path: path.into(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(error)),
    };
    let mode = fs::File::metadata(&file).map_err(io_error)?.permissions().mode() & 0o7777;
    if private && mode & 0o077 != 0 {
        return Err(PkiError::Exposed {
            path: path.into(),
            mode,
        });
    }
    let mut content = String::new();
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut content)
        .map_err(io_error)?;
    Ok(Some(content))
}

#[cfg(test)]
mod tests;
