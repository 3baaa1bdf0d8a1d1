//! The command line. Options can also come from the environment, and those of `import` and `serve` from a file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use imagestream_import::Platform;
use serde::Deserialize;

use crate::config::StorageKind;

/// Where data is unless told otherwise.
pub(crate) const DATA_DIR: &str = "./imagestream-data";

/// Image streams for every Kubernetes, and for none.
#[derive(Debug, Parser)]
#[command(name = "imagestream", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what is in images of a registry, without a server
    Import(Box<ImportArguments>),
    /// Serve the API: image streams for kubectl and every other client
    Serve(Box<ServeArguments>),
    /// Show how a server follows the sources of scheduled tags
    Status(StatusArguments),
    /// Shorten the history of streams and delete images that no stream points at
    Prune(PruneArguments),
    /// Copy a data directory into one file, whether a server runs on it or not
    Backup(BackupArguments),
    /// Make a data directory of a backup
    Restore(RestoreArguments),
    /// Print a script that completes commands in a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

const EXAMPLES: &str = "\
Examples:
  # What is in an image
  imagestream import quay.io/org/app:v1

  # All tags of a repository
  imagestream import --all --max-tags -1 quay.io/org/app

  # A registry with its own authority, as the object that the API would answer
  imagestream import --trusted-ca ca.crt -o yaml registry.local:5000/app:v1

  # All platforms of an image, or one other than this machine's
  imagestream import --import-mode PreserveOriginal quay.io/org/app:v1
  imagestream import --platform linux/arm64 quay.io/org/app:v1

Credentials come from --authfile, else from Podman's and Docker's configuration with their credential helpers.
Proxies come from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

Exit status: 0 everything was read, 1 something could not be read, 2 wrong usage.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArguments {
    /// Image references: [HOST[:PORT]/]NAME[:TAG][@DIGEST]
    #[arg(value_name = "REF", required = true)]
    pub(crate) references: Vec<String>,

    /// Read all tags of the repository that REF names
    #[arg(long)]
    pub(crate) all: bool,

    /// How to read images of several platforms: one platform, or as they are [default: Legacy]
    #[arg(long, value_enum, env = "IMAGESTREAM_IMPORT_MODE")]
    pub(crate) import_mode: Option<Mode>,

    /// Don't verify certificates, and fall back to plain HTTP
    #[arg(long, env = "IMAGESTREAM_INSECURE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) insecure: Option<bool>,

    /// Read credentials from this file only
    #[arg(long, value_name = "FILE", env = "IMAGESTREAM_AUTHFILE")]
    pub(crate) authfile: Option<PathBuf>,

    /// Also show manifests and configurations as the registry sent them (json and yaml)
    #[arg(long, env = "IMAGESTREAM_INCLUDE_MANIFEST", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) include_manifest: Option<bool>,

    /// Read at most this many tags of a repository; -1 for all [default: 50]
    #[arg(
        long,
        value_name = "N",
        env = "IMAGESTREAM_MAX_TAGS",
        allow_hyphen_values = true
    )]
    pub(crate) max_tags: Option<i64>,

    /// Read this platform of images for several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH", env = "IMAGESTREAM_PLATFORM")]
    pub(crate) platform: Option<Platform>,

    /// End after this time, with what was read until then [default: 60s]
    #[arg(long, value_name = "TIME", env = "IMAGESTREAM_TIMEOUT")]
    pub(crate) timeout: Option<String>,

    /// Trust the authorities in this PEM file too
    #[arg(long, value_name = "FILE", env = "IMAGESTREAM_TRUSTED_CA")]
    pub(crate) trusted_ca: Option<PathBuf>,

    /// Form of the result [default: table]
    #[arg(short, long, value_enum, env = "IMAGESTREAM_OUTPUT")]
    pub(crate) output: Option<Format>,

    /// Take options that are not given here from this YAML file
    #[arg(long, value_name = "FILE", env = "IMAGESTREAM_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  # For whoever can read the data directory
  imagestream serve
  kubectl --kubeconfig imagestream-data/admin.kubeconfig get imagestreams -A

  # For users with tokens, and roles that say what they may do
  imagestream serve --listen 0.0.0.0:8443 --token-auth-file tokens.csv --authorization-rbac-file rbac.yaml

  # With objects in etcd
  imagestream serve --storage etcd --etcd-endpoints http://10.0.0.1:2379,http://10.0.0.2:2379

