//! Progress as bars on a terminal: the total on top, then what runs now.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use pghaul_stage::{Event, Observer, PartId, Severity, Step};

use super::{bytes, count, duration, rate};
use crate::databases::label;

const REDRAWS_PER_SECOND: u8 = 8;

/// One bar for the whole, one for each part and step under way.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    /// At the beginning of names and lines, where there are several databases.
    prefix: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    total: Option<ProgressBar>,
    /// By the database's prefix.
    parts: HashMap<(String, PartId), Running>,
    steps: HashMap<(String, Step, String), ProgressBar>,
}

#[derive(Debug)]
struct Running {
    bar: ProgressBar,
    rows: u64,
    bytes: u64,
}

/// A place for bars on standard error.
pub(super) fn canvas() -> MultiProgress {
    MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND))
}

impl Bars {
    /// Bars in this place.
    pub(super) fn on(all: MultiProgress) -> Self {
        Self {
            all,
            prefix: String::new(),
            state: Arc::default(),
        }
    }

    /// The bars of one database among several, under the same total.
    pub(super) fn of(&self, database: &str) -> Self {
        Self {
            all: self.all.clone(),
            prefix: format!("{}: ", label(database)),
            state: Arc::clone(&self.state),
        }
    }

    fn print(&self, line: &str) {
        drop(self.all.println(format!("{}{line}", self.prefix)));
    }
}

impl Observer for Bars {
    fn observe(&self, event: &Event<'_>) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        match event {
            Event::Planned { parts, durable } => {
                let durable: HashSet<&PartId> = durable.iter().collect();
                let done = parts.iter().filter(|part| durable.contains(&part.id));
                let done: u64 = done.map(|part| part.bytes).sum();
                let whole = parts.iter().map(|part| part.bytes).sum();
                match &state.total {
                    Some(bar) if !bar.is_finished() => {
                        bar.inc_length(whole);
                        bar.inc(done);
                    }
                    _ => {
                        let bar = ProgressBar::new(whole).with_style(total_style());
                        let bar = self.all.insert(0, bar);
                        bar.inc(done);
                        bar.reset_eta();
                        bar.enable_steady_tick(Duration::from_millis(500));
                        state.total = Some(bar);
                    }
                }
            }
            Event::PartStarted { part, .. } => {
                let bar = ProgressBar::new(part.bytes.max(1)).with_style(part_style());
                let bar = self.all.add(bar);
                let name = shortened(&format!("{}{part}", self.prefix));
                bar.set_prefix(name);
                let running = Running {
                    bar,
                    rows: 0,
                    bytes: 0,
                };
                if let Some(old) = state.parts.insert((self.prefix.clone(), part.id), running) {
                    if let Some(total) = &state.total {
                        total.dec(old.bytes);
                    }
                    old.bar.finish_and_clear();
                }
            }
            Event::PartProgress {
                part,
                rows,
                bytes: size,
                ..
            } => {
                let Some(running) = state.parts.get_mut(&(self.prefix.clone(), *part)) else {
                    return;
                };
                running.rows += rows;
                running.bytes += size;
                running.bar.inc(*size);
                let elapsed = running.bar.elapsed();
                running
                    .bar
                    .set_message(format!("{} rows/s", count(rate(running.rows, elapsed))));
                if let Some(total) = &state.total {
                    total.inc(*size);
                }
            }
            Event::PartRetried { part, error, pause } => {
                self.print(&format!("retrying {part} in {}: {error}", duration(*pause)));
            }
            Event::PartElsewhere { part } => {
                if let Some(total) = &state.total {
                    total.inc(part.bytes);
                }
                self.print(&format!("another process copied {part}"));
            }
            Event::PartDone {
                part,
                rows,
                bytes: size,
                elapsed,
            } => {
                let Some(running) = state.parts.remove(&(self.prefix.clone(), part.id)) else {
                    return;
                };
                running.bar.finish_and_clear();
                self.all.remove(&running.bar);
                if let Some(total) = &state.total {
                    // The plan counted the source's disk pages, the copy counts COPY bytes: the
                    // difference is settled here, so that the total ends at its length.
                    total.dec(running.bytes);
                    total.inc(part.bytes);
                    if total
                        .length()
                        .is_some_and(|length| total.position() >= length)
                    {
                        total.finish_and_clear();
                    }
                }
                self.print(&format!(
                    "copied {}: {} rows, {} in {}",
                    shortened(&part.to_string()),
                    count(*rows),
                    bytes(*size),
                    duration(*elapsed)
                ));
            }
            Event::StepStarted { step, subject, .. } => {
                let name = if subject.is_empty() {
                    step.to_string()
                } else {
                    format!("{step} {}", shortened(subject))
                };
                let bar = self
                    .all
                    .add(ProgressBar::new_spinner().with_style(step_style()));
                bar.set_message(format!("{}{name}", self.prefix));
                bar.enable_steady_tick(Duration::from_millis(250));
                let key = (self.prefix.clone(), *step, (*subject).to_owned());
                state.steps.insert(key, bar);
            }
            Event::StepDone {
                step,
                subject,
                table,
                elapsed,
            } => {
                let key = (self.prefix.clone(), *step, (*subject).to_owned());
                if let Some(bar) = state.steps.remove(&key) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                let once = subject.is_empty() && table.is_none();
                if once || *elapsed >= Duration::from_secs(1) {
                    let space = if subject.is_empty() { "" } else { " " };
                    self.print(&format!(
                        "{step}{space}{subject}: done in {}",
                        duration(*elapsed)
                    ));
                }
            }
            Event::Omitted(omission) => self.print(&format!("not carried over: {omission}")),
            Event::Notice { severity, message } => {
                let word = if *severity == Severity::Warning {
                    "warning"
                } else {
                    "note"
                };
                self.print(&format!("{word}: {message}"));
            }
            _ => {}
        }
    }
}

/// At most forty characters of a name, so that bars stay on one line.
fn shortened(name: &str) -> String {
    const WIDTH: usize = 40;
    if name.chars().count() <= WIDTH {
        return name.to_owned();
    }
    name.chars().take(WIDTH - 1).chain(['…']).collect()
}

fn total_style() -> ProgressStyle {
    style("{bar:40.cyan/blue} {percent:>3} %  {size} of about {whole}  {speed}  {left}")
}

fn part_style() -> ProgressStyle {
    style("  {prefix:40} {bar:20.green} {speed} {msg}")
}

fn step_style() -> ProgressStyle {
    style("  {spinner} {msg}  {elapsed}")
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; should one be wrong, plain bars are better than none.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("size", |state: &ProgressState, out: &mut dyn fmt::Write| {
            written(out.write_str(&bytes(state.pos())));
        })
        .with_key(
            "whole",
            |state: &ProgressState, out: &mut dyn fmt::Write| {
                written(out.write_str(&bytes(state.len().unwrap_or(0))));
            },
        )
        .with_key(
            "speed",
            |state: &ProgressState, out: &mut dyn fmt::Write| {
                written(write!(out, "{}/s", bytes(state.per_sec() as u64)));
            },
        )
        .with_key("left", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let done = state.len().is_some_and(|len| state.pos() >= len);
            if !done && state.pos() > 0 {
                written(write!(out, "{} left", duration(state.eta())));
            }
        })
}

/// A bar that cannot be drawn is no reason to fail.
fn written(_: fmt::Result) {}
