//! Turns a file back into the COPY bytes that it stands for.

use bytes::{Bytes, BytesMut};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::ColumnChunkMetaData;
use pghaul_codec::Encoder;
use pghaul_stage::{Error, Kind, Result, Side};
use twox_hash::XxHash3_128;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, RecordBatch};

use crate::manifest::{File, FileEncoding};
use crate::seal::Seal;
use crate::slice_writer::{COPY, ROWS};
use crate::thrift;

/// The most that a row group may say to be without compression. Ours stand for 4 MiB of rows, or for
/// one row of at most 32 MiB.
const LARGEST_GROUP: u64 = 512 << 20;

/// How much larger than its COPY bytes a row group may say to be: an empty text is one byte there,
/// and a length of four here.
const SPREAD: u64 = 16;

/// What a row group may have beside its rows: what says of each of many columns how to read it.
const OVERHEAD: u64 = 4 << 20;

/// COPY bytes that become rows at a time, about.
const PIECE: u64 = 256 << 10;

/// COPY bytes that are given at a time, about.
const GIVEN: u64 = 1 << 20;

/// A piece of COPY rows, and how many rows end in it.
pub(crate) type Piece = (Bytes, u64);

/// Reads one file.
pub(crate) struct FileReader {
    file: File,
    parquet: Bytes,
    metadata: ArrowReaderMetadata,
    encoder: Option<Encoder>,
    /// The row group that is being read.
    group: Option<ParquetRecordBatchReader>,
    /// The row group that comes next.
    next: usize,
    rows: u64,
    bytes: u64,
    content: XxHash3_128,
}

impl FileReader {
    /// Opens a file as it was stored. Its size and hash are compared before anything of it is
    /// looked at.
    pub(crate) fn open(file: &File, stored: Bytes, seal: &Seal) -> Result<Self> {
        if stored.len() as u64 != file.size {
            return Err(damaged(file, "it is not as long as the manifest says"));
        }
        if crate::seal::hash(&stored) != file.hash {
            return Err(damaged(file, "its hash is not the one in the manifest"));
        }
        let parquet = seal.decrypt(&file.name, stored)?;
        let parquet = parquet.ok_or_else(|| damaged(file, "it does not open with this key"))?;
        if !thrift::is_flat(&parquet) {
            return Err(damaged(file, "its schema is none that pghaul writes"));
        }
        let options = ArrowReaderOptions::new();
        let metadata = ArrowReaderMetadata::load(&parquet, options)
            .map_err(|error| damaged(file, "it is no Parquet file").because(error))?;
        let most = file.bytes.saturating_mul(SPREAD).saturating_add(OVERHEAD);
        for group in metadata.metadata().row_groups() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(u64::MAX);
            let size = u64::try_from(group.total_byte_size()).unwrap_or(u64::MAX);
            let mut unpacked = 0u64;
            for column in group.columns() {
                let pages = pages(column, &parquet)
                    .ok_or_else(|| damaged(file, "a column of it lies elsewhere"))?;
                let size = thrift::unpacked(pages)
                    .ok_or_else(|| damaged(file, "a column of it has no pages"))?;
                unpacked = unpacked.saturating_add(size);
            }
            let size = size.max(unpacked);
            if size > most.min(LARGEST_GROUP) || rows > file.rows.max(file.bytes) {
                return Err(damaged(
                    file,
                    "a row group is larger than any that pghaul writes",
                ));
            }
        }
        let encoder = match file.encoding {
            FileEncoding::Typed => {
                let encoder = Encoder::new(metadata.schema());
                Some(encoder.map_err(|error| error.on(file.name.clone()))?)
            }
            FileEncoding::Copy => None,
        };
        Ok(Self {
            file: file.clone(),
            parquet,
            metadata,
            encoder,
            group: None,
            next: 0,
            rows: 0,
            bytes: 0,
            content: XxHash3_128::new(),
        })
    }

    /// The next rows; `None` after the last ones, when everything was what the manifest says.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Piece>>> {
        let mut pieces = Vec::new();
        let most = self.bytes.saturating_add(GIVEN);
        while self.bytes < most {
            let Some(batch) = self.batch()? else { break };
            let from = pieces.len();
            match &self.encoder {
                Some(encoder) => {
                    let mut rows = BytesMut::new();
                    encoder
                        .encode(&batch, &mut rows)
                        .map_err(|error| error.on(self.file.name.clone()))?;
                    pieces.push((rows.freeze(), batch.num_rows() as u64));
                }
                None => shared(&self.file, &batch, &mut pieces)?,
            }
            for (piece, rows) in pieces.get(from..).unwrap_or_default() {
                self.rows = self.rows.saturating_add(*rows);
                self.bytes = self.bytes.saturating_add(piece.len() as u64);
                self.content.write(piece);
            }
            if self.bytes > self.file.bytes {
                return Err(damaged(
                    &self.file,
                    "it has more rows than the manifest says",
                ));
            }
        }
        if pieces.is_empty() {
            self.demand_all()?;
            return Ok(None);
        }
        Ok(Some(pieces))
    }

    /// Fails unless all that was read is what the manifest says.
    fn demand_all(&self) -> Result<()> {
        let file = &self.file;
        if (self.rows, self.bytes) != (file.rows, file.bytes) {
            return Err(damaged(
                file,
                "its rows are not as many as the manifest says",
            ));
        }
        if format!("{:032x}", self.content.clone().finish_128()) != file.content {
            return Err(damaged(
                file,
                "its rows are not the ones that were extracted",
            ));
        }
        Ok(())
    }

    /// Some rows as they are stored; `None` after the last ones.
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(group) = &mut self.group {
                if let Some(batch) = group.next() {
                    return batch.map(Some).map_err(|cause| self.unreadable(cause));
                }
                self.group = None;
            }
            if self.next >= self.metadata.metadata().num_row_groups() {
                return Ok(None);
            }
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
                self.parquet.clone(),
                self.metadata.clone(),
            );
            let group = builder
                .with_row_groups(vec![self.next])
                .with_batch_size(self.at_a_time())
                .build();
            self.group = Some(group.map_err(|cause| self.unreadable(cause))?);
            self.next += 1;
        }
    }

    fn unreadable(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        damaged(&self.file, "it cannot be read").because(cause)
    }

    /// Rows of the file that are read at a time.
    fn at_a_time(&self) -> usize {
        match self.file.encoding {
            FileEncoding::Typed => {
                let row = self.file.bytes / self.file.rows.max(1);
                usize::try_from((PIECE / row.max(1)).clamp(1, 64 << 10)).unwrap_or(1)
            }
            // Each holds a piece.
            FileEncoding::Copy => 1,
        }
    }
}

