//! What the events of a migration add up to. Folding them again gives the same, so nothing of it
//! has to be recorded while a migration runs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::samples::{Sample, Samples};
use super::validation::Findings;
use crate::Time;
use crate::machine::{Command, Ended, Outcome, Seen};
use crate::model::{
    DbDetails, DbState, Failure, RunningStep, TableProgress, TableState, ValidationDetails,
};

/// How much of the rate is of the last moment, the rest being of those before.
const FRESH: f64 = 0.3;

/// What was told so far.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    attempt: Option<Command>,
    ended: Option<Ended>,
    told_pause: bool,
    told_rate: Option<u64>,
    databases: BTreeMap<String, Database>,
    findings: Findings,
    samples: Samples,
}

/// Which tables of a database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Only those in this state.
    pub(crate) state: Option<TableState>,
    /// Only those with this in their names, in upper or lower case.
    pub(crate) name: &'a str,
    /// Only those whose names come after this one.
    pub(crate) after: &'a str,
    /// At most so many.
    pub(crate) limit: usize,
}

/// Some tables of a database.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// They.
    pub(crate) value: Vec<TableProgress>,
    /// Whether there are more after them.
    pub(crate) more: bool,
    /// How many there are before, among and after them.
    pub(crate) total: u64,
}

/// What was told of one database.
#[derive(Debug)]
struct Database {
    details: DbDetails,
    tables: BTreeMap<String, Tracked>,
    /// Whether the plan stands, in the last attempt.
    planned: bool,
    /// Whether rows are not on the target yet, durably. What is on its way counts for the fraction.
    copying: bool,
    /// Whether source and target are the same, if they were compared.
    verified: Option<bool>,
    /// When progress was told last, and the bytes it told.
    last: Option<(Time, u64)>,
}

/// What was told of one table.
#[derive(Debug)]
struct Tracked {
    progress: TableProgress,
    /// When it was first told that it is being copied, and the rows of it that were told then.
    first: Option<(Time, u64)>,
}

/// A line of progress, as far as it matters.
#[derive(Deserialize)]
struct Progress {
    rows: u64,
    bytes: u64,
    fraction: f64,
    #[serde(default)]
    parts: u64,
    #[serde(default)]
    parts_done: u64,
    remaining: Option<f64>,
    steps: Vec<StepLine>,
}

#[derive(Deserialize)]
struct StepLine {
    step: String,
    subject: String,
    elapsed: f64,
}

/// How far one table is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    table: String,
    state: TableState,
    rows: u64,
    bytes: u64,
    rows_expected: u64,
    bytes_expected: u64,
}

/// How a process ended.
#[derive(Deserialize)]
struct EndedLine {
    outcome: Outcome,
    error: Option<FailureLine>,
}

/// An error, of a process or of a database.
#[derive(Deserialize)]
struct FailureLine {
    message: String,
    #[serde(default)]
    causes: Vec<String>,
    remedy: Option<String>,
}

impl Database {
    fn new(name: &str) -> Self {
        Self {
            details: DbDetails::new(name),
            tables: BTreeMap::new(),
            planned: false,
            copying: true,
            verified: None,
            last: None,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(
            self.details.migration_state,
            DbState::Succeeded | DbState::Failed | DbState::Canceled
        )
    }

    fn operate(&mut self, operation: &str) {
        operation.clone_into(&mut self.details.migration_operation);
    }
}

impl Fold {
    /// Adds an event. One that is not known, or of which something is missing, adds nothing.
    pub(crate) fn add(&mut self, event: &Map<String, Value>) {
        let text = |key: &str| event.get(key).and_then(Value::as_str);
        let time = text("time").and_then(|time| time.parse().ok());
        let (Some(kind), Some(time)) = (text("event"), time) else {
            return;
        };
        match kind {
            "attempt" => self.begin(event),
            "ended" => {
                let line = read::<EndedLine>(event);
                self.ended = line.map(|line| Ended {
                    outcome: line.outcome,
                    error: line.error.map(Failure::from),
                });
            }
            "control" => match text("action") {
                Some("pause") => self.told_pause = true,
                Some("resume") => self.told_pause = false,
                Some("throttle") => {
                    self.told_rate = event.get("bytesPerSecond").and_then(Value::as_u64);
                }
                _ => {}
            },
            "databases_chosen" => {
                let names = event.get("databases").and_then(Value::as_array);
                for name in names.into_iter().flatten().filter_map(Value::as_str) {
                    self.database(name);
                }
            }
            "validation_started" | "finding" | "validation" => {
                self.findings.add(kind, text("database"), time, event);
            }
            _ => {
                if let Some(name) = text("database") {
                    let name = name.to_owned();
                    let of_source = text("side") == Some("source");
                    let database = self.database(&name);
                    if of_source {
                        database.extract(kind, time, event);
                    } else {
                        database.add(kind, time, event);
                        if kind == "progress" {
                            self.sample(time);
                        }
                    }
                }
            }
        }
    }

