//! The escapes of COPY's text format.
//!
//! Source: PostgreSQL's manual, COPY, text format: which characters are written as a backslash and
//! a letter.

/// The letter that stands for a character after a backslash; `None` for one that stands for itself.
#[inline]
pub fn escape_letter(byte: u8) -> Option<u8> {
    Some(match byte {
        b'\\' => b'\\',
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0b => b'v',
        0x0c => b'f',
        b'\r' => b'r',
        _ => return None,
    })
}
