//! One row of a COPY stream: its fields, and the escapes of text.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Encoding, Error, Result, Side, escape_letter};

/// One row of a COPY stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub(crate) encoding: Encoding,
    /// The fields as they stand in the stream; in text escaped. `None` is NULL.
    pub(crate) fields: Vec<Option<Bytes>>,
}

impl Row {
    /// A row of these values, given as [`Row::set`] takes them.
    pub fn new<'v>(encoding: Encoding, values: impl IntoIterator<Item = Option<&'v [u8]>>) -> Self {
        let values = values.into_iter();
        Self {
            encoding,
            fields: values
                .map(|value| value.map(|value| raw(encoding, value)))
                .collect(),
        }
    }

    /// How its values are encoded.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How many fields it has. In text, a row of no column looks like one empty field.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether it has no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// A field's value, counted from 0: in text without the escapes, in binary as the type's
    /// send function wrote it. `None` is NULL, or no such field.
    ///
    /// Values of the types `text`, `varchar` and `bpchar` are the same bytes in both encodings.
    pub fn value(&self, field: usize) -> Option<Cow<'_, [u8]>> {
        let raw = self.fields.get(field)?.as_deref()?;
        Some(match self.encoding {
            Encoding::Text if raw.contains(&b'\\') => Cow::Owned(unescape(raw)),
            _ => Cow::Borrowed(raw),
        })
    }

    /// Sets a field to a value in the row's encoding, without escapes, or to NULL.
    ///
    /// # Errors
    ///
    /// [`Kind::Input`](crate::Kind::Input) if there is no such field.
    pub fn set(&mut self, field: usize, value: Option<&[u8]>) -> Result<()> {
        let encoding = self.encoding;
        let place = self
            .fields
            .get_mut(field)
            .ok_or_else(|| Error::input(format!("the row has no field {field}")).at(Side::Link))?;
        *place = value.map(|value| raw(encoding, value));
        Ok(())
    }

    /// Appends the row to a stream, its end included.
    pub fn write(&self, stream: &mut BytesMut) {
        match self.encoding {
            Encoding::Text => {
                for (at, field) in self.fields.iter().enumerate() {
                    if at > 0 {
                        stream.put_u8(b'\t');
                    }
                    stream.put_slice(field.as_deref().unwrap_or(br"\N"));
                }
                stream.put_u8(b'\n');
            }
            Encoding::Binary => {
                // A table has at most 1,600 columns and a value less than 1 GiB, so both fit.
                stream.put_i16(i16::try_from(self.fields.len()).unwrap_or(i16::MAX));
                for field in &self.fields {
                    match field {
                        Some(value) => {
                            stream.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                            stream.put_slice(value);
                        }
                        None => stream.put_i32(-1),
                    }
                }
            }
        }
    }
}

/// A value as it stands in the stream.
fn raw(encoding: Encoding, value: &[u8]) -> Bytes {
    match encoding {
        Encoding::Text => escape(value),
        Encoding::Binary => Bytes::copy_from_slice(value),
    }
}

fn escape(value: &[u8]) -> Bytes {
    let mut escaped = BytesMut::with_capacity(value.len());
    for byte in value {
        match escape_letter(*byte) {
            Some(letter) => escaped.put_slice(&[b'\\', letter]),
            None => escaped.put_u8(*byte),
        }
    }
    escaped.freeze()
}

/// Takes back what the server escapes; other escapes, which only people write, too.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            value.push(*byte);
            continue;
        }
        let Some((letter, after)) = rest.split_first() else {
            value.push(b'\\');
            break;
        };
        rest = after;
        value.push(match letter {
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'r' => b'\r',
            b'0'..=b'7' => number(&mut rest, 8, 2, u32::from(letter - b'0')),
            b'x' if rest.first().is_some_and(u8::is_ascii_hexdigit) => number(&mut rest, 16, 2, 0),
            other => *other,
        });
    }
    value
}

/// A byte written in digits: those in hand, and at most `most` more.
fn number(rest: &mut &[u8], radix: u32, most: usize, mut number: u32) -> u8 {
    for _ in 0..most {
        let digit = rest
            .first()
            .and_then(|digit| char::from(*digit).to_digit(radix));
        let (Some(digit), Some(after)) = (digit, rest.get(1..)) else {
            break;
        };
        number = number * radix + digit;
        *rest = after;
    }
    // As the server does: the lowest byte counts.
    number.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_that_people_write_are_understood() {
        assert_eq!(unescape(br"a\101\x41\x4\q\"), b"aAA\x04q\\");
    }
}
