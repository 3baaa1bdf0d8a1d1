//! Reading the rules of a stream, with errors that say what was expected.

use std::collections::HashSet;
use std::time::Duration;

use globset::Glob;
use jiff::SignedDuration;
use regex::bytes::RegexBuilder;
use semver::VersionReq;
use serde::Deserialize;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::matcher::Pattern;
use super::{
    ImportPolicy, MAX_NEWEST, MAX_RULES, MAX_RULES_BYTES, Matcher, Order, RULES_ANNOTATION, Removal, Rule,
};
use crate::defaults::ImportMode;
use crate::field::{FieldError, FieldValue, Path};
use crate::reference::ImageReference;
use crate::types::ObjectMeta;

/// Deepest nesting of a list of rules; more than rules have, so that what is wrong is told in its words.
const MAX_DEPTH: usize = 16;
/// Longest pattern, range or name, in bytes.
const MAX_TEXT_BYTES: usize = 256;
/// Largest compiled regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 256 << 10;
/// Longest value that is repeated in an error, in characters.
const MAX_SHOWN: usize = 100;
/// Longest interval.
const MAX_INTERVAL: Duration = Duration::from_secs(31 * 24 * 60 * 60);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleText {
    name: Option<String>,
    repository: String,
    #[serde(rename = "match")]
    matches: MatchText,
    #[serde(default)]
    exclude: ExcludeText,
    order: Option<Order>,
    newest: Option<usize>,
    #[serde(default)]
    removal: Removal,
    #[serde(default)]
    import_policy: ImportPolicy,
    interval: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MatchText {
    glob: Option<String>,
    regex: Option<String>,
    semver: Option<String>,
    #[serde(default)]
    pre_releases: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExcludeText {
    glob: Option<String>,
    regex: Option<String>,
}

/// The rules of a stream; none if it has no annotation of them.
///
/// # Errors
/// The first thing that is wrong with each rule. None of them counts then.
pub fn rules(metadata: &ObjectMeta) -> Result<Vec<Rule>, Vec<FieldError>> {
    let annotations = metadata.annotations.as_ref();
    let Some(text) = annotations.and_then(|annotations| annotations.get(RULES_ANNOTATION)) else {
        return Ok(Vec::new());
    };
    let path = Path::root("metadata").child("annotations").key(RULES_ANNOTATION);
    let items = items(text, &path).map_err(|error| vec![error])?;
    let mut rules = Vec::new();
    let mut errors = Vec::new();
    let mut names = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let path = path.index(index);
        match rule(item, &path) {
            Ok(rule) if !names.insert(rule.name.clone()) => {
                let detail = "another rule has this name, which is the repository if none is given";
                errors.push(FieldError::invalid(
                    &path.child("name"),
                    rule.name.as_str(),
                    detail,
                ));
            }
            Ok(rule) => rules.push(rule),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(rules) } else { Err(errors) }
}

/// The elements of the list that `text` is in YAML.
fn items(text: &str, path: &Path) -> Result<Vec<Value>, FieldError> {
    if text.len() > MAX_RULES_BYTES {
        return Err(FieldError::too_long(path, MAX_RULES_BYTES));
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 0 },
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_recorded_anchor_bytes: 0 },
    };
    let wrong = |value: &Value, detail: String| FieldError::invalid(path, shown(value), detail);
    let parsed = serde_saphyr::from_str_with_options::<Value>(text, options).map_err(|error| {
        let error = error.to_string();
        let line = error.lines().next().unwrap_or_default();
        wrong(
            &Value::from(text),
            format!("expected a list of rules in YAML or JSON: {line}"),
        )
    })?;
    match parsed {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) if items.len() <= MAX_RULES => Ok(items),
        Value::Array(items) => {
            let detail = format!("expected at most {MAX_RULES} rules, not {}", items.len());
            Err(wrong(&Value::from(text), detail))
        }
        other => Err(wrong(&other, "expected a list of rules".into())),
    }
}

