//! Imports everything that a set of well-known registries holds, in every way, and accounts for each single result: an
//! image that was expected, or a failure that the state of the registry explains.
//!
//! The registries are no part of this repository: the test runs where `IMAGESTREAM_CONFORMANCE_DIR` says what they
//! hold, `IMAGESTREAM_CONFORMANCE_CA` names their authority, and they are up.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(dead_code, reason = "each test file uses its part of the short ways")]

mod declared;
mod importing;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use imagestream_api::digest::Digest;
use imagestream_api::types::{ImageImportStatus, Status};
use imagestream_import::Engine;
use imagestream_registry::{Access, ClientOptions};
use imagestream_testkit::layer::sha256;
use serde_json::Value;
use tokio::time::Instant;

use declared::{Declared, Expected, Registry, Repository};
use importing::{Import, LEGACY, PRESERVE, engine_with, repository, said, status_said, tags_of};

const DEADLINE: Duration = Duration::from_secs(12);

struct Surroundings {
    declared: Declared,
    authority: Vec<u8>,
}

/// Nothing, with a word, where the registries are not there.
fn surroundings() -> Option<Surroundings> {
    let (Some(directory), Some(authority)) = (
        std::env::var_os("IMAGESTREAM_CONFORMANCE_DIR"),
        std::env::var_os("IMAGESTREAM_CONFORMANCE_CA"),
    ) else {
        eprintln!(
            "skipped: IMAGESTREAM_CONFORMANCE_DIR and IMAGESTREAM_CONFORMANCE_CA don't name the registries"
        );
        return None;
    };
    let declared = std::fs::read(PathBuf::from(directory).join("registries.json")).unwrap();
    Some(Surroundings {
        declared: serde_json::from_slice(&declared).unwrap(),
        authority: std::fs::read(authority).unwrap(),
    })
}

impl Surroundings {
    fn engine(&self) -> Engine {
        let options = ClientOptions {
            trusted_ca_pem: Some(self.authority.clone()),
            ..ClientOptions::default()
        };
        engine_with(options, None)
    }

    fn registry(&self, name: &str) -> &Registry {
        &self.declared.registries[name]
    }
}

/// Results by row of the catalogue, and what nothing explains.
#[derive(Default)]
struct Account {
    rows: BTreeMap<&'static str, usize>,
    unexplained: Vec<String>,
}

impl Account {
    fn enter(&mut self, row: &'static str, is_explained: bool, what: impl FnOnce() -> String) {
        *self.rows.entry(row).or_default() += 1;
        if !is_explained {
            self.unexplained.push(what());
        }
    }

    fn item(&mut self, of: &str, found: &ImageImportStatus, expected: &Expected) {
        let what = || format!("{of}\n    {}\n    expected {expected:?}", said(found));
        match expected {
            Expected::Image {
                name,
                layers,
                members,
            } => {
                self.enter(
                    "an image",
                    is_image(found, name, layers.as_deref(), members),
                    what,
                );
            }
            Expected::Failure { row, .. } => {
                let is_empty = found.image.is_none() && found.manifests.is_empty();
                self.enter(row, is_empty && is_failure(&found.status, expected), what);
            }
        }
    }

    fn listing(&mut self, of: &str, found: &Status, expected: &Expected) {
        let what = || format!("{of}\n    {}\n    expected {expected:?}", status_said(found));
        let Expected::Failure { row, .. } = expected else {
            panic!("lists of tags are no images");
        };
        self.enter(row, is_failure(found, expected), what);
    }

    fn close(self, of: &str) {
        eprintln!("{of}: {} results", self.rows.values().sum::<usize>());
        for (row, count) in &self.rows {
            eprintln!("  {count:6}  {row}");
        }
        let unexplained = self.unexplained;
        assert!(
            unexplained.is_empty(),
            "{} unexplained:\n{}",
            unexplained.len(),
            unexplained.join("\n")
        );
        assert!(!self.rows.is_empty());
    }
}