/// The pages of a column in a row group; `None` if they do not lie within the file, which the reader
/// takes for granted.
fn pages<'a>(column: &ColumnChunkMetaData, parquet: &'a [u8]) -> Option<&'a [u8]> {
    let start = column
        .dictionary_page_offset()
        .unwrap_or_else(|| column.data_page_offset());
    let end = start.checked_add(column.compressed_size())?;
    parquet.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// The pieces of a file that holds COPY's own bytes, which share the memory of the batch.
fn shared(file: &File, batch: &RecordBatch, pieces: &mut Vec<Piece>) -> Result<()> {
    let column = |name| batch.column_by_name(name);
    let columns = column(COPY)
        .and_then(|copy| copy.as_binary_opt::<i32>())
        .zip(column(ROWS).and_then(|rows| rows.as_primitive_opt::<UInt32Type>()));
    let Some((copy, rows)) = columns else {
        return Err(damaged(
            file,
            "it does not have the columns of COPY's bytes",
        ));
    };
    if copy.null_count() + rows.null_count() > 0 {
        return Err(damaged(file, "it has gaps"));
    }
    let bytes = Bytes::from_owner(copy.values().clone());
    for (piece, rows) in copy.iter().zip(rows.iter()) {
        let piece = bytes.slice_ref(piece.unwrap_or_default());
        pieces.push((piece, u64::from(rows.unwrap_or_default())));
    }
    Ok(())
}

fn damaged(file: &File, what: &'static str) -> Error {
    Error::new(Kind::Identity, what)
        .at(Side::Link)
        .on(file.name.clone())
        .remedy("nothing of its part was loaded; `pghaul spool repair` extracts the part again while the source can be reached")
}
