//! The target in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Batch, Catalog, Error, Format, Kind, Mark, Part, PartId, Payload, Plan, Result, SequenceValue,
    Side, TableId, Target, Work, Writer,
};

/// A database in memory, to be written. Clones share it, as connections share a server.
///
/// It takes COPY's text format only, and breaks off with [`Kind::Protocol`] at whatever no
/// correct runner does.
///
/// ```
/// use futures_util::FutureExt;
/// use pghaul_stage::memory::{MemorySource, MemoryTarget};
/// use pghaul_stage::{Format, Kind, Source, TableId, Target};
///
/// # async fn fence() -> pghaul_stage::Result<()> {
/// let source = MemorySource::new().table(TableId::new("public", "t"), [""; 0]);
/// let plan = source.plan().await?;
/// let part = &plan.parts[0];
/// let target = MemoryTarget::new();
/// target.prepare(&source.catalog().await?, &plan).await?;
///
/// let stale = target.open(part, Format::Copy).await?;
/// let owner = target.open(part, Format::Copy).await?;
/// assert_eq!(stale.finish().await.unwrap_err().kind(), Kind::Fenced);
/// owner.finish().await?;
/// # Ok(())
/// # }
/// # fence().now_or_never().expect("memory never waits")?;
/// # Ok::<(), pghaul_stage::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryTarget(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    durable: BTreeMap<PartId, Stored>,
    /// Who may commit a part: the writer that was opened last.
    holders: BTreeMap<PartId, u64>,
    writers: u64,
    loaded: Vec<TableId>,
    sequences: Option<Vec<SequenceValue>>,
}

#[derive(Debug, Default)]
struct Stored {
    mark: Mark,
    slices: Vec<(TableId, Vec<u8>)>,
}

struct MemoryWriter {
    target: MemoryTarget,
    part: PartId,
    number: u64,
    stored: Stored,
    slice: usize,
    rows: u64,
}

impl MemoryTarget {
    /// An empty database.
    pub fn new() -> Self {
        Self::default()
    }

    /// The committed rows of a table, part after part.
    pub fn rows(&self, table: &TableId) -> Vec<Bytes> {
        let state = self.lock();
        let slices = state.durable.values().flat_map(|stored| &stored.slices);
        slices
            .filter(|(of, _)| of == table)
            .flat_map(|(_, text)| text.split_inclusive(|byte| *byte == b'\n'))
            .map(|line| Bytes::copy_from_slice(line.strip_suffix(b"\n").unwrap_or(line)))
            .collect()
    }

    /// What is durable, by part.
    pub fn marks(&self) -> BTreeMap<PartId, Mark> {
        let state = self.lock();
        let marks = state.durable.iter();
        marks.map(|(part, stored)| (*part, stored.mark)).collect()
    }

    /// The tables declared loaded, in that order; once for each declaration.
    pub fn loaded(&self) -> Vec<TableId> {
        self.lock().loaded.clone()
    }

    /// The sequences it was completed with; `None` if it was not.
    pub fn completed(&self) -> Option<Vec<SequenceValue>> {
        self.lock().sequences.clone()
    }

