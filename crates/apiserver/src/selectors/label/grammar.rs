//! The [grammar of label selectors][1]: tokens, then requirements, with the error texts clients know.
//!
//! [1]: https://pkg.go.dev/k8s.io/apimachinery/pkg/labels#Parse

use std::collections::BTreeSet;

use imagestream_api::field::quoted;

use super::names::{key_errors, value_errors};
use super::{Requirement, Test};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    End,
    Identifier,
    Comma,
    Open,
    Close,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    In,
    NotIn,
}

/// Tokens with their text. What it reads ahead is kept for whoever comes next.
struct Tokens<'a> {
    rest: &'a str,
}

fn is_special(character: char) -> bool {
    matches!(character, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

impl<'a> Tokens<'a> {
    /// The next token as an operator may stand here: `in` and `notin` are words of the grammar.
    fn operator(&mut self) -> (Token, &'a str) {
        let (token, text, rest) = self.scan();
        self.rest = rest;
        (token, text)
    }

    /// The next token as a key or a value may stand here: `in` and `notin` are ordinary words.
    fn value(&mut self) -> (Token, &'a str) {
        match self.operator() {
            (Token::In | Token::NotIn, text) => (Token::Identifier, text),
            other => other,
        }
    }

    /// What [`Self::value`] will give.
    fn next_value(&self) -> (Token, &'a str) {
        Tokens { rest: self.rest }.value()
    }

    fn scan(&self) -> (Token, &'a str, &'a str) {
        const SYMBOLS: [(&str, Token); 9] = [
            ("==", Token::DoubleEquals),
            ("!=", Token::NotEquals),
            ("=", Token::Equals),
            ("!", Token::Not),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
            (">", Token::Greater),
            ("<", Token::Less),
        ];
        let text = self.rest.trim_start_matches(is_space);
        if text.is_empty() {
            return (Token::End, "", "");
        }
        for (symbol, token) in SYMBOLS {
            if let Some(rest) = text.strip_prefix(symbol) {
                return (token, symbol, rest);
            }
        }
        let end = text
            .find(|character| is_special(character) || is_space(character))
            .unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let token = match word {
            "in" => Token::In,
            "notin" => Token::NotIn,
            _ => Token::Identifier,
        };
        (token, word, rest)
    }
}

pub(super) fn parse(selector: &str) -> Result<Vec<Requirement>, String> {
    let mut tokens = Tokens { rest: selector };
    let mut requirements = Vec::new();
    loop {
        match tokens.next_value() {
            (Token::Identifier | Token::Not, _) => {}
            (Token::End, _) => return Ok(requirements),
            (_, found) => {
                return Err(format!(
                    "found '{found}', expected: !, identifier, or 'end of string'"
                ));
            }
        }
        let requirement =
            requirement(&mut tokens).map_err(|error| format!("unable to parse requirement: {error}"))?;
        requirements.push(requirement);
        match tokens.value() {
            (Token::End, _) => return Ok(requirements),
            (Token::Comma, _) => match tokens.next_value() {
                (Token::Identifier | Token::Not, _) => {}
                (_, found) => return Err(format!("found '{found}', expected: identifier after ','")),
            },
            (_, found) => return Err(format!("found '{found}', expected: ',' or 'end of string'")),
        }
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, String> {
    let (mut token, mut key) = tokens.value();
    let negated = token == Token::Not;
    if negated {
        (token, key) = tokens.value();
    }
    if token != Token::Identifier {
        return Err(format!("found '{key}', expected: identifier"));
    }
    let errors = key_errors(key);
    if !errors.is_empty() {
        // A selector has no path to name; this is how Kubernetes prints that.
        return Err(format!(
            "<nil>: Invalid value: {}: {}",
            quoted(key),
            errors.join("; ")
        ));
    }
    let test = if negated {
        Test::DoesNotExist
    } else if matches!(tokens.next_value().0, Token::End | Token::Comma) {
        Test::Exists
    } else {
        test(key, tokens)?
    };
    Ok(Requirement {
        key: key.into(),
        test,
    })
}

fn test(key: &str, tokens: &mut Tokens<'_>) -> Result<Test, String> {
    let (operator, found) = tokens.operator();
    match operator {
        Token::In => values(key, tokens).map(Test::In),
        Token::NotIn => values(key, tokens).map(Test::NotIn),
        Token::Equals | Token::DoubleEquals => value(key, tokens).map(Test::Equals),
        Token::NotEquals => value(key, tokens).map(Test::NotEquals),
        Token::Greater => number(key, tokens).map(Test::GreaterThan),
        Token::Less => number(key, tokens).map(Test::LessThan),
        _ => Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt")),
    }
}

fn exact<'a>(tokens: &mut Tokens<'a>) -> Result<&'a str, String> {
    if matches!(tokens.next_value().0, Token::End | Token::Comma) {
        return Ok("");
    }
    match tokens.value() {
        (Token::Identifier, value) => Ok(value),
        (_, found) => Err(format!("found '{found}', expected: identifier")),
    }
}

fn value(key: &str, tokens: &mut Tokens<'_>) -> Result<String, String> {
    let value = exact(tokens)?;
    checked(key, [value])?;
    Ok(value.into())
}

fn number(key: &str, tokens: &mut Tokens<'_>) -> Result<i64, String> {
    let value = exact(tokens)?;
    let number = value.parse().map_err(|_| {
        let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
        format!("values[0]: Invalid value: {}: {detail}", quoted(value))
    })?;
    checked(key, [value])?;
    Ok(number)
}

fn values(key: &str, tokens: &mut Tokens<'_>) -> Result<BTreeSet<String>, String> {
    match tokens.value() {
        (Token::Open, _) => {}
        (_, found) => return Err(format!("found '{found}' expected: '('")),
    }
    match tokens.next_value() {
        (Token::Identifier | Token::Comma, _) => {}
        (Token::Close, _) => {
            let detail = "for 'in', 'notin' operators, values set can't be empty";
            return Err(format!("values: Invalid value: []: {detail}"));
        }
        (_, found) => return Err(format!("found '{found}', expected: ',', ')' or identifier")),
    }
    let values = listed(tokens)?;
    checked(key, values.iter().map(String::as_str))?;
    Ok(values)
}

/// The values up to the closing parenthesis. Where a comma has none before or after it, there is an empty one.
fn listed(tokens: &mut Tokens<'_>) -> Result<BTreeSet<String>, String> {
    let mut values = BTreeSet::new();
    loop {
        match tokens.value() {
            (Token::Identifier, value) => {
                values.insert(value.to_owned());
                match tokens.value() {
                    (Token::Close, _) => return Ok(values),
                    (Token::Comma, _) => {}
                    (_, found) => return Err(format!("found '{found}', expected: ',' or ')'")),
                }
                match tokens.next_value() {
                    (Token::Comma | Token::Close, _) => {
                        values.insert(String::new());
                    }
                    _ => continue,
                }
            }
            (Token::Comma, _) => {
                values.insert(String::new());
            }
            (_, found) => return Err(format!("found '{found}', expected: ',', or identifier")),
        }
        if tokens.next_value().0 == Token::Close {
            tokens.value();
            return Ok(values);
        }
    }
}

/// Refuses values that no label can have. Several errors are shown as a list.
fn checked<'a>(key: &str, values: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let errors: Vec<String> = values
        .into_iter()
        .enumerate()
        .filter_map(|(index, value)| {
            let errors = value_errors(value);
            (!errors.is_empty()).then(|| {
                format!(
                    "values[{index}][{key}]: Invalid value: {}: {}",
                    quoted(value),
                    errors.join("; ")
                )
            })
        })
        .collect();
    match errors.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}