    /// What was begun and has not ended.
    pub(crate) fn under_way(&self) -> Option<Command> {
        self.attempt.filter(|_| self.ended.is_none())
    }

    /// Another process begins. What it tells of a database that has not ended takes the place of
    /// what the last one told.
    fn begin(&mut self, event: &Map<String, Value>) {
        self.attempt = event
            .get("command")
            .and_then(|command| Command::deserialize(command).ok());
        self.told_rate = event.get("bytesPerSecond").and_then(Value::as_u64);
        self.told_pause = false;
        self.ended = None;
        if self.attempt == Some(Command::Validate) {
            self.findings = Findings::default();
        }
        for database in self.databases.values_mut() {
            if database.details.migration_state != DbState::Succeeded {
                database.details.migration_state = DbState::InProgress;
                database.details.ended_on = None;
                database.details.running_steps = Vec::new();
                database.planned = false;
                database.operate("waiting");
            }
            database.last = None;
        }
    }

    fn database(&mut self, name: &str) -> &mut Database {
        let databases = &mut self.databases;
        databases
            .entry(name.to_owned())
            .or_insert_with(|| Database::new(name))
    }

    /// What the state machine has to know.
    pub(crate) fn seen(&self, alive: bool) -> Seen {
        let open = self.databases.values().filter(|one| !one.has_ended());
        let mut left = open.map(|one| !one.planned || one.copying);
        let begun = self.databases.values().any(|one| one.planned);
        Seen {
            alive,
            attempt: self.attempt,
            ended: self.ended.clone(),
            told_pause: self.told_pause,
            told_rate: self.told_rate,
            checking: self.findings.have_begun(),
            copying: begun.then(|| left.any(|left| left)),
        }
    }

    /// Each database, by name.
    pub(crate) fn databases(&self) -> BTreeMap<String, DbDetails> {
        let databases = self.databases.iter();
        databases
            .map(|(name, database)| (name.clone(), database.details.clone()))
            .collect()
    }

    /// What the checks found; `None` if there were none.
    pub(crate) fn validation(&self) -> Option<ValidationDetails> {
        self.findings.details()
    }

    /// Whether source and target are the same; `None` unless all databases that succeeded were
    /// compared, or one differs.
    pub(crate) fn verified(&self) -> Option<bool> {
        let compared: Vec<_> = self.databases.values().map(|one| one.verified).collect();
        if compared.contains(&Some(false)) {
            return Some(false);
        }
        (!compared.is_empty() && compared.iter().all(|one| *one == Some(true))).then_some(true)
    }

    /// How far all databases together were, over time.
    pub(crate) fn samples(&self) -> &[Sample] {
        self.samples.all()
    }

    fn sample(&mut self, time: Time) {
        let all = || self.databases.values();
        let expected = |one: &Database| one.details.bytes_expected as f64;
        let weight: f64 = all().map(expected).sum();
        // As long as some have no plan, nobody knows what the others are a part of.
        let known = all().all(|one| one.planned || one.has_ended()) && weight > 0.0;
        let done: f64 = all().map(|one| one.details.fraction * expected(one)).sum();
        let sample = Sample {
            time,
            rows: all().map(|one| one.details.rows).sum(),
            bytes: all().map(|one| one.details.bytes).sum(),
            fraction: if known { done / weight } else { 0.0 },
        };
        self.samples.add(sample);
    }

    /// The tables of a database that are wanted, in the order of names; `None` if there is no such
    /// database.
    pub(crate) fn tables(&self, database: &str, wanted: &Wanted<'_>) -> Option<Tables> {
        let database = self.databases.get(database)?;
        let part = wanted.name.to_lowercase();
        let fits = |table: &&TableProgress| {
            wanted.state.is_none_or(|state| state == table.state)
                && (part.is_empty() || table.table.to_lowercase().contains(&part))
        };
        let mut tables = Tables::default();
        for table in database
            .tables
            .values()
            .map(|table| &table.progress)
            .filter(fits)
        {
            tables.total += 1;
            if table.table.as_str() <= wanted.after {
                continue;
            }
            if tables.value.len() < wanted.limit {
                tables.value.push(table.clone());
            } else {
                tables.more = true;
            }
        }
        Some(tables)
    }
}

impl Database {
    /// Adds what an agent of the source tells. How far the database is, is what is on the target;
    /// before its side has begun, the source's says how much there is.
    fn extract(&mut self, kind: &str, time: Time, event: &Map<String, Value>) {
        match kind {
            "planned" if !self.planned => {
                self.add(kind, time, event);
                self.planned = false;
                self.details.started_on.get_or_insert(time);
                self.operate("extracting");
            }
            "notice" | "error" => self.add(kind, time, event),
            _ => {}
        }
    }

