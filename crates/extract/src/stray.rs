//! Ends sessions of a run whose connections were cut: their server processes do not know.

use std::time::Duration;

use pghaul_stage::{Error, Kind, Result, Side};
use pghaul_wire::quote::literal;
use pghaul_wire::{Client, Conninfo};
use tokio::time::{Instant, sleep};

use crate::session::rows;

/// How often a terminated session is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Terminates all other sessions of this name in this database, and waits until they are gone.
pub(crate) async fn end(info: &Conninfo, name: &str, patience: Duration) -> Result<()> {
    let client = Client::connect(info, Side::Source).await?;
    let sql = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
          WHERE application_name = {} AND datname = pg_catalog.current_database() \
            AND pid <> pg_catalog.pg_backend_pid()",
        literal(name)
    );
    let deadline = Instant::now() + patience;
    loop {
        let left = rows(&client, "sessions that were cut off", &sql).await?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::new(
                Kind::Transient,
                format!("{} sessions of this run do not end", left.len()),
            )
            .at(Side::Source)
            .remedy("`pghaul cleanup` lists them, and ends them later"));
        }
        sleep(POLL).await;
    }
}
