//! Whom the server trusts and what it shows of itself, by files: users with tokens, authorities of client certificates,
//! roles, and its own certificates. Files are read when the server starts, and again while it serves.
//!
//! A file that can't be used any more changes nothing: what was read before stays in force until it is repaired.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imagestream_apiserver::authn::{TokenFile, Tokens};
use imagestream_apiserver::kubeconfig;
use imagestream_apiserver::pki::{Pki, PkiError};
use imagestream_apiserver::rbac::Authorizer;
use imagestream_apiserver::rbac::load::load;
use imagestream_apiserver::rbac::policy::{Object, Origin};
use imagestream_apiserver::serve::{TlsError, certificates, tls_config};
use jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::settings::Settings;
use crate::start::StartError;

/// Time between two looks at the administrator's files.
const LOOK: Duration = Duration::from_secs(5);
/// Time between two looks whether the server's own certificates are to be renewed, which is so a month before they end.
const RENEWAL_LOOK: SignedDuration = SignedDuration::from_hours(1);

/// Where the server's own authority is, and for whom it issues.
pub(crate) struct OwnPki {
    /// The directory of the authority.
    pub(crate) directory: PathBuf,
    /// How clients name the server.
    pub(crate) serving_names: Vec<String>,
    /// The file that lets the administrator in.
    pub(crate) kubeconfig: PathBuf,
    /// The server, as that file names it.
    pub(crate) url: String,
}

impl OwnPki {
    /// What the authority has issued, renewed where that is due.
    pub(crate) fn open(&self, now: Timestamp) -> Result<Pki, PkiError> {
        Pki::open(&self.directory, &self.serving_names, now)
    }

    /// The same, of an authority that is there: a new one would lock everybody out.
    fn renewed(&self, now: Timestamp) -> Result<Pki, StartError> {
        let key = self.directory.join("ca.key");
        std::fs::metadata(&key).map_err(StartError::file(&key))?;
        Ok(self.open(now)?)
    }
}

/// A file of the administrator's.
struct TrustFile {
    /// The setting that names it.
    setting: &'static str,
    path: PathBuf,
    /// What was found when it was last looked at.
    found: Option<Found>,
}

#[derive(PartialEq, Eq)]
enum Found {
    /// The hash of the content: tokens are not kept.
    Content([u8; 32]),
    Nothing(String),
}

impl TrustFile {
    /// What is in the file if that has changed since the last look, or why it can't be used.
    fn changed<T, E: Display>(
        &mut self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Result<T, String>> {
        // A pipe was read to its end: there is nothing more in it.
        let is_over = || std::fs::metadata(&self.path).is_ok_and(|found| !found.is_file());
        if self.found.is_some() && is_over() {
            return None;
        }
        let content = std::fs::read_to_string(&self.path).map_err(|error| error.to_string());
        let found = match &content {
            Ok(content) => Found::Content(Sha256::digest(content.as_bytes()).into()),
            Err(problem) => Found::Nothing(problem.clone()),
        };
        if self.found.as_ref() == Some(&found) {
            return None;
        }
        self.found = Some(found);
        let read = content.and_then(|content| parse(&content).map_err(|error| error.to_string()));
        Some(read.map_err(|problem| format!("{}: {problem}", self.path.display())))
    }
}

/// The files that the settings name.
pub(crate) struct TrustFiles {
    tokens: Option<TrustFile>,
    client_authorities: Option<TrustFile>,
    roles: Option<TrustFile>,
}

impl TrustFiles {
    pub(crate) fn of(settings: &Settings) -> Self {
        let file = |setting, path: &Option<PathBuf>| {
            let path = path.clone()?;
            Some(TrustFile {
                setting,
                path,
                found: None,
            })
        };
        Self {
            tokens: file("authentication.tokenAuthFile", &settings.token_auth_file),
            client_authorities: file("authentication.clientCAFile", &settings.client_ca_file),
            roles: file("authorization.rbacFile", &settings.rbac_file),
        }
    }
}

/// What the file has that a setting names, if one does and it has changed.
fn changed<T, E: Display>(
    file: &mut Option<TrustFile>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, StartError> {
    let Some(file) = file else { return Ok(None) };
    let name = file.setting;
    let wrong = |problem| StartError::Setting { name, problem };
    file.changed(parse).transpose().map_err(wrong)
}

fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = certificates(pem).map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("there is no certificate in it".into());
    }
    Ok(found)
}

