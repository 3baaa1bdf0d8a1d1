use std::collections::BTreeSet;

use super::*;
use crate::authn::CertificateUser;

const NOW: &str = "2026-03-01T12:00:00Z";

fn at(days: i64) -> Timestamp {
    let now: Timestamp = NOW.parse().unwrap();
    Timestamp::from_second(now.as_second() + days * DAY).unwrap()
}

fn names() -> Vec<String> {
    serving_names("10.0.0.7".parse().unwrap(), Some("Host.Example"))
}

fn open(directory: &Path, days: i64) -> Pki {
    Pki::open(directory, &names(), at(days)).unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn check_issued(pki: &Pki, identity: &Identity) {
    let (ca, own) = (der(&pki.ca_certificate), der(&identity.certificate));
    let (_, ca) = X509Certificate::from_der(&ca).unwrap();
    let (_, own) = X509Certificate::from_der(&own).unwrap();
    own.verify_signature(Some(ca.public_key())).unwrap();
    assert_eq!(own.issuer(), ca.subject());
    assert!(own.validity().not_after <= ca.validity().not_after);
    let key = KeyPair::from_pem(&identity.key).unwrap();
    assert_eq!(
        own.public_key().subject_public_key.data.as_ref(),
        key.public_key_raw()
    );
}

#[test]
fn names_are_loopback_the_host_and_the_address_each_once() {
    assert_eq!(
        names(),
        ["localhost", "127.0.0.1", "::1", "10.0.0.7", "host.example"]
    );
    let unspecified = serving_names("0.0.0.0".parse().unwrap(), None);
    assert_eq!(unspecified, ["localhost", "127.0.0.1", "::1"]);
    let twice = serving_names("::1".parse().unwrap(), Some("LOCALHOST"));
    assert_eq!(twice, ["localhost", "127.0.0.1", "::1"]);
}

#[test]
fn a_new_directory_gets_an_authority_whose_keys_are_private() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("pki");
    let pki = open(&directory, 0);
    check_issued(&pki, &pki.serving);
    check_issued(&pki, &pki.admin);

    let files: BTreeSet<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = [
        "admin.crt",
        "admin.key",
        "ca.crt",
        "ca.key",
        "serving.crt",
        "serving.key",
    ];
    assert_eq!(files, expected.map(String::from).into());
    assert_eq!(mode(&directory), 0o700);
    for file in expected {
        let wanted = if file.ends_with(".key") { 0o600 } else { 0o644 };
        assert_eq!(mode(&directory.join(file)), wanted, "{file}");
    }

    let admin = CertificateUser::from_verified(&der(&pki.admin.certificate)).unwrap();
    assert_eq!(
        (admin.user.name.as_str(), admin.user.groups[0].as_str()),
        ("admin", "system:masters")
    );
    assert!(admin.is_valid_at(at(0)) && admin.is_valid_at(at(364)) && !admin.is_valid_at(at(366)));

    let serving = der(&pki.serving.certificate);
    let (_, serving) = X509Certificate::from_der(&serving).unwrap();
    for name in names() {
        assert!(has_name(&serving, &name), "{name}");
    }
    assert!(!has_name(&serving, "10.0.0.8") && !has_name(&serving, "example"));
    let usage = serving.extended_key_usage().unwrap().unwrap().value;
    assert!(
        usage.server_auth && !usage.client_auth,
        "the server can't be impersonated as a client"
    );
}

#[test]
fn a_second_start_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (open(directory.path(), 0), open(directory.path(), 300));
    assert_eq!(first.ca_certificate, second.ca_certificate);
    assert_eq!((first.serving, first.admin), (second.serving, second.admin));
}

#[test]
fn certificates_are_renewed_before_they_end_under_the_same_authority() {
    let directory = tempfile::tempdir().unwrap();
    let (first, later) = (open(directory.path(), 0), open(directory.path(), 340));
    assert_eq!(first.ca_certificate, later.ca_certificate);
    assert_ne!(first.serving, later.serving);
    assert_ne!(first.admin, later.admin);
    check_issued(&later, &later.serving);
}

