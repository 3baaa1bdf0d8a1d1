//! The [wire format](https://protobuf.dev/programming-guides/encoding/): numbers of variable length, and fields with
//! their number and type.

/// A field's type on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Varint,
    Fixed64,
    Bytes,
    Fixed32,
}

/// A field's value on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of a type that no field here has.
    Other,
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        // Seven bits of the number, and that more follow.
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

pub(super) fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, number);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes a number from the beginning of `bytes`; nothing if there is none.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(first & 0x7f);
        // The tenth byte holds one bit.
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Takes a field from the beginning of `bytes`: its number and content. Nothing if the bytes are no field.
pub(super) fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<(u32, Content<'a>)> {
    let tag = take_varint(bytes)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0)?;
    let kind = match tag & 7 {
        0 => Kind::Varint,
        1 => Kind::Fixed64,
        2 => Kind::Bytes,
        5 => Kind::Fixed32,
        _ => return None,
    };
    let content = match kind {
        Kind::Varint => Content::Varint(take_varint(bytes)?),
        Kind::Fixed64 => {
            *bytes = bytes.get(8..)?;
            Content::Other
        }
        Kind::Fixed32 => {
            *bytes = bytes.get(4..)?;
            Content::Other
        }
        Kind::Bytes => {
            let length = usize::try_from(take_varint(bytes)?).ok()?;
            let content = bytes.get(..length)?;
            *bytes = bytes.get(length..)?;
            Content::Bytes(content)
        }
    };
    Some((number, content))
}
