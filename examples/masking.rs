//! A whole migration into a test database, with personal data masked on the way.
//!
//! `PGHAUL_SOURCE` and `PGHAUL_TARGET` name the databases; the target must exist and be empty.
//! Every column called `email`, `phone` or `name` is masked in every table.
//!
//! ```sh
//! cargo run --example masking
//! ```

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use pghaul_extract::PgSource;
use pghaul_load::PgTarget;
use pghaul_relay::{Pipeline, Summary};
use pghaul_stage::{Error, Kind, MapRows, Result, RowMap, Silent, Source, Table};
use pghaul_wire::Conninfo;

/// Columns that hold personal data.
const PERSONAL: [&str; 3] = ["email", "phone", "name"];

/// What to do to the rows of a table; `None` lets it pass as it is.
fn mask(table: &Table) -> Option<RowMap> {
    let columns: Vec<usize> = (0..)
        .zip(&*table.columns)
        .filter(|(_, column)| PERSONAL.contains(&&*column.name))
        // The bytes of other types would not be text in binary COPY.
        .filter(|(_, column)| &*column.type_name == "text")
        .map(|(at, _)| at)
        .collect();
    if columns.is_empty() {
        return None;
    }
    Some(RowMap::new(move |row| {
        for column in &columns {
            // Equal values get equal masks, so that joins and unique keys survive.
            let masked = row.value(*column).map(|value| {
                let mut hasher = DefaultHasher::new();
                value.hash(&mut hasher);
                format!("masked-{:016x}", hasher.finish())
            });
            row.set(*column, masked.as_deref().map(str::as_bytes))?;
        }
        Ok(())
    }))
}

fn conninfo(variable: &str) -> Result<Conninfo> {
    let dsn = std::env::var(variable).map_err(|_| Error::input(format!("set {variable}")))?;
    Conninfo::parse(&dsn)
}

fn run(runtime: &tokio::runtime::Runtime) -> Result<Summary> {
    let (from, to) = (conninfo("PGHAUL_SOURCE")?, conninfo("PGHAUL_TARGET")?);
    let version = runtime.block_on(pghaul_load::server_version(&to))?;
    let config = pghaul_extract::Config {
        target_version: Some(version),
        ..pghaul_extract::Config::default()
    };
    let source = Arc::new(runtime.block_on(PgSource::open(from, config, Arc::new(Silent)))?);
    let target = PgTarget::fresh(to, pghaul_load::Config::default(), Arc::new(Silent))?;
    let summary = Pipeline::from(Arc::clone(&source) as Arc<dyn Source>)
        .transform(Arc::new(MapRows::new(mask)))
        .to(Arc::new(target), runtime.handle().clone())
        .run_as_planned();
    runtime.block_on(source.close())?;
    summary
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Error::new(Kind::Permanent, "no runtime").because(error))?;
    let _context = runtime.enter();
    let summary = run(&runtime)?;
    println!("moved {} rows, personal data masked", summary.rows);
    Ok(())
}
