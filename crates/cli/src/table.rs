//! Results as tables for people.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use imagestream_api::status;
use imagestream_api::types::{DockerConfig, Image, ImageImportStatus, ImageStreamImport};

/// What stands for something that is not known.
const UNKNOWN: &str = "-";
/// Digits of a digest that are enough for people.
const SHORT_DIGEST: usize = 12;

/// The result of an import: everything about one image, or a row for each of several.
pub(crate) fn of(import: &ImageStreamImport) -> String {
    let repository = import.status.repository.as_ref();
    let names = import
        .spec
        .images
        .iter()
        .map(|spec| spec.from.name.clone().unwrap_or_default());
    let mut results: Vec<(String, &ImageImportStatus)> = names.zip(&import.status.images).collect();
    if let Some(repository) = repository {
        results.extend(
            repository
                .images
                .iter()
                .map(|result| (result.tag.clone(), result)),
        );
    }
    match &results[..] {
        [] => String::new(),
        [(name, result)] if repository.is_none() && status::is_success(&result.status) => match &result.image
        {
            Some(image) => details(name, image, &result.manifests),
            None => String::new(),
        },
        several => rows(several, if repository.is_some() { "TAG" } else { "IMAGE" }),
    }
}

fn rows(results: &[(String, &ImageImportStatus)], first_column: &str) -> String {
    let mut table = plain();
    table.set_header([
        first_column,
        "DIGEST",
        "ARCHITECTURE",
        "LAYERS",
        "SIZE",
        "CREATED",
    ]);
    for (name, result) in results {
        let Some(image) = result
            .image
            .as_ref()
            .filter(|_| status::is_success(&result.status))
        else {
            table.add_row([name.as_str(), "failed", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]);
            continue;
        };
        table.add_row([
            name.clone(),
            short_digest(image),
            platforms(image),
            layers(image),
            size(image),
            created(image),
        ]);
    }
    finished(&table)
}

fn details(name: &str, image: &Image, members: &[Image]) -> String {
    let metadata = &image.docker_image_metadata;
    let mut table = plain();
    let mut line = |label: &str, value: String| {
        if !value.is_empty() {
            table.add_row([label.to_owned(), value]);
        }
    };
    line("Image:", name.to_owned());
    line("Digest:", image.metadata.name.clone().unwrap_or_default());
    line("Media type:", image.docker_image_manifest_media_type.clone());
    if image.docker_image_manifests.is_empty() {
        line("Architecture:", platforms(image));
        line("Created:", created(image));
        line("Size:", format!("{} in {} layers", size(image), layers(image)));
        line("Author:", metadata.author.clone());
        if let Some(config) = &metadata.config {
            container(config, &mut line);
        }
        return finished(&table);
    }
    let mut text = finished(&table);
    let mut table = plain();
    table.set_header(["PLATFORM", "DIGEST", "LAYERS", "SIZE", "CREATED"]);
    for (entry, member) in image.docker_image_manifests.iter().zip(members) {
        let platform = [&entry.os, &entry.architecture, &entry.variant];
        let platform: Vec<&str> = platform
            .into_iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        table.add_row([
            platform.join("/"),
            short_digest(member),
            layers(member),
            size(member),
            created(member),
        ]);
    }
    text.push('\n');
    text.push_str(&finished(&table));
    text
}

fn container(config: &DockerConfig, line: &mut impl FnMut(&str, String)) {
    line("User:", config.user.clone());
    line("Working directory:", config.working_dir.clone());
    line("Entrypoint:", words(&config.entrypoint));
    line("Command:", words(&config.cmd));
    line(
        "Ports:",
        config
            .exposed_ports
            .iter()
            .cloned()
            .collect::<Vec<_>>()
            .join(", "),
    );
    line(
        "Volumes:",
        config.volumes.iter().cloned().collect::<Vec<_>>().join(", "),
    );
    line("Environment:", config.env.join("\n"));
    let labels: Vec<_> = config
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    line("Labels:", labels.join("\n"));
}

/// Words as they would be typed in a shell.
fn words(words: &[String]) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,@%+".contains(character);
    let quoted: Vec<_> = words
        .iter()
        .map(|word| {
            if !word.is_empty() && word.chars().all(is_plain) {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
        })
        .collect();
    quoted.join(" ")
}

/// A table without lines.
pub(crate) fn plain() -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// The text of a table, without what a terminal could take for commands.
pub(crate) fn finished(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        let line: String = line.chars().filter(|character| !character.is_control()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn short_digest(image: &Image) -> String {
    let name = image.metadata.name.as_deref().unwrap_or_default();
    let hex = name.split_once(':').map_or(name, |(_, hex)| hex);
    hex.chars().take(SHORT_DIGEST).collect()
}

fn platforms(image: &Image) -> String {
    match image.docker_image_manifests.len() {
        0 => known(&image.docker_image_metadata.architecture),
        1 => "1 platform".to_owned(),
        count => format!("{count} platforms"),
    }
}

fn layers(image: &Image) -> String {
    match image.docker_image_layers.len() {
        0 if !image.docker_image_manifests.is_empty() => UNKNOWN.to_owned(),
        count => count.to_string(),
    }
}

fn size(image: &Image) -> String {
    match u64::try_from(image.docker_image_metadata.size) {
        Ok(size) if size > 0 => bytes(size),
        _ => UNKNOWN.to_owned(),
    }
}

/// A size in units of 1000, as registries show it.
fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut whole = size as f64;
    let mut unit = 0;
    while whole >= 999.5 && unit + 1 < UNITS.len() {
        whole /= 1000.0;
        unit += 1;
    }
    if unit == 0 || whole >= 99.95 {
        format!("{whole:.0} {}", UNITS[unit])
    } else {
        format!("{whole:.1} {}", UNITS[unit])
    }
}

fn created(image: &Image) -> String {
    if !image.docker_image_manifests.is_empty() {
        // A list has no time of its own.
        return UNKNOWN.to_owned();
    }
    let created = image.docker_image_metadata.created.as_ref();
    created.map_or_else(
        || UNKNOWN.to_owned(),
        |time| time.0.strftime("%Y-%m-%d %H:%M").to_string(),
    )
}

/// A text, or what stands for none.
pub(crate) fn known(text: &str) -> String {
    if text.is_empty() { UNKNOWN } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_or_three_digits_and_a_unit() {
        for (size, text) in [
            (1, "1 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (123_456_789, "123 MB"),
            (5_300_000_000, "5.3 GB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        let given = ["sh", "-c", "echo it's", ""].map(str::to_owned);
        assert_eq!(words(&given), r"sh -c 'echo it'\''s' ''");
    }

    #[test]
    fn what_an_image_says_reaches_the_terminal_without_control_characters() {
        let mut table = plain();
        table.add_row(["a\u{1b}[31mred", "b"]);
        assert!(!finished(&table).contains('\u{1b}'));
    }
}
