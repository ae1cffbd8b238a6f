//! Turns the COPY stream of one slice into files.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, UInt32Array};
use arrow_buffer::{Buffer, OffsetBuffer};
use arrow_schema::{DataType, Field as ArrowField, Schema, SchemaRef};
use bytes::{Bytes, BytesMut};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use pghaul_codec::{Decoder, Field};
use pghaul_stage::{Encoding, Error, Kind, Result, Side};
use twox_hash::XxHash3_128;

use crate::layout;
use crate::manifest::{FileEncoding, HEADER, SliceSeal, Stream, TRAILER};
use crate::row_count::RowCount;

/// COPY bytes of a row group: what is in memory as rows and as columns at once.
pub(crate) const GROUP: usize = 4 << 20;

/// Compressed bytes of a file, about, at most: what is in memory until it is stored.
const FILE: usize = 8 << 20;

/// Bytes of a piece of COPY's own, about.
const PIECE: usize = 256 << 10;

/// A row of more bytes than this is not taken apart.
pub(crate) const LARGE_ROW: usize = 32 << 20;

/// The columns of files that hold COPY's own bytes.
pub(crate) const COPY: &str = "copy";
pub(crate) const ROWS: &str = "rows";

/// A file that is ready to be stored.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) encoding: FileEncoding,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) content: String,
    pub(crate) parquet: Bytes,
}

/// Takes the COPY stream of one slice in pieces, and gives files.
pub(crate) struct SliceWriter {
    stream: Stream,
    level: i32,
    /// Bytes of the header that have come, in binary.
    header: usize,
    /// What may be the trailer, in binary.
    held: BytesMut,
    rows: Rows,
    file: Option<OpenFile>,
    /// Rows that went into files.
    written: u64,
    sealed: SliceSeal,
}

/// How rows become batches.
enum Rows {
    Typed(Box<Decoder>),
    Copy(Pieces),
}

/// Pieces of a COPY stream that wait to become a row group.
struct Pieces {
    count: RowCount,
    waiting: Vec<(Bytes, u32)>,
    /// The piece that is being filled, and the rows that end in it. What comes from a socket keeps
    /// the whole buffer that it was read into, so it is copied out of there.
    open: (BytesMut, u32),
    bytes: usize,
}

/// A file being written.
struct OpenFile {
    writer: SerializedFileWriter<Vec<u8>>,
    columns: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    encoding: FileEncoding,
    rows: u64,
    bytes: u64,
    /// Compressed bytes of the largest row group.
    largest: usize,
    content: XxHash3_128,
}

/// Rows that go into a file together.
struct Group {
    schema: SchemaRef,
    /// Each column, in arrays that follow one another.
    columns: Vec<Vec<ArrayRef>>,
    encoding: FileEncoding,
    rows: u64,
    raw: Vec<Bytes>,
}

impl SliceWriter {
    /// For a slice whose rows have these fields, if they are to be taken apart.
    pub(crate) fn new(
        stream: Stream,
        fields: Option<Arc<[Field]>>,
        utf8: bool,
        level: i32,
    ) -> Self {
        let rows = match fields {
            Some(fields) => Rows::Typed(Box::new(Decoder::new(fields, stream.encoding, utf8))),
            None => Rows::Copy(Pieces::new(stream.encoding)),
        };
        Self {
            stream,
            level,
            header: 0,
            held: BytesMut::new(),
            rows,
            file: None,
            written: 0,
            sealed: SliceSeal::default(),
        }
    }

    /// Takes pieces, each with the rows that end in it, as those who read them counted.
    pub(crate) fn push(
        &mut self,
        pieces: Vec<(Bytes, u64)>,
        finished: &mut Vec<Finished>,
    ) -> Result<()> {
        for (piece, rows) in pieces {
            self.sealed.rows += rows;
            self.sealed.bytes += piece.len() as u64;
            match self.stream.encoding {
                Encoding::Text => self.rows(piece, finished)?,
                Encoding::Binary => self.binary(piece, finished)?,
            }
        }
        Ok(())
    }

    /// Ends the slice: everything must have come, and the rows must be as many as were counted.
    pub(crate) fn end(mut self, finished: &mut Vec<Finished>) -> Result<SliceSeal> {
        let framed = match self.stream.encoding {
            Encoding::Text => true,
            Encoding::Binary => self.sealed.bytes == 0 || *self.held == TRAILER[..],
        };
        let within = match &self.rows {
            Rows::Typed(decoder) => decoder.end().is_err(),
            Rows::Copy(pieces) => pieces.count.is_within_a_row(),
        };
        if !framed || within {
            return Err(broken("the COPY stream ended within a row"));
        }
        self.group(finished)?;
        self.close(finished)?;
        if self.stream.counts && self.written != self.sealed.rows {
            return Err(broken("the rows are not as many as were counted"));
        }
        Ok(self.sealed)
    }

