//! Progress as plain lines on standard error, for logs and pipes.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use pghaul_stage::{Event, Observer, Severity};

use super::{bytes, count, duration, rate};
use crate::databases::label;

/// Steps shorter than this are not worth a line, unless they happen once per migration.
const WORTH_A_LINE: Duration = Duration::from_secs(1);

/// How often a line with the total is written while rows flow.
const TOTAL_EVERY: Duration = Duration::from_secs(10);

/// Writes a line for whatever is finished.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// At the beginning of every line, where there are several databases.
    prefix: String,
    total: Mutex<Option<Total>>,
}

#[derive(Debug)]
struct Total {
    began: Instant,
    said: Instant,
    expected: u64,
    rows: u64,
    bytes: u64,
}

impl Observer for Lines {
    fn observe(&self, event: &Event<'_>) {
        if let Some(line) = self.line(event) {
            eprintln!("{}{line}", self.prefix);
        }
    }
}

impl Lines {
    /// The lines of one database among several.
    pub(super) fn of(database: &str) -> Self {
        Self {
            prefix: format!("{}: ", label(database)),
            ..Self::default()
        }
    }

    fn line(&self, event: &Event<'_>) -> Option<String> {
        let mut total = self.total.lock().ok()?;
        match event {
            Event::Planned { parts, durable } => {
                let expected = parts.iter().map(|part| part.bytes).sum();
                let now = Instant::now();
                *total = Some(Total {
                    began: now,
                    said: now,
                    expected,
                    rows: 0,
                    bytes: 0,
                });
                let mut line = format!(
                    "copying {} in {} parts",
                    bytes(expected),
                    count(parts.len() as u64)
                );
                if !durable.is_empty() {
                    line += &format!(", {} of them already durable", count(durable.len() as u64));
                }
                Some(line)
            }
            Event::PartProgress {
                rows, bytes: size, ..
            } => {
                let total = total.as_mut()?;
                total.rows += rows;
                total.bytes += size;
                if total.said.elapsed() < TOTAL_EVERY {
                    return None;
                }
                total.said = Instant::now();
                let elapsed = total.began.elapsed();
                Some(format!(
                    "copied {} rows, {} of about {} ({} rows/s, {}/s)",
                    count(total.rows),
                    bytes(total.bytes),
                    bytes(total.expected),
                    count(rate(total.rows, elapsed)),
                    bytes(rate(total.bytes, elapsed)),
                ))
            }
            Event::PartRetried { part, error, pause } => {
                Some(format!("retrying {part} in {}: {error}", duration(*pause)))
            }
            Event::PartDone {
                part,
                rows,
                bytes: size,
                elapsed,
            } => Some(format!(
                "copied {part}: {} rows, {} in {}",
                count(*rows),
                bytes(*size),
                duration(*elapsed)
            )),
            Event::PartElsewhere { part } => Some(format!("another process copied {part}")),
            Event::StepDone {
                step,
                subject,
                table,
                elapsed,
            } => {
                let once = subject.is_empty() && table.is_none();
                (once || *elapsed >= WORTH_A_LINE).then(|| {
                    let space = if subject.is_empty() { "" } else { " " };
                    format!("{step}{space}{subject}: done in {}", duration(*elapsed))
                })
            }
            Event::Omitted(omission) => Some(format!("not carried over: {omission}")),
            Event::Notice {
                severity: Severity::Warning,
                message,
            } => Some(format!("warning: {message}")),
            Event::Notice {
                severity: Severity::Info,
                message,
            } => Some(format!("note: {message}")),
            _ => None,
        }
    }
}
