//! `imagestream status`: how a server follows the sources of scheduled tags, and rules.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::arguments::{StatusArguments, StatusFormat};
use crate::client::Client;
use crate::exit::{Error, Exit};
use crate::output;
use crate::runtime::one_thread;
use crate::table::{finished, known, plain};

/// Where a server tells of it.
const PATH: &str = "/imagestream/v1/status";

/// Runs the command.
///
/// # Errors
/// [`Error::Usage`] for a kubeconfig that can't be used, [`Error::Failure`] if the server does not answer.
pub(crate) fn run(arguments: &StatusArguments) -> Result<Exit, Error> {
    let client = Client::open(arguments.kubeconfig.as_deref())?;
    let runtime = one_thread()?;
    let shows_streams = arguments.streams || arguments.namespace.is_some();
    let report = runtime.block_on(async {
        if shows_streams {
            let namespace = arguments.namespace.as_deref().unwrap_or_default();
            all(&client, "/streams", &[("namespace", namespace)]).await
        } else if arguments.hosts {
            all(&client, "/hosts", &[]).await
        } else {
            let mut report = client.get(PATH, &[]).await?;
            if arguments.output == StatusFormat::Table {
                report["hosts"] = all(&client, "/hosts", &[]).await?["items"].take();
            }
            Ok(report)
        }
    })?;
    let text = match arguments.output {
        StatusFormat::Json => format!("{report:#}\n"),
        StatusFormat::Table if shows_streams => streams(&report),
        StatusFormat::Table if arguments.hosts => hosts(&report["items"]),
        StatusFormat::Table => format!("{}\n{}", overview(&report), hosts(&report["hosts"])),
    };
    output::print(&text)?;
    if report["leader"]["isThisServer"] != true {
        eprintln!("{}", not_leading(&report["leader"]));
    }
    Ok(Exit::Success)
}

/// All pages of a list.
async fn all(client: &Client, list: &str, query: &[(&str, &str)]) -> Result<Value, Error> {
    let mut items = Vec::new();
    let mut next = String::new();
    loop {
        let mut query = query.to_vec();
        if !next.is_empty() {
            query.push(("continue", &next));
        }
        let mut page = client.get(&format!("{PATH}{list}"), &query).await?;
        if let Value::Array(more) = page["items"].take() {
            items.extend(more);
        }
        let after = page["continue"].as_str().unwrap_or_default().to_owned();
        // One that leads back would never end.
        if after.is_empty() || after == next {
            return Ok(json!({"items": items, "leader": page["leader"]}));
        }
        next = after;
    }
}

fn not_leading(leader: &Value) -> String {
    match leader["holder"].as_str() {
        Some(holder) => format!(
            "note: this server does not run the controllers; {} does",
            known(holder)
        ),
        None => "note: this server does not run the controllers, and none is known that does".to_owned(),
    }
}

fn overview(report: &Value) -> String {
    let mut table = plain();
    for (label, field) in [
        ("Streams:", "streams"),
        ("Tags:", "tags"),
        ("Sources:", "sources"),
        ("Streams with rules:", "streamsWithRules"),
        ("Listed repositories:", "repositories"),
        ("Checks a minute:", "checksPerMinute"),
        ("Lag:", "lagSeconds"),
        ("Throttled hosts:", "throttledHosts"),
        ("Since:", "since"),
    ] {
        let value = match field {
            "lagSeconds" => format!("{}s", report[field].as_u64().unwrap_or_default()),
            _ => text(&report[field]),
        };
        table.add_row([label.to_owned(), value]);
    }
    finished(&table)
}

fn hosts(items: &Value) -> String {
    let mut table = plain();
    table.set_header([
        "HOST",
        "TAGS",
        "SOURCES",
        "LISTED",
        "CHECKS/MIN",
        "LAG",
        "WAITING",
        "THROTTLED UNTIL",
        "WHY",
        "LISTS WAIT UNTIL",
    ]);
    for host in items.as_array().into_iter().flatten() {
        table.add_row([
            text(&host["host"]),
            text(&host["tags"]),
            text(&host["sources"]),
            text(&host["repositories"]),
            text(&host["checksPerMinute"]),
            format!("{}s", host["lagSeconds"].as_u64().unwrap_or_default()),
            text(&host["waitingToFetch"]),
            text(&host["throttledUntil"]),
            text(&host["throttledBecause"]),
            text(&host["listsWaitUntil"]),
        ]);
    }
    finished(&table)
}

fn streams(report: &Value) -> String {
    let mut table = plain();
    table.set_header([
        "NAMESPACE",
        "NAME",
        "TAGS",
        "RULES",
        "LAST CHECK",
        "NEXT CHECK",
        "LAST CHANGE",
    ]);
    let now = Timestamp::now();
    for stream in report["items"].as_array().into_iter().flatten() {
        table.add_row([
            text(&stream["namespace"]),
            text(&stream["name"]),
            text(&stream["tags"]),
            text(&stream["rules"]),
            relative(&stream["lastCheck"], now),
            relative(&stream["nextCheck"], now),
            relative(&stream["lastChange"], now),
        ]);
    }
    finished(&table)
}

/// A moment as people say it.
fn relative(moment: &Value, now: Timestamp) -> String {
    let Some(moment) = moment.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
        return known("");
    };
    let seconds = moment.duration_since(now).as_secs();
    let span = |seconds: i64| {
        if seconds < 120 {
            format!("{seconds}s")
        } else if seconds < 7_200 {
            format!("{}m", seconds / 60)
        } else if seconds < 172_800 {
            format!("{}h", seconds / 3_600)
        } else {
            format!("{}d", seconds / 86_400)
        }
    };
    if seconds > 0 {
        format!("in {}", span(seconds))
    } else {
        format!("{} ago", span(-seconds))
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => known(text),
        Value::Null => known(""),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_from_now() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        for (moment, told) in [
            ("2026-01-01T12:00:00Z", "0s ago"),
            ("2026-01-01T11:58:01Z", "119s ago"),
            ("2026-01-01T11:50:00Z", "10m ago"),
            ("2026-01-01T14:30:00Z", "in 2h"),
            ("2025-12-25T12:00:00Z", "7d ago"),
            ("never", "-"),
        ] {
            assert_eq!(relative(&json!(moment), now), told);
        }
    }

    #[test]
    fn what_a_server_says_of_a_host_is_a_row() {
        let items = json!([{"host": "r.test", "tags": 3, "sources": 2, "repositories": 6, "checksPerMinute": 4, "lagSeconds": 5,
            "waitingToFetch": 1, "throttledUntil": "2026-01-01T12:00:00Z", "throttledBecause": "Quota",
            "listsWaitUntil": "2026-01-01T12:00:01Z"}]);
        let table = hosts(&items);
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row,
            [
                "r.test",
                "3",
                "2",
                "6",
                "4",
                "5s",
                "1",
                "2026-01-01T12:00:00Z",
                "Quota",
                "2026-01-01T12:00:01Z"
            ]
        );
    }
}
