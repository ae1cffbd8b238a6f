//! A command that copies rows, while it runs: who watches it, what stops it, and its report.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pghaul_relay::{Cancel, Fanout, Progress, Summary};
use pghaul_spool::Spool;
use pghaul_stage::{Observer, Result};
use pghaul_wire::Conninfo;
use tokio::runtime::Handle;

use crate::args::Form;
use crate::databases::Several;
use crate::migrate::Finished;
use crate::output::Screen;
use crate::report::{self, Migration, ReportFile};
use crate::run_dir::RunDir;
use crate::runbook::Origin;
use crate::signal;
use crate::trace::Trace;

/// What surrounds one database that is copied.
pub(crate) struct Running {
    form: Form,
    began: Instant,
    screen: Screen,
    report: Option<ReportFile>,
    /// It is written for as long as this lives.
    trace: Option<Trace>,
    /// What has happened so far.
    pub(crate) progress: Arc<Progress>,
    /// Who is to be told what happens.
    pub(crate) observer: Arc<dyn Observer>,
    /// Stops it, as signals do.
    pub(crate) cancel: Cancel,
}

impl Running {
    /// Begins to watch, and creates the files that the user asked for.
    ///
    /// # Errors
    ///
    /// Kind input if one of them cannot be written.
    pub(crate) fn begin(form: Form, report: Option<&Path>, trace: Option<&Path>) -> Result<Self> {
        let began = Instant::now();
        let progress = Arc::new(Progress::new());
        let screen = Screen::open(form);
        let report = report.map(ReportFile::create).transpose()?;
        let trace = trace.map(Trace::create).transpose()?;
        let mut watchers: Vec<Arc<dyn Observer>> =
            vec![Arc::clone(&progress) as _, screen.observer()];
        watchers.extend(trace.as_ref().map(Trace::observer));
        let cancel = Cancel::new();
        signal::cancel_on_interrupt(cancel.clone());
        Ok(Self {
            form,
            began,
            screen,
            report,
            trace,
            progress,
            observer: Arc::new(Fanout(watchers)),
            cancel,
        })
    }

    /// Waits for something, unless it is stopped.
    ///
    /// # Errors
    ///
    /// Its own, and kind cancelled.
    pub(crate) fn until<T>(&self, what: impl Future<Output = Result<T>>) -> Result<T> {
        Handle::current().block_on(self.cancel.until(what))
    }

    /// What surrounds several databases, once it is known that there are.
    pub(crate) fn of_several(self, run_dir: Option<&RunDir>) -> Several<'_> {
        Several {
            form: self.form,
            screen: self.screen,
            run_dir,
            handle: Handle::current(),
            cancel: self.cancel,
            began: self.began,
            trace: self.trace,
            report: self.report,
            lacking: Mutex::default(),
        }
    }

    /// Prints the report of a migration that ended, and writes the file.
    ///
    /// # Errors
    ///
    /// Kind input if it cannot be written.
    pub(crate) fn report(
        self,
        finished: &Finished,
        origin: Origin<'_>,
        target: &Conninfo,
    ) -> Result<()> {
        drop(self.screen);
        let migration = Migration {
            database: None,
            finished,
            origin,
            target,
            progress: &self.progress,
            elapsed: self.began.elapsed(),
        };
        report::print(self.form, &migration);
        self.report.map_or(Ok(()), |file| file.add(&migration))
    }

    /// Prints the report of an extraction that ended.
    pub(crate) fn report_extraction(self, summary: &Summary, spool: &Spool) {
        drop(self.screen);
        let elapsed = self.began.elapsed();
        report::print_extraction(self.form, None, &self.progress, summary, spool, elapsed);
    }
}
