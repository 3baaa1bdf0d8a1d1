//! What `imagestream import` works with: options from the command line and the environment, then from the
//! configuration file, then defaults.

use std::path::PathBuf;
use std::time::Duration;

use imagestream_api::defaults::ImportMode;
use imagestream_import::Platform;

use super::file::{self, File};
use crate::arguments::{Format, ImportArguments, Mode};
use crate::exit::Error;

/// Tags read of one repository unless told otherwise.
const DEFAULT_MAX_TAGS: usize = 50;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything that `imagestream import` needs to know beside the references.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Most tags of a repository; all if absent.
    pub(crate) max_tags: Option<usize>,
    pub(crate) mode: ImportMode,
    pub(crate) trusted_ca_pem: Option<Vec<u8>>,
    pub(crate) max_in_flight_per_host: Option<usize>,
    pub(crate) timeout: Duration,
    pub(crate) auth_file: Option<PathBuf>,
    pub(crate) insecure: bool,
    pub(crate) include_manifest: bool,
    pub(crate) platform: Option<Platform>,
    pub(crate) format: Format,
}

impl Settings {
    /// Brings all sources together.
    ///
    /// # Errors
    /// [`Error::Usage`] for what can't be read or makes no sense.
    pub(crate) fn new(arguments: &ImportArguments) -> Result<Self, Error> {
        let file = match &arguments.config {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let file = file.import;
        let platform = match (&arguments.platform, &file.platform) {
            (Some(platform), _) => Some(platform.clone()),
            (None, Some(text)) => Some(
                text.parse()
                    .map_err(|error| Error::Usage(format!("import.platform: {error}")))?,
            ),
            (None, None) => None,
        };
        let timeout = match (&arguments.timeout, &file.request_timeout) {
            (Some(text), _) => file::duration("--timeout", text)?,
            (None, Some(text)) => file::duration("import.requestTimeout", text)?,
            (None, None) => DEFAULT_TIMEOUT,
        };
        let max_tags = match arguments.max_tags {
            None => max_tags("import.maxImagesPerRepository", file.max_images_per_repository)?,
            given => max_tags("--max-tags", given)?,
        };
        let trusted_ca = arguments.trusted_ca.as_ref().or(file.trusted_ca_file.as_ref());
        let mode = match arguments.import_mode.or(file.mode) {
            Some(Mode::PreserveOriginal) => ImportMode::PreserveOriginal,
            Some(Mode::Legacy) | None => ImportMode::Legacy,
        };
        if file.max_in_flight_per_host == Some(0) {
            return Err(Error::Usage(
                "import.maxInFlightPerHost: expected at least 1".into(),
            ));
        }
        Ok(Self {
            max_tags,
            mode,
            trusted_ca_pem: trusted_ca.map(|path| file::read(path)).transpose()?,
            max_in_flight_per_host: file.max_in_flight_per_host,
            timeout,
            auth_file: arguments.authfile.clone().or(file.auth_file),
            insecure: arguments.insecure.or(file.insecure).unwrap_or(false),
            include_manifest: arguments
                .include_manifest
                .or(file.include_manifest)
                .unwrap_or(false),
            platform,
            format: arguments.output.or(file.output).unwrap_or(Format::Table),
        })
    }
}

/// 0 is the default and -1 no limit, as in the API server's configuration.
pub(super) fn max_tags(option: &str, number: Option<i64>) -> Result<Option<usize>, Error> {
    match number {
        None | Some(0) => Ok(Some(DEFAULT_MAX_TAGS)),
        Some(-1) => Ok(None),
        Some(number) => usize::try_from(number).map(Some).map_err(|_| {
            Error::Usage(format!(
                "{option}: {number}: expected a number of tags, or -1 for all"
            ))
        }),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn settings(arguments: &[&str], file: &str) -> Result<Settings, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap().to_owned();
        let given = ["imagestream", "import", "a", "--config", &path];
        let arguments =
            Arguments::try_parse_from(given.iter().chain(arguments)).map_err(|error| error.to_string())?;
        let Command::Import(arguments) = arguments.command else {
            unreachable!("the command line says import");
        };
        Settings::new(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = "import: {maxImagesPerRepository: 7, mode: PreserveOriginal, requestTimeout: 5s, insecure: true, \
                    platform: linux/arm64, output: yaml, maxInFlightPerHost: 4}";
        let from_file = settings(&[], file).unwrap();
        assert_eq!(
            (from_file.max_tags, from_file.mode),
            (Some(7), ImportMode::PreserveOriginal)
        );
        assert_eq!(
            (from_file.timeout, from_file.insecure),
            (Duration::from_secs(5), true)
        );
        assert_eq!(
            (from_file.format, from_file.max_in_flight_per_host),
            (Format::Yaml, Some(4))
        );
        assert_eq!(from_file.platform.unwrap().to_string(), "linux/arm64");

        let flags = [
            "--max-tags",
            "-1",
            "--import-mode",
            "Legacy",
            "--timeout",
            "2m",
            "--insecure=false",
            "-o",
            "json",
        ];
        let both = settings(&flags, file).unwrap();
        assert_eq!((both.max_tags, both.mode), (None, ImportMode::Legacy));
        assert_eq!(
            (both.timeout, both.insecure, both.format),
            (Duration::from_secs(120), false, Format::Json)
        );

        let neither = settings(&[], "{}").unwrap();
        assert_eq!(
            (neither.max_tags, neither.timeout),
            (Some(50), Duration::from_secs(60))
        );
        assert_eq!(
            (neither.mode, neither.format),
            (ImportMode::Legacy, Format::Table)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        for (flags, file, reason) in [
            (&["--max-tags", "-2"][..], "{}", "expected a number of tags"),
            (&["--timeout", "soon"], "{}", "expected a positive time"),
            (&["--timeout", "0s"], "{}", "expected a positive time"),
            (&["--platform", "linux"], "{}", "expected OS/ARCHITECTURE"),
            (
                &["--trusted-ca", "/nonexistent/ca.crt"],
                "{}",
                "can't read /nonexistent/ca.crt",
            ),
            (&[], "import: {maxTags: 3}", "import.maxTags: unknown key"),
            (
                &[],
                "import: {maxImagesPerRepository: -5}",
                "import.maxImagesPerRepository: -5: expected a number of tags",
            ),
            (
                &[],
                "import: {requestTimeout: soon}",
                "import.requestTimeout: \"soon\": expected a positive time",
            ),
            (&[], "import: {maxInFlightPerHost: 0}", "expected at least 1"),
            (&[], "import: [", "config.yaml"),
        ] {
            let error = settings(flags, file).unwrap_err();
            assert!(error.contains(reason), "{flags:?} {file}: {error}");
        }
    }
}