fn is_image(
    found: &ImageImportStatus,
    name: &str,
    layers: Option<&[(String, i64)]>,
    members: &[String],
) -> bool {
    let Some(image) = &found.image else { return false };
    let own = image.metadata.name.clone().unwrap_or_default();
    let is_named = match name {
        "" => own == sha256(image.docker_image_manifest.as_bytes()),
        name => own == name,
    };
    let has_layers = layers.is_none_or(|layers| {
        let found = image.docker_image_layers.iter();
        found
            .map(|layer| (layer.name.clone(), layer.size))
            .eq(layers.iter().cloned())
    });
    let found_members = found
        .manifests
        .iter()
        .map(|member| member.metadata.name.as_deref());
    said(found) == "Success"
        && is_named
        && has_layers
        && image.docker_image_reference.ends_with(&format!("@{own}"))
        && found_members.eq(members.iter().map(|member| Some(member.as_str())))
}

fn is_failure(found: &Status, expected: &Expected) -> bool {
    let Expected::Failure {
        code,
        reason,
        begin,
        contains,
        ..
    } = expected
    else {
        return false;
    };
    let message = found.message.as_deref().unwrap_or_default();
    found.status.as_deref() == Some("Failure")
        && found.code == Some(*code)
        && found.reason.as_deref() == Some(*reason)
        && message.starts_with(begin)
        && message.contains(contains)
}

/// What is wrong with the content of configs, by their digest: read without an import.
async fn config_problems(surroundings: &Surroundings) -> HashMap<String, &'static str> {
    let engine = surroundings.engine();
    let mut problems = HashMap::new();
    for registry in ["plain", "mirror"].map(|name| surroundings.registry(name)) {
        for (name, held) in &surroundings.declared.storages[registry.storage.as_ref().unwrap()] {
            let access = Access {
                insecure: true,
                credential: None,
                deadline: Instant::now() + DEADLINE,
                patience: Instant::now() + DEADLINE,
            };
            let repository = engine
                .client()
                .repository(&registry.address, name, access)
                .unwrap();
            let configs = held
                .manifests
                .values()
                .filter_map(|manifest| manifest.config.as_ref());
            for config in configs.filter(|config| config.present == Some(true)) {
                let content = repository
                    .blob(&Digest::parse(&config.digest).unwrap())
                    .await
                    .unwrap();
                if let Some(problem) = problem_of(&content) {
                    problems.insert(config.digest.clone(), problem);
                }
            }
        }
    }
    problems
}

fn problem_of(config: &[u8]) -> Option<&'static str> {
    let is_time = |text: &str| text.parse::<k8s_openapi::jiff::Timestamp>().is_ok();
    match serde_json::from_slice(config) {
        Ok(Value::Object(fields)) => {
            let created = fields.get("created").and_then(Value::as_str);
            created
                .filter(|created| !is_time(created))
                .map(|_| "parsing time \"")
        }
        Ok(_) => Some("expected an object"),
        Err(_) => Some(" at line 1 column "),
    }
}

/// Imports a whole repository, every tag for itself and every manifest by digest.
fn everything(address: &str, name: &str, held: &Repository, mode: &str) -> Import {
    let repository = format!("{address}/{name}");
    let digests = held
        .manifests
        .keys()
        .map(|digest| format!("{repository}@{digest}"));
    let tags = held.tags.keys().map(|tag| format!("{repository}:{tag}"));
    let import = digests
        .chain(tags)
        .fold(Import::repository(repository.clone()), Import::and);
    import.mode(mode).within(DEADLINE)
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Nobody,
    Known,
    Mistaken,
    /// Nobody, who does without certificates.
    Careless,
}

/// What becomes of the list of tags, and of an item with this name.
type Refusal = (Expected, fn(&str) -> Expected);

