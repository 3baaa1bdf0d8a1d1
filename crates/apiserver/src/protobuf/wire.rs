//! The [wire format](https://protobuf.dev/programming-guides/encoding/): numbered fields, each a number or bytes.

use super::Error;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload<'a> {
    Varint(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
    /// 32 or 64 bits, which no type here has.
    Fixed,
}

impl<'a> Payload<'a> {
    pub(super) fn varint(self) -> Result<u64, Error> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Error::WireType),
        }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Error::WireType),
        }
    }
}

/// The fields of a message, in the order in which they were written.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Error::Truncated)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Overflow)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Payload<'a>), Error> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| Error::Overflow)?;
        if number == 0 {
            return Err(Error::FieldNumber);
        }
        let payload = match key & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => self.take(8).map(|_| Payload::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Error::Truncated)?;
                Payload::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Payload::Fixed)?,
            // Groups, which have been out of use for longer than Kubernetes exists, and what is not assigned.
            _ => return Err(Error::WireType),
        };
        Ok((number, payload))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Payload<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a field that holds a number.
pub(super) fn put_varint(out: &mut Vec<u8>, number: u32, value: u64) {
    put(out, u64::from(number) << 3);
    put(out, value);
}

/// Writes a field that holds bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put(out, u64::from(number) << 3 | 2);
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_fields_end_the_message() {
        for (bytes, error) in [
            (&b"\x80"[..], Error::Truncated),
            (b"\x0a\x05abc", Error::Truncated),
            (b"\x09\x01", Error::Truncated),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Error::Truncated),
            (
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                Error::Overflow,
            ),
            (b"\xf8\xff\xff\xff\xff\xff\x01\x00", Error::Overflow),
            (b"\x00\x01", Error::FieldNumber),
            (b"\x0b", Error::WireType),
            (b"\x0f", Error::WireType),
        ] {
            let found: Vec<_> = Fields(bytes).collect();
            assert_eq!(found, [Err(error)], "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn fields_are_read_as_they_were_written(number in 1..u32::MAX >> 3, value: u64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put_varint(&mut out, number, value);
            put_bytes(&mut out, number, &bytes);
            let read: Vec<_> = Fields(&out).collect();
            prop_assert_eq!(read, [Ok((number, Payload::Varint(value))), Ok((number, Payload::Bytes(&bytes)))]);
        }
    }
}
