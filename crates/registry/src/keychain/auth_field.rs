//! The `auth` of an entry: base64 of `user:password`, read and complained of as the
//! [kubelet](https://github.com/kubernetes/kubernetes/blob/master/pkg/credentialprovider/config.go) does.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why the `auth` of an entry can't be read. The texts name no value of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It is not base64, from this byte on, as Go counts.
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
    /// There is no user and password in it.
    #[error("unable to parse auth field, must be formatted as base64(username:password)")]
    Form,
}

/// User name and password.
pub(super) fn decode(field: &str) -> Result<(String, String), AuthError> {
    if let Some(position) = illegal_at(field) {
        return Err(AuthError::Base64(position));
    }
    let mut text = field.as_bytes().to_vec();
    text.retain(|byte| !is_newline(*byte));
    let decoded = BASE64.decode(text).map_err(|_| AuthError::Base64(field.len()))?;
    let decoded = String::from_utf8(decoded).map_err(|_| AuthError::Form)?;
    let (username, password) = decoded.split_once(':').ok_or(AuthError::Form)?;
    // Old Docker clients padded the password with zero bytes.
    Ok((username.to_owned(), password.trim_matches('\0').to_owned()))
}

/// Where a text ceases to be base64, if it does, as [Go's decoder][1] tells it: with padding if the text ends with some,
/// else without; lines may be broken anywhere.
///
/// [1]: https://pkg.go.dev/encoding/base64#CorruptInputError
fn illegal_at(field: &str) -> Option<usize> {
    let is_padded = field.trim().ends_with('=');
    let mut bytes = field.bytes().enumerate().filter(|(_, byte)| !is_newline(*byte));
    // How many of four characters that belong together there were.
    let mut read = 0;
    while let Some((at, byte)) = bytes.next() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') {
            read = (read + 1) % 4;
            continue;
        }
        if byte != b'=' || !is_padded || read < 2 {
            return Some(at);
        }
        if read == 2 {
            match bytes.next() {
                None => return Some(field.len()),
                Some((_, b'=')) => {}
                Some((other, _)) => return Some(other - 1),
            }
        }
        return bytes.next().map(|(at, _)| at);
    }
    match read {
        0 => None,
        read if is_padded || read == 1 => Some(field.len() - read),
        _ => None,
    }
}

fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_base64_is_told_with_the_place_where_go_sees_it() {
        for (field, position) in [
            ("!!!", Some(0)),
            ("dTpw!", Some(4)),
            ("dTpw", None),
            ("dTpwcA==", None),
            ("dTpwcA", None),
            ("dTpw\ncA==\n", None),
            ("dTpwc", Some(4)),
            ("dTpwcA=", Some(7)),
            ("dTpwcA==x", Some(6)),
            ("dTpwcA=x=", Some(6)),
            ("dTpwcHA=dTpw=", Some(8)),
            ("=", Some(0)),
            ("d=", Some(1)),
            (" dTpw", Some(0)),
            ("dTpw ", Some(4)),
            ("dTpw-_", Some(4)),
        ] {
            assert_eq!(illegal_at(field), position, "{field:?}");
            if let Some(position) = position {
                assert_eq!(decode(field), Err(AuthError::Base64(position)), "{field:?}");
            }
        }
    }

    #[test]
    fn user_and_password_are_parted_by_the_first_colon() {
        let pair = |user: &str, password: &str| Ok((user.to_owned(), password.to_owned()));
        assert_eq!(decode("dTpwOnE="), pair("u", "p:q"));
        assert_eq!(decode("dT\npwOnE"), pair("u", "p:q"));
        assert_eq!(decode("dXA="), Err(AuthError::Form));
        assert_eq!(decode("Og=="), pair("", ""));
        // Bits that nobody needs are not looked at.
        assert_eq!(decode("Oh=="), pair("", ""));
    }
}