    /// Takes header and trailer off.
    fn binary(&mut self, mut piece: Bytes, finished: &mut Vec<Finished>) -> Result<()> {
        while self.header < HEADER.len() && !piece.is_empty() {
            let expected = HEADER.get(self.header..).unwrap_or_default();
            let length = expected.len().min(piece.len());
            if expected.get(..length) != Some(&*piece.split_to(length)) {
                return Err(broken("the header of binary COPY is not the usual one"));
            }
            self.header += length;
        }
        if piece.len() < TRAILER.len() {
            self.held.extend_from_slice(&piece);
            let surplus = self.held.len().saturating_sub(TRAILER.len());
            let rows = self.held.split_to(surplus).freeze();
            return self.rows(rows, finished);
        }
        let held = self.held.split().freeze();
        self.rows(held, finished)?;
        let rows = piece.split_to(piece.len() - TRAILER.len());
        self.held.extend_from_slice(&piece);
        self.rows(rows, finished)
    }

    fn rows(&mut self, piece: Bytes, finished: &mut Vec<Finished>) -> Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        let full = match &mut self.rows {
            Rows::Typed(decoder) => {
                decoder.push(&piece)?;
                decoder.bytes() >= GROUP
            }
            Rows::Copy(pieces) => {
                pieces.push(piece)?;
                pieces.bytes >= GROUP
            }
        };
        if full {
            self.group(finished)?;
            self.give_up_on_a_large_row(finished)?;
        }
        Ok(())
    }

    /// Goes on with COPY's own bytes when a row is too large to be held in memory.
    fn give_up_on_a_large_row(&mut self, finished: &mut Vec<Finished>) -> Result<()> {
        let Rows::Typed(decoder) = &mut self.rows else {
            return Ok(());
        };
        if decoder.bytes() < LARGE_ROW {
            return Ok(());
        }
        let rest = decoder.rest();
        let mut pieces = Pieces::new(self.stream.encoding);
        pieces.push(rest)?;
        self.rows = Rows::Copy(pieces);
        self.close(finished)
    }

    /// Writes the rows that wait as one row group.
    fn group(&mut self, finished: &mut Vec<Finished>) -> Result<()> {
        let group = match &mut self.rows {
            Rows::Typed(decoder) => decoder.take()?.map(|taken| {
                let rows = taken.batch.num_rows() as u64;
                let (schema, columns, _) = taken.batch.into_parts();
                Group {
                    schema,
                    columns: columns.into_iter().map(|column| vec![column]).collect(),
                    encoding: FileEncoding::Typed,
                    rows,
                    raw: vec![taken.raw],
                }
            }),
            Rows::Copy(pieces) => pieces.take()?,
        };
        let Some(group) = group else {
            return Ok(());
        };
        let fits = |file: &OpenFile| file.encoding == group.encoding && file.schema == group.schema;
        if self.file.as_ref().is_some_and(|file| !fits(file)) {
            self.close(finished)?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenFile::new(&group, self.level)?),
        };
        self.written += group.rows;
        file.write(group)?;
        if file.is_full() {
            self.close(finished)?;
        }
        Ok(())
    }

    fn close(&mut self, finished: &mut Vec<Finished>) -> Result<()> {
        if let Some(file) = self.file.take() {
            finished.push(file.finish()?);
        }
        Ok(())
    }
}

impl Pieces {
    fn new(encoding: Encoding) -> Self {
        Self {
            count: RowCount::new(encoding),
            waiting: Vec::new(),
            open: (BytesMut::new(), 0),
            bytes: 0,
        }
    }

    fn push(&mut self, piece: Bytes) -> Result<()> {
        let rows = u32::try_from(self.count.push(&piece)?).unwrap_or(u32::MAX);
        self.bytes += piece.len();
        self.open.0.extend_from_slice(&piece);
        self.open.1 = self.open.1.saturating_add(rows);
        if self.open.0.len() >= PIECE {
            self.close();
        }
        Ok(())
    }

    /// Ends the piece that is being filled.
    fn close(&mut self) {
        if !self.open.0.is_empty() {
            let (piece, rows) = std::mem::take(&mut self.open);
            self.waiting.push((piece.freeze(), rows));
        }
    }

