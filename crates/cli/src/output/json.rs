//! Events as JSON lines on standard output, one object a line, each with its `event`.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use pghaul_stage::{Event, Observer, PartId};
use serde::Serialize;
use serde_json::{Value, json};

/// How often a running part reports its progress at most.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Writes each event as one line of JSON.
#[derive(Debug, Default)]
pub(super) struct JsonLines {
    /// Named in every line, where there are several.
    database: Option<String>,
    running: Mutex<HashMap<PartId, Running>>,
}

#[derive(Debug)]
struct Running {
    rows: u64,
    bytes: u64,
    said: Instant,
}

/// Prints one object as a line that begins with the time, without having all of it in memory: it
/// may list every table. A reader that went away is no error.
pub(crate) fn print(value: &impl Serialize) {
    let mut out = Stamped {
        out: BufWriter::new(io::stdout().lock()),
        stamped: false,
    };
    let written = serde_json::to_writer(&mut out, value).map_err(io::Error::from);
    drop(
        written
            .and_then(|()| writeln!(out))
            .and_then(|()| out.flush()),
    );
}

/// Puts the time in front of the first key of an object.
struct Stamped<W> {
    out: W,
    stamped: bool,
}

impl<W: Write> Write for Stamped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes.strip_prefix(b"{") {
            Some(rest) if !self.stamped => {
                self.stamped = true;
                let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
                write!(self.out, "{{\"time\":\"{now}\",")?;
                self.out.write_all(rest)?;
                Ok(bytes.len())
            }
            _ => self.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// An object that says which database it is about, where there are several.
pub(crate) fn of_database(mut value: Value, database: Option<&str>) -> Value {
    if let (Some(database), Some(fields)) = (database, value.as_object_mut()) {
        fields.insert("database".to_owned(), json!(database));
    }
    value
}

impl JsonLines {
    /// The events of one database among several.
    pub(super) fn of(database: &str) -> Self {
        Self {
            database: Some(database.to_owned()),
            ..Self::default()
        }
    }

    /// The line for an event; `None` where progress was told a moment ago.
    fn line(&self, event: &Event<'_>) -> Option<Value> {
        let mut running = self.running.lock().ok()?;
        Some(match event {
            Event::Planned { parts, durable } => json!({
                "event": "planned",
                "parts": parts.len(),
                "durable_parts": durable.len(),
                "rows_estimate": parts.iter().map(|part| part.rows).sum::<u64>(),
                "bytes_estimate": parts.iter().map(|part| part.bytes).sum::<u64>(),
            }),
            Event::PartStarted { part, attempt } => {
                running.insert(
                    part.id,
                    Running {
                        rows: 0,
                        bytes: 0,
                        said: Instant::now(),
                    },
                );
                json!({
                    "event": "part_started", "part": part.id, "subject": part.to_string(),
                    "attempt": attempt,
                })
            }
            Event::PartProgress {
                part, rows, bytes, ..
            } => {
                let run = running.get_mut(part)?;
                run.rows += rows;
                run.bytes += bytes;
                if run.said.elapsed() < PROGRESS_EVERY {
                    return None;
                }
                run.said = Instant::now();
                json!({
                    "event": "part_progress", "part": part, "rows": run.rows, "bytes": run.bytes,
                })
            }
            Event::PartRetried { part, error, pause } => json!({
                "event": "part_retried", "part": part.id, "subject": part.to_string(),
                "error": error.to_string(), "sqlstate": error.code(),
                "pause_seconds": pause.as_secs_f64(),
            }),
            Event::PartDone {
                part,
                rows,
                bytes,
                elapsed,
            } => {
                running.remove(&part.id);
                json!({
                    "event": "part_done", "part": part.id, "subject": part.to_string(),
                    "rows": rows, "bytes": bytes, "seconds": elapsed.as_secs_f64(),
                })
            }
            Event::PartFailed { part, error } => json!({
                "event": "part_failed", "part": part.id, "subject": part.to_string(),
                "error": error.to_string(), "sqlstate": error.code(),
            }),
            Event::PartElsewhere { part } => json!({
                "event": "part_elsewhere", "part": part.id, "subject": part.to_string(),
            }),
            Event::StepStarted {
                step,
                subject,
                table,
            } => json!({
                "event": "step_started", "step": step, "subject": subject, "table": table,
            }),
            Event::StepDone {
                step,
                subject,
                table,
                elapsed,
            } => json!({
                "event": "step_done", "step": step, "subject": subject, "table": table,
                "seconds": elapsed.as_secs_f64(),
            }),
            Event::Omitted(omission) => json!({
                "event": "omitted", "object": omission.object, "reason": omission.reason,
                "remedy": omission.remedy, "scope": omission.scope,
            }),
            Event::Notice { severity, message } => json!({
                "event": "notice", "severity": severity, "message": message,
            }),
            _ => return None,
        })
    }
}

impl Observer for JsonLines {
    fn observe(&self, event: &Event<'_>) {
        if let Some(line) = self.line(event) {
            print(&of_database(line, self.database.as_deref()));
        }
    }
}
