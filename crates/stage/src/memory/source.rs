//! The source in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use crate::{
    Batch, Batches, Catalog, Encoding, Error, Format, Kind, Lsn, Mark, Part, PartId, Payload, Plan,
    Range, Result, Sequence, SequenceValue, Shape, Side, Slice, Source, Table, TableId, Work,
};

/// A database in memory, to be read. Rows are lines of COPY's text format.
///
/// Tables of more than [`rows_per_part`](Self::rows_per_part) rows are cut; their ranges are
/// [`Range::Blocks`], with one row per block. The other tables share parts,
/// [`tables_per_part`](Self::tables_per_part) in each. The stream is cut into batches of
/// [`batch_bytes`](Self::batch_bytes), wherever that falls.
///
/// ```
/// use futures_util::FutureExt;
/// use pghaul_stage::memory::MemorySource;
/// use pghaul_stage::{Source, TableId};
///
/// let source = MemorySource::new()
///     .table(TableId::new("public", "large"), (0..10).map(|n| n.to_string()))
///     .table(TableId::new("public", "empty"), [""; 0])
///     .rows_per_part(4);
/// let plan = source.plan().now_or_never().expect("memory never waits")?;
/// let names: Vec<_> = plan.parts.iter().map(ToString::to_string).collect();
/// assert_eq!(
///     names,
///     [
///         "public.large blocks ..4",
///         "public.large blocks 4..8",
///         "public.large blocks 8..",
///         "public.empty",
///     ]
/// );
/// # Ok::<(), pghaul_stage::Error>(())
/// ```
#[derive(Debug)]
pub struct MemorySource {
    tables: BTreeMap<TableId, Arc<[Bytes]>>,
    sequences: Vec<SequenceValue>,
    rows_per_part: usize,
    tables_per_part: usize,
    batch_bytes: usize,
    observed: Arc<Mutex<Observed>>,
}

#[derive(Debug, Default)]
struct Observed {
    reads: BTreeMap<PartId, u64>,
    batches: u64,
    bytes: u64,
    confirmed: BTreeMap<PartId, Mark>,
}

impl MemorySource {
    /// An empty database: parts are whole tables, one in each, batches 64 KiB.
    pub fn new() -> Self {
        Self {
            tables: BTreeMap::new(),
            sequences: Vec::new(),
            rows_per_part: usize::MAX,
            tables_per_part: 1,
            batch_bytes: 64 << 10,
            observed: Arc::default(),
        }
    }

