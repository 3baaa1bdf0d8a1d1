//! Challenges: what a registry wants to see before it answers, from its `WWW-Authenticate` headers.
//!
//! The grammar is that of [RFC 9110, section 11.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1): several
//! challenges may share one header, and their parameters hold commas in quotes.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Most challenges that are looked at; more are an attack or a mistake.
const MAX_CHALLENGES: usize = 16;

/// One way to authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The scheme in lower case: `bearer`, `basic`.
    pub(super) scheme: String,
    /// Parameters in order, their names in lower case.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter; the first one if it is repeated.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// All challenges of an answer.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(parse).take(MAX_CHALLENGES).collect()
}

/// The `error` and `error_description` of a bearer challenge.
pub(super) fn bearer_error(challenges: &[Challenge]) -> Option<(&str, Option<&str>)> {
    challenges
        .iter()
        .filter(|challenge| challenge.scheme == "bearer")
        .find_map(|challenge| {
            let description = challenge
                .parameter("error_description")
                .filter(|text| !text.is_empty());
            Some((challenge.parameter("error")?, description))
        })
}

fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (token, after) = rest.split_at(rest.find(|c| !is_token(c)).unwrap_or(rest.len()));
        if token.is_empty() {
            return found;
        }
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            found.push(Challenge {
                scheme: token.to_ascii_lowercase(),
                parameters: Vec::new(),
            });
            rest = after;
            continue;
        };
        let (value, after) = parameter_value(value.trim_start_matches([' ', '\t']));
        if let Some(challenge) = found.last_mut() {
            challenge.parameters.push((token.to_ascii_lowercase(), value));
        }
        rest = after;
    }
}

/// A token or quoted string, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            c => value.push(c),
        }
    }
    (value, "")
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn shown(header: &str) -> Vec<(String, Vec<(String, String)>)> {
        parse(header)
            .into_iter()
            .map(|challenge| (challenge.scheme, challenge.parameters))
            .collect()
    }

    fn expected(challenges: &[(&str, &[(&str, &str)])]) -> Vec<(String, Vec<(String, String)>)> {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        challenges
            .iter()
            .map(|(scheme, parameters)| ((*scheme).into(), owned(parameters)))
            .collect()
    }

    #[test]
    fn challenges_are_told_apart_from_parameters() {
        type Challenges<'a> = &'a [(&'a str, &'a [(&'a str, &'a str)])];
        let table: &[(&str, Challenges<'_>)] = &[
            (
                r#"Bearer realm="https://auth.test/token",service="r.test",scope="repository:a/b:pull,push""#,
                &[(
                    "bearer",
                    &[
                        ("realm", "https://auth.test/token"),
                        ("service", "r.test"),
                        ("scope", "repository:a/b:pull,push"),
                    ],
                )],
            ),
            (
                r#"Basic realm="a \"b\", c", BEARER Realm=https://t.test/x , error="invalid_token""#,
                &[
                    ("basic", &[("realm", r#"a "b", c"#)]),
                    (
                        "bearer",
                        &[("realm", "https://t.test/x"), ("error", "invalid_token")],
                    ),
                ],
            ),
            ("Negotiate, Basic", &[("negotiate", &[]), ("basic", &[])]),
            (r#"Bearer realm = "x""#, &[("bearer", &[("realm", "x")])]),
            (
                r#"Bearer realm="unfinished"#,
                &[("bearer", &[("realm", "unfinished")])],
            ),
            (r#"realm="nobody's""#, &[]),
            ("", &[]),
        ];
        for (header, challenges) in table {
            assert_eq!(shown(header), expected(challenges), "{header}");
        }
    }

    #[test]
    fn several_headers_are_read_as_one() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"r\""));
        headers.append(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"t\",error=\"invalid_token\""),
        );
        let challenges = challenges(&headers);
        assert_eq!(challenges.len(), 2);
        assert_eq!(bearer_error(&challenges), Some(("invalid_token", None)));
    }

    proptest! {
        #[test]
        fn any_header_is_parsed_to_an_end(header in "[ -~]{0,200}") {
            let challenges = parse(&header);
            prop_assert!(challenges.len() <= header.len());
        }
    }
}
