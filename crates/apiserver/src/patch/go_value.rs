//! JSON as [Go's `fmt`][1] prints it once it is decoded: how error texts of Kubernetes show it.
//!
//! [1]: https://pkg.go.dev/fmt

use std::fmt;

use serde_json::{Number, Value};

/// Prints a value as `%v` and `%+v` do: `map[name:a sizes:[1 2]]`.
pub(super) struct GoValue<'a>(pub(super) &'a Value);

impl fmt::Display for GoValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("<nil>"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(number) => write_number(f, number),
            Value::String(text) => f.write_str(text),
            Value::Array(items) => write!(f, "{}", GoList(items)),
            Value::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort();
                f.write_str("map[")?;
                for (position, key) in keys.into_iter().enumerate() {
                    let space = if position == 0 { "" } else { " " };
                    let value = map.get(key).unwrap_or(&Value::Null);
                    write!(f, "{space}{key}:{}", Self(value))?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Prints a list in the same way.
pub(super) struct GoList<'a>(pub(super) &'a [Value]);

impl fmt::Display for GoList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (position, item) in self.0.iter().enumerate() {
            let space = if position == 0 { "" } else { " " };
            write!(f, "{space}{}", GoValue(item))?;
        }
        f.write_str("]")
    }
}

/// Whole numbers as they are; others with an exponent only if they would be long.
fn write_number(f: &mut fmt::Formatter<'_>, number: &Number) -> fmt::Result {
    const WITHOUT_EXPONENT: std::ops::Range<i32> = -4..6;
    if number.is_i64() {
        return write!(f, "{number}");
    }
    let value = number.as_f64().unwrap_or_default();
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if WITHOUT_EXPONENT.contains(&exponent) {
        return write!(f, "{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    write!(f, "{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// The name of the type that Go decodes a value to.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Prints a value where a text is expected, as `%s` does.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::Null => type_name(value).into(),
        Value::Bool(_) | Value::Number(_) => format!("%!s({}={})", type_name(value), GoValue(value)),
        _ => GoValue(value).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_printed_as_go_prints_them() {
        for (value, printed) in [
            (
                json!({"b": [1, "x", null, true], "a": {}}),
                "map[a:map[] b:[1 x <nil> true]]",
            ),
            (json!([]), "[]"),
            (json!(-7), "-7"),
            (json!(0.5), "0.5"),
            (json!(123_456.5), "123456.5"),
            (json!(1_234_567.5), "1.2345675e+06"),
            (json!(1e21), "1e+21"),
            (json!(0.0001), "0.0001"),
            (json!(1.5e-7), "1.5e-07"),
        ] {
            assert_eq!(GoValue(&value).to_string(), printed);
        }
        assert_eq!(as_text(&json!("x")), "x");
        assert_eq!(as_text(&json!(1)), "%!s(int64=1)");
        assert_eq!(as_text(&json!(false)), "%!s(bool=false)");
        assert_eq!(as_text(&Value::Null), "%!s(<nil>)");
    }
}