fn rule(item: &Value, path: &Path) -> Result<Rule, FieldError> {
    let text: RuleText =
        serde_path_to_error::deserialize(item).map_err(|error| misshapen(item, &error, path))?;
    let repository = repository(&text.repository, &path.child("repository"))?;
    let name = text.name.unwrap_or_else(|| repository.repository());
    if name.is_empty() || name.len() > MAX_TEXT_BYTES {
        let detail = format!("expected a name of 1 to {MAX_TEXT_BYTES} bytes");
        return Err(FieldError::invalid(
            &path.child("name"),
            shown(&Value::from(name)),
            detail,
        ));
    }
    let newest = text.newest.unwrap_or(MAX_NEWEST);
    if !(1..=MAX_NEWEST).contains(&newest) {
        let value = i64::try_from(newest).unwrap_or(i64::MAX);
        let detail = format!("expected a number from 1 to {MAX_NEWEST}");
        return Err(FieldError::invalid(&path.child("newest"), value, detail));
    }
    let import_mode = text.import_policy.import_mode.as_str();
    if ImportMode::parse(import_mode).is_none() {
        let path = path.child("importPolicy").child("importMode");
        return Err(FieldError::not_supported(
            &path,
            import_mode,
            &["Legacy", "PreserveOriginal"],
        ));
    }
    let order = text.order.unwrap_or(if text.matches.semver.is_some() {
        Order::Semver
    } else {
        Order::Name
    });
    let interval = text.interval.as_deref();
    let interval = interval
        .map(|text| duration(text, &path.child("interval")))
        .transpose()?;
    Ok(Rule {
        name,
        repository,
        matcher: matcher(&text.matches, &text.exclude, path)?,
        order,
        newest,
        removal: text.removal,
        import_policy: text.import_policy,
        interval,
    })
}

/// What does not have the shape of a rule, where it does not.
fn misshapen(item: &Value, error: &serde_path_to_error::Error<serde_json::Error>, path: &Path) -> FieldError {
    let (mut path, mut value) = (path.clone(), item);
    for segment in error.path() {
        let (next, found) = match segment {
            Segment::Seq { index } => (path.index(*index), value.get(index)),
            Segment::Map { key } => (path.child(key), value.get(key)),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        (path, value) = (next, found.unwrap_or(&Value::Null));
    }
    let problem = error.inner().to_string();
    FieldError::invalid(&path, shown(value), problem)
}

fn repository(text: &str, path: &Path) -> Result<ImageReference, FieldError> {
    let wrong = |detail: String| FieldError::invalid(path, shown(&Value::from(text)), detail);
    let reference = ImageReference::parse(text)
        .map_err(|error| wrong(format!("expected a repository such as quay.io/org/app: {error}")))?;
    if reference.name.is_empty() || !reference.tag.is_empty() || !reference.id.is_empty() {
        return Err(wrong(
            "expected a repository such as quay.io/org/app, without tag and digest".into(),
        ));
    }
    Ok(reference)
}

fn matcher(text: &MatchText, exclude: &ExcludeText, path: &Path) -> Result<Matcher, FieldError> {
    let at = path.child("match");
    let pattern = match (&text.glob, &text.regex) {
        (Some(_), Some(_)) => {
            return Err(FieldError::forbidden(
                &at.child("glob"),
                "expected glob or regex, not both",
            ));
        }
        (Some(text), None) => glob(text, &at.child("glob"))?,
        (None, Some(text)) => regex(text, &at.child("regex"))?,
        (None, None) if text.semver.is_none() => {
            return Err(FieldError::required(
                &at,
                "expected at least one of glob, regex and semver",
            ));
        }
        (None, None) => Pattern::Any,
    };
    let versions = text
        .semver
        .as_deref()
        .map(|text| range(text, &at.child("semver")))
        .transpose()?;
    if text.pre_releases && versions.is_none() {
        let detail = "has no effect without semver";
        return Err(FieldError::forbidden(&at.child("preReleases"), detail));
    }
    let at = path.child("exclude");
    let mut excluded = Vec::new();
    if let Some(text) = &exclude.glob {
        excluded.push(glob(text, &at.child("glob"))?);
    }
    if let Some(text) = &exclude.regex {
        excluded.push(regex(text, &at.child("regex"))?);
    }
    Ok(Matcher {
        pattern,
        versions,
        pre_releases: text.pre_releases,
        excluded,
    })
}

fn bounded(text: &str, path: &Path) -> Result<(), FieldError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(FieldError::too_long(path, MAX_TEXT_BYTES));
    }
    Ok(())
}

fn glob(text: &str, path: &Path) -> Result<Pattern, FieldError> {
    bounded(text, path)?;
    let glob = Glob::new(text)
        .map_err(|error| FieldError::invalid(path, text, format!("expected a glob: {}", error.kind())))?;
    Ok(Pattern::Glob(glob.compile_matcher()))
}

fn regex(text: &str, path: &Path) -> Result<Pattern, FieldError> {
    bounded(text, path)?;
    // Tags are ASCII, and classes of all letters that there are would be large.
    let regex = RegexBuilder::new(text)
        .unicode(false)
        .size_limit(MAX_REGEX_BYTES)
        .dfa_size_limit(MAX_REGEX_BYTES)
        .build()
        .map_err(|error| {
            // A syntax error is drawn over several lines; the last one says what it is.
            let error = error.to_string();
            let problem = error
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            FieldError::invalid(path, text, format!("expected a regular expression: {problem}"))
        })?;
    Ok(Pattern::Regex(regex))
}

