//! Tells once a second how far each database is: all together, and table by table.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pghaul_relay::{Progress, Snapshot, TableReport};
use pghaul_stage::TableId;
use serde::Serialize;

use crate::output::print_json;

/// How often at most.
const EVERY: Duration = Duration::from_secs(1);

/// Telling takes at most one part in so many of the time.
const SHARE: u32 = 20;

/// So many tables share a line.
const TABLES: usize = 500;

/// Tells until it is dropped.
pub(super) struct Ticker {
    databases: Arc<Mutex<BTreeMap<String, Told>>>,
    /// Dropped to stop the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A database that is watched until this is dropped; then its last state is told.
pub(crate) struct Watched<'a> {
    ticker: &'a Ticker,
    database: String,
}

/// What was told of a database.
struct Told {
    progress: Arc<Progress>,
    tables: HashMap<Option<TableId>, Row>,
}

/// What is told of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Row {
    state: &'static str,
    rows: u64,
    bytes: u64,
    #[serde(rename = "rowsExpected")]
    rows_expected: u64,
    #[serde(rename = "bytesExpected")]
    bytes_expected: u64,
}

#[derive(Serialize)]
struct ProgressLine<'a> {
    event: &'a str,
    database: &'a str,
    #[serde(flatten)]
    snapshot: Snapshot,
}

#[derive(Serialize)]
struct TablesLine<'a> {
    event: &'a str,
    database: &'a str,
    tables: &'a [TableLine],
}

#[derive(Serialize)]
struct TableLine {
    table: String,
    #[serde(flatten)]
    row: Row,
}

impl Ticker {
    pub(super) fn start() -> io::Result<Self> {
        let databases = Arc::<Mutex<BTreeMap<String, Told>>>::default();
        let (stop, stopped) = mpsc::channel();
        let watched = Arc::clone(&databases);
        let thread = thread::Builder::new()
            .name("pghaul-ticker".to_owned())
            .spawn(move || {
                let mut pause = EVERY;
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
                    let began = Instant::now();
                    for (database, told) in lock(&watched).iter_mut() {
                        told.tell(database);
                    }
                    pause = EVERY.max(began.elapsed() * SHARE);
                }
            })?;
        Ok(Self {
            databases,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(super) fn watch(&self, database: &str, progress: Arc<Progress>) -> Watched<'_> {
        let told = Told {
            progress,
            tables: HashMap::new(),
        };
        lock(&self.databases).insert(database.to_owned(), told);
        Watched {
            ticker: self,
            database: database.to_owned(),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it is on standard error already.
            drop(thread.join());
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let told = lock(&self.ticker.databases).remove(&self.database);
        if let Some(mut told) = told {
            told.tell(&self.database);
        }
    }
}

impl Told {
    fn tell(&mut self, database: &str) {
        print_json(&ProgressLine {
            event: "progress",
            database,
            snapshot: self.progress.snapshot(),
        });
        let mut changed = Vec::new();
        for report in self.progress.tables() {
            let row = Row::of(&report);
            if self.tables.insert(report.table.clone(), row) != Some(row) {
                let table = report.table.as_ref();
                let table = table.map_or_else(|| "large objects".to_owned(), TableId::to_string);
                changed.push(TableLine { table, row });
            }
        }
        for tables in changed.chunks(TABLES) {
            print_json(&TablesLine {
                event: "tables",
                database,
                tables,
            });
        }
    }
}

impl Row {
    fn of(table: &TableReport) -> Self {
        let state = if table.parts_failed > 0 {
            "errored"
        } else if table.parts_done == table.parts {
            "completed"
        } else if table.parts_done > 0 || table.rows > 0 || table.bytes > 0 {
            "loading"
        } else {
            "queued"
        };
        Self {
            state,
            rows: table.rows,
            bytes: table.bytes,
            rows_expected: table.rows_expected,
            bytes_expected: table.bytes_expected,
        }
    }
}

fn lock(databases: &Mutex<BTreeMap<String, Told>>) -> MutexGuard<'_, BTreeMap<String, Told>> {
    databases.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_completed_with_its_last_part_and_errored_with_the_first_that_fails() {
        let state = |done: u64, failed: u64, rows: u64| {
            Row::of(&TableReport {
                parts: 3,
                parts_done: done,
                parts_failed: failed,
                rows,
                ..TableReport::default()
            })
            .state
        };
        assert_eq!(state(0, 0, 0), "queued");
        assert_eq!(state(0, 0, 7), "loading");
        assert_eq!(state(2, 0, 0), "loading");
        assert_eq!(state(3, 0, 0), "completed");
        assert_eq!(state(2, 1, 7), "errored");
    }
}
