//! A part that was read from a source, with the rules that every stream keeps.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;

use super::{hold, must};
use crate::{Batch, Encoding, Format, Mark, Part, Payload, Source, Work};

/// A part's content, put together from its batches.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The COPY stream of each slice that had one.
    pub(super) slices: BTreeMap<u32, Vec<u8>>,
    /// The rows the batches announced.
    pub(super) rows: u64,
    /// The last mark.
    pub(super) mark: Mark,
}

/// Reads a part to its end.
pub(super) async fn read(source: &dyn Source, part: &Part, format: Format) -> Reading {
    let batches = batches(source, part, format).await;
    let mut reading = Reading {
        slices: BTreeMap::new(),
        rows: 0,
        mark: Mark::default(),
    };
    let slices = match &part.work {
        Work::Rows(slices) => slices.len(),
        Work::LargeObjects { .. } => 2,
    };
    let mut slice = 0;
    let mut size = 0;
    for batch in batches {
        hold(
            "a batch is in the format that was asked for",
            batch.payload.format() == format,
            part,
        );
        hold("slices come in order", batch.slice >= slice, part);
        hold(
            "a batch belongs to a slice of its part",
            (batch.slice as usize) < slices,
            part,
        );
        hold("marks only grow", batch.mark >= reading.mark, part);
        slice = batch.slice;
        size += batch.payload.size() as u64;
        reading.mark = batch.mark;
        reading.rows += batch.rows;
        let Payload::Copy(bytes) = &batch.payload;
        let text = reading.slices.entry(slice).or_default();
        text.extend_from_slice(bytes);
    }
    hold(
        "the last mark is the number of payload bytes",
        reading.mark == Mark(size),
        format_args!("{part}: {} instead of {size}", reading.mark.0),
    );
    let rows: u64 = reading
        .slices
        .iter()
        .map(|(slice, text)| match part.slices().get(*slice as usize) {
            Some(slice) if slice.encoding == Encoding::Text => lines(text),
            _ => tuples(text),
        })
        .sum();
    hold(
        "the sum of rows is exact",
        reading.rows == rows,
        format_args!("{part}: {} announced, {rows} in the stream", reading.rows),
    );
    reading
}

/// All batches of a part.
pub(super) async fn batches(source: &dyn Source, part: &Part, format: Format) -> Vec<Batch> {
    let stream = must("a part can be read", source.read(part, format).await);
    must(
        "a stream ends without an error",
        stream.try_collect::<Vec<_>>().await,
    )
}

/// Rows of COPY's text format: a line feed within a value is escaped.
fn lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Rows of COPY's binary format.
///
/// Source: PostgreSQL's manual, COPY, "Binary Format".
fn tuples(stream: &[u8]) -> u64 {
    let complete = "a binary stream has a header, whole tuples and a trailer";
    count_tuples(stream).unwrap_or_else(|| panic!("rule broken: {complete}"))
}

fn count_tuples(stream: &[u8]) -> Option<u64> {
    let rest = stream.strip_prefix(b"PGCOPY\n\xff\r\n\0")?;
    let (_flags, rest) = rest.split_first_chunk::<4>()?;
    let (extension, rest) = rest.split_first_chunk::<4>()?;
    let mut rest = rest.get(usize::try_from(u32::from_be_bytes(*extension)).ok()?..)?;
    let mut rows = 0;
    loop {
        let (fields, tuple) = rest.split_first_chunk::<2>()?;
        rest = tuple;
        let fields = i16::from_be_bytes(*fields);
        if fields == -1 {
            return rest.is_empty().then_some(rows);
        }
        for _ in 0..fields {
            let (length, value) = rest.split_first_chunk::<4>()?;
            // NULL has the length -1 and no bytes.
            let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
            rest = value.get(length..)?;
        }
        rows += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::count_tuples;

    /// `COPY (VALUES (1, NULL::text), (2, 'ab')) TO STDOUT (FORMAT binary)`, from PostgreSQL 15.
    const TWO_ROWS: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\
        \0\x02\0\0\0\x04\0\0\0\x01\xff\xff\xff\xff\
        \0\x02\0\0\0\x04\0\0\0\x02\0\0\0\x02ab\
        \xff\xff";

    #[test]
    fn binary_tuples_are_counted_only_in_whole_streams() {
        assert_eq!(count_tuples(TWO_ROWS), Some(2));
        for end in 0..TWO_ROWS.len() {
            assert_eq!(count_tuples(&TWO_ROWS[..end]), None, "cut at {end}");
        }
        assert_eq!(count_tuples(&[TWO_ROWS, b"\0"].concat()), None);
    }
}
