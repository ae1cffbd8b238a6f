//! Adds up what a run reports, for those who show it.

mod totals;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pghaul_stage::{Encoding, Event, Observer, Omission, Part, PartId, Step, TableId};
use serde::Serialize;

use crate::summary::{seconds, some_seconds};
use totals::{Tables, Totals, add};

/// An [`Observer`] that keeps totals per part, table and step.
///
/// What a failed attempt of a part reported is void, so no row is counted twice. Take a
/// [`Snapshot`] as often as a display needs it; [`Progress::tables`], [`Progress::steps`]
/// and [`Progress::omissions`] are for the report at the end.
#[derive(Debug, Default)]
pub struct Progress(Mutex<State>);

/// Where a run is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// Since the plan stood; zero before.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Parts in the plan.
    pub parts: u64,
    /// Parts that are durable, those of earlier runs included.
    pub parts_done: u64,
    /// Parts that an earlier run had made durable.
    pub parts_skipped: u64,
    /// Rows this run has copied, those of running parts included.
    pub rows: u64,
    /// Payload bytes this run has copied, those of running parts included.
    pub bytes: u64,
    /// How much of the plan is copied, from 0 to 1, by the plan's estimates.
    pub fraction: f64,
    /// How long the copying will still take at the rate so far; `None` before there is one.
    #[serde(serialize_with = "some_seconds")]
    pub remaining: Option<Duration>,
    /// Attempts that failed and were repeated.
    pub retries: u64,
    /// The parts being copied, by identifier.
    pub running: Vec<RunningPart>,
    /// The steps under way, oldest first.
    pub steps: Vec<RunningStep>,
}

/// A part being copied.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunningPart {
    /// Which one.
    pub id: PartId,
    /// What it moves, for people.
    pub name: String,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// Rows accepted in this attempt.
    pub rows: u64,
    /// Payload bytes accepted in this attempt.
    pub bytes: u64,
    /// Rows the plan expects, an estimate.
    pub expected_rows: u64,
    /// Bytes on the source's disk, an estimate.
    pub expected_bytes: u64,
    /// Since the first attempt began.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// A step under way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunningStep {
    /// Which step.
    pub step: Step,
    /// On what; empty for a step that happens once.
    pub subject: String,
    /// The table it belongs to, if it belongs to one.
    pub table: Option<TableId>,
    /// Since it began.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// What was done to one table.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TableReport {
    /// The table; `None` stands for the large objects.
    pub table: Option<TableId>,
    /// In how many parts, alone or with other tables.
    pub parts: u64,
    /// How many of them are durable, those of earlier runs included.
    pub parts_done: u64,
    /// How many of them an earlier run had made durable; their rows are not in `rows`.
    pub parts_skipped: u64,
    /// How many of them failed, which ends the run.
    pub parts_failed: u64,
    /// Rows the plan expects, an estimate; of tables that share a part, an equal share of its.
    pub rows_expected: u64,
    /// Bytes on the source's disk, an estimate, as `rows_expected`.
    pub bytes_expected: u64,
    /// Rows copied by this run.
    pub rows: u64,
    /// Payload bytes copied by this run.
    pub bytes: u64,
    /// How COPY encoded them.
    pub encoding: Option<Encoding>,
    /// Time spent on its rows, summed over its parts. The commit that tables of one part share
    /// counts for the last of them.
    #[serde(serialize_with = "seconds")]
    pub copying: Duration,
    /// Time spent on its indexes and constraints, summed over all of them.
    #[serde(serialize_with = "seconds")]
    pub indexing: Duration,
}

/// What one kind of step took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// Which step.
    pub step: Step,
    /// How often it was done.
    pub count: u64,
    /// Time, summed over all of them; those that overlap count each.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
}

#[derive(Debug, Default)]
struct State {
    planned: Option<Instant>,
    parts: u64,
    parts_done: u64,
    parts_skipped: u64,
    rows: u64,
    bytes: u64,
    /// Estimated bytes of the whole plan, of what earlier runs did, and of what this run did.
    weight: f64,
    weight_skipped: f64,
    weight_done: f64,
    retries: u64,
    running: BTreeMap<PartId, Running>,
    tables: Tables,
    open_steps: Vec<(RunningStep, Instant)>,
    steps: BTreeMap<Step, StepReport>,
    omissions: Vec<Omission>,
    /// The same, to know them again.
    omitted: HashSet<Omission>,
}

#[derive(Debug)]
struct Running {
    part: Part,
    attempt: u32,
    started: Instant,
    /// When the last batch was accepted; the time since belongs to the slice of the next one.
    last: Instant,
    last_slice: u32,
    /// The slices' totals are those of an earlier attempt, and end with the first batch of
    /// this one. Until then they are kept: that attempt may turn out to have been committed.
    void: bool,
    slices: BTreeMap<u32, Tally>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    rows: u64,
    bytes: u64,
    elapsed: Duration,
}