    /// Adds a table, or replaces it. A row is a line of COPY's text format without its end.
    #[must_use]
    pub fn table<R: Into<Bytes>>(
        mut self,
        table: TableId,
        rows: impl IntoIterator<Item = R>,
    ) -> Self {
        self.tables
            .insert(table, rows.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a sequence.
    #[must_use]
    pub fn sequence(mut self, sequence: SequenceValue) -> Self {
        self.sequences.push(sequence);
        self
    }

    /// Cuts tables into parts of at most so many rows; at least one.
    #[must_use]
    pub fn rows_per_part(mut self, rows: usize) -> Self {
        self.rows_per_part = rows.max(1);
        self
    }

    /// Lets so many tables that need no cutting share a part; at least one.
    #[must_use]
    pub fn tables_per_part(mut self, tables: usize) -> Self {
        self.tables_per_part = tables.max(1);
        self
    }

    /// Cuts streams into batches of at most so many bytes; at least one.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes.max(1);
        self
    }

    /// All rows of a table, in order; none if there is no such table.
    pub fn rows(&self, table: &TableId) -> Vec<Bytes> {
        self.tables
            .get(table)
            .map(|rows| rows.to_vec())
            .unwrap_or_default()
    }

    /// How often the reading of this part was begun.
    pub fn reads(&self, part: PartId) -> u64 {
        self.observed().reads.get(&part).copied().unwrap_or(0)
    }

    /// How many batches were handed out, over all parts and readings.
    pub fn batches_read(&self) -> u64 {
        self.observed().batches
    }

    /// How many payload bytes were handed out, over all parts and readings.
    pub fn bytes_read(&self) -> u64 {
        self.observed().bytes
    }

    /// The mark that was confirmed for each part.
    pub fn confirmed(&self) -> BTreeMap<PartId, Mark> {
        self.observed().confirmed.clone()
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        lock(&self.observed)
    }

    /// The slices of each part, largest parts first.
    fn parts(&self) -> Vec<Vec<Slice>> {
        let slice = |table: &TableId, range| Slice {
            table: table.clone(),
            range,
            encoding: Encoding::Text,
            shape: Shape::Whole,
        };
        let (large, small): (Vec<_>, Vec<_>) = self
            .tables
            .iter()
            .partition(|(_, rows)| rows.len() > self.rows_per_part);
        let mut parts = Vec::new();
        for (table, rows) in large {
            let mut from = None;
            let mut to = self.rows_per_part;
            while to < rows.len() {
                let bound = Some(u32::try_from(to).unwrap_or(u32::MAX));
                parts.push(vec![slice(table, Range::Blocks { from, to: bound })]);
                from = bound;
                to += self.rows_per_part;
            }
            parts.push(vec![slice(table, Range::Blocks { from, to: None })]);
        }
        parts.extend(small.chunks(self.tables_per_part).map(|tables| {
            tables
                .iter()
                .map(|(table, _)| slice(table, Range::All))
                .collect()
        }));
        parts.sort_by_key(|slices| {
            std::cmp::Reverse(slices.iter().map(|slice| self.bytes(slice)).sum::<u64>())
        });
        parts
    }

    fn slice(&self, slice: &Slice) -> Result<&[Bytes]> {
        let unknown = || {
            Error::input("there is no such slice")
                .at(Side::Source)
                .on(format!("{}{}", slice.table, slice.range))
        };
        let rows = self.tables.get(&slice.table).ok_or_else(unknown)?;
        match &slice.range {
            Range::All => Ok(rows),
            Range::Blocks { from, to } => {
                let from = from.map_or(0, |from| from as usize);
                let to = to.map_or(rows.len(), |to| rows.len().min(to as usize));
                rows.get(from..to).ok_or_else(unknown)
            }
            _ => Err(unknown()),
        }
    }

    fn bytes(&self, slice: &Slice) -> u64 {
        let rows = self.slice(slice).unwrap_or_default();
        rows.iter().map(|row| row.len() as u64 + 1).sum()
    }

    /// The batches of a part.
    fn batches(&self, slices: &[Slice]) -> Result<Vec<Batch>> {
        let mut batches = Vec::new();
        let mut mark = Mark::default();
        for (number, slice) in (0..).zip(slices) {
            let mut text = Vec::new();
            for row in self.slice(slice)? {
                text.extend_from_slice(row);
                text.push(b'\n');
            }
            let text = Bytes::from(text);
            for from in (0..text.len()).step_by(self.batch_bytes) {
                let to = from.saturating_add(self.batch_bytes).min(text.len());
                let piece = text.slice(from..to);
                mark.0 += piece.len() as u64;
                batches.push(Batch {
                    slice: number,
                    rows: piece.iter().filter(|byte| **byte == b'\n').count() as u64,
                    payload: Payload::Copy(piece),
                    mark,
                });
            }
        }
        Ok(batches)
    }
}

impl Default for MemorySource {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Source for MemorySource {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    async fn catalog(&self) -> Result<Catalog> {
        let tables = (1..).zip(&self.tables).map(|(oid, (id, rows))| Table {
            id: id.clone(),
            oid,
            filenode: 0,
            columns: Arc::default(),
            generated: Box::default(),
            rows: rows.len() as u64,
            heap: rows.iter().map(|row| row.len() as u64 + 1).sum(),
            toast: 0,
            child: false,
        });
        let sequences = (1_000_000..)
            .zip(&self.sequences)
            .map(|(oid, value)| Sequence {
                id: value.id.clone(),
                oid,
            });
        Ok(Catalog {
            tables: tables.collect(),
            sequences: sequences.collect(),
            ..Catalog::default()
        })
    }

    async fn plan(&self) -> Result<Plan> {
        let parts = (0..).zip(self.parts()).map(|(id, slices)| Part {
            id: PartId(id),
            rows: slices
                .iter()
                .map(|slice| self.slice(slice).unwrap_or_default().len() as u64)
                .sum(),
            bytes: slices.iter().map(|slice| self.bytes(slice)).sum(),
            work: Work::Rows(slices.into()),
        });
        Ok(Plan {
            start: Lsn::default(),
            visible: String::new(),
            parts: parts.collect(),
        })
    }

    async fn read(&self, part: &Part, format: Format) -> Result<Batches> {
        let Format::Copy = format;
        let Work::Rows(slices) = &part.work else {
            return Err(
                Error::new(Kind::Permanent, "there are no large objects in memory")
                    .at(Side::Source),
            );
        };
        let batches = self.batches(slices)?;
        *self.observed().reads.entry(part.id).or_default() += 1;
        let observed = Arc::clone(&self.observed);
        let count = move |batch: Batch| {
            let mut observed = lock(&observed);
            observed.batches += 1;
            observed.bytes += batch.payload.size() as u64;
            Ok(batch)
        };
        Ok(stream::iter(batches).map(count).boxed())
    }

    async fn confirm(&self, part: &Part, durable: Mark) -> Result<()> {
        self.observed().confirmed.insert(part.id, durable);
        Ok(())
    }

    async fn sequences(&self) -> Result<Vec<SequenceValue>> {
        Ok(self.sequences.clone())
    }
}

fn lock(observed: &Mutex<Observed>) -> MutexGuard<'_, Observed> {
    observed.lock().unwrap_or_else(PoisonError::into_inner)
}