The server writes DIR/admin.kubeconfig and DIR/pki/ca.crt, then prints one line on standard output:
imagestream ready at https://ADDR:PORT. SIGTERM and SIGINT let it finish what is under way; a second one does not.

Proxies for imports come from HTTPS_PROXY, HTTP_PROXY and NO_PROXY. IMAGESTREAM_LOG says what is logged on standard
error: error, warn (the default), info, debug.

Exit status: 0 ended by a signal, 1 could not start or go on, 2 wrong usage or configuration.";

/// Every option can also come from the configuration file, whose settings are more.
#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct ServeArguments {
    /// Keep data, keys and admin.kubeconfig here [default: ./imagestream-data]
    #[arg(long, value_name = "DIR", env = "IMAGESTREAM_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Listen here; port 0 picks a free one [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR:PORT", env = "IMAGESTREAM_LISTEN")]
    pub(crate) listen: Option<String>,

    /// Take settings that are not given here from this YAML file
    #[arg(long, value_name = "FILE", env = "IMAGESTREAM_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Users by bearer token, as CSV: token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE", env = "IMAGESTREAM_TOKEN_AUTH_FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,

    /// Also accept client certificates of these authorities (PEM)
    #[arg(long, value_name = "FILE", env = "IMAGESTREAM_CLIENT_CA_FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,

    /// Roles and bindings of rbac.authorization.k8s.io/v1 in YAML, beside the stored ones
    #[arg(long, value_name = "FILE", env = "IMAGESTREAM_AUTHORIZATION_RBAC_FILE")]
    pub(crate) authorization_rbac_file: Option<PathBuf>,

    /// What objects are stored in [default: sqlite]
    #[arg(long, value_enum, env = "IMAGESTREAM_STORAGE")]
    pub(crate) storage: Option<StorageKind>,

    /// URLs of the etcd cluster, separated by commas
    #[arg(
        long,
        value_name = "URLS",
        env = "IMAGESTREAM_ETCD_ENDPOINTS",
        value_delimiter = ','
    )]
    pub(crate) etcd_endpoints: Vec<String>,

    /// Encrypt secrets with the 32 bytes in this file [default: made in the data directory]
    #[arg(long, value_name = "FILE", env = "IMAGESTREAM_SECRET_KEY_FILE")]
    pub(crate) secret_key_file: Option<PathBuf>,

    /// Append an audit event for each request to this file; - for standard output
    #[arg(long, value_name = "FILE", env = "IMAGESTREAM_AUDIT_LOG_FILE")]
    pub(crate) audit_log_file: Option<PathBuf>,
}

const STATUS_EXAMPLES: &str = "\
Examples:
  # As the administrator, beside the data directory
  imagestream status --kubeconfig imagestream-data/admin.kubeconfig

  # When the streams of a namespace were last looked at, and will be next
  imagestream status -n team

