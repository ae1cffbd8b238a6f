//! The flight recorder: a timeline of a migration, in a file that trace viewers open.
//!
//! Format: Chrome's trace events as a JSON array, which Perfetto reads. Each lane is two threads,
//! one that reads and one that writes, with the parts they carry and, inside these, what they
//! waited for. Steps such as indexes are on threads of their own, as many as overlap.
//!
//! What is open is all that is kept in memory; what has ended goes to the file at once.

mod file;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pghaul_stage::{Event, Observer, Part, PartId, Result, Severity, Side, Waits};
use serde_json::{Value, json};

use file::File;

use crate::databases::label;

/// Waits of a thread that follow one another become one span, but no longer than this.
const LONGEST: Duration = Duration::from_secs(1);

/// The thread of the whole run.
const RUN: u32 = 0;

/// The first thread of steps; those of lanes are below.
const STEPS: u32 = 10_000;

/// Writes a trace for as long as it lives.
pub(crate) struct Trace(Arc<Recorder>);

/// What observes one database for a [`Trace`].
struct View {
    recorder: Arc<Recorder>,
    /// At the beginning of every name, where there are several databases.
    prefix: String,
}

/// What writes a [`Trace`].
struct Recorder {
    began: Instant,
    file: File,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    over: bool,
    /// Threads that have been given a name.
    named: BTreeSet<u32>,
    /// By the database's prefix.
    parts: HashMap<(String, PartId), Carried>,
    steps: HashMap<String, (u32, Duration)>,
}

/// A part in its lane.
struct Carried {
    lane: u32,
    name: String,
    tables: Vec<String>,
    attempt: u32,
    /// When the attempt began; `None` between two of them.
    began: Option<Duration>,
    /// The waits of the thread that reads, and of the one that writes.
    waits: [Wait; 2],
}

/// Waiting that is not over, as far as is known.
#[derive(Default)]
struct Wait {
    on: Option<&'static str>,
    began: Duration,
    ended: Duration,
    waits: Waits,
}

impl Trace {
    /// Creates the file, or empties it.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let recorder = Recorder {
            began: Instant::now(),
            file: File::create(path)?,
            state: Mutex::default(),
        };
        recorder.name(&mut recorder.lock(), RUN, "pghaul");
        Ok(Self(Arc::new(recorder)))
    }

    /// Who is to be told what happens.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        self.view(String::new())
    }

    /// Who is to be told what happens in one database among several, whose lanes are common.
    pub(crate) fn observer_of(&self, database: &str) -> Arc<dyn Observer> {
        self.view(format!("{}: ", label(database)))
    }

    fn view(&self, prefix: String) -> Arc<dyn Observer> {
        let recorder = Arc::clone(&self.0);
        Arc::new(View { recorder, prefix })
    }
}

/// Ends what is open, and the file.
impl Drop for Trace {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl Observer for View {
    fn observe(&self, event: &Event<'_>) {
        self.recorder.observe(&self.prefix, event);
    }
}

impl Recorder {
    fn observe(&self, prefix: &str, event: &Event<'_>) {
        let key = |part: PartId| (prefix.to_owned(), part);
        let now = self.began.elapsed();
        let mut state = self.lock();
        if state.over {
            return;
        }
        match event {
            Event::PartStarted { part, attempt } => {
                self.start(&mut state, prefix, part, *attempt, now);
            }
            Event::Waited {
                part,
                side,
                waits,
                elapsed,
            } => {
                if let Some(carried) = state.parts.get_mut(&key(*part)) {
                    self.wait(carried, *side, waits, *elapsed, now);
                }
            }
            Event::PartRetried { part, error, .. } => {
                if let Some(carried) = state.parts.get_mut(&key(part.id)) {
                    self.end(carried, part.id, now, json!({"error": error.to_string()}));
                }
            }
            Event::PartDone {
                part, rows, bytes, ..
            } => {
                if let Some(mut carried) = state.parts.remove(&key(part.id)) {
                    let facts = json!({"rows": rows, "bytes": bytes});
                    self.end(&mut carried, part.id, now, facts);
                }
            }
            Event::StepStarted {
                step,
                subject,
                table,
            } => {
                let name = format!("{prefix}{}", step_name(step, subject, *table));
                let thread = free(STEPS, state.steps.values().map(|(thread, _)| *thread));
                self.name(&mut state, thread, &format!("steps {}", thread - STEPS + 1));
                state.steps.insert(name, (thread, now));
            }
            Event::StepDone {
                step,
                subject,
                table,
                ..
            } => {
                let name = format!("{prefix}{}", step_name(step, subject, *table));
                if let Some((thread, began)) = state.steps.remove(&name) {
                    self.span(thread, "step", &name, began, now, json!({}));
                }
            }
            Event::Notice { severity, message } => self.file.line(&json!({
                "name": format!("{prefix}{message}"), "cat": severity_name(*severity), "ph": "i", "s": "g",
                "ts": micros(now), "pid": 1, "tid": RUN,
            })),
            _ => {}
        }
    }