    fn take(&mut self) -> Result<Option<Group>> {
        self.close();
        if self.waiting.is_empty() {
            return Ok(None);
        }
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let schema = Schema::new(vec![
            ArrowField::new(COPY, DataType::Binary, false),
            ArrowField::new(ROWS, DataType::UInt32, false),
        ]);
        let rows = UInt32Array::from_iter_values(waiting.iter().map(|(_, rows)| *rows));
        let copy: Result<Vec<ArrayRef>> = waiting.iter().map(|(piece, _)| value(piece)).collect();
        Ok(Some(Group {
            schema: Arc::new(schema),
            columns: vec![copy?, vec![Arc::new(rows)]],
            encoding: FileEncoding::Copy,
            rows: waiting.iter().map(|(_, rows)| u64::from(*rows)).sum(),
            raw: waiting.into_iter().map(|(piece, _)| piece).collect(),
        }))
    }
}

impl Group {
    /// Bytes that a file with these rows needs, as a rule, even if they cannot be compressed. One of
    /// many rows that can is no larger.
    fn room(&self) -> usize {
        let bytes: usize = self.raw.iter().map(Bytes::len).sum();
        bytes + bytes / 16 + (4 << 10)
    }

    /// The first array of each column.
    fn firsts(&self) -> impl Iterator<Item = &ArrayRef> {
        self.columns.iter().filter_map(|arrays| arrays.first())
    }
}

/// An array of this one value, which is shared and not copied.
fn value(piece: &Bytes) -> Result<ArrayRef> {
    let ends = OffsetBuffer::from_lengths([piece.len()]);
    let array = BinaryArray::try_new(ends, Buffer::from(piece.clone()), None);
    Ok(Arc::new(array.map_err(unwritable)?))
}

impl OpenFile {
    fn new(group: &Group, level: i32) -> Result<Self> {
        let level = ZstdLevel::try_new(level).map_err(unwritable)?;
        let properties = WriterProperties::builder()
            .set_created_by(concat!("pghaul ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(level))
            // Row groups are cut by us, by bytes.
            .set_max_row_group_row_count(None);
        let properties = match group.encoding {
            FileEncoding::Typed => layout::choose(properties, &group.schema, group.firsts())
                .set_statistics_enabled(EnabledStatistics::Chunk)
                .set_statistics_truncate_length(Some(64)),
            FileEncoding::Copy => properties
                .set_dictionary_enabled(false)
                .set_statistics_enabled(EnabledStatistics::None),
        };
        let writer = ArrowWriter::try_new(
            Vec::with_capacity(group.room()),
            Arc::clone(&group.schema),
            Some(properties.build()),
        );
        let opened = writer.and_then(ArrowWriter::into_serialized_writer);
        let (writer, columns) = opened.map_err(unwritable)?;
        Ok(Self {
            writer,
            columns,
            schema: Arc::clone(&group.schema),
            encoding: group.encoding,
            rows: 0,
            bytes: 0,
            largest: 0,
            content: XxHash3_128::new(),
        })
    }

    /// Whether another row group as large as the largest so far would be too much.
    fn is_full(&self) -> bool {
        self.writer.bytes_written() + self.largest > FILE
    }

    /// Writes a row group, and lets go of each column before the next one is encoded and
    /// compressed.
    fn write(&mut self, group: Group) -> Result<()> {
        self.rows += group.rows;
        for raw in group.raw {
            self.bytes += raw.len() as u64;
            self.content.write(&raw);
        }
        let before = self.writer.bytes_written();
        let number = self.writer.flushed_row_groups().len();
        let leaves = self.columns.create_column_writers(number);
        let mut leaves = leaves.map_err(unwritable)?.into_iter();
        let mut rows = self.writer.next_row_group().map_err(unwritable)?;
        for (field, arrays) in self.schema.fields().iter().zip(group.columns) {
            // A column is flat or a list, so it is one leaf.
            let mut writer = leaves
                .next()
                .ok_or_else(|| unwritable("a column too many"))?;
            for array in arrays {
                for leaf in compute_leaves(field, &array).map_err(unwritable)? {
                    writer.write(&leaf).map_err(unwritable)?;
                }
            }
            let column = writer.close().map_err(unwritable)?;
            column.append_to_row_group(&mut rows).map_err(unwritable)?;
        }
        rows.close().map_err(unwritable)?;
        self.largest = self.largest.max(self.writer.bytes_written() - before);
        Ok(())
    }

    fn finish(self) -> Result<Finished> {
        Ok(Finished {
            encoding: self.encoding,
            rows: self.rows,
            bytes: self.bytes,
            content: format!("{:032x}", self.content.finish_128()),
            parquet: self.writer.into_inner().map_err(unwritable)?.into(),
        })
    }
}

fn broken(what: &'static str) -> Error {
    Error::new(Kind::Protocol, what).at(Side::Link)
}

fn unwritable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Permanent, "rows cannot be written as Parquet")
        .at(Side::Link)
        .because(error)
}