/// See the [module](self).
pub(crate) struct Trust {
    files: TrustFiles,
    own: OwnPki,
    pki: Pki,
    renewal_looked: Timestamp,
    /// Authorities of client certificates beside the own one.
    client_authorities: Vec<CertificateDer<'static>>,
    tokens: Tokens,
    authorizer: Arc<Authorizer>,
    tls: watch::Sender<Arc<ServerConfig>>,
}

impl Trust {
    /// Reads the files and puts them in force.
    ///
    /// # Errors
    /// A file can't be used.
    pub(crate) fn begin(
        mut files: TrustFiles,
        own: OwnPki,
        pki: Pki,
        authorizer: &Arc<Authorizer>,
        now: Timestamp,
    ) -> Result<Self, StartError> {
        let client_authorities = changed(&mut files.client_authorities, authorities)?.unwrap_or_default();
        let mut trust = Self {
            tls: watch::Sender::new(Arc::new(tls(&pki, &client_authorities)?)),
            files,
            own,
            pki,
            renewal_looked: now,
            client_authorities,
            tokens: Tokens::default(),
            authorizer: Arc::clone(authorizer),
        };
        trust.look_at_roles()?;
        trust.look_at_tokens()?;
        Ok(trust)
    }

    /// The users with tokens.
    pub(crate) fn tokens(&self) -> Tokens {
        self.tokens.clone()
    }

    /// How new connections are made.
    pub(crate) fn tls(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.tls.subscribe()
    }

    /// Writes the file that lets the administrator in.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn write_kubeconfig(&self) -> Result<(), StartError> {
        let Pki {
            ca_certificate,
            admin,
            ..
        } = &self.pki;
        let content = kubeconfig::render("imagestream", &self.own.url, ca_certificate, admin);
        let path: &Path = &self.own.kubeconfig;
        kubeconfig::write(path, &content).map_err(StartError::file(path))
    }

    /// Keeps everything as the files say, for as long as it is polled.
    pub(crate) async fn follow(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            // Files are slow where the disk is.
            let looked = tokio::task::spawn_blocking(move || {
                self.look(Timestamp::now());
                self
            });
            match looked.await {
                Ok(trust) => self = trust,
                Err(error) => {
                    tracing::error!(%error, "files of users and roles are not looked at any more");
                    return;
                }
            }
        }
    }

    /// Puts in force what has changed. What is wrong is told once.
    fn look(&mut self, now: Timestamp) {
        let looks = [
            Self::look_at_tokens,
            Self::look_at_roles,
            Self::look_at_client_authorities,
        ];
        for look in looks {
            if let Err(error) = look(self) {
                tracing::error!(%error, "what was read before stays in force");
            }
        }
        if now.duration_since(self.renewal_looked).abs() >= RENEWAL_LOOK {
            self.renewal_looked = now;
            if let Err(error) = self.renew(now) {
                tracing::error!(%error, "the server's certificates can't be renewed");
            }
        }
    }

    fn look_at_tokens(&mut self) -> Result<(), StartError> {
        if let Some(users) = changed(&mut self.files.tokens, TokenFile::parse)? {
            tracing::info!(users = users.len(), "read the users with tokens");
            self.tokens.replace(users);
        }
        Ok(())
    }

    fn look_at_roles(&mut self) -> Result<(), StartError> {
        let objects: Option<Vec<Object>> = changed(&mut self.files.roles, load)?;
        if let Some(objects) = objects {
            tracing::info!(objects = objects.len(), "read roles and bindings");
            self.authorizer
                .update(|policy| policy.replace_all(Origin::Fixed, objects));
        }
        Ok(())
    }

    fn look_at_client_authorities(&mut self) -> Result<(), StartError> {
        if let Some(authorities) = changed(&mut self.files.client_authorities, authorities)? {
            let tls = tls(&self.pki, &authorities)?;
            tracing::info!(authorities = authorities.len(), "read the authorities of clients");
            self.client_authorities = authorities;
            self.tls.send_replace(Arc::new(tls));
        }
        Ok(())
    }

    fn renew(&mut self, now: Timestamp) -> Result<(), StartError> {
        let pki = self.own.renewed(now)?;
        if pki == self.pki {
            return Ok(());
        }
        let tls = tls(&pki, &self.client_authorities)?;
        self.tls.send_replace(Arc::new(tls));
        let before = std::mem::replace(&mut self.pki, pki);
        self.write_kubeconfig().inspect_err(|_| self.pki = before)?;
        tracing::info!("the server's certificates were renewed");
        Ok(())
    }
}

