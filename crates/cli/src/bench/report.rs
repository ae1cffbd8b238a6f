//! What a benchmark prints.

use std::sync::Arc;
use std::time::Duration;

use pghaul_relay::Summary;
use serde_json::{Value, json};

use super::curve::Point;
use super::timed::Times;
use super::verdict::{Shares, Verdict};
use crate::args::Form;
use crate::output::{bytes, count, duration, print_json, rate, say};

/// Everything a benchmark found.
pub(super) struct Measured {
    /// Which one it was.
    pub(super) bench: &'static str,
    /// What was moved, for people.
    pub(super) workload: String,
    pub(super) jobs: usize,
    /// Of this host.
    pub(super) processors: usize,
    pub(super) summary: Summary,
    pub(super) shares: Shares,
    pub(super) verdict: Verdict,
    /// Processor time by whom; `None` where it cannot be seen.
    pub(super) cpu: Vec<(&'static str, Option<Duration>)>,
    /// How long batches took to be read, and to be accepted.
    pub(super) read: Arc<Times>,
    pub(super) write: Arc<Times>,
    pub(super) curve: Vec<Point>,
    /// Bytes of the files that hold the rows, if there are any.
    pub(super) stored: Option<u64>,
}

impl Measured {
    /// Shares of the time, by name, in the order of the way.
    pub(super) fn waits(&self) -> [(&'static str, f64); 3] {
        let Shares {
            source,
            link,
            target,
        } = self.shares;
        [("source", source), ("link", link), ("target", target)]
    }

    /// What is measured, as names and values for people.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let summary = &self.summary;
        let speed = format!(
            "{} rows/s, {}/s while copying",
            count(rate(summary.rows, summary.copying)),
            bytes(rate(summary.bytes, summary.copying)),
        );
        let mut facts = vec![
            ("benchmark", format!("{} of {}", self.bench, self.workload)),
            (
                "lanes",
                format!("{} on {} processors", self.jobs, self.processors),
            ),
            (
                "moved",
                format!("{} rows, {}", count(summary.rows), bytes(summary.bytes)),
            ),
        ];
        if let Some(stored) = self.stored {
            let share = stored as f64 / (summary.bytes as f64).max(1.0) * 100.0;
            facts.push(("stored", format!("{}, {share:.0} % of that", bytes(stored))));
        }
        facts.extend([
            (
                "time",
                format!(
                    "{}, of it copying {}, completing {}",
                    duration(summary.elapsed),
                    duration(summary.copying),
                    duration(summary.completing)
                ),
            ),
            ("speed", speed),
        ]);
        let cpu = self.cpu.iter().map(|(whose, time)| match time {
            Some(time) => format!("{whose} {:.2} s", time.as_secs_f64()),
            None => format!("{whose} not on this host"),
        });
        facts.push(("processor time", cpu.collect::<Vec<_>>().join(", ")));
        let waits = self.waits();
        let waits = waits.map(|(on, share)| format!("{on} {:.0} %", share * 100.0));
        facts.push(("waiting for", waits.join(", ")));
        for (name, times) in [
            ("a batch read in", &self.read),
            ("a batch written in", &self.write),
        ] {
            let times = times.percentiles();
            let times =
                times.map(|(name, time)| format!("{name} {:.2} ms", time.as_secs_f64() * 1e3));
            facts.push((name, times.join(", ")));
        }
        facts
    }

    fn json(&self) -> Value {
        let summary = &self.summary;
        let copying = summary.copying.as_secs_f64().max(f64::EPSILON);
        let cpu = self.cpu.iter();
        let cpu = cpu.map(|(whose, time)| {
            (
                (*whose).to_owned(),
                json!(time.map(|time| time.as_secs_f64())),
            )
        });
        let waits = self
            .waits()
            .map(|(on, share)| (on.to_owned(), json!(share)));
        json!({
            "event": "bench", "bench": self.bench, "workload": self.workload,
            "jobs": self.jobs, "processors": self.processors,
            "rows": summary.rows, "bytes": summary.bytes, "stored_bytes": self.stored,
            "rows_per_second": summary.rows as f64 / copying,
            "bytes_per_second": summary.bytes as f64 / copying,
            "cpu_seconds": Value::Object(cpu.collect()),
            "waiting": Value::Object(waits.into_iter().collect()),
            "batches": {"read": self.read.json(), "write": self.write.json()},
            "verdict": self.verdict.json(),
            "summary": summary,
        })
    }
}

pub(super) fn print(form: Form, measured: &Measured) {
    if form == Form::Json {
        return print_json(&measured.json());
    }
    for (name, value) in measured.facts() {
        say(&format!("{name:<18}  {value}"));
    }
    say("");
    say(&format!("verdict: {}", measured.verdict.finding));
    say(&format!("advice:  {}", measured.verdict.advice));
}