    fn add(&mut self, kind: &str, time: Time, event: &Map<String, Value>) {
        let text = |key: &str| event.get(key).and_then(Value::as_str);
        match kind {
            "database_started" => {
                self.details.started_on.get_or_insert(time);
                self.operate("preparing");
            }
            "planned" => {
                let number = |key: &str| event.get(key).and_then(Value::as_u64).unwrap_or(0);
                self.planned = true;
                self.copying = true;
                self.details.rows_expected = number("rows_estimate");
                self.details.bytes_expected = number("bytes_estimate");
                self.operate("copying");
            }
            "progress" => {
                if let Some(progress) = read::<Progress>(event) {
                    self.advance(progress, time);
                }
            }
            "tables" => {
                let tables = event.get("tables").and_then(Value::as_array);
                for table in tables.into_iter().flatten() {
                    if let Ok(table) = Table::deserialize(table) {
                        self.set(table, time);
                    }
                }
                self.count();
            }
            "step_started" => {
                let step = text("step").unwrap_or_default();
                let subject = text("subject").unwrap_or_default();
                let operation = format!("{step} {subject}");
                self.operate(operation.trim_end());
            }
            "notice" => self.details.message = text("message").map(str::to_owned),
            "error" => {
                let failure = read::<FailureLine>(event);
                self.details.message = failure.map(|failure| failure.message);
            }
            "comparison" => self.verified = event.get("match").and_then(Value::as_bool),
            "database_ended" => self.end(text("state").unwrap_or_default(), time),
            _ => {}
        }
    }

    fn advance(&mut self, progress: Progress, time: Time) {
        let details = &mut self.details;
        if let Some((before, bytes)) = self.last
            && let Some(passed) = (time - before).to_std().ok().filter(|time| !time.is_zero())
        {
            let now = progress.bytes.saturating_sub(bytes) as f64 / passed.as_secs_f64();
            details.bytes_per_second += FRESH * (now - details.bytes_per_second);
        }
        self.last = Some((time, progress.bytes));
        details.rows = progress.rows;
        details.bytes = progress.bytes;
        details.fraction = progress.fraction;
        self.copying = progress.fraction < 1.0 || progress.parts_done < progress.parts;
        details.eta_seconds = progress.remaining;
        let steps = progress.steps.into_iter();
        details.running_steps = steps
            .map(|step| RunningStep {
                step: step.step,
                subject: step.subject,
                elapsed_seconds: step.elapsed,
            })
            .collect();
    }

    fn set(&mut self, now: Table, time: Time) {
        let before = self.tables.get(&now.table).and_then(|table| table.first);
        let first = match now.state {
            TableState::Loading => before.or(Some((time, now.rows))),
            _ => None,
        };
        let eta_seconds = first.and_then(|(began, rows)| {
            let passed = (time - began).as_seconds_f64();
            let copied = now.rows.checked_sub(rows).filter(|rows| *rows > 0)?;
            let left = now.rows_expected.saturating_sub(now.rows);
            Some(passed * left as f64 / copied as f64)
        });
        let progress = TableProgress {
            table: now.table.clone(),
            state: now.state,
            rows: now.rows,
            bytes: now.bytes,
            rows_expected: now.rows_expected,
            bytes_expected: now.bytes_expected,
            eta_seconds,
        };
        self.tables.insert(now.table, Tracked { progress, first });
    }

    fn count(&mut self) {
        let of = |state| {
            let tables = self.tables.values();
            tables.filter(|table| table.progress.state == state).count() as u64
        };
        let [queued, loading, completed, errored] = [
            TableState::Queued,
            TableState::Loading,
            TableState::Completed,
            TableState::Errored,
        ]
        .map(of);
        let details = &mut self.details;
        details.full_load_queued_tables = queued;
        details.full_load_loading_tables = loading;
        details.full_load_completed_tables = completed;
        details.full_load_errored_tables = errored;
    }

    fn end(&mut self, state: &str, time: Time) {
        let details = &mut self.details;
        details.ended_on = Some(time);
        details.eta_seconds = None;
        details.bytes_per_second = 0.0;
        details.running_steps = Vec::new();
        details.migration_state = match state {
            "migrated" | "complete before" => DbState::Succeeded,
            "stopped" => DbState::Canceled,
            _ => DbState::Failed,
        };
        if details.migration_state == DbState::Succeeded {
            details.fraction = 1.0;
            for table in self.tables.values_mut() {
                table.progress.state = TableState::Completed;
                table.progress.eta_seconds = None;
            }
        }
        if state == "differs" {
            details.message = Some("source and target were compared and differ".to_owned());
        }
        self.operate(state);
        self.count();
    }
}

impl From<FailureLine> for Failure {
    fn from(line: FailureLine) -> Self {
        Failure {
            message: line.message,
            remedy: line.remedy,
            causes: line.causes,
        }
    }
}

/// What matters of an event; `None` if it is not there.
fn read<'de, T: Deserialize<'de>>(event: &'de Map<String, Value>) -> Option<T> {
    T::deserialize(event).ok()
}

#[cfg(test)]
mod tests;
