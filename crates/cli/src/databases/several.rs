//! A command that copies the rows of several databases, while it runs: who watches it, what stops
//! it, and how each of them ends. What happens to one does not stop the others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pghaul_relay::{Cancel, Fanout, Progress};
use pghaul_stage::{Error, Kind, Observer, Omission, Result, Scope};
use serde_json::json;
use tokio::runtime::Handle;

use super::ending::{self, Row, State};
use crate::Outcome;
use crate::args::Form;
use crate::output::{Screen, of_database, print_json};
use crate::report::{self, Migration, ReportFile};
use crate::run_dir::RunDir;
use crate::trace::Trace;

/// What the databases of a command have in common.
pub(crate) struct Several<'a> {
    pub(crate) form: Form,
    pub(crate) screen: Screen,
    pub(crate) run_dir: Option<&'a RunDir>,
    pub(crate) handle: Handle,
    /// Stops them all, as signals do.
    pub(crate) cancel: Cancel,
    pub(crate) began: Instant,
    pub(crate) trace: Option<Trace>,
    pub(crate) report: Option<ReportFile>,
    /// What the target's server lacks, whichever database told it.
    pub(crate) lacking: Mutex<Vec<Omission>>,
}

/// One of them, while it is worked on.
pub(crate) struct One<'a> {
    pub(crate) name: &'a str,
    /// What has happened so far.
    pub(crate) progress: Arc<Progress>,
    /// Who is to be told what happens.
    pub(crate) observer: Arc<dyn Observer>,
    began: Instant,
}

impl One<'_> {
    /// How long it takes so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Several<'_> {
    /// Waits for something, unless all is stopped.
    ///
    /// # Errors
    ///
    /// Its own, and kind cancelled.
    pub(crate) fn until<T>(&self, what: impl Future<Output = Result<T>>) -> Result<T> {
        self.handle.block_on(self.cancel.until(what))
    }

    /// Has the work of one database done, and tells how it ended.
    pub(crate) fn work(&self, row: &mut Row, work: impl FnOnce(&One<'_>) -> Result<State>) {
        let name = row.name.as_str();
        let progress = Arc::new(Progress::new());
        let mut watchers: Vec<Arc<dyn Observer>> =
            vec![Arc::clone(&progress) as _, self.screen.observer_of(name)];
        watchers.extend(self.trace.as_ref().map(|trace| trace.observer_of(name)));
        let one = One {
            name,
            observer: Arc::new(Fanout(watchers)),
            progress,
            began: Instant::now(),
        };
        if self.form == Form::Json {
            let line = json!({ "event": "database_started" });
            print_json(&of_database(line, Some(name)));
        }
        let watched = self
            .run_dir
            .map(|dir| dir.watch(name, Arc::clone(&one.progress)));
        let result = work(&one);
        drop(watched);
        self.note_lacking(&one.progress);
        let state = match result {
            Ok(state) => state,
            Err(error) if error.kind() == Kind::Cancelled => State::Stopped,
            Err(error) => {
                self.tell(&error, name);
                State::Failed
            }
        };
        let copied = one.progress.snapshot();
        let (rows, bytes, elapsed) = (copied.rows, copied.bytes, one.elapsed());
        (row.state, row.rows, row.bytes, row.elapsed) = (state, rows, bytes, elapsed);
        if self.form == Form::Json {
            let mut line = row.line();
            line["event"] = json!("database_ended");
            print_json(&line);
        }
    }

    /// Prints the report of one that arrived, and adds it to the file.
    ///
    /// # Errors
    ///
    /// Kind input if the file cannot be written.
    pub(crate) fn report(&self, migration: &Migration<'_>) -> Result<()> {
        let mut written = Ok(());
        self.screen.report(|| {
            report::print(self.form, migration);
            if let Some(file) = &self.report {
                written = file.add(migration);
            }
        });
        written
    }

    /// Says what went wrong with one.
    pub(crate) fn tell(&self, error: &Error, name: &str) {
        self.screen
            .report(|| crate::report(error, self.form, Some(name)));
    }

    /// Takes note of what the server lacks: however this database ended, no other tells it.
    fn note_lacking(&self, progress: &Progress) {
        let mut lacking = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        for omission in progress.omissions() {
            if omission.scope == Scope::Server && !lacking.contains(&omission) {
                lacking.push(omission);
            }
        }
    }

    /// Prints how all of them ended, where `done` is what was to be done to each.
    ///
    /// # Errors
    ///
    /// Kind cancelled if they were stopped; kind input if the file of the report cannot be written.
    pub(crate) fn end(self, rows: &[Row], done: &'static str) -> Result<Outcome> {
        drop(self.screen);
        let lacking = self.lacking.into_inner();
        let lacking = lacking.unwrap_or_else(PoisonError::into_inner);
        ending::print(self.form, rows, &lacking, self.began.elapsed(), done);
        if let Some(file) = self.report.filter(|_| !lacking.is_empty()) {
            file.add_server(&lacking)?;
        }
        let any = |wanted: &[State]| rows.iter().any(|row| wanted.contains(&row.state));
        if any(&[State::Stopped, State::NotBegun]) {
            return Err(
                Error::new(Kind::Cancelled, "stopped on request").remedy("run again with --resume")
            );
        }
        Ok(if any(&[State::Failed]) {
            Outcome::Failed
        } else if any(&[State::Differs]) {
            Outcome::Differs
        } else {
            Outcome::Done
        })
    }
}
