//! Runs the program `imagestream` and reads what it prints.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The program: `IMAGESTREAM_BIN`, or the one that was built into the directory that the tests were built into.
///
/// # Panics
/// If it isn't there.
#[must_use]
pub fn path() -> PathBuf {
    let path = std::env::var_os("IMAGESTREAM_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("the path of this test");
            let deps = test.parent().expect("tests are in target/PROFILE/deps");
            deps.with_file_name("imagestream")
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "no {}: run `cargo build -p imagestream` first, or set IMAGESTREAM_BIN",
        path.display()
    );
    path
}

/// A finished `imagestream import -o json`.
#[derive(Debug)]
pub struct Import {
    /// The exit code.
    pub code: i32,
    /// The ImageStreamImport on standard output; null if there is none.
    pub json: Value,
    /// Standard error.
    pub stderr: String,
}

impl Import {
    /// Runs `imagestream import ARGUMENTS -o json` without credentials, configuration or proxies of whoever runs
    /// the tests.
    pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self::run_in(&[], arguments)
    }

    /// As [`Import::run`], with these variables in the environment.
    pub fn run_in<A: AsRef<OsStr>>(
        environment: &[(&str, &str)],
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(path());
        command
            .arg("import")
            .args(arguments)
            .args(["-o", "json"])
            .env_clear()
            .env("HOME", home.path())
            .env("XDG_RUNTIME_DIR", home.path())
            .envs(environment.iter().copied())
            .stdin(Stdio::null());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        let output = command.output().expect("imagestream starts");
        Self {
            code: output.status.code().expect("imagestream exits by itself"),
            json: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The one image that was asked for, which must have been imported.
    ///
    /// # Panics
    /// If it was not.
    pub fn only_image(&self) -> &Value {
        let images = self.images();
        assert_eq!(images.len(), 1, "{self:?}");
        assert_eq!(images[0]["status"]["status"], "Success", "{self:?}");
        assert_eq!(self.code, 0, "{self:?}");
        &images[0]
    }

    /// `status.images`.
    #[must_use]
    pub fn images(&self) -> &[Value] {
        list(&self.json["status"]["images"])
    }

    /// `status.repository.images`.
    #[must_use]
    pub fn repository_images(&self) -> &[Value] {
        list(&self.json["status"]["repository"]["images"])
    }

    /// `status.repository.additionalTags`.
    #[must_use]
    pub fn additional_tags(&self) -> &[Value] {
        list(&self.json["status"]["repository"]["additionalTags"])
    }
}

/// The elements of an array; none if it is no array.
#[must_use]
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
