//! Ends the sessions of workers that lost their part or their migration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pghaul_stage::{Error, Kind, PartId, Result, Side};
use pghaul_wire::{Client, quote};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::ledger::Ledger;
use crate::session::{application_name, failed};

/// How often a terminated session is looked for.
const POLL: Duration = Duration::from_millis(50);

/// The server processes behind this run's own writing sessions, with the part each one writes.
/// Sessions of the same migration that are not among them were left behind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live(Arc<Mutex<HashMap<i32, Option<PartId>>>>);

/// A writing session's entry in [`Live`], for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Registration {
    live: Live,
    pid: i32,
}

impl Live {
    /// Enters a session.
    pub(crate) fn register(&self, pid: i32) -> Registration {
        self.sessions().insert(pid, None);
        Registration {
            live: self.clone(),
            pid,
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<i32, Option<PartId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes that do not write this part, as an array literal.
    fn others(&self, part: PartId) -> String {
        let sessions = self.sessions();
        let others = sessions.iter().filter(|(_, writes)| **writes != Some(part));
        let pids: Vec<String> = others.map(|(pid, _)| pid.to_string()).collect();
        format!("'{{{}}}'::int4[]", pids.join(","))
    }
}

impl Registration {
    /// Says which part the session writes now.
    pub(crate) fn writes(&self, part: Option<PartId>) {
        self.live.sessions().insert(self.pid, part);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.live.sessions().remove(&self.pid);
    }
}

/// Terminates sessions of this migration that hold rows of `pghaul.progress`, unless they are
/// ours and write other parts than this one; says how many there were. Does nothing once
/// another run has taken over.
pub(crate) async fn release(
    client: &Client,
    ledger: &Ledger,
    part: PartId,
    live: &Live,
    patience: Duration,
) -> Result<usize> {
    let (migration, epoch) = (ledger.migration(), ledger.epoch());
    let stale = format!(
        "a.application_name = {name}
         AND a.datname = pg_catalog.current_database()
         AND a.pid <> ALL ({live})
         AND EXISTS (SELECT FROM pg_catalog.pg_locks AS l
                     WHERE l.pid = a.pid AND l.granted AND l.mode = 'RowExclusiveLock'
                       AND l.relation = 'pghaul.progress'::pg_catalog.regclass)
         AND EXISTS (SELECT FROM pghaul.migration
                     WHERE id = '{migration}' AND epoch = {epoch})",
        name = quote::literal(&application_name(Some(migration))),
        live = live.others(part),
    );
    terminate(client, &stale, patience).await
}

/// Terminates every other session of this migration.
pub(crate) async fn evict(client: &Client, migration: Uuid, patience: Duration) -> Result<usize> {
    terminate(client, &others(migration), patience).await
}

/// Terminates every other session of this run. Does nothing once another run has taken over,
/// whose sessions have the same name.
pub(crate) async fn abandon(client: &Client, ledger: &Ledger, patience: Duration) -> Result<usize> {
    let (migration, epoch) = (ledger.migration(), ledger.epoch());
    let ours = format!(
        "{} AND EXISTS (SELECT FROM pghaul.migration
                        WHERE id = '{migration}' AND epoch = {epoch})",
        others(migration)
    );
    terminate(client, &ours, patience).await
}

/// The condition for all sessions of a migration but the one that asks.
fn others(migration: Uuid) -> String {
    format!(
        "a.application_name = {name}
         AND a.datname = pg_catalog.current_database()
         AND a.pid <> pg_catalog.pg_backend_pid()",
        name = quote::literal(&application_name(Some(migration))),
    )
}

/// Terminates the sessions for which `condition` holds, and waits until they are gone.
async fn terminate(client: &Client, condition: &str, patience: Duration) -> Result<usize> {
    let statement = format!(
        "SELECT a.pid, pg_catalog.pg_terminate_backend(a.pid)
         FROM pg_catalog.pg_stat_activity AS a WHERE {condition}"
    );
    let rows = client.query(&statement, &[]).await.map_err(failed)?;
    let pids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    let deadline = Instant::now() + patience;
    loop {
        let left: i64 = client
            .query_one(
                "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE pid = ANY ($1)",
                &[&pids],
            )
            .await
            .map_err(failed)?
            .get(0);
        if left == 0 {
            return Ok(pids.len());
        }
        if Instant::now() >= deadline {
            return Err(Error::new(
                Kind::Transient,
                format!("{left} sessions of an earlier run do not end"),
            )
            .at(Side::Target)
            .remedy("end their server processes, then start again with --resume"));
        }
        sleep(POLL).await;
    }
}
