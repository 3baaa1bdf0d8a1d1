//! [Quantities][1]: amounts with a suffix, `5Ki`, `100m`, `1e3`.
//!
//! [1]: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The longest text that is read as a quantity, in bytes.
const LONGEST: usize = 64;
/// What a quantity is counted in: a thousand millionth.
const ONE: i128 = 1_000_000_000;
/// The largest amount; what is larger counts as this.
const MAX: i128 = (i64::MAX as i128) * ONE;

const BINARY: [(&str, u32); 6] = [("Ki", 1), ("Mi", 2), ("Gi", 3), ("Ti", 4), ("Pi", 5), ("Ei", 6)];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `1Ki`
    Binary,
    /// `1k`
    Decimal,
    /// `1e3`
    Exponent,
}

/// An amount. Two are equal if they are the same amount, however they are written.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    form: Form,
}

/// Why a text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It is no number with a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The suffix is none.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// A number of things.
    #[must_use]
    pub fn count(number: usize) -> Self {
        Self {
            nanos: i128::try_from(number).unwrap_or(MAX).saturating_mul(ONE).min(MAX),
            form: Form::Decimal,
        }
    }

    /// One more.
    #[must_use]
    pub fn plus_one(self) -> Self {
        Self {
            nanos: self.nanos.saturating_add(ONE).min(MAX),
            ..self
        }
    }

    /// A number of bytes, written with binary suffixes.
    #[must_use]
    pub fn bytes(number: i64) -> Self {
        Self {
            nanos: i128::from(number) * ONE,
            form: Form::Binary,
        }
    }

    /// Reads a quantity. What is finer than a thousand millionth is rounded away from zero.
    ///
    /// # Errors
    /// [`QuantityError`]
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(QuantityError::Format);
        }
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError::Format);
        }
        let (factor, form) = factor(suffix)?;
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0');
        let nanos = if significant.is_empty() {
            0
        } else {
            scaled(significant, fraction.len(), factor)
        };
        Ok(Self {
            nanos: if text.starts_with('-') { -nanos } else { nanos },
            form,
        })
    }
}

/// What an amount is multiplied by: a power of 1024, or of ten.
#[derive(Clone, Copy)]
enum Factor {
    Binary(u32),
    Decimal(i32),
}

fn factor(suffix: &str) -> Result<(Factor, Form), QuantityError> {
    if let Some((_, power)) = BINARY.into_iter().find(|(known, _)| *known == suffix) {
        return Ok((Factor::Binary(power), Form::Binary));
    }
    if let Some((_, power)) = DECIMAL.into_iter().find(|(known, _)| *known == suffix) {
        return Ok((Factor::Decimal(power), Form::Decimal));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    let exponent: i32 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
    Ok((Factor::Decimal(exponent.clamp(-1000, 1000)), Form::Exponent))
}

/// The digits as nanos, rounded up; the last `decimals` of them stand behind the point.
fn scaled(digits: &str, decimals: usize, factor: Factor) -> i128 {
    let decimals = i32::try_from(decimals).unwrap_or(i32::MAX);
    let (power_of_ten, binary) = match factor {
        Factor::Decimal(power) => (9 + power - decimals, 1),
        Factor::Binary(power) => (9 - decimals, 1024_i128.pow(power)),
    };
    // Twenty digits fit beside the largest factor; the ones behind can only round up.
    let (kept, cut) = digits.split_at(digits.len().min(20));
    let Ok(kept) = kept.parse::<i128>() else {
        return MAX;
    };
    let has_rest = cut.bytes().any(|digit| digit != b'0');
    let power = power_of_ten.saturating_add(i32::try_from(cut.len()).unwrap_or(i32::MAX));
    let ten = |power: u32| 10_i128.checked_pow(power);
    let amount = kept.checked_mul(binary);
    let result = match (amount, u32::try_from(power)) {
        (Some(amount), Ok(power)) => ten(power)
            .and_then(|ten| amount.checked_mul(ten))
            .map(|nanos| nanos + i128::from(has_rest && power == 0)),
        (Some(amount), Err(_)) => {
            let divisor = ten(power.unsigned_abs());
            Some(divisor.map_or(1, |divisor| {
                let rounds = amount % divisor != 0 || has_rest;
                amount / divisor + i128::from(rounds)
            }))
        }
        (None, _) => None,
    };
    result.unwrap_or(MAX).min(MAX)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that allows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.nanos / ONE;
        let is_whole = self.nanos % ONE == 0;
        if self.form == Form::Binary && is_whole && whole.abs() >= 1024 {
            let (mut number, mut suffix) = (whole, "");
            for (name, _) in BINARY {
                if number % 1024 != 0 {
                    break;
                }
                number /= 1024;
                suffix = name;
            }
            return write!(f, "{number}{suffix}");
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let (mut number, mut power) = (self.nanos, -9);
        while number % 1000 == 0 && power < 18 {
            number /= 1000;
            power += 3;
        }
        if self.form == Form::Exponent {
            return if power == 0 {
                write!(f, "{number}")
            } else {
                write!(f, "{number}e{power}")
            };
        }
        let suffix = DECIMAL
            .into_iter()
            .find(|(_, known)| *known == power)
            .map_or("", |(suffix, _)| suffix);
        write!(f, "{number}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_are_written_in_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("5Ki", "5Ki"),
            ("5120Ki", "5Mi"),
            ("1023", "1023"),
            ("0.5Ki", "512"),
            ("1.5Gi", "1536Mi"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("0.1", "100m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("12e-1", "1200e-3"),
            ("+2M", "2M"),
            ("-2Mi", "-2Mi"),
            (".5", "500m"),
            ("5.", "5"),
            ("0.0000000001", "1n"),
            ("0.5n", "1n"),
            ("99999999999999999999", "9223372036854775807"),
            ("9E", "9E"),
            ("1e99", "9223372036854775807"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), canonical, "{text}");
        }
        assert_eq!(Quantity::bytes(5120).to_string(), "5Ki");
        assert_eq!(Quantity::bytes(5121).to_string(), "5121");
        assert_eq!(Quantity::bytes(1000).to_string(), "1k");
        assert_eq!(Quantity::count(2).to_string(), "2");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "Ki",
            ".",
            "1.2.3",
            "1 Ki",
            "1KiB",
            "1e",
            "1ex",
            "--1",
            "0x1",
            "1k1",
            &"1".repeat(65),
        ] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_compared_however_they_are_written() {
        let quantity = |text: &str| Quantity::parse(text).unwrap();
        assert_eq!(quantity("1024"), quantity("1Ki"));
        assert_eq!(quantity("1e3"), quantity("1k"));
        assert!(Quantity::bytes(5121) > quantity("5Ki"));
        assert!(quantity("-1") < quantity("1m"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?[0-9.]{0,40}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,9}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                prop_assert_eq!(Quantity::parse(&quantity.to_string()).unwrap(), quantity);
            }
        }
    }
}