The server is that of the kubeconfig's current context. Its user needs `get` on the nonResourceURLs
/imagestream/v1/status and /imagestream/v1/status/*, as the role cluster-reader has it.

Exit status: 0 shown, 1 the server did not answer, 2 wrong usage.";

#[derive(Debug, Args)]
#[command(after_help = STATUS_EXAMPLES)]
pub(crate) struct StatusArguments {
    /// Show each registry host
    #[arg(long, conflicts_with = "streams")]
    pub(crate) hosts: bool,

    /// Show each stream
    #[arg(long)]
    pub(crate) streams: bool,

    /// Show the streams of this namespace
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "hosts")]
    pub(crate) namespace: Option<String>,

    /// Form of the result
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: StatusFormat,

    /// Server and user [default: $KUBECONFIG, or ./imagestream-data/admin.kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// Form of what a server reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFormat {
    /// For people
    Table,
    /// As the server answers
    Json,
}

const PRUNE_EXAMPLES: &str = "\
Examples:
  # What would go, and why
  imagestream prune --kubeconfig imagestream-data/admin.kubeconfig

  # Keep five revisions of each tag and everything of the last month
  imagestream prune --keep-tag-revisions 5 --keep-younger-than 720h --confirm

The server is that of the kubeconfig's current context. Its user needs `post` on the nonResourceURL
/imagestream/v1/prune, as the role system:image-pruner has it. Imports may go on meanwhile.

Exit status: 0 done, 1 something could not be pruned or the server did not answer, 2 wrong usage.";

#[derive(Debug, Args)]
#[command(after_help = PRUNE_EXAMPLES)]
pub(crate) struct PruneArguments {
    /// Do it; without this it is only shown what would be done
    #[arg(long, default_value_t = false, hide_default_value = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) confirm: bool,

    /// Keep at least this many of the newest revisions of each tag [default: 3]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) keep_tag_revisions: Option<i64>,

    /// Keep streams, revisions and images that are younger [default: 1h]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) keep_younger_than: Option<String>,

    /// Choose revisions whose image exceeds the limits of its namespace, whatever their age and number
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) prune_over_size_limit: Option<bool>,

    /// Delete imported images too, not only pushed ones
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) all: bool,

    /// Only shorten the history of the streams of this namespace, and delete no images
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Of no effect: there is no registry content here that could be deleted (only `false`)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) prune_registry: Option<bool>,

    /// Of no effect: the server decides how many do the work
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) num_workers: Option<i64>,

    /// Of no effect: references that can't be read point at nothing
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) ignore_invalid_refs: Option<bool>,

    /// Refused: no registry is asked
    #[arg(long, hide = true, value_name = "URL", allow_hyphen_values = true)]
    pub(crate) registry_url: Option<String>,

    /// Refused: no registry is asked
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) certificate_authority: Option<String>,

    /// Refused: no registry is asked
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) force_insecure: Option<bool>,

    /// There are none: what would they name?
    #[arg(hide = true)]
    pub(crate) arguments: Vec<String>,

    /// Form of the result
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: StatusFormat,

    /// Server and user [default: $KUBECONFIG, or ./imagestream-data/admin.kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

const BACKUP_EXAMPLES: &str = "\
Example:
  imagestream backup --data-dir /var/lib/imagestream /backups/imagestream-$(date +%F).tar

The file holds all objects, the server's authority and the key that secrets are encrypted with: whoever can read it can
do everything. Files elsewhere that the configuration names are not in it. Objects in etcd are not either: that has
`etcdctl snapshot save`.

Exit status: 0 written and verified, 1 not written, 2 wrong usage.";

#[derive(Debug, Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub(crate) struct BackupArguments {
    /// What to write; it must not exist
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The data directory
    #[arg(long, value_name = "DIR", env = "IMAGESTREAM_DATA_DIR", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
}

const RESTORE_EXAMPLES: &str = "\
Example:
  imagestream restore /backups/imagestream-2026-01-31.tar --data-dir /var/lib/imagestream
  imagestream serve --data-dir /var/lib/imagestream

The directory appears whole or not at all. What was there must have been moved away.

Exit status: 0 restored and verified, 1 not restored, 2 wrong usage.";

#[derive(Debug, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
pub(crate) struct RestoreArguments {
    /// What `imagestream backup` wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The data directory to make: none must be there, or an empty one
    #[arg(long, value_name = "DIR", env = "IMAGESTREAM_DATA_DIR", default_value = DATA_DIR)]
    pub(crate) data_dir: PathBuf,
}

/// How images of several platforms are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
pub(crate) enum Mode {
    /// One platform of an image for several
    #[value(name = "Legacy")]
    Legacy,
    /// The list of platforms and the image of each
    #[value(name = "PreserveOriginal")]
    PreserveOriginal,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people
    Table,
    /// An ImageStreamImport with its status
    Json,
    /// The same as YAML
    Yaml,
}