fn range(text: &str, path: &Path) -> Result<VersionReq, FieldError> {
    bounded(text, path)?;
    VersionReq::parse(text).map_err(|error| {
        let detail = format!("expected a range of versions such as \">=1.2, <3\": {error}");
        FieldError::invalid(path, text, detail)
    })
}

fn duration(text: &str, path: &Path) -> Result<Duration, FieldError> {
    let parsed = text.parse::<SignedDuration>().ok();
    let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
    parsed
        .filter(|duration| !duration.is_zero() && *duration <= MAX_INTERVAL)
        .ok_or_else(|| {
            let detail = "expected a positive time of at most 31 days, for example 30m or 2h";
            FieldError::invalid(path, shown(&Value::from(text)), detail)
        })
}

/// A value in an error, not at length.
fn shown(value: &Value) -> FieldValue {
    let cut = |text: &str| -> String {
        let mut characters = text.chars();
        let mut start: String = characters.by_ref().take(MAX_SHOWN).collect();
        if characters.next().is_some() {
            start.push('…');
        }
        start
    };
    match value {
        Value::String(text) => FieldValue::Text(cut(text)),
        other => FieldValue::Json(cut(&other.to_string())),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Rule>, Vec<String>> {
        let metadata = ObjectMeta {
            annotations: Some([(RULES_ANNOTATION.to_owned(), text.to_owned())].into()),
            ..ObjectMeta::default()
        };
        rules(&metadata).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    /// The rule with these fields beside the repository `quay.io/org/app`.
    pub(in super::super) fn rule(fields: &str) -> Rule {
        parsed(&format!("[{{repository: quay.io/org/app, {fields}}}]"))
            .unwrap()
            .remove(0)
    }

    #[test]
    fn a_stream_without_the_annotation_has_no_rules() {
        assert!(rules(&ObjectMeta::default()).unwrap().is_empty());
        assert!(parsed("").unwrap().is_empty());
        assert!(parsed("[]").unwrap().is_empty());
    }

    #[test]
    fn rules_are_read_in_yaml_and_json_and_completed() {
        let yaml = "- repository: quay.io/org/app\n  match:\n    semver: '>=1.2, <3'\n- repository: nginx\n  \
                    name: edge\n  match: {glob: '*'}\n  newest: 3\n  removal: prune\n  interval: 1h 30m\n  \
                    importPolicy: {insecure: true, scheduled: true, importMode: PreserveOriginal}\n";
        let rules = parsed(yaml).unwrap();
        let [versions, edge] = &rules[..] else {
            unreachable!("two rules")
        };
        assert_eq!(
            (versions.name.as_str(), versions.order),
            ("quay.io/org/app", Order::Semver)
        );
        assert_eq!((versions.newest, versions.removal), (MAX_NEWEST, Removal::Keep));
        assert_eq!(
            (versions.interval, &versions.import_policy),
            (None, &ImportPolicy::default())
        );
        assert_eq!(
            (edge.name.as_str(), edge.order, edge.newest),
            ("edge", Order::Name, 3)
        );
        assert_eq!(
            (edge.removal, edge.interval),
            (Removal::Prune, Some(Duration::from_secs(5_400)))
        );
        assert!(edge.import_policy.insecure && edge.import_policy.scheduled);
        let json = r#"[{"repository": "nginx", "match": {"regex": "^v(?<version>.*)$", "semver": "*"}}]"#;
        assert_eq!(parsed(json).unwrap()[0].repository.name, "nginx");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_was_expected() {
        let long = "a".repeat(300);
        for (text, place, expected) in [
            ("{", "", "expected a list of rules in YAML or JSON"),
            (
                "repository: x",
                "",
                "Invalid value: {\"repository\":\"x\"}: expected a list of rules",
            ),
            ("[7]", "[0]", "Invalid value: 7: invalid type: integer `7`"),
            ("[{match: {glob: x}}]", "[0]", "missing field `repository`"),
            ("[{repository: x}]", "[0]", "missing field `match`"),
            (
                "[{repository: x, match: {}}]",
                "[0].match",
                "Required value: expected at least one of glob, regex and semver",
            ),
            (
                "[{repository: x, match: {globb: y}}]",
                "[0].match.globb",
                "unknown field `globb`, expected one of `glob`",
            ),
            (
                "[{repository: x, match: {semver: 1.2}}]",
                "[0].match.semver",
                "Invalid value: 1.2: invalid type: floating point",
            ),
            (
                "[{repository: x, match: {semver: '1.2 || 2'}}]",
                "[0].match.semver",
                "expected a range of versions",
            ),
            (
                "[{repository: x, match: {glob: 'a[', semver: '*'}}]",
                "[0].match.glob",
                "expected a glob: unclosed character class",
            ),
            (
                "[{repository: x, match: {glob: a, regex: a}}]",
                "[0].match.glob",
                "Forbidden: expected glob or regex, not both",
            ),
            (
                "[{repository: x, match: {regex: '('}}]",
                "[0].match.regex",
                "expected a regular expression: unclosed group",
            ),
            (
                "[{repository: x, match: {regex: '(\\w{900}){900}'}}]",
                "[0].match.regex",
                "exceeds size limit",
            ),
            (
                &format!("[{{repository: x, match: {{glob: {long}}}}}]"),
                "[0].match.glob",
                "Too long: may not be more than 256 bytes",
            ),
            (
                "[{repository: x, match: {glob: a, preReleases: true}}]",
                "[0].match.preReleases",
                "has no effect without semver",
            ),
            (
                "[{repository: x, match: {glob: a}, exclude: {regex: '['}}]",
                "[0].exclude.regex",
                "expected a regular expression",
            ),
            (
                "[{repository: 'x:latest', match: {glob: a}}]",
                "[0].repository",
                "without tag and digest",
            ),
            (
                "[{repository: 'x/Y', match: {glob: a}}]",
                "[0].repository",
                "repository name must be lowercase",
            ),
            (
                "[{repository: x, match: {glob: a}, newest: 0}]",
                "[0].newest",
                "Invalid value: 0: expected a number from 1 to 500",
            ),
            (
                "[{repository: x, match: {glob: a}, newest: 501}]",
                "[0].newest",
                "expected a number from 1 to 500",
            ),
            (
                "[{repository: x, match: {glob: a}, newest: -1}]",
                "[0].newest",
                "Invalid value: -1: invalid value: integer `-1`",
            ),
            (
                "[{repository: x, match: {glob: a}, newest: 99999999999999999999}]",
                "[0].newest",
                "invalid",
            ),
            (
                "[{repository: x, match: {semver: '>=99999999999999999999'}}]",
                "[0].match.semver",
                "expected a range of versions",
            ),
            (
                "[{repository: x, match: {glob: a}, order: age}]",
                "[0].order",
                "unknown variant `age`, expected `semver` or `name`",
            ),
            (
                "[{repository: x, match: {glob: a}, removal: yes}]",
                "[0].removal",
                "expected",
            ),
            (
                "[{repository: x, match: {glob: a}, interval: soon}]",
                "[0].interval",
                "expected a positive time",
            ),
            (
                "[{repository: x, match: {glob: a}, interval: -1h}]",
                "[0].interval",
                "expected a positive time",
            ),
            (
                "[{repository: x, match: {glob: a}, importPolicy: {importMode: Both}}]",
                "[0].importPolicy.importMode",
                "Unsupported value: \"Both\": supported values: \"Legacy\", \"PreserveOriginal\"",
            ),
            (
                "[{repository: x, match: {glob: a}}, {repository: x, match: {glob: b}}]",
                "[1].name",
                "another rule has this name",
            ),
            (
                &format!("[{}]", vec!["{}"; 21].join(", ")),
                "",
                "expected at most 20 rules, not 21",
            ),
        ] {
            let errors = parsed(text).unwrap_err();
            let place = format!("metadata.annotations[{RULES_ANNOTATION}]{place}: ");
            assert!(
                errors[0].starts_with(&place) && errors[0].contains(expected),
                "{text}: {errors:?}"
            );
        }
    }

    #[test]
    fn patterns_are_of_ascii_as_tags_are_so_that_usual_ones_are_small() {
        let matcher =
            rule(r"match: {regex: '^(?<version>\d{1,4}[\w.]{1,60})-\w{1,40}$', semver: '*'}").matcher;
        assert!(matcher.matches("1.2.3-alpine") && !matcher.matches("1.2.3"));
        // Registries list what they want.
        for tag in ["1.2.3-é", "١.2.3-alpine", "\u{0}", ""] {
            assert!(!matcher.matches(tag), "{tag:?}");
        }
        assert!(parsed(r"[{repository: x, match: {regex: '\p{L}'}}]").unwrap_err()[0].contains("Unicode"));
    }

    #[test]
    fn a_document_that_would_grow_when_it_is_read_is_refused() {
        let bomb = "- &a [x, x, x, x]\n- &b [*a, *a, *a, *a]\n- &c [*b, *b, *b, *b]\n- [*c, *c, *c, *c]\n";
        assert!(parsed(bomb).is_err());
        assert!(parsed(&"[".repeat(1_000)).is_err());
        assert!(parsed(&"x".repeat(MAX_RULES_BYTES + 1)).unwrap_err()[0].contains("Too long"));
    }
}