fn tls(pki: &Pki, client_authorities: &[CertificateDer<'static>]) -> Result<ServerConfig, TlsError> {
    let mut authorities = certificates(&pki.ca_certificate)?;
    authorities.extend_from_slice(client_authorities);
    tls_config(&pki.serving, &authorities)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use imagestream_apiserver::authn::UserInfo;
    use imagestream_apiserver::rbac::{Attributes, Target};

    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    struct Place {
        directory: tempfile::TempDir,
        began: Timestamp,
    }

    impl Place {
        fn new() -> Self {
            let place = Self {
                directory: tempfile::tempdir().unwrap(),
                began: Timestamp::now(),
            };
            place.write("tokens.csv", "first,ann,1");
            place.write("roles.yaml", &binding("ann"));
            let other = Pki::open(&place.path("other"), &[], place.began).unwrap();
            place.write("clients.pem", &other.ca_certificate);
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn write(&self, name: &str, content: &str) {
            std::fs::write(self.path(name), content).unwrap();
        }

        fn begin(&self) -> Result<Trust, StartError> {
            let own = OwnPki {
                directory: self.path("pki"),
                serving_names: vec!["localhost".into()],
                kubeconfig: self.path("admin.kubeconfig"),
                url: "https://localhost:1".into(),
            };
            let file = |setting, name| {
                Some(TrustFile {
                    setting,
                    path: self.path(name),
                    found: None,
                })
            };
            let files = TrustFiles {
                tokens: file("tokens", "tokens.csv"),
                client_authorities: file("clients", "clients.pem"),
                roles: file("roles", "roles.yaml"),
            };
            let pki = own.open(self.began)?;
            let trust = Trust::begin(files, own, pki, &Arc::default(), self.began)?;
            trust.write_kubeconfig()?;
            Ok(trust)
        }
    }

    /// Lets a user read streams.
    fn binding(user: &str) -> String {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: reader}}\n\
             rules: [{{apiGroups: [image.openshift.io], resources: [imagestreams], verbs: [get]}}]\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: readers}}\n\
             roleRef: {{kind: ClusterRole, name: reader}}\nsubjects: [{{kind: User, name: {user}}}]\n"
        )
    }

    fn user_of(trust: &Trust, token: &str) -> Option<String> {
        trust.tokens().authenticate(token).map(|user| user.name)
    }

    fn may_read(trust: &Trust, name: &str) -> bool {
        let user = &UserInfo {
            name: name.into(),
            ..UserInfo::default()
        };
        let target = Target::Resource {
            group: "image.openshift.io",
            resource: "imagestreams",
            subresource: "",
            namespace: "team",
            name: "app",
        };
        let verb = "get";
        trust
            .authorizer
            .authorize(&Attributes { user, verb, target })
            .allowed
    }

    #[test]
    fn what_changes_in_files_is_in_force_at_the_next_look_and_what_is_broken_changes_nothing() {
        let place = Place::new();
        let mut trust = place.begin().unwrap();
        let mut shown = trust.tls();
        assert_eq!(user_of(&trust, "first").as_deref(), Some("ann"));
        assert!(may_read(&trust, "ann") && !may_read(&trust, "bob"));

        trust.look(place.began);
        assert!(!shown.has_changed().unwrap(), "nothing was written");

        place.write("tokens.csv", "second,bob,2");
        place.write("roles.yaml", &binding("bob"));
        let other = Pki::open(&place.path("another"), &[], place.began).unwrap();
        place.write("clients.pem", &other.ca_certificate);
        trust.look(place.began);
        assert_eq!(
            (user_of(&trust, "first"), user_of(&trust, "second").as_deref()),
            (None, Some("bob"))
        );
        assert!(!may_read(&trust, "ann") && may_read(&trust, "bob"));
        assert!(shown.has_changed().unwrap());
        shown.mark_unchanged();

        place.write("tokens.csv", "third,");
        std::fs::remove_file(place.path("roles.yaml")).unwrap();
        place.write("clients.pem", "");
        trust.look(place.began);
        assert_eq!(user_of(&trust, "second").as_deref(), Some("bob"));
        assert!(may_read(&trust, "bob") && !shown.has_changed().unwrap());

        // As it was before it was broken.
        place.write("tokens.csv", "third,carl,3");
        place.write("roles.yaml", "");
        place.write("clients.pem", &other.ca_certificate);
        trust.look(place.began);
        assert_eq!(
            (user_of(&trust, "second"), user_of(&trust, "third").as_deref()),
            (None, Some("carl"))
        );
        assert!(!may_read(&trust, "bob") && shown.has_changed().unwrap());
    }

    #[test]
    fn what_came_through_a_pipe_stays_in_force() {
        let place = Place::new();
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"piped,ann,1").unwrap();
        drop(writer);
        std::fs::remove_file(place.path("tokens.csv")).unwrap();
        let pipe = format!("/proc/self/fd/{}", reader.as_raw_fd());
        std::os::unix::fs::symlink(pipe, place.path("tokens.csv")).unwrap();
        let mut trust = place.begin().unwrap();
        assert_eq!(user_of(&trust, "piped").as_deref(), Some("ann"));
        trust.look(place.began);
        assert_eq!(user_of(&trust, "piped").as_deref(), Some("ann"));
    }

    #[test]
    fn nothing_begins_with_a_file_that_cannot_be_used() {
        for (name, content) in [
            ("tokens.csv", "x"),
            ("roles.yaml", "kind: Pod"),
            ("clients.pem", ""),
        ] {
            let place = Place::new();
            place.write(name, content);
            let error = place.begin().err().unwrap().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn certificates_that_end_soon_are_renewed_while_the_server_runs() {
        let place = Place::new();
        let mut trust = place.begin().unwrap();
        let mut shown = trust.tls();
        let read = |name| std::fs::read_to_string(place.path(name)).unwrap();
        let (serving, kubeconfig) = (read("pki/serving.crt"), read("admin.kubeconfig"));
        trust.look(place.began + DAY * 300);
        assert!(!shown.has_changed().unwrap());
        assert_eq!(read("pki/serving.crt"), serving);

        trust.look(place.began + DAY * 340);
        assert!(shown.has_changed().unwrap());
        assert_ne!(read("pki/serving.crt"), serving);
        let renewed = read("admin.kubeconfig");
        assert_ne!(renewed, kubeconfig);
        shown.mark_unchanged();
        trust.look(place.began + DAY * 341);
        assert!(!shown.has_changed().unwrap(), "once is enough");
        assert_eq!(read("admin.kubeconfig"), renewed);

        // Its directory is not there for a while.
        std::fs::rename(place.path("pki"), place.path("moved")).unwrap();
        trust.look(place.began + DAY * 700);
        assert!(!shown.has_changed().unwrap() && !place.path("pki").exists());
    }
}