impl Progress {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the run is now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let mut snapshot = Snapshot {
            elapsed: state.planned.map(|at| at.elapsed()).unwrap_or_default(),
            parts: state.parts,
            parts_done: state.parts_done,
            parts_skipped: state.parts_skipped,
            rows: state.rows,
            bytes: state.bytes,
            retries: state.retries,
            ..Snapshot::default()
        };
        let mut done = state.weight_done;
        for (id, running) in &state.running {
            let total = running.total();
            snapshot.rows += total.rows;
            snapshot.bytes += total.bytes;
            done += weight(&running.part) * running.fraction(total);
            snapshot.running.push(RunningPart {
                id: *id,
                name: running.part.to_string(),
                attempt: running.attempt,
                rows: total.rows,
                bytes: total.bytes,
                expected_rows: running.part.rows,
                expected_bytes: running.part.bytes,
                elapsed: running.started.elapsed(),
            });
        }
        for (step, started) in &state.open_steps {
            snapshot.steps.push(RunningStep {
                elapsed: started.elapsed(),
                ..step.clone()
            });
        }
        let left = (state.weight - state.weight_skipped - done).max(0.0);
        if state.weight > 0.0 {
            snapshot.fraction = 1.0 - left / state.weight;
        } else if state.planned.is_some() {
            snapshot.fraction = 1.0;
        }
        if done > 0.0 || (state.planned.is_some() && left == 0.0) {
            let factor = if left == 0.0 { 0.0 } else { left / done };
            let seconds = snapshot.elapsed.as_secs_f64() * factor;
            snapshot.remaining = Duration::try_from_secs_f64(seconds).ok();
        }
        snapshot
    }

    /// What was done to each table so far, by name; the large objects come first.
    pub fn tables(&self) -> Vec<TableReport> {
        let state = self.lock();
        let mut tables = state.tables.clone();
        for running in state.running.values().filter(|running| !running.void) {
            add(&mut tables, &running.part, &running.slices);
        }
        let reports = tables.into_iter();
        reports
            .map(|(table, totals)| totals.report(table))
            .collect()
    }

    /// What each kind of step took so far, in the order of a migration.
    pub fn steps(&self) -> Vec<StepReport> {
        self.lock().steps.values().cloned().collect()
    }

    /// What the target will lack, each once, in the order in which it was told: that in which
    /// an administrator can make up for it.
    pub fn omissions(&self) -> Vec<Omission> {
        self.lock().omissions.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Progress {
    fn observe(&self, event: &Event<'_>) {
        let now = Instant::now();
        let mut state = self.lock();
        match event {
            Event::Planned { parts, durable } => state.plan(parts, durable, now),
            Event::PartStarted { part, attempt } => state.start(part, *attempt, now),
            Event::PartProgress {
                part,
                slice,
                rows,
                bytes,
            } => {
                if let Some(running) = state.running.get_mut(part) {
                    running.advance(*slice, *rows, *bytes, now);
                }
            }
            Event::PartRetried { .. } => state.retries += 1,
            Event::PartDone {
                part, rows, bytes, ..
            } => state.finish(part, *rows, *bytes, now),
            Event::PartElsewhere { part } => state.skip(part),
            Event::PartFailed { part, .. } => state.fail(part),
            Event::StepStarted {
                step,
                subject,
                table,
            } => {
                let step = RunningStep {
                    step: *step,
                    subject: (*subject).to_owned(),
                    table: table.cloned(),
                    elapsed: Duration::ZERO,
                };
                state.open_steps.push((step, now));
            }
            Event::StepDone {
                step,
                subject,
                table,
                elapsed,
            } => state.end_step(*step, subject, *table, *elapsed),
            Event::Omitted(omission) if state.omitted.insert((*omission).clone()) => {
                state.omissions.push((*omission).clone());
            }
            _ => {}
        }
    }
}

impl State {
    fn plan(&mut self, parts: &[Part], durable: &[PartId], now: Instant) {
        self.planned = Some(now);
        self.parts = parts.len() as u64;
        self.parts_skipped = durable.len() as u64;
        self.parts_done = self.parts_skipped;
        let durable: std::collections::HashSet<_> = durable.iter().collect();
        // Made of all at once, the map has no gaps, which would be half of it.
        let known = std::mem::take(&mut self.tables);
        let planned = parts.iter().flat_map(subjects).map(|(table, _)| table);
        self.tables = planned.map(|table| (table, Totals::default())).collect();
        self.tables.extend(known);
        for part in parts {
            let skipped = durable.contains(&part.id);
            self.weight += weight(part);
            if skipped {
                self.weight_skipped += weight(part);
            }
            let share = part.slices().len().max(1) as u64;
            for (table, encoding) in subjects(part) {
                let report = self.table(table);
                report.encoding = encoding;
                report.parts += 1;
                report.parts_skipped += u32::from(skipped);
                report.parts_done += u32::from(skipped);
                report.rows_expected += part.rows / share;
                report.bytes_expected += part.bytes / share;
            }
        }
    }

    fn skip(&mut self, part: &Part) {
        self.parts_done += 1;
        self.parts_skipped += 1;
        self.weight_skipped += weight(part);
        for (table, _) in subjects(part) {
            let report = self.table(table);
            report.parts_skipped += 1;
            report.parts_done += 1;
        }
    }

    fn fail(&mut self, part: &Part) {
        for (table, _) in subjects(part) {
            self.table(table).parts_failed += 1;
        }
    }

    fn start(&mut self, part: &Part, attempt: u32, now: Instant) {
        let running = self.running.entry(part.id).or_insert_with(|| Running {
            part: part.clone(),
            attempt,
            started: now,
            last: now,
            last_slice: 0,
            void: false,
            slices: BTreeMap::new(),
        });
        // Another attempt may come in another form.
        running.part.clone_from(part);
        running.attempt = attempt;
        running.last = now;
        running.void = attempt > 1;
    }

    fn finish(&mut self, part: &Part, rows: u64, bytes: u64, now: Instant) {
        self.rows += rows;
        self.bytes += bytes;
        self.parts_done += 1;
        self.weight_done += weight(part);
        for (table, _) in subjects(part) {
            self.table(table).parts_done += 1;
        }
        let mut slices = BTreeMap::new();
        let mut form = None;
        if let Some(mut running) = self.running.remove(&part.id) {
            let commit = now.saturating_duration_since(running.last);
            running
                .slices
                .entry(running.last_slice)
                .or_default()
                .elapsed += commit;
            slices = running.slices;
            form = Some(running.part);
        }
        if part.slices().len() < 2 {
            let elapsed = slices.values().map(|tally| tally.elapsed).sum();
            slices = BTreeMap::from([(
                0,
                Tally {
                    rows,
                    bytes,
                    elapsed,
                },
            )]);
        }
        add(&mut self.tables, form.as_ref().unwrap_or(part), &slices);
    }

    fn end_step(&mut self, step: Step, subject: &str, table: Option<&TableId>, elapsed: Duration) {
        self.open_steps.retain(|(open, _)| {
            open.step != step || open.subject != subject || open.table.as_ref() != table
        });
        let report = self.steps.entry(step).or_insert(StepReport {
            step,
            count: 0,
            elapsed: Duration::ZERO,
        });
        report.count += 1;
        report.elapsed += elapsed;
        if let (Step::Index | Step::Constraint | Step::ForeignKey, Some(table)) = (step, table) {
            self.table(Some(table.clone())).add_indexing(elapsed);
        }
    }

    fn table(&mut self, table: Option<TableId>) -> &mut Totals {
        self.tables.entry(table).or_default()
    }
}

impl Running {
    fn advance(&mut self, slice: u32, rows: u64, bytes: u64, now: Instant) {
        if self.void {
            self.slices.clear();
            self.void = false;
        }
        let tally = self.slices.entry(slice).or_default();
        tally.rows += rows;
        tally.bytes += bytes;
        tally.elapsed += now.saturating_duration_since(self.last);
        self.last = now;
        self.last_slice = slice;
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        if !self.void {
            for tally in self.slices.values() {
                total.rows += tally.rows;
                total.bytes += tally.bytes;
            }
        }
        total
    }

    /// How much of the part is copied, from 0 to 1. Rows tell better than bytes, which differ
    /// between the disk and the wire.
    fn fraction(&self, total: Tally) -> f64 {
        let share = |have: u64, of: u64| (of > 0).then(|| (have as f64 / of as f64).min(1.0));
        share(total.rows, self.part.rows)
            .or_else(|| share(total.bytes, self.part.bytes))
            .unwrap_or_default()
    }
}

/// A part's share of the work; never nothing, so that empty parts count too.
fn weight(part: &Part) -> f64 {
    part.bytes.max(1) as f64
}

/// What a part's slices are about.
fn subjects(part: &Part) -> Vec<(Option<TableId>, Option<Encoding>)> {
    match part.slices() {
        [] => vec![(None, None)],
        slices => slices
            .iter()
            .map(|slice| (Some(slice.table.clone()), Some(slice.encoding)))
            .collect(),
    }
}