    fn start(&self, state: &mut State, prefix: &str, part: &Part, attempt: u32, now: Duration) {
        let key = (prefix.to_owned(), part.id);
        let carried = match state.parts.remove(&key) {
            Some(carried) => carried,
            None => {
                let lane = free(1, state.parts.values().map(|carried| carried.lane));
                for side in [Side::Source, Side::Target] {
                    let name = match side {
                        Side::Source => format!("lane {lane}, reading"),
                        _ => format!("lane {lane}, writing"),
                    };
                    self.name(state, thread(lane, side), &name);
                }
                let tables = part.slices().iter().map(|slice| slice.table.to_string());
                Carried {
                    lane,
                    name: format!("{prefix}{part}"),
                    tables: tables.collect(),
                    attempt,
                    began: None,
                    waits: Default::default(),
                }
            }
        };
        let carried = Carried {
            attempt,
            began: Some(now),
            waits: [Wait::at(now), Wait::at(now)],
            ..carried
        };
        state.parts.insert(key, carried);
    }

    /// Notes what a thread waited for, if it was more than half of its time.
    fn wait(
        &self,
        carried: &mut Carried,
        side: Side,
        waits: &Waits,
        elapsed: Duration,
        now: Duration,
    ) {
        let lane = carried.lane;
        let [reading, writing] = &mut carried.waits;
        let open = match side {
            Side::Source => reading,
            _ => writing,
        };
        let on = [
            ("source", waits.source),
            ("link", waits.link),
            ("transforms", waits.transforms),
            ("target", waits.target),
        ];
        let on = on.into_iter().find(|(_, wait)| *wait * 2 >= elapsed);
        let on = on.map(|(name, _)| name).filter(|_| !elapsed.is_zero());
        // Spans of a thread must not overlap, not even by the time it takes to come here.
        let began = now.saturating_sub(elapsed).max(open.ended);
        if open.on != on || open.ended.saturating_sub(open.began) >= LONGEST {
            self.close_wait(thread(lane, side), open);
            open.began = began;
        }
        open.on = on;
        open.ended = now;
        open.waits += *waits;
    }

    fn close_wait(&self, thread: u32, open: &mut Wait) {
        let Wait {
            on,
            began,
            ended,
            waits,
        } = std::mem::replace(open, Wait::at(open.ended));
        if let Some(on) = on {
            let name = format!("waiting for {on}");
            let waits = json!({
                "source_seconds": waits.source.as_secs_f64(),
                "link_seconds": waits.link.as_secs_f64(),
                "transforms_seconds": waits.transforms.as_secs_f64(),
                "target_seconds": waits.target.as_secs_f64(),
            });
            self.span(thread, "wait", &name, began, ended, waits);
        }
    }

    /// Ends an attempt.
    fn end(&self, carried: &mut Carried, part: PartId, now: Duration, facts: Value) {
        let Some(began) = carried.began.take() else {
            return;
        };
        let mut facts = facts;
        facts["part"] = json!(part);
        facts["attempt"] = json!(carried.attempt);
        facts["tables"] = json!(carried.tables);
        let sides = [Side::Source, Side::Target];
        for (side, open) in sides.into_iter().zip(&mut carried.waits) {
            let thread = thread(carried.lane, side);
            self.close_wait(thread, open);
            let category = if side == Side::Source { "read" } else { "part" };
            self.span(thread, category, &carried.name, began, now, facts.clone());
        }
    }

    fn finish(&self) {
        let now = self.began.elapsed();
        let mut state = self.lock();
        state.over = true;
        let parts: Vec<_> = state.parts.drain().collect();
        for ((_, part), mut carried) in parts {
            self.end(&mut carried, part, now, json!({"unfinished": true}));
        }
        let steps: Vec<_> = state.steps.drain().collect();
        for (name, (thread, began)) in steps {
            let facts = json!({"unfinished": true});
            self.span(thread, "step", &name, began, now, facts);
        }
        self.span(RUN, "run", "migrate", Duration::ZERO, now, json!({}));
        self.file.close();
    }

    fn name(&self, state: &mut State, thread: u32, name: &str) {
        if state.named.insert(thread) {
            for (what, value) in [
                ("thread_name", json!({"name": name})),
                ("thread_sort_index", json!({"sort_index": thread})),
            ] {
                self.file.line(&json!({
                    "name": what, "ph": "M", "pid": 1, "tid": thread, "args": value,
                }));
            }
        }
    }

    fn span(
        &self,
        thread: u32,
        category: &str,
        name: &str,
        began: Duration,
        ended: Duration,
        facts: Value,
    ) {
        self.file.line(&json!({
            "name": name, "cat": category, "ph": "X", "ts": micros(began),
            "dur": micros(ended.saturating_sub(began)), "pid": 1, "tid": thread, "args": facts,
        }));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    fn at(now: Duration) -> Self {
        Self {
            began: now,
            ended: now,
            ..Self::default()
        }
    }
}

/// The thread of one half of a lane.
fn thread(lane: u32, side: Side) -> u32 {
    lane * 2 - u32::from(side == Side::Source)
}

/// The lowest number from `first` on that is not taken.
fn free(first: u32, taken: impl Iterator<Item = u32>) -> u32 {
    let taken: BTreeSet<u32> = taken.collect();
    let mut number = first;
    while taken.contains(&number) {
        number += 1;
    }
    number
}

fn step_name(
    step: &pghaul_stage::Step,
    subject: &str,
    table: Option<&pghaul_stage::TableId>,
) -> String {
    match (subject, table) {
        ("", None) => step.to_string(),
        (subject, None) => format!("{step} {subject}"),
        ("", Some(table)) => format!("{step} of {table}"),
        (subject, Some(table)) => format!("{step} {subject} of {table}"),
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "note",
        Severity::Warning => "warning",
    }
}

/// The unit of trace files, with nanoseconds behind the point.
fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}
