//! What a Parquet file says of its own sizes, found out without recursion and without believing it.
//!
//! The library that reads Parquet follows a schema as deep as it goes, and makes room for a page as
//! large as its header says. A file with a forged entry in the manifest could use either to bring the
//! process down; so both are looked at first.
//!
//! Source: the Thrift compact protocol, and `parquet.thrift` of the Parquet format.

/// The deepest that columns of ours nest: a list, its elements, and what is in them.
const DEEPEST: usize = 8;

/// How deep structures may be that are passed over.
const NESTED: usize = 32;

/// Types of the compact protocol.
const I32: u8 = 5;
const LIST: u8 = 9;

/// What a Parquet file ends with, behind four bytes with the length of its footer.
const MAGIC: &[u8; 4] = b"PAR1";

/// Whether the schema in the footer of a file nests no deeper than those of our files do. `false`
/// too for what is no footer.
pub(crate) fn is_flat(parquet: &[u8]) -> bool {
    footer(parquet).is_some_and(|footer| depth(footer).is_some())
}

/// Bytes of the pages in a column chunk once they are unpacked, as their headers say; `None` if
/// these are no pages.
pub(crate) fn unpacked(mut chunk: &[u8]) -> Option<u64> {
    let mut sum = 0u64;
    while !chunk.is_empty() {
        let mut reader = Reader(chunk);
        let (mut unpacked, mut packed) = (None, None);
        let mut last = 0;
        while let Some((field, kind)) = reader.field(&mut last)? {
            match (field, kind) {
                (2, I32) => unpacked = Some(reader.number()?),
                (3, I32) => packed = Some(reader.number()?),
                _ => reader.pass(kind, 0)?,
            }
        }
        sum = sum.checked_add(u64::try_from(unpacked?).ok()?)?;
        chunk = reader.0.get(usize::try_from(packed?).ok()?..)?;
    }
    Some(sum)
}

fn footer(parquet: &[u8]) -> Option<&[u8]> {
    let rest = parquet.strip_suffix(MAGIC)?;
    let (rest, length) = rest.split_last_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    rest.get(rest.len().checked_sub(length)?..)
}

/// How deep the schema nests; `None` if deeper than ours do.
///
/// The schema is a list of elements, each before those within it, and says of each how many these
/// are.
fn depth(footer: &[u8]) -> Option<usize> {
    let mut reader = Reader(footer);
    let (mut last, mut deepest) = (0, 0);
    while let Some((field, kind)) = reader.field(&mut last)? {
        if (field, kind) != (2, LIST) {
            reader.pass(kind, 0)?;
            continue;
        }
        let (elements, _) = reader.list()?;
        // Of the elements around the next one, how many are still to come in each.
        let mut around: Vec<i64> = Vec::new();
        for _ in 0..elements {
            let children = reader.children()?;
            if let Some(left) = around.last_mut() {
                *left -= 1;
            }
            around.push(children);
            while around.last().is_some_and(|left| *left <= 0) {
                around.pop();
            }
            deepest = deepest.max(around.len());
            if deepest > DEEPEST {
                return None;
            }
        }
    }
    Some(deepest)
}

/// Reads the compact protocol; every method gives `None` where the bytes end.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A whole number with its sign, which the lowest bit holds.
    fn number(&mut self) -> Option<i64> {
        let value = self.varint()?;
        let half = i64::try_from(value >> 1).ok()?;
        Some(if value & 1 == 0 { half } else { -half - 1 })
    }

    /// The number and the type of a structure's next field; nothing at its end.
    #[expect(
        clippy::option_option,
        reason = "the bytes may end, and so may the structure"
    )]
    fn field(&mut self, last: &mut i64) -> Option<Option<(i64, u8)>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *last = match head >> 4 {
            0 => self.number()?,
            step => last.checked_add(i64::from(step))?,
        };
        Some(Some((*last, head & 0xf)))
    }

    /// The number and the type of a list's elements.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => self.varint()?,
            length => u64::from(length),
        };
        Some((length, head & 0xf))
    }

    /// How many elements are within this element of a schema.
    fn children(&mut self) -> Option<i64> {
        let (mut last, mut children) = (0, 0);
        while let Some((field, kind)) = self.field(&mut last)? {
            match (field, kind) {
                (5, I32) => children = self.number()?,
                _ => self.pass(kind, 0)?,
            }
        }
        Some(children)
    }

    /// Passes over a value.
    fn pass(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > NESTED {
            return None;
        }
        match kind {
            // Truth is in the type of a field.
            1 | 2 => Some(()),
            3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => {
                let (length, kind) = self.list()?;
                for _ in 0..length {
                    self.element(kind, depth)?;
                }
                Some(())
            }
            11 => {
                let length = self.varint()?;
                let kinds = if length == 0 { 0 } else { self.byte()? };
                for _ in 0..length {
                    self.element(kinds >> 4, depth)?;
                    self.element(kinds & 0xf, depth)?;
                }
                Some(())
            }
            12 => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.pass(kind, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// Passes over an element of a list, where even truth takes a byte: so a length that lies ends
    /// with the bytes.
    fn element(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1 | 2 => self.skip(1),
            kind => self.pass(kind, depth + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{Int64Builder, ListBuilder};
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
    use arrow_schema::Field;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ArrowReaderMetadata;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::properties::WriterProperties;
    use proptest::prelude::*;

    use super::*;

    fn parquet(columns: Vec<(&str, ArrayRef)>) -> bytes::Bytes {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let zstd = Compression::ZSTD(ZstdLevel::try_new(1).unwrap());
        let properties = WriterProperties::builder().set_compression(zstd).build();
        let mut writer =
            ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap().into()
    }

    fn nested(levels: usize) -> ArrayRef {
        let mut array: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        for _ in 0..levels {
            let field = Field::new("a", array.data_type().clone(), false);
            array = Arc::new(StructArray::new(vec![field].into(), vec![array], None));
        }
        array
    }

    #[test]
    fn lists_are_flat_and_towers_are_not() {
        let mut list = ListBuilder::new(Int64Builder::new());
        list.append_value([Some(1), None]);
        let list: ArrayRef = Arc::new(list.finish());
        let file = parquet(vec![("a", nested(0)), ("b", list), ("c", nested(2))]);
        assert!(is_flat(&file));
        assert!(!is_flat(&parquet(vec![("a", nested(20))])));
        for at in 0..file.len() {
            // Whatever it is, it must not bring anything down.
            let _any = is_flat(&file[at..]) || is_flat(&file[..at]);
        }
    }

    #[test]
    fn pages_are_as_large_as_the_library_makes_them() {
        let text = "long ".repeat(20_000);
        let file = parquet(vec![
            (
                "a",
                Arc::new(StringArray::from(vec![text.as_str(); 30])) as ArrayRef,
            ),
            (
                "b",
                Arc::new(Int64Array::from_iter_values(0..30)) as ArrayRef,
            ),
        ]);
        let metadata = ArrowReaderMetadata::load(&file, Default::default()).unwrap();
        for column in metadata.metadata().row_group(0).columns() {
            let (start, length) = column.byte_range();
            let (start, length) = (start as usize, length as usize);
            let found = unpacked(&file[start..start + length]).unwrap();
            // The library counts the headers of pages as well.
            let said = u64::try_from(column.uncompressed_size()).unwrap();
            assert!(found <= said && said - found < 200, "{found} {said}");
        }
    }

    proptest! {
        #[test]
        fn anything_at_all_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _any = (unpacked(&bytes), depth(&bytes), is_flat(&bytes));
        }
    }
}
