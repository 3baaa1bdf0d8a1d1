//! [Field selectors][1]: `metadata.name=a,status.phase!=Running`.
//!
//! [1]: https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/

use std::fmt;

/// Why a field selector cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldSelectorError {
    /// A term without an operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    NoOperator {
        /// The whole selector.
        selector: String,
        /// The part of it that is wrong.
        term: String,
    },
    /// A backslash before a character that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A `,` or `=` in a value that has no backslash before it. The number is the character's.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(u32),
    /// The resource cannot be selected by this field.
    // Kubernetes names these two for every resource, whatever else the resource can be selected by.
    #[error(
        "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        imagestream_api::field::quoted(.0)
    )]
    UnknownField(String),
}

/// A conjunction of terms. Without any, it matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    equal: bool,
    value: String,
}

impl FieldSelector {
    /// Reads a selector; the empty one matches everything.
    pub fn parse(selector: &str) -> Result<Self, FieldSelectorError> {
        let terms = split(selector)
            .into_iter()
            .filter(|term| !term.is_empty())
            .map(|term| {
                Term::parse(term)?.ok_or_else(|| FieldSelectorError::NoOperator {
                    selector: selector.into(),
                    term: term.into(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }

    /// What matches where `field` has this value.
    #[must_use]
    pub fn only(field: &str, value: &str) -> Self {
        Self {
            terms: vec![Term {
                field: field.to_owned(),
                equal: true,
                value: value.to_owned(),
            }],
        }
    }

    /// Refuses a selector with a field that is not among `fields`.
    pub fn restrict_to(&self, fields: &[&str]) -> Result<(), FieldSelectorError> {
        match self
            .terms
            .iter()
            .find(|term| !fields.contains(&term.field.as_str()))
        {
            Some(term) => Err(FieldSelectorError::UnknownField(term.field.clone())),
            None => Ok(()),
        }
    }

    /// Whether it matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The only value of `field` that an object can have to match, if the selector says so.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// Whether an object matches whose fields `value_of` tells: the empty text for one it does not have.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> &'a str) -> bool {
        self.terms
            .iter()
            .all(|term| (value_of(&term.field) == term.value) == term.equal)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let operator = if term.equal { "=" } else { "!=" };
            write!(f, "{separator}{}{operator}{}", term.field, escaped(&term.value))?;
        }
        Ok(())
    }
}

impl Term {
    fn parse(term: &str) -> Result<Option<Self>, FieldSelectorError> {
        for (index, _) in term.char_indices() {
            let (field, rest) = term.split_at(index);
            for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
                if let Some(value) = rest.strip_prefix(operator) {
                    return Ok(Some(Self {
                        field: field.into(),
                        equal,
                        value: unescaped(value)?,
                    }));
                }
            }
        }
        Ok(None)
    }
}

/// At commas that no backslash precedes.
fn split(selector: &str) -> Vec<&str> {
    let (mut terms, mut start, mut after_backslash) = (Vec::new(), 0, false);
    for (index, character) in selector.char_indices() {
        match character {
            _ if after_backslash => after_backslash = false,
            '\\' => after_backslash = true,
            ',' => {
                terms.push(&selector[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

fn unescaped(value: &str) -> Result<String, FieldSelectorError> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                Some(other) => return Err(FieldSelectorError::Escape(format!("\\{other}"))),
                None => return Err(FieldSelectorError::Escape("\\".into())),
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped(u32::from(character))),
            _ => plain.push(character),
        }
    }
    Ok(plain)
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace(',', "\\,")
        .replace('=', "\\=")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
    use proptest::prelude::*;

    use super::*;

    fn selects(selector: &str) -> bool {
        FieldSelector::parse(selector)
            .unwrap()
            .matches(|field| match field {
                "metadata.name" => "a",
                "spec.host" => "x=y,z\\",
                _ => "",
            })
    }

    #[test]
    fn all_terms_must_hold() {
        for (selector, expected) in [
            ("", true),
            (",,", true),
            ("metadata.name=a", true),
            ("metadata.name==a", true),
            ("metadata.name!=a", false),
            ("metadata.name=b", false),
            ("metadata.name=a,metadata.namespace=", true),
            ("metadata.name=a,metadata.namespace=n", false),
            (r"spec.host=x\=y\,z\\", true),
        ] {
            assert_eq!(selects(selector), expected, "{selector}");
        }
    }

    #[test]
    fn malformed_selectors_are_refused_with_the_text_of_kubernetes() {
        for (selector, message) in [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"),
            (
                "a=b=c",
                "invalid field selector: unescaped character in value: 61",
            ),
            (r"a=b\x", r"invalid field selector: invalid escape sequence: \x"),
            (r"a=b\", r"invalid field selector: invalid escape sequence: \"),
        ] {
            assert_eq!(FieldSelector::parse(selector).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_field_that_cannot_be_selected_by_is_refused() {
        let selector = FieldSelector::parse("metadata.name=a,spec.x!=b").unwrap();
        assert_eq!(selector.restrict_to(&["metadata.name", "spec.x"]), Ok(()));
        assert_eq!(
            selector.restrict_to(&["metadata.name"]).unwrap_err().to_string(),
            "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }

    #[test]
    fn only_equality_requires_an_exact_value() {
        let selector = FieldSelector::parse("metadata.name!=a,spec.x=b").unwrap();
        assert_eq!(selector.exact("metadata.name"), None);
        assert_eq!(selector.exact("spec.x"), Some("b"));
    }

    proptest! {
        #[test]
        fn a_selector_survives_being_written_and_read(
            terms in prop::collection::vec(("[a-z.]{1,8}", any::<bool>(), ".{0,8}"), 0..4)
        ) {
            let terms = terms
                .into_iter()
                .map(|(field, equal, value)| Term { field, equal, value })
                .collect();
            let selector = FieldSelector { terms };
            prop_assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            if let Ok(selector) = FieldSelector::parse(&text) {
                let again = FieldSelector::parse(&selector.to_string());
                prop_assert_eq!(again, Ok(selector));
            }
        }
    }
}