#[test]
fn another_name_renews_only_the_serving_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), 0);
    let other = serving_names("10.0.0.8".parse().unwrap(), None);
    let second = Pki::open(directory.path(), &other, at(1)).unwrap();
    assert_ne!(first.serving, second.serving);
    assert_eq!(first.admin, second.admin);
}

#[test]
fn an_old_authority_is_renewed_so_that_old_and_new_certificates_stay_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), 0);
    let late = open(directory.path(), 3650 - 380);
    assert_ne!(first.ca_certificate, late.ca_certificate);
    check_issued(&late, &late.serving);
    let crossed = Pki {
        ca_certificate: first.ca_certificate,
        ..late.clone()
    };
    let (old, own) = (der(&crossed.ca_certificate), der(&crossed.serving.certificate));
    let (_, old) = X509Certificate::from_der(&old).unwrap();
    let (_, own) = X509Certificate::from_der(&own).unwrap();
    own.verify_signature(Some(old.public_key())).unwrap();
    assert_eq!(own.issuer(), old.subject());
    let new = der(&late.ca_certificate);
    let (_, new) = X509Certificate::from_der(&new).unwrap();
    assert_ne!(old.raw_serial(), new.raw_serial());
}

#[test]
fn a_start_that_died_between_two_files_is_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let first = open(path, 0);
    // A new key arrived, its certificate didn't.
    fs::write(path.join("serving.key"), &first.admin.key).unwrap();
    fs::remove_file(path.join("admin.crt")).unwrap();
    let second = open(path, 0);
    check_issued(&second, &second.serving);
    check_issued(&second, &second.admin);
    // The very first start died after the authority's key.
    fs::remove_file(path.join("ca.crt")).unwrap();
    let third = open(path, 0);
    check_issued(&third, &third.serving);
    check_issued(&third, &third.admin);
}

#[test]
fn certificates_of_another_authority_are_replaced() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, _) = (open(one.path(), 0), open(other.path(), 0));
    for file in ["ca.crt", "ca.key"] {
        fs::copy(other.path().join(file), one.path().join(file)).unwrap();
    }
    let mixed = open(one.path(), 0);
    assert_ne!(mixed.serving, first.serving);
    check_issued(&mixed, &mixed.serving);
    check_issued(&mixed, &mixed.admin);
}

#[test]
fn keys_that_others_can_read_are_refused_with_the_remedy() {
    for file in ["ca.key", "serving.key", "admin.key"] {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path(), 0);
        let path = directory.path().join(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Pki::open(directory.path(), &names(), at(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{0}: other users can access this private key (mode 0640); run: chmod 600 {0}",
                path.display()
            )
        );
    }
}

#[test]
fn an_authority_that_lost_or_changed_its_key_is_not_replaced_silently() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let first = open(path, 0);
    let reopen = || Pki::open(path, &names(), at(0)).unwrap_err();
    fs::write(path.join("ca.key"), &first.admin.key).unwrap();
    assert!(matches!(reopen(), PkiError::Mismatch { .. }));
    fs::write(path.join("ca.key"), "rubbish").unwrap();
    assert!(matches!(reopen(), PkiError::Malformed { .. }));
    fs::remove_file(path.join("ca.key")).unwrap();
    assert!(matches!(reopen(), PkiError::MissingKey { .. }));
    assert_eq!(
        fs::read_to_string(path.join("ca.crt")).unwrap(),
        first.ca_certificate
    );
    // A certificate that isn't an authority's can't take its place.
    fs::write(path.join("ca.key"), &first.admin.key).unwrap();
    fs::set_permissions(path.join("ca.key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path.join("ca.crt"), &first.admin.certificate).unwrap();
    assert!(matches!(reopen(), PkiError::Malformed { .. }));
}

#[test]
fn the_debug_form_shows_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let shown = format!("{:?}", open(directory.path(), 0));
    assert!(
        shown.contains("BEGIN CERTIFICATE") && !shown.contains("PRIVATE"),
        "{shown}"
    );
}
