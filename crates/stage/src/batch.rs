//! What moves between stages, and how two stages agree on its form.

use bytes::Bytes;

use crate::Mark;

/// A piece of a part on its way from a source to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which slice of the part this belongs to, counted from 0. Slices come in order; a slice
    /// without rows may come without batches.
    pub slice: u32,
    /// The content.
    pub payload: Payload,
    /// How many rows *end* in this batch. Over a whole part the sum is exact, and the target
    /// compares it with what it stored before it commits.
    pub rows: u64,
    /// How far into the part the end of this batch is.
    pub mark: Mark,
}

/// The content of a batch, in one of the [`Format`]s.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload {
    /// Bytes of PostgreSQL's COPY stream, cut anywhere, even inside a row: concatenated, the
    /// payloads of a slice are exactly what COPY produced, header and trailer included.
    Copy(Bytes),
}

impl Payload {
    /// The format this payload is in.
    pub fn format(&self) -> Format {
        match self {
            Payload::Copy(_) => Format::Copy,
        }
    }

    /// Bytes it keeps in memory, the measure of every queue.
    pub fn size(&self) -> usize {
        match self {
            Payload::Copy(bytes) => bytes.len(),
        }
    }
}

/// The forms a payload can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// PostgreSQL's COPY stream, undecoded; see [`Encoding`](crate::Encoding) for which one.
    Copy,
}

/// The best format both sides handle: the first of `offered` that is also in `accepted`.
///
/// ```
/// use pghaul_stage::{Format, agree};
///
/// assert_eq!(agree(&[Format::Copy], &[Format::Copy]), Some(Format::Copy));
/// assert_eq!(agree(&[Format::Copy], &[]), None);
/// ```
pub fn agree(offered: &[Format], accepted: &[Format]) -> Option<Format> {
    offered
        .iter()
        .copied()
        .find(|format| accepted.contains(format))
}
