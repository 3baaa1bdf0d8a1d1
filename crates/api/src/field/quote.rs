//! Strings in quotes, as [Go's `%q`][1] writes them in every Kubernetes message.
//!
//! [1]: https://pkg.go.dev/strconv#Quote

use std::fmt::Write;

/// `text` in double quotes; what cannot be printed is escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        push_escaped(&mut out, character);
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, character: char) {
    let short = match character {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{b}' => "\\v",
        printable if is_printable(printable) => return out.push(printable),
        _ => {
            let code = u32::from(character);
            // Writing to a string cannot fail.
            let _ = match character.len_utf16() {
                1 if character.is_ascii() => write!(out, "\\x{code:02x}"),
                1 => write!(out, "\\u{code:04x}"),
                _ => write!(out, "\\U{code:08x}"),
            };
            return;
        }
    };
    out.push_str(short);
}

/// Whether a character is a letter, mark, number, punctuation, symbol or the ASCII space.
#[must_use]
pub fn is_printable(character: char) -> bool {
    // The standard library knows, but tells only by escaping. It escapes marks at the start of a string too,
    // hence the letter before; and it escapes quotes and the backslash, which can be printed.
    if matches!(character, '"' | '\'' | '\\') {
        return true;
    }
    let after_a_letter = ['a', character].iter().collect::<String>();
    after_a_letter.escape_debug().nth(1) == Some(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_does() {
        for (text, expected) in [
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("it's \"x\" \\ y", r#""it's \"x\" \\ y""#),
            ("a\u{7}\u{8}\u{c}\n\r\t\u{b}", r#""a\a\b\f\n\r\t\v""#),
            ("\0\u{1b}\u{7f}", r#""\x00\x1b\x7f""#),
            ("žlutý 猫 🐈", r#""žlutý 猫 🐈""#),
            ("e\u{301} \u{301}", "\"e\u{301} \u{301}\""),
            (
                "\u{85}\u{a0}\u{200b}\u{feff}\u{2028}",
                r#""\u0085\u00a0\u200b\ufeff\u2028""#,
            ),
            ("\u{e000}\u{e0001}\u{10ffff}", r#""\ue000\U000e0001\U0010ffff""#),
        ] {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
    }
}
