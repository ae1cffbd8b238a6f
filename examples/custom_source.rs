//! A source of one's own: each line of a text file becomes a row `(number, line)`.
//!
//! ```sh
//! cargo run --example custom_source README.md
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::{StreamExt, stream};
use pghaul_relay::Pipeline;
use pghaul_stage::memory::MemoryTarget;
use pghaul_stage::{
    Batch, Batches, Catalog, Encoding, Error, Format, Kind, Lsn, Mark, Part, PartId, Payload, Plan,
    Range, Result, Row, SequenceValue, Shape, Slice, Source, Table, TableId, Work,
};

struct Lines(PathBuf);

fn lines() -> TableId {
    TableId::new("public", "lines")
}

#[async_trait]
impl Source for Lines {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    // A target that creates tables would want to know the columns, too.
    async fn catalog(&self) -> Result<Catalog> {
        let table = Table {
            id: lines(),
            ..Table::default()
        };
        Ok(Catalog {
            tables: vec![table].into(),
            ..Catalog::default()
        })
    }

    // One part. A source with more of them is read in parallel, and resumed part by part.
    async fn plan(&self) -> Result<Plan> {
        let slice = Slice {
            table: lines(),
            range: Range::All,
            encoding: Encoding::Text,
            shape: Shape::Whole,
        };
        let (id, work) = (PartId(0), Work::Rows([slice].into()));
        let part = Part {
            id,
            work,
            rows: 0,
            bytes: 0,
        };
        Ok(Plan {
            start: Lsn::default(),
            visible: String::new(),
            parts: vec![part],
        })
    }

    // A batch is a piece of the COPY stream; here, one row.
    async fn read(&self, _part: &Part, _format: Format) -> Result<Batches> {
        let text = tokio::fs::read_to_string(&self.0).await.map_err(|error| {
            Error::new(Kind::Permanent, "the file cannot be read").because(error)
        })?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut mark = 0;
        let batches = (1..).zip(lines).map(move |(number, line): (u64, String)| {
            let number = number.to_string();
            let fields = [Some(number.as_bytes()), Some(line.as_bytes())];
            let mut copy = BytesMut::new();
            Row::new(Encoding::Text, fields).write(&mut copy);
            mark += copy.len() as u64;
            let (payload, mark) = (Payload::Copy(copy.freeze()), Mark(mark));
            Ok(Batch {
                slice: 0,
                payload,
                rows: 1,
                mark,
            })
        });
        Ok(stream::iter(batches).boxed())
    }

    async fn confirm(&self, _part: &Part, _durable: Mark) -> Result<()> {
        Ok(())
    }

    async fn sequences(&self) -> Result<Vec<SequenceValue>> {
        Ok(Vec::new())
    }
}

fn main() -> Result<()> {
    let file = std::env::args()
        .nth(1)
        .ok_or_else(|| Error::input("name a text file"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| Error::new(Kind::Permanent, "no runtime").because(error))?;
    let target = MemoryTarget::new();
    let summary = Pipeline::from(Arc::new(Lines(file.into())))
        .to(Arc::new(target.clone()), runtime.handle().clone())
        .run_as_planned()?;
    for row in target.rows(&lines()).iter().take(3) {
        println!("{}", String::from_utf8_lossy(row));
    }
    println!("read {} lines", summary.rows);
    Ok(())
}