/// What becomes of everything in a repository that is refused to who asks.
fn refusal(registry: &str, repository: &str, who: Who) -> Option<Refusal> {
    match (registry, who) {
        ("basic" | "basictls", Who::Nobody) => Some((
            Expected::listing("no basic auth credentials"),
            Expected::no_access,
        )),
        ("basic" | "basictls", Who::Mistaken) => Some((Expected::no_access(repository), Expected::no_access)),
        ("token", Who::Nobody) if repository.ends_with("private/app") => {
            Some((Expected::no_access(repository), Expected::no_access))
        }
        ("token", Who::Mistaken) if repository.ends_with("private/app") => {
            // Without the wrong password, which the images have run into, the list is refused as to anybody.
            Some((Expected::no_access(repository), Expected::wrong_password))
        }
        ("selfsigned", Who::Nobody) => Some((Expected::listing("x509: "), |name| {
            Expected::fetching(name, "x509: ")
        })),
        _ => None,
    }
}

async fn account_for_repository(
    account: &mut Account,
    engine: &Engine,
    (registry_name, registry): (&str, &Registry),
    (name, held): (&str, &Repository),
    (who, mode): (Who, &str),
    config_problem: &dyn Fn(&str) -> Option<&'static str>,
) {
    let address = &registry.address;
    let mut import = everything(address, name, held, mode);
    if registry.scheme.as_deref() == Some("https") && who != Who::Careless {
        import = import.secure();
    }
    import = match who {
        Who::Nobody | Who::Careless => import,
        Who::Known => import.by_at(address, "labuser", "labpass"),
        Who::Mistaken => import.by_at(address, "labuser", "wrong"),
    };
    let result = import.run(engine).await;
    let of = |version: &str| format!("{registry_name} {who:?} {mode} {address}/{name}{version}");
    let repository_name = format!("{address}/{name}");
    let refused = refusal(registry_name, &repository_name, who);
    let expected = |version: &str, digest: &str| match &refused {
        Some((_, of_item)) => of_item(&format!("{repository_name}{version}")),
        None => held.expected(
            &repository_name,
            version,
            digest,
            mode == PRESERVE,
            config_problem,
        ),
    };
    let by_digest = held.manifests.keys().map(|digest| (format!("@{digest}"), digest));
    let by_tag = held.tags.iter().map(|(tag, digest)| (format!(":{tag}"), digest));
    assert_eq!(result.images.len(), held.manifests.len() + held.tags.len());
    for (found, (version, digest)) in result.images.iter().zip(by_digest.chain(by_tag)) {
        account.item(&of(&version), found, &expected(&version, digest));
    }
    let found = repository(&result);
    if let Some((of_listing, _)) = &refused {
        account.listing(&of(" tags"), &found.status, of_listing);
        return;
    }
    let mut tags = tags_of(&found.images);
    tags.sort_unstable();
    let is_whole = tags.iter().eq(held.tags.keys()) && found.additional_tags.is_empty();
    account.enter("a list of tags", is_whole, || {
        format!("{}: {tags:?} {}", of(" tags"), status_said(&found.status))
    });
    for image in &found.images {
        if let Some(digest) = held.tags.get(&image.tag) {
            let version = format!(":{}", image.tag);
            account.item(&of(&version), image, &expected(&version, digest));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_registries_that_behave_is_accounted_for() {
    let Some(surroundings) = surroundings() else {
        return;
    };
    let problems = config_problems(&surroundings).await;
    let config_problem = |digest: &str| problems.get(digest).copied();
    let mut account = Account::default();
    for (registry_name, registry) in &surroundings.declared.registries {
        let Some(storage) = &registry.storage else {
            continue;
        };
        let callers: &[Who] = match (&registry.auth, registry.scheme.as_deref()) {
            (Some(_), _) => &[Who::Nobody, Who::Known, Who::Mistaken],
            (None, Some("https")) => &[Who::Nobody, Who::Careless],
            (None, _) => &[Who::Nobody],
        };
        for (name, held) in &surroundings.declared.storages[storage] {
            for (who, mode) in callers.iter().flat_map(|who| [(*who, LEGACY), (*who, PRESERVE)]) {
                let engine = surroundings.engine();
                // Twice with one engine: what it remembers changes no result.
                for _ in 0..2 {
                    let (registry, repository) = ((registry_name.as_str(), registry), (name.as_str(), held));
                    account_for_repository(
                        &mut account,
                        &engine,
                        registry,
                        repository,
                        (who, mode),
                        &config_problem,
                    )
                    .await;
                }
            }
        }
    }
    account.close("registries that behave");
}

/// The manifest that the registry that misbehaves serves where it does not.
fn served_manifest() -> String {
    let config = "{\"architecture\": \"amd64\", \"os\": \"linux\", \"created\": \"2024-01-01T00:00:00Z\", \
                  \"config\": {}, \"rootfs\": {\"type\": \"layers\", \"diff_ids\": []}}";
    let layer = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";
    format!(
        "{{\"schemaVersion\": 2, \"mediaType\": \"application/vnd.docker.distribution.manifest.v2+json\", \
         \"config\": {{\"mediaType\": \"application/vnd.docker.container.image.v1+json\", \"size\": {}, \
         \"digest\": \"{}\"}}, \"layers\": [{{\"mediaType\": \"application/vnd.docker.image.rootfs.diff.tar.gzip\", \
         \"size\": 32, \"digest\": \"{layer}\"}}]}}",
        config.len(),
        sha256(config.as_bytes())
    )
}

/// How the registry that misbehaves does so with the tags of a repository: the words of the failure.
const TAG_FAULTS: [(&str, &str); 5] = [
    ("badtags", "unexpected end of JSON input"),
    (
        "tags500",
        "received unexpected HTTP status: 500 Internal Server Error",
    ),
    ("tags403", "denied"),
    ("tags404plain", "error parsing HTTP 404 response body: "),
    ("tags429", "toomanyrequests: slow down"),
];

/// And with manifests or configs. Messages that only say what their code says are left out, as registry clients do.
const ITEM_FAULTS: [(&str, &str); 22] = [
    (
        "cfg500",
        "received unexpected HTTP status: 500 Internal Server Error",
    ),
    (
        "cfgmismatch",
        "content integrity error: the blob retrieved with digest ",
    ),
    (
        "m500",
        "received unexpected HTTP status: 500 Internal Server Error",
    ),
    ("m503", "received unexpected HTTP status: 503 Service Unavailable"),
    ("m502html", "received unexpected HTTP status: 502 Bad Gateway"),
    ("m429", "toomanyrequests: You have reached your pull rate limit."),
    ("m403", "denied"),
    ("m403plain", "error parsing HTTP 403 response body: "),
    ("m404plain", "error parsing HTTP 404 response body: "),
    ("m404name", "name unknown: repository name not known to registry"),
    ("m404empty", "error parsing HTTP 404 response body: "),
    ("m400", "name invalid"),
    ("m418", "error parsing HTTP 418 response body: "),
    ("html200", "error decoding JSON: "),
    ("m405", "unsupported"),
    ("noct", "missing signature key"),
    ("badct", "missing signature key"),
    ("jsonct", "missing signature key"),
    ("truncated", "unexpected end of JSON input"),
    ("hangup", "context deadline exceeded"),
    ("s1", "missing signature key"),
    ("m401noauth", ""),
];

/// Tags in import order, where they are not `v1` alone.
fn tags_at(mode: &str) -> Vec<String> {
    let tags: &[&str] = match mode {
        "tagsnull" => &[],
        "emptytag" => &["latest", "v1"],
        "paginated" => &["p0", "p1", "p2"],
        "tagsweird" => {
            return ["-dash", "a/b", "a:b", "has space", "ok"]
                .map(str::to_owned)
                .into_iter()
                .chain(["x".repeat(129)])
                .collect();
        }
        _ => &["v1"],
    };
    tags.iter().copied().map(str::to_owned).collect()
}

fn expected_of_fault(mode: &str, name: &str, tag: &str, image: &str) -> Expected {
    let serves = [
        "ok",
        "tagsnull",
        "emptytag",
        "tagsdup",
        "tagsweird",
        "badtags",
        "paginated",
        "redirect",
        "ctcharset",
        "mismatch",
        "nodigesthdr",
        "slow",
    ];
    if mode == "tagsweird" && !["ok", "v1"].contains(&tag) {
        let begin = format!("unable to parse docker reference {name}: invalid reference format");
        return Expected::internal("reference that no registry can be asked for", &begin, "");
    }
    if serves.contains(&mode) {
        return Expected::named(image);
    }
    if mode == "m401noauth" {
        return Expected::no_access(name);
    }
    if mode == "truncated" && name.contains('@') {
        return Expected::fetching(
            name,
            "content integrity error: the manifest retrieved with digest ",
        );
    }
    match ITEM_FAULTS.iter().find(|(fault, _)| *fault == mode) {
        Some((_, words)) => Expected::fetching(name, words),
        None => Expected::not_found(name),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_the_registry_that_misbehaves_is_accounted_for() {
    let Some(surroundings) = surroundings() else {
        return;
    };
    let address = &surroundings.registry("faulty").address;
    let image = sha256(served_manifest().as_bytes());
    let others = [
        "ok",
        "other",
        "tagsnull",
        "emptytag",
        "tagsdup",
        "tagsweird",
        "paginated",
        "redirect",
        "ctcharset",
        "mismatch",
        "nodigesthdr",
        "slow",
    ];
    let faults = TAG_FAULTS
        .iter()
        .chain(&ITEM_FAULTS)
        .map(|(mode, _)| *mode)
        .chain(others);
    let cases = faults.flat_map(|fault| [(fault, LEGACY), (fault, PRESERVE)]);
    // Each with an engine of its own: a registry that asks one import for patience must not slow the others here.
    let runs = futures::stream::iter(cases).map(async |(fault, mode)| {
        let repository = format!("{address}/f/{fault}");
        let import = Import::repository(repository.clone())
            .and(format!("{repository}:v1"))
            .and(format!("{repository}@{image}"))
            .mode(mode)
            .within(DEADLINE);
        (fault, mode, import.run(&surroundings.engine()).await)
    });
    // It bears few requests at once.
    let results: Vec<_> = runs.buffered(4).collect().await;
    let mut account = Account::default();
    for (fault, mode, result) in &results {
        let name = format!("{address}/f/{fault}");
        let of = |version: &str| format!("{mode} {name}{version}");
        for (found, version) in result.images.iter().zip([":v1".to_owned(), format!("@{image}")]) {
            let expected = expected_of_fault(fault, &format!("{name}{version}"), "v1", &image);
            account.item(&of(&version), found, &expected);
        }
        let found = repository(result);
        if let Some((_, words)) = TAG_FAULTS.iter().find(|(tag_fault, _)| tag_fault == fault) {
            account.listing(&of(" tags"), &found.status, &Expected::listing(words));
            continue;
        }
        let tags = tags_at(fault);
        let is_whole = tags_of(&found.images).iter().eq(tags.iter());
        account.enter("a list of tags", is_whole, || {
            format!("{}: {:?}", of(" tags"), tags_of(&found.images))
        });
        for image_found in &found.images {
            let version = format!(":{}", image_found.tag);
            let expected = expected_of_fault(fault, &format!("{name}{version}"), &image_found.tag, &image);
            account.item(&of(&version), image_found, &expected);
        }
    }
    account.close("the registry that misbehaves");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_registry_is_accounted_for() {
    let Some(surroundings) = surroundings() else {
        return;
    };
    let mut account = Account::default();
    for (registry, words) in [
        ("closed", "connect: connection refused"),
        ("notregistry", "does not support v2 API (got 404 Not Found)"),
    ] {
        let name = format!("{}/team/app", surroundings.registry(registry).address);
        let missing = sha256(b"missing");
        let versions = [":v1".to_owned(), format!("@{missing}")];
        let import = versions
            .iter()
            .fold(Import::repository(name.clone()), |import, version| {
                import.and(format!("{name}{version}"))
            });
        for mode in [LEGACY, PRESERVE] {
            let result = Import {
                spec: import.spec.clone(),
                ..Import::default()
            }
            .mode(mode)
            .run(&surroundings.engine())
            .await;
            for (found, version) in result.images.iter().zip(&versions) {
                account.item(
                    registry,
                    found,
                    &Expected::fetching(&format!("{name}{version}"), words),
                );
            }
            account.listing(registry, &repository(&result).status, &Expected::listing(words));
        }
    }
    account.close("no registries");
}
