//! Why a text is not JSON ([RFC 8259][1]), in the words that clients of Kubernetes know. Runs only after a
//! parser has refused the text.
//!
//! [1]: https://www.rfc-editor.org/rfc/rfc8259

/// Where an open bracket is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

const MAX_DEPTH: usize = super::MAX_DEPTH;
const CUT_SHORT: &str = "unexpected end of JSON input";

/// The first error in `text`, or nothing if it is JSON.
pub(crate) fn error(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner { rest: text };
    scanner.document().err()
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), String> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            // One value begins here.
            self.skip_space();
            match self.next()? {
                bracket @ (b'[' | b'{') => {
                    if open.len() >= MAX_DEPTH {
                        return Err("exceeded max depth".into());
                    }
                    open.push(if bracket == b'[' {
                        Open::Array
                    } else {
                        Open::Object
                    });
                    self.skip_space();
                    let closing = if bracket == b'[' { b']' } else { b'}' };
                    if self.rest.first() == Some(&closing) {
                        self.next()?;
                        open.pop();
                    } else if bracket == b'{' {
                        self.key()?;
                        continue;
                    } else {
                        continue;
                    }
                }
                first => self.scalar(first)?,
            }
            // And ended: what may follow?
            loop {
                self.skip_space();
                let Some(innermost) = open.last() else {
                    return match self.rest.first() {
                        None => Ok(()),
                        Some(byte) => Err(unexpected(*byte, "after top-level value")),
                    };
                };
                match (innermost, self.next()?) {
                    (Open::Array, b']') | (Open::Object, b'}') => {
                        open.pop();
                    }
                    (Open::Array, b',') => break,
                    (Open::Object, b',') => {
                        self.skip_space();
                        self.key()?;
                        break;
                    }
                    (Open::Array, byte) => return Err(unexpected(byte, "after array element")),
                    (Open::Object, byte) => return Err(unexpected(byte, "after object key:value pair")),
                }
            }
        }
    }

    fn next(&mut self) -> Result<u8, String> {
        let (first, rest) = self.rest.split_first().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(*first)
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn key(&mut self) -> Result<(), String> {
        match self.next()? {
            b'"' => self.string()?,
            byte => return Err(unexpected(byte, "looking for beginning of object key string")),
        }
        self.skip_space();
        match self.next()? {
            b':' => Ok(()),
            byte => Err(unexpected(byte, "after object key")),
        }
    }

    fn scalar(&mut self, first: u8) -> Result<(), String> {
        match first {
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' | b'0'..=b'9' => self.number(first),
            byte => Err(unexpected(byte, "looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != expected {
                let context = format!("in literal {word} (expecting {})", shown(expected));
                return Err(unexpected(byte, &context));
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let byte = self.next()?;
                            if !byte.is_ascii_hexdigit() {
                                return Err(unexpected(byte, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    byte => return Err(unexpected(byte, "in string escape code")),
                },
                byte @ 0..0x20 => return Err(unexpected(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn number(&mut self, first: u8) -> Result<(), String> {
        let mut first = first;
        if first == b'-' {
            first = self.next()?;
            if !first.is_ascii_digit() {
                return Err(unexpected(first, "in numeric literal"));
            }
        }
        if first != b'0' {
            self.skip_digits();
        }
        if let [b'.', rest @ ..] = self.rest {
            self.rest = rest;
            self.digit("after decimal point in numeric literal")?;
        }
        if let [b'e' | b'E', rest @ ..] = self.rest {
            self.rest = rest;
            if let [b'+' | b'-', rest @ ..] = self.rest {
                self.rest = rest;
            }
            self.digit("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digit(&mut self, context: &str) -> Result<(), String> {
        let byte = self.next()?;
        if !byte.is_ascii_digit() {
            return Err(unexpected(byte, context));
        }
        self.skip_digits();
        Ok(())
    }

    fn skip_digits(&mut self) {
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }
}

fn unexpected(byte: u8, context: &str) -> String {
    format!("invalid character {} {context}", shown(byte))
}

/// A byte between single quotes, shown as the character of its number.
fn shown(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        _ => {
            let quoted = imagestream_api::field::quoted(char::from(byte).encode_utf8(&mut [0; 4]));
            format!("'{}'", quoted.trim_matches('"'))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_read_as_clients_know_them() {
        for (text, expected) in [
            ("", "unexpected end of JSON input"),
            ("{\"kind\":", "unexpected end of JSON input"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("x", "invalid character 'x' looking for beginning of value"),
            (
                "{x",
                "invalid character 'x' looking for beginning of object key string",
            ),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{\"a\":1 \"b\"}",
                "invalid character '\"' after object key:value pair",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (
                r#""\u12g4""#,
                r"invalid character 'g' in \u hexadecimal character escape",
            ),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("-x", "invalid character 'x' in numeric literal"),
            (
                "1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
            ("1e'", "invalid character '\\'' in exponent of numeric literal"),
            ("\u{81}", "invalid character 'Â' looking for beginning of value"),
        ] {
            assert_eq!(error(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(
            error(b"\x81").as_deref(),
            Some("invalid character '\\u0081' looking for beginning of value")
        );
        assert_eq!(
            error("[".repeat(1_000_000).as_bytes()).as_deref(),
            Some("exceeded max depth")
        );
    }

    proptest! {
        #[test]
        fn it_refuses_nothing_that_a_parser_accepts(text in r#"[\[\]{}",:0-9eE.+\-truefalsn \\]{0,16}"#) {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
            if parsed.is_ok() {
                prop_assert_eq!(error(text.as_bytes()), None);
            }
        }

        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            error(&bytes);
        }
    }
}
