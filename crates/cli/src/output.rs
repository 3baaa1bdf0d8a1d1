//! Writes results to standard output.

use std::io::{self, Write};

use imagestream_api::types::{ImageStreamImport, Typed};

use crate::arguments::Format;
use crate::exit::Error;
use crate::table;

/// Prints an import in the form that was asked for.
///
/// # Errors
/// [`Error::Failure`] if standard output can't be written.
pub(crate) fn print_import(import: &ImageStreamImport, format: Format) -> Result<(), Error> {
    let text = match format {
        Format::Table => table::of(import),
        Format::Json => {
            let mut json = serde_json::to_string_pretty(&Typed::new(import)).map_err(failed)?;
            json.push('\n');
            json
        }
        Format::Yaml => {
            // By way of a value, because YAML has no raw JSON.
            let value = serde_json::to_value(Typed::new(import)).map_err(failed)?;
            serde_saphyr::to_string(&value).map_err(failed)?
        }
    };
    print(&text)
}

/// Prints a text. Nobody reading it any more is no error.
///
/// # Errors
/// [`Error::Failure`] if standard output can't be written.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failure(format!("can't write the result: {error}"))
}
