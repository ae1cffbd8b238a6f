//! A target that forgets every row: to measure a source or a link alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::{
    Batch, Catalog, Error, Format, Kind, Mark, Part, PartId, Plan, Result, SequenceValue, Side,
    TableId, Target, Writer,
};

/// Accepts every batch of every format and keeps only how many rows and bytes there were.
/// Clones share that, as connections share a server.
///
/// A part is durable once it is finished, and only once. Row counts are believed, because
/// counting again would cost what is to be measured.
#[derive(Debug, Clone, Default)]
pub struct NullTarget(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    durable: BTreeMap<PartId, Mark>,
    rows: u64,
    bytes: u64,
}

struct NullWriter {
    target: NullTarget,
    part: PartId,
    rows: u64,
    bytes: u64,
    mark: Mark,
}

impl NullTarget {
    /// Nothing written yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows of the parts that are durable.
    pub fn rows(&self) -> u64 {
        self.lock().rows
    }

    /// Payload bytes of the parts that are durable.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Target for NullTarget {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    async fn prepare(&self, _catalog: &Catalog, _plan: &Plan) -> Result<()> {
        Ok(())
    }

    async fn durable(&self, parts: &[Part]) -> Result<Vec<Option<Mark>>> {
        let state = self.lock();
        let mark = |part: &Part| state.durable.get(&part.id).copied();
        Ok(parts.iter().map(mark).collect())
    }

    async fn open(&self, part: &Part, _format: Format) -> Result<Box<dyn Writer>> {
        if self.lock().durable.contains_key(&part.id) {
            return Err(durable_already());
        }
        Ok(Box::new(NullWriter {
            target: self.clone(),
            part: part.id,
            rows: 0,
            bytes: 0,
            mark: Mark::default(),
        }))
    }

    async fn tables_loaded(&self, _tables: &[TableId]) -> Result<()> {
        Ok(())
    }

    async fn complete(&self, _sequences: &[SequenceValue]) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Writer for NullWriter {
    async fn write(&mut self, batch: Batch) -> Result<()> {
        self.rows += batch.rows;
        self.bytes += batch.payload.size() as u64;
        self.mark = batch.mark;
        Ok(())
    }

    async fn flush(&mut self) -> Result<Option<Mark>> {
        Ok(None)
    }

    async fn finish(self: Box<Self>) -> Result<Mark> {
        let mut state = self.target.lock();
        if state.durable.contains_key(&self.part) {
            return Err(durable_already());
        }
        state.durable.insert(self.part, self.mark);
        state.rows += self.rows;
        state.bytes += self.bytes;
        Ok(self.mark)
    }
}

fn durable_already() -> Error {
    Error::new(Kind::Fenced, "the part is durable already").at(Side::Target)
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, TryStreamExt};

    use super::*;
    use crate::{Generator, RowShape, Source};

    #[test]
    fn a_part_counts_once_it_is_finished_and_only_once() {
        async {
            let source = Generator::new(RowShape::Narrow, 100);
            let part = &source.plan().await.unwrap().parts[0];
            let target = NullTarget::new();
            let write = async || {
                let mut writer = target.open(part, Format::Copy).await.unwrap();
                let batches = source.read(part, Format::Copy).await.unwrap();
                for batch in batches.try_collect::<Vec<_>>().await.unwrap() {
                    writer.write(batch).await.unwrap();
                }
                writer
            };
            drop(write().await);
            let parts = std::slice::from_ref(part);
            assert_eq!(target.durable(parts).await.unwrap(), [None]);
            assert_eq!(target.rows(), 0);

            let (first, second) = (write().await, write().await);
            let mark = first.finish().await.unwrap();
            assert_eq!(second.finish().await.unwrap_err().kind(), Kind::Fenced);
            assert!(target.open(part, Format::Copy).await.is_err());
            assert_eq!(target.durable(parts).await.unwrap(), [Some(mark)]);
            assert_eq!((target.rows(), target.bytes()), (100, mark.0));
        }
        .now_or_never()
        .unwrap();
    }
}
