//! Progress as bars on a terminal: the total on top, then what runs now.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use pghaul_stage::{Event, Observer, PartId, Severity, Step};

use super::{bytes, count, duration, rate};

const REDRAWS_PER_SECOND: u8 = 8;

/// One bar for the whole, one for each part and step under way.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    total: Option<ProgressBar>,
    parts: HashMap<PartId, Running>,
    steps: HashMap<(Step, String), ProgressBar>,
}

#[derive(Debug)]
struct Running {
    bar: ProgressBar,
    name: String,
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
            state: Mutex::default(),
        }
    }

    fn print(&self, line: &str) {
        drop(self.all.println(line));
    }
}

impl Observer for Bars {
    fn observe(&self, event: &Event<'_>) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        match event {
            Event::Planned { parts, durable } => {
                let done = parts.iter().filter(|part| durable.contains(&part.id));
                let bar = ProgressBar::new(parts.iter().map(|part| part.bytes).sum());
                let bar = self.all.insert(0, bar.with_style(total_style()));
                bar.inc(done.map(|part| part.bytes).sum());
                bar.reset_eta();
                bar.enable_steady_tick(Duration::from_millis(500));
                state.total = Some(bar);
            }
            Event::PartStarted { part, .. } => {
                let bar = ProgressBar::new(part.bytes.max(1)).with_style(part_style());
                let bar = self.all.add(bar);
                let name = shortened(&part.to_string());
                bar.set_prefix(name.clone());
                let running = Running {
                    bar,
                    name,
                    rows: 0,
                    bytes: 0,
                };
                if let Some(old) = state.parts.insert(part.id, running) {
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
                let Some(running) = state.parts.get_mut(part) else {
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
            Event::PartDone {
                part,
                rows,
                bytes: size,
                elapsed,
            } => {
                let Some(running) = state.parts.remove(&part.id) else {
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
                    running.name,
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
                bar.set_message(name);
                bar.enable_steady_tick(Duration::from_millis(250));
                state.steps.insert((*step, (*subject).to_owned()), bar);
            }
            Event::StepDone {
                step,
                subject,
                table,
                elapsed,
            } => {
                if let Some(bar) = state.steps.remove(&(*step, (*subject).to_owned())) {
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
