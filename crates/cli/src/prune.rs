//! `imagestream prune`: asks a server to shorten history and to delete images.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::arguments::{PruneArguments, StatusFormat};
use crate::client::Client;
use crate::exit::{Error, Exit};
use crate::output;
use crate::runtime::one_thread;
use crate::table::{finished, known, plain};

/// Where a server prunes.
const PATH: &str = "/imagestream/v1/prune";
/// Longest wait for it: the longest that servers allow.
const LONGEST: Duration = Duration::from_secs(600);

/// Runs the command.
///
/// # Errors
/// [`Error::Usage`] for what makes no sense, [`Error::Failure`] if the server does not answer.
pub(crate) fn run(arguments: &PruneArguments) -> Result<Exit, Error> {
    let options = options(arguments)?;
    let client = Client::open(arguments.kubeconfig.as_deref())?;
    let runtime = one_thread()?;
    if !arguments.confirm {
        eprintln!("Dry run enabled - no modifications will be made. Add --confirm to remove images");
    }
    let report = runtime.block_on(client.post(PATH, &options, LONGEST))?;
    let text = match arguments.output {
        StatusFormat::Json => format!("{report:#}\n"),
        StatusFormat::Table => format!("{}{}\n", table(&report), summary(&report)),
    };
    output::print(&text)?;
    let failures = list(&report["failures"]);
    for failure in failures {
        eprintln!("error deleting {}", text_of(failure));
    }
    Ok(if failures.is_empty() {
        Exit::Success
    } else {
        Exit::Failure
    })
}

/// The options as the server reads them; what makes no sense is refused in the words of `oc adm prune images`.
fn options(arguments: &PruneArguments) -> Result<Value, Error> {
    let refused = |why: &str| Err(Error::Usage(why.to_owned()));
    if !arguments.arguments.is_empty() {
        return refused("no arguments are allowed to this command");
    }
    if let Some(why) = asks_for_a_registry(arguments) {
        return Err(Error::Usage(why));
    }
    let chooses_by_age = arguments.keep_tag_revisions.is_some() || arguments.keep_younger_than.is_some();
    if arguments.prune_over_size_limit.is_some() && chooses_by_age {
        return refused(
            "--prune-over-size-limit cannot be specified with --keep-tag-revisions nor --keep-younger-than",
        );
    }
    let mut options = json!({
        "confirm": arguments.confirm,
        "pruneOverSizeLimit": arguments.prune_over_size_limit.unwrap_or(false),
        "all": arguments.all,
    });
    if let Some(text) = &arguments.keep_younger_than {
        let age = age(text).ok_or_else(|| {
            Error::Usage(format!(
                "--keep-younger-than: {text:?}: expected a time, for example 24h or 1h30m"
            ))
        })?;
        let Ok(seconds) = u64::try_from(age.as_secs()) else {
            return refused("--keep-younger-than must be greater than or equal to 0");
        };
        // What is a part of a second too young is kept.
        options["keepYoungerThanSeconds"] = (seconds + u64::from(age.subsec_nanos() > 0)).into();
    }
    if let Some(number) = arguments.keep_tag_revisions {
        if number < 0 {
            return refused("--keep-tag-revisions must be greater than or equal to 0");
        }
        options["keepTagRevisions"] = number.into();
    }
    if let Some(namespace) = &arguments.namespace {
        options["namespace"] = namespace.as_str().into();
    }
    Ok(options)
}

/// Why what `oc adm prune images` would do at a registry can't be done, if that is asked for. What only says that nothing is
/// to be done there is obeyed.
fn asks_for_a_registry(arguments: &PruneArguments) -> Option<String> {
    let asks = [
        ("--prune-registry=true", arguments.prune_registry == Some(true)),
        ("--registry-url", arguments.registry_url.is_some()),
        (
            "--certificate-authority",
            arguments.certificate_authority.is_some(),
        ),
        ("--force-insecure", arguments.force_insecure == Some(true)),
    ];
    let (flag, _) = asks.into_iter().find(|(_, is_given)| *is_given)?;
    Some(format!(
        "{flag}: this server has no registry whose content could be deleted: only history and images are pruned"
    ))
}

/// A time as Go writes it, where 0 needs no unit.
fn age(text: &str) -> Option<SignedDuration> {
    if text == "0" {
        return Some(SignedDuration::ZERO);
    }
    let age: SignedDuration = text.parse().ok()?;
    // A part of a second below zero is below zero.
    Some(if age.is_negative() && age.as_secs() == 0 {
        SignedDuration::from_secs(-1)
    } else {
        age
    })
}

/// A row for everything that goes.
fn table(report: &Value) -> String {
    let mut table = plain();
    table.set_header(["OBJECT", "REVISION", "IMAGE", "CREATED", "WHY"]);
    for stream in list(&report["streams"]) {
        let name = format!("{}/{}", text_of(&stream["namespace"]), text_of(&stream["name"]));
        for item in list(&stream["items"]) {
            let image = match text_of(&item["image"]) {
                "" => text_of(&item["dockerImageReference"]),
                image => image,
            };
            table.add_row([
                format!("imagestream {name}:{}", text_of(&item["tag"])),
                item["revision"].to_string(),
                known(image),
                known(text_of(&item["created"])),
                why(&item["why"]),
            ]);
        }
    }
    for image in list(&report["images"]) {
        table.add_row([
            "image".to_owned(),
            known(""),
            known(text_of(&image["name"])),
            known(text_of(&image["created"])),
            why(&image["why"]),
        ]);
    }
    if table.row_count() == 0 {
        return String::new();
    }
    finished(&table)
}