    /// How many writers have been opened.
    pub fn writers(&self) -> u64 {
        self.lock().writers
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Target for MemoryTarget {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    async fn prepare(&self, _catalog: &Catalog, plan: &Plan) -> Result<()> {
        let mut state = self.lock();
        match &state.plan {
            Some(known) if known != plan => Err(Error::new(
                Kind::Identity,
                "the target was prepared for a different plan",
            )
            .at(Side::Target)),
            _ => {
                state.plan = Some(plan.clone());
                Ok(())
            }
        }
    }

    async fn durable(&self, parts: &[Part]) -> Result<Vec<Option<Mark>>> {
        let state = self.lock();
        let mark = |part: &Part| state.durable.get(&part.id).map(|stored| stored.mark);
        Ok(parts.iter().map(mark).collect())
    }

    async fn open(&self, part: &Part, format: Format) -> Result<Box<dyn Writer>> {
        let Format::Copy = format;
        let Work::Rows(slices) = &part.work else {
            return Err(protocol("there are no large objects in memory"));
        };
        let mut state = self.lock();
        let Some(plan) = &state.plan else {
            return Err(protocol("a part was opened before the target was prepared"));
        };
        if !plan.parts.iter().any(|planned| planned.id == part.id) {
            return Err(protocol("a part was opened that is not in the plan"));
        }
        if state.durable.contains_key(&part.id) {
            return Err(fenced("the part is durable already"));
        }
        state.writers += 1;
        let number = state.writers;
        state.holders.insert(part.id, number);
        let slices = slices.iter().map(|slice| (slice.table.clone(), Vec::new()));
        Ok(Box::new(MemoryWriter {
            target: self.clone(),
            part: part.id,
            number,
            stored: Stored {
                mark: Mark::default(),
                slices: slices.collect(),
            },
            slice: 0,
            rows: 0,
        }))
    }

    async fn tables_loaded(&self, tables: &[TableId]) -> Result<()> {
        let mut state = self.lock();
        for part in state.plan.iter().flat_map(|plan| &plan.parts) {
            let early = part.slices().iter().any(|s| tables.contains(&s.table));
            if early && !state.durable.contains_key(&part.id) {
                return Err(protocol("a table was declared loaded before its last part"));
            }
        }
        state.loaded.extend_from_slice(tables);
        Ok(())
    }

    async fn complete(&self, sequences: &[SequenceValue]) -> Result<()> {
        let mut state = self.lock();
        let mut parts = state.plan.iter().flat_map(|plan| &plan.parts);
        if !parts.all(|part| state.durable.contains_key(&part.id)) {
            return Err(protocol("the target was completed before the last part"));
        }
        state.sequences = Some(sequences.to_vec());
        Ok(())
    }
}

impl MemoryWriter {
    fn check_holder(&self, state: &State) -> Result<()> {
        if state.durable.contains_key(&self.part)
            || state.holders.get(&self.part) != Some(&self.number)
        {
            return Err(fenced("another worker has taken the part over"));
        }
        Ok(())
    }
}

#[async_trait]
impl Writer for MemoryWriter {
    async fn write(&mut self, batch: Batch) -> Result<()> {
        self.check_holder(&self.target.lock())?;
        let slice = usize::try_from(batch.slice).unwrap_or(usize::MAX);
        if slice < self.slice || batch.mark < self.stored.mark {
            return Err(protocol("a batch came out of order"));
        }
        let Some((_, text)) = self.stored.slices.get_mut(slice) else {
            return Err(protocol("a batch belongs to no slice of its part"));
        };
        let Payload::Copy(bytes) = &batch.payload;
        text.extend_from_slice(bytes);
        self.slice = slice;
        self.stored.mark = batch.mark;
        self.rows += batch.rows;
        Ok(())
    }

    async fn flush(&mut self) -> Result<Option<Mark>> {
        Ok(None)
    }

    async fn finish(mut self: Box<Self>) -> Result<Mark> {
        let target = self.target.clone();
        let mut state = target.lock();
        self.check_holder(&state)?;
        let mut rows = 0;
        for (_, text) in &self.stored.slices {
            if !text.is_empty() && !text.ends_with(b"\n") {
                return Err(protocol("the last row of a slice has no end"));
            }
            rows += text.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        if rows != self.rows {
            return Err(protocol("the batches announced a different number of rows"));
        }
        let stored = std::mem::take(&mut self.stored);
        let mark = stored.mark;
        state.holders.remove(&self.part);
        state.durable.insert(self.part, stored);
        Ok(mark)
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        let mut state = self.target.lock();
        if state.holders.get(&self.part) == Some(&self.number) {
            state.holders.remove(&self.part);
        }
    }
}

fn protocol(message: &'static str) -> Error {
    Error::new(Kind::Protocol, message).at(Side::Target)
}

fn fenced(message: &'static str) -> Error {
    Error::new(Kind::Fenced, message).at(Side::Target)
}
