//! How the databases of a command ended.

use std::time::Duration;

use pghaul_stage::Omission;
use serde_json::{Value, json};

use super::label;
use crate::Outcome;
use crate::args::Form;
use crate::output::{bytes, count, duration, print_json, say};
use crate::report;

/// How one database ended.
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
}

/// The ends of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// What was to be done is done, and this is how it is called.
    Done(&'static str),
    /// Source and target were compared and differ.
    Differs,
    /// It was done before.
    Complete,
    /// It failed, which was said when it did.
    Failed,
    /// It was stopped.
    Stopped,
    /// Nobody came to it.
    NotBegun,
}

impl Row {
    /// A database that nobody has come to.
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            state: State::NotBegun,
            rows: 0,
            bytes: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// For programs.
    pub(super) fn line(&self) -> Value {
        json!({
            "database": self.name, "state": self.state.word(), "rows": self.rows,
            "bytes": self.bytes, "seconds": self.elapsed.as_secs_f64(),
        })
    }
}

impl State {
    /// How a database ended of which this is what was done, and was compared so.
    pub(crate) fn of(done: &'static str, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => State::Done(done),
            _ => State::Differs,
        }
    }

    /// For people and programs.
    fn word(self) -> &'static str {
        match self {
            State::Done(what) => what,
            State::Differs => "differs",
            State::Complete => "complete before",
            State::Failed => "failed",
            State::Stopped => "stopped",
            State::NotBegun => "not begun",
        }
    }
}

/// Prints how all of them ended, and what the server lacks; `done` is what was to be done to each.
pub(super) fn print(
    form: Form,
    rows: &[Row],
    lacking: &[Omission],
    elapsed: Duration,
    done: &'static str,
) {
    let all = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    let (total_rows, total_bytes) = (all(|row| row.rows), all(|row| row.bytes));
    if form == Form::Json {
        let databases: Vec<_> = rows.iter().map(Row::line).collect();
        return print_json(&json!({
            "event": "databases", "databases": databases, "rows": total_rows,
            "bytes": total_bytes, "seconds": elapsed.as_secs_f64(), "omissions": lacking,
        }));
    }
    if !lacking.is_empty() {
        say("");
        report::print_server(lacking);
    }
    let mut table = vec![["database", "state", "rows", "bytes", "time"].map(str::to_owned)];
    table.extend(rows.iter().map(|row| {
        [
            label(&row.name),
            row.state.word().to_owned(),
            count(row.rows),
            bytes(row.bytes),
            duration(row.elapsed),
        ]
    }));
    say("");
    for line in report::align(&table) {
        say(&line);
    }
    say("");
    let good = |row: &&Row| matches!(row.state, State::Done(_) | State::Complete);
    say(&format!(
        "{} of {} databases are {done}: {} rows, {} in {}",
        count(rows.iter().filter(good).count() as u64),
        count(rows.len() as u64),
        count(total_rows),
        bytes(total_bytes),
        duration(elapsed),
    ));
}