/// What was done, in the words of `oc adm prune images`.
fn summary(report: &Value) -> String {
    let streams = list(&report["streams"]);
    let items: usize = streams.iter().map(|stream| list(&stream["items"]).len()).sum();
    let parts = [
        ("deleted", list(&report["images"]).len(), "image object(s)"),
        ("deleted", items, "image stream tag item(s)"),
        ("updated", streams.len(), "image stream(s)"),
    ];
    let done: Vec<String> = parts
        .into_iter()
        .filter(|(_, count, _)| *count > 0)
        .map(|(verb, count, what)| format!("{verb} {count} {what}"))
        .collect();
    if done.is_empty() {
        "Summary: deleted 0 objects".to_owned()
    } else {
        format!("Summary: {}", done.join(", "))
    }
}

fn why(value: &Value) -> String {
    match text_of(value) {
        "imageMissing" => "its image does not exist".to_owned(),
        "superseded" => "newer revisions are kept".to_owned(),
        "overSizeLimit" => "exceeds the limits of its namespace".to_owned(),
        "unreferenced" => "no stream points at it".to_owned(),
        other => known(other),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn given(arguments: &[&str]) -> Result<Value, String> {
        let all = ["imagestream", "prune"].iter().chain(arguments);
        let arguments = Arguments::try_parse_from(all).map_err(|error| error.to_string())?;
        let Command::Prune(arguments) = arguments.command else {
            unreachable!("the command line says prune");
        };
        options(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_passed_on_and_what_makes_no_sense_is_refused() {
        assert_eq!(
            given(&[]).unwrap(),
            json!({"confirm": false, "pruneOverSizeLimit": false, "all": true})
        );
        let all = [
            "--confirm",
            "--keep-tag-revisions",
            "0",
            "--keep-younger-than",
            "90m",
            "--all=false",
            "-n",
            "team",
        ];
        assert_eq!(
            given(&all).unwrap(),
            json!({"confirm": true, "pruneOverSizeLimit": false, "all": false, "keepTagRevisions": 0,
                   "keepYoungerThanSeconds": 5400, "namespace": "team"})
        );
        for (text, seconds) in [
            ("0", 0),
            ("1h0m0s", 3600),
            ("1.5h", 5400),
            ("720h", 2_592_000),
            ("1500ms", 2),
        ] {
            let options = given(&["--keep-younger-than", text]).unwrap();
            assert_eq!(options["keepYoungerThanSeconds"], seconds, "{text}");
        }
        let of_size = given(&["--prune-over-size-limit", "--confirm=false"]).unwrap();
        assert_eq!(
            of_size,
            json!({"confirm": false, "pruneOverSizeLimit": true, "all": true})
        );
        let not_both =
            "--prune-over-size-limit cannot be specified with --keep-tag-revisions nor --keep-younger-than";
        let younger = "--keep-younger-than must be greater than or equal to 0";
        for (arguments, expected) in [
            (&["app"][..], "no arguments are allowed to this command"),
            (&["--keep-younger-than", "-1h"], younger),
            (&["--keep-younger-than", "-1ms"], younger),
            (
                &["--keep-younger-than", "soon"],
                "--keep-younger-than: \"soon\": expected a time, for example 24h or 1h30m",
            ),
            (
                &["--keep-tag-revisions", "-1"],
                "--keep-tag-revisions must be greater than or equal to 0",
            ),
            (
                &["--prune-over-size-limit", "--keep-tag-revisions", "3"],
                not_both,
            ),
            (
                &["--prune-over-size-limit=false", "--keep-younger-than=1h"],
                not_both,
            ),
        ] {
            assert_eq!(given(arguments).unwrap_err(), expected, "{arguments:?}");
        }
    }

    #[test]
    fn flags_for_a_registry_are_obeyed_if_they_want_nothing_of_it_and_refused_otherwise() {
        let harmless = [
            "--prune-registry=false",
            "--num-workers=10",
            "--ignore-invalid-refs",
            "--ignore-invalid-refs=false",
            "--force-insecure=false",
        ];
        for flag in harmless {
            assert_eq!(given(&[flag]), given(&[]), "{flag}");
        }
        for (arguments, flag) in [
            (&["--prune-registry"][..], "--prune-registry=true"),
            (&["--prune-registry=true"], "--prune-registry=true"),
            (&["--registry-url", "https://r.test"], "--registry-url"),
            (&["--certificate-authority=ca.crt"], "--certificate-authority"),
            (&["--force-insecure"], "--force-insecure"),
        ] {
            let refusal = given(arguments).unwrap_err();
            assert!(
                refusal.starts_with(&format!("{flag}: this server has no registry")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_report_is_a_row_for_everything_that_goes_and_a_summary() {
        let report = json!({
            "streams": [{"namespace": "n", "name": "s", "items": [
                {"tag": "t", "revision": 3, "image": "sha256:a", "created": "2026-01-01T00:00:00Z", "why": "superseded"},
                {"tag": "r", "revision": 0, "image": "", "dockerImageReference": "r/x:1", "created": null, "why": "superseded"}]}],
            "images": [{"name": "sha256:a", "created": null, "why": "unreferenced"}],
        });
        let shown = table(&report);
        let lines: Vec<&str> = shown.lines().map(str::trim).collect();
        assert_eq!(lines.len(), 4, "{shown}");
        assert!(
            lines[1].starts_with("imagestream n/s:t") && lines[1].ends_with("newer revisions are kept"),
            "{shown}"
        );
        assert!(
            lines[2].contains("r/x:1") && lines[3].starts_with("image "),
            "{shown}"
        );
        assert_eq!(
            summary(&report),
            "Summary: deleted 1 image object(s), deleted 2 image stream tag item(s), updated 1 image stream(s)"
        );
        assert_eq!(summary(&json!({})), "Summary: deleted 0 objects");
        assert_eq!(table(&json!({})), "");
    }
}
