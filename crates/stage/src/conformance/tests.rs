//! The suite passes what is right, and names the rule that a wrong stage breaks.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::{Fixture, Sample, source, target};
use crate::memory::{MemorySource, MemoryTarget};
use crate::{
    Batch, Batches, Format, Mark, Part, Payload, Result, SequenceValue, Source, SourceLayer,
    TableId, Target, TargetLayer, Writer,
};

#[test]
fn memory_conforms() {
    source(&database()).now_or_never().unwrap();
    check_target(|target| Arc::new(target));
}

#[test]
#[should_panic(expected = "the sum of rows is exact")]
fn a_wrong_sum_is_found() {
    check_source(|batch| Batch {
        rows: batch.rows * 2,
        ..batch
    });
}

#[test]
#[should_panic(expected = "marks only grow")]
fn a_shrinking_mark_is_found() {
    check_source(|batch| Batch {
        mark: Mark(1000 - batch.mark.0),
        ..batch
    });
}

#[test]
#[should_panic(expected = "a batch belongs to a slice of its part")]
fn a_foreign_slice_is_found() {
    check_source(|batch| Batch {
        slice: batch.slice + 7,
        ..batch
    });
}

#[test]
#[should_panic(expected = "a second reading gives the same bytes")]
fn a_source_that_changes_is_found() {
    let readings = Mutex::new(0u8);
    check_source(move |batch| {
        let Payload::Copy(bytes) = &batch.payload;
        let mut readings = readings.lock().unwrap();
        *readings = readings.wrapping_add(1) % 100;
        let mut bytes = bytes.to_vec();
        if let Some(first) = bytes.first_mut().filter(|first| **first != b'\n') {
            *first = 100 + *readings;
        }
        Batch {
            payload: Payload::Copy(Bytes::from(bytes)),
            ..batch
        }
    });
}

#[test]
#[should_panic(expected = "accepted is not durable")]
fn a_target_that_declares_too_early_is_found() {
    check_target(|inner| Arc::new(Broken { inner, early: true }));
}

#[test]
#[should_panic(expected = "a writer that was dropped leaves nothing")]
fn a_target_that_commits_on_drop_is_found() {
    check_target(|inner| {
        Arc::new(Broken {
            inner,
            early: false,
        })
    });
}

fn database() -> MemorySource {
    MemorySource::new()
        .table(TableId::new("public", "large"), numbers(0..50))
        .table(TableId::new("public", "a"), numbers(0..3))
        .table(TableId::new("public", "b"), numbers(0..2))
        .table(TableId::new("public", "empty"), numbers(0..0))
        .sequence(SequenceValue {
            id: TableId::new("public", "s"),
            last_value: 7,
            is_called: true,
        })
        .rows_per_part(20)
        .tables_per_part(2)
        .batch_bytes(7)
}

fn numbers(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|number| format!("{number}\tx"))
}

fn check_source(change: impl Fn(Batch) -> Batch + Send + Sync + 'static) {
    let altered = Altered(database(), Arc::new(change));
    source(&altered).now_or_never().unwrap();
}

fn check_target(wrap: impl Fn(MemoryTarget) -> Arc<dyn Target> + Send + Sync) {
    let sample = Sample::read(&database()).now_or_never().unwrap();
    let fixture = InMemory {
        sample,
        current: Mutex::default(),
        wrap,
    };
    target(&fixture).now_or_never().unwrap();
}

/// A source whose batches are altered.
struct Altered(MemorySource, Arc<dyn Fn(Batch) -> Batch + Send + Sync>);

#[async_trait]
impl SourceLayer for Altered {
    fn inside(&self) -> &dyn Source {
        &self.0
    }

    async fn read(&self, part: &Part, format: Format) -> Result<Batches> {
        let change = Arc::clone(&self.1);
        let batches = self.0.read(part, format).await?;
        Ok(batches.map(move |batch| batch.map(&*change)).boxed())
    }
}

struct InMemory<W> {
    sample: Sample,
    current: Mutex<MemoryTarget>,
    wrap: W,
}

#[async_trait]
impl<W: Fn(MemoryTarget) -> Arc<dyn Target> + Send + Sync> Fixture for InMemory<W> {
    fn sample(&self) -> &Sample {
        &self.sample
    }
    async fn fresh(&self) -> Arc<dyn Target> {
        *self.current.lock().unwrap() = MemoryTarget::new();
        self.again().await
    }
    async fn again(&self) -> Arc<dyn Target> {
        (self.wrap)(self.current.lock().unwrap().clone())
    }
    async fn rows(&self) -> u64 {
        let target = self.current.lock().unwrap().clone();
        let tables = self.sample.catalog.tables.iter();
        tables
            .map(|table| target.rows(&table.id).len() as u64)
            .sum()
    }
}

/// A target that says too early that a part is durable, or else whose writers commit on drop.
struct Broken {
    inner: MemoryTarget,
    early: bool,
}

struct CommitsOnDrop(Option<Box<dyn Writer>>);

#[async_trait]
impl TargetLayer for Broken {
    fn inside(&self) -> &dyn Target {
        &self.inner
    }

    async fn durable(&self, parts: &[Part]) -> Result<Vec<Option<Mark>>> {
        if self.early && self.inner.writers() > 0 && self.inner.marks().is_empty() {
            return Ok(vec![Some(Mark(1)); parts.len()]);
        }
        self.inner.durable(parts).await
    }

    async fn open(&self, part: &Part, format: Format) -> Result<Box<dyn Writer>> {
        let writer = self.inner.open(part, format).await?;
        if self.early {
            return Ok(writer);
        }
        Ok(Box::new(CommitsOnDrop(Some(writer))))
    }
}

#[async_trait]
impl Writer for CommitsOnDrop {
    async fn write(&mut self, batch: Batch) -> Result<()> {
        self.0.as_mut().unwrap().write(batch).await
    }
    async fn flush(&mut self) -> Result<Option<Mark>> {
        self.0.as_mut().unwrap().flush().await
    }
    async fn finish(mut self: Box<Self>) -> Result<Mark> {
        self.0.take().unwrap().finish().await
    }
}

impl Drop for CommitsOnDrop {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            let _committed = writer.finish().now_or_never();
        }
    }
}
