//! Moves two tables through the runner without any server: the shortest complete pipeline.
//!
//! ```sh
//! cargo run --example in_memory
//! ```

use std::sync::Arc;

use pghaul_relay::{Options, Pipeline};
use pghaul_stage::memory::{MemorySource, MemoryTarget};
use pghaul_stage::{Result, TableId};

fn main() -> Result<()> {
    let people = TableId::new("public", "people");
    let cities = TableId::new("public", "cities");
    let source = MemorySource::new()
        .table(people.clone(), ["1\tAda", "2\tGrace", "3\tMary"])
        .table(cities.clone(), ["1\tLondon", "2\tNew York"]);
    let source = Arc::new(source);
    let target = Arc::new(MemoryTarget::new());

    // All I/O runs on one shared runtime; the runner adds a thread per job.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        pghaul_stage::Error::new(pghaul_stage::Kind::Permanent, "no runtime").because(error)
    })?;
    let summary = Pipeline::from(source)
        .to(Arc::clone(&target) as _, runtime.handle().clone())
        .options(Options::default())
        .run_as_planned()?;

    assert_eq!(target.rows(&people).len(), 3);
    assert_eq!(target.rows(&cities).len(), 2);
    println!("moved {} rows in {} parts", summary.rows, summary.parts);
    Ok(())
}
