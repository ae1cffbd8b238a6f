//! A target of one's own: it stores nothing and counts the values that are NULL.
//!
//! ```sh
//! cargo run --example counting_target
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pghaul_relay::Pipeline;
use pghaul_stage::{
    Batch, Catalog, CopyItem, Error, Format, Generator, Kind, Mark, Part, PartId, Payload, Plan,
    Result, RowShape, Rows, SequenceValue, TableId, Target, Writer,
};

/// Parts that are done: how far, with how many rows and NULLs.
type Done = Arc<Mutex<BTreeMap<PartId, (Mark, u64, u64)>>>;

#[derive(Clone, Default)]
struct Counting(Done);

struct Counter {
    done: Done,
    part: PartId,
    rows: Rows,
    count: (Mark, u64, u64),
}

#[async_trait]
impl Target for Counting {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    async fn prepare(&self, _catalog: &Catalog, _plan: &Plan) -> Result<()> {
        Ok(())
    }

    // Asked on every start and before every retry; nothing else decides what is read again.
    async fn durable(&self, parts: &[Part]) -> Result<Vec<Option<Mark>>> {
        let done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = |part: &Part| done.get(&part.id).map(|(mark, ..)| *mark);
        Ok(parts.iter().map(mark).collect())
    }

    async fn open(&self, part: &Part, _format: Format) -> Result<Box<dyn Writer>> {
        // The generator's parts have one slice each.
        let encoding = part.slices().first().map(|slice| slice.encoding);
        let encoding = encoding.ok_or_else(|| Error::input("rows are expected"))?;
        Ok(Box::new(Counter {
            done: Arc::clone(&self.0),
            part: part.id,
            rows: Rows::new(encoding),
            count: (Mark::default(), 0, 0),
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
impl Writer for Counter {
    async fn write(&mut self, batch: Batch) -> Result<()> {
        let Payload::Copy(bytes) = &batch.payload else {
            return Err(Error::new(Kind::Protocol, "COPY was agreed on"));
        };
        self.rows.push(bytes);
        while let Some(item) = self.rows.next()? {
            if let CopyItem::Row(row) = item {
                let nulls = (0..row.len()).filter(|field| row.value(*field).is_none());
                self.count.2 += nulls.count() as u64;
                self.count.1 += 1;
            }
        }
        self.count.0 = batch.mark;
        Ok(())
    }

    async fn flush(&mut self) -> Result<Option<Mark>> {
        Ok(None)
    }

    // Only here does the part become durable: a writer that is dropped has counted nothing.
    async fn finish(self: Box<Self>) -> Result<Mark> {
        self.rows.end()?;
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.insert(self.part, self.count);
        Ok(self.count.0)
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| Error::new(Kind::Permanent, "no runtime").because(error))?;
    let target = Counting::default();
    let source = Generator::new(RowShape::Wide, 20_000).rows_per_part(3_000);
    Pipeline::from(Arc::new(source))
        .to(Arc::new(target.clone()), runtime.handle().clone())
        .run_as_planned()?;
    let done = target.0.lock().unwrap_or_else(PoisonError::into_inner);
    let rows: u64 = done.values().map(|(_, rows, _)| rows).sum();
    let nulls: u64 = done.values().map(|(.., nulls)| nulls).sum();
    println!("{rows} rows in {} parts, {nulls} NULLs", done.len());
    Ok(())
}
