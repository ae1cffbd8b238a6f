//! The escapes of a text stream.
//!
//! Source: PostgreSQL's manual, COPY, text format: which characters are written as a backslash and
//! a letter.

use pghaul_stage::escape_letter;

/// Characters that stand in a stream only as an escape.
fn is_special(byte: u8) -> bool {
    byte == b'\\' || byte.wrapping_sub(0x08) <= 0x0d - 0x08
}

/// How many characters of a value have to be escaped.
pub(crate) fn count(value: &[u8]) -> usize {
    value
        .chunks(64)
        .map(|chunk| {
            let found = chunk
                .iter()
                .fold(0u8, |found, byte| found + u8::from(is_special(*byte)));
            usize::from(found)
        })
        .sum()
}

/// Whether none of a value's characters has to be escaped.
fn is_plain(value: &[u8]) -> bool {
    /// Bytes looked at together, which the compiler does in few instructions.
    const TOGETHER: usize = 64;
    value.chunks(TOGETHER).all(|chunk| {
        !chunk
            .iter()
            .fold(false, |found, byte| found | is_special(*byte))
    })
}

/// Appends what a field's escapes stand for; `false` if PostgreSQL would have written the value in
/// another way, after which the bytes mean nothing.
pub(crate) fn remove(field: &[u8], value: &mut Vec<u8>) -> bool {
    if is_plain(field) {
        value.extend_from_slice(field);
        return true;
    }
    let mut rest = field;
    while let Some(plain) = rest.iter().position(|byte| is_special(*byte)) {
        let (before, after) = rest.split_at(plain);
        value.extend_from_slice(before);
        let [b'\\', letter, after @ ..] = after else {
            return false;
        };
        value.push(match letter {
            b'\\' => b'\\',
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'r' => b'\r',
            _ => return false,
        });
        rest = after;
    }
    value.extend_from_slice(rest);
    true
}

/// Calls `put` with the pieces that a value with its escapes is made of.
pub(crate) fn write(value: &[u8], mut put: impl FnMut(&[u8])) {
    if is_plain(value) {
        return put(value);
    }
    let mut rest = value;
    while let Some(plain) = rest.iter().position(|byte| is_special(*byte)) {
        let (before, after) = rest.split_at(plain);
        put(before);
        let [special, after @ ..] = after else { break };
        put(&[b'\\', escape_letter(*special).unwrap_or(*special)]);
        rest = after;
    }
    put(rest);
}
