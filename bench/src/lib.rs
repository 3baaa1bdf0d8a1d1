//! Side-by-side benchmarks: what they share. The benchmarks are in `bin/`.

use std::error::Error;
use std::path::PathBuf;

pub mod latency;
pub mod registry;

/// What ends a benchmark.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The program to measure: `IMAGESTREAM_BIN`, or `imagestream` beside the benchmark.
///
/// # Errors
/// If it isn't there.
pub fn program() -> Result<PathBuf> {
    let program = match std::env::var_os("IMAGESTREAM_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("imagestream"),
    };
    if !program.is_file() {
        return Err(format!(
            "no {}: run `cargo build --release -p imagestream` first",
            program.display()
        )
        .into());
    }
    Ok(program)
}

/// A new directory for data on the disk to measure: in `BENCH_DIR`, or else in the current directory.
///
/// # Errors
/// If it can't be made.
pub fn directory() -> Result<tempfile::TempDir> {
    let place = std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".into());
    Ok(tempfile::Builder::new().prefix("bench-").tempdir_in(place)?)
}
