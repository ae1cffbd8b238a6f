//! `pghaul migrate`: opens both ends, runs the plan, verifies, reports.

mod several;

use std::collections::BTreeMap;
use std::sync::Arc;

use pghaul_extract::PgSource;
use pghaul_load::{Cluster, VerifyOptions};
use pghaul_relay::{Cancel, Lanes, Pace, Progress};
use pghaul_stage::{Catalog, Kind, Observer, Result, Selection, Side, Source};
use pghaul_wire::Conninfo;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::args::{Form, Migrate};
use crate::copying::farewell;
use crate::destination::Prepared;
use crate::output::{note, print_json};
use crate::run_dir::RunDir;
use crate::runbook::Origin;
use crate::running::Running;
use crate::{Outcome, report, verify};

/// Both ends of a migration, ready to run.
pub(crate) struct Ends {
    pub(crate) source: Rows,
    pub(crate) to: Prepared,
}

/// Where rows still come from.
pub(crate) enum Rows {
    /// The source, under a snapshot of its own.
    Open(Arc<PgSource>),
    /// Nowhere: every row is on the target already.
    Settled(Arc<pghaul_extract::Settled>),
}

/// What starting a migration needs to know.
pub(crate) struct Request<'a> {
    pub(crate) args: &'a Migrate,
    pub(crate) source: Conninfo,
    pub(crate) target: Conninfo,
    pub(crate) jobs: usize,
    /// Whether to go on with what the target holds, and to drop it first.
    pub(crate) resume: bool,
    pub(crate) overwrite: bool,
    pub(crate) allow_new_snapshot: bool,
    /// What the flags select; a migration that is resumed has one of its own.
    pub(crate) selection: Selection,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) shared: Shared,
    /// The database's name, where it is one of several.
    pub(crate) database: Option<&'a str>,
    /// Whether both ends have been validated already.
    pub(crate) validated: bool,
    /// What has happened so far.
    pub(crate) progress: Arc<Progress>,
}

/// What the migrations of several databases share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Where parts are copied; lanes of its own if there are none to share.
    pub(crate) lanes: Option<Arc<Lanes>>,
    /// What belongs to the target's server.
    pub(crate) cluster: Arc<Cluster>,
    /// The turn at comparing, which uses as many connections as copying.
    pub(crate) comparing: Arc<Mutex<()>>,
    /// How fast all of them together may copy.
    pub(crate) pace: Pace,
    /// How many databases are open at a time.
    pub(crate) databases: usize,
}

impl Shared {
    /// For the only database.
    fn of_one(pace: Pace) -> Self {
        Self {
            lanes: None,
            cluster: Arc::new(Cluster::of_one()),
            comparing: Arc::default(),
            pace,
            databases: 1,
        }
    }
}

/// A migration that is done.
pub(crate) struct Finished {
    /// Objects that are on the target, by kind.
    pub(crate) carried: BTreeMap<String, u64>,
    pub(crate) catalog: Catalog,
    pub(crate) summary: pghaul_relay::Summary,
    pub(crate) compared: Compared,
}

/// What carrying out a migration leaves.
struct Done {
    summary: pghaul_relay::Summary,
    carried: BTreeMap<String, u64>,
    compared: Compared,
}

/// What came of comparing both sides; nothing if that was not asked for. A migration is done even if
/// they cannot be compared, and has to be reported.
pub(crate) type Compared = Option<Result<pghaul_load::Report>>;

impl Finished {
    /// What differs, if that is known.
    pub(crate) fn comparison(&self) -> Option<&pghaul_load::Report> {
        self.compared.as_ref()?.as_ref().ok()
    }

    /// How a command ends that did this.
    ///
    /// # Errors
    ///
    /// When both sides were to be compared and could not be.
    pub(crate) fn outcome(self) -> Result<Outcome> {
        let comparison = self.compared.transpose()?;
        Ok(comparison.as_ref().map_or(Outcome::Done, Outcome::of))
    }
}

/// Runs the command.
pub(crate) fn run(args: &Migrate, run_dir: Option<&RunDir>) -> Result<Outcome> {
    if args.databases.are_several() {
        return several::run(args, run_dir);
    }
    let running = Running::begin(
        args.output.output,
        args.writing.report.as_deref(),
        args.copying.trace.as_deref(),
    )?;
    let (source, pace) = (args.connections.source()?, args.copying.pace());
    let begun = run_dir.is_some_and(|run| run.had_begun(source.dbname()));
    let request = Request {
        args,
        source,
        target: args.connections.target()?,
        jobs: args.copying.jobs(),
        resume: args.resume || begun,
        overwrite: args.overwrite && !begun,
        allow_new_snapshot: args.allow_new_snapshot || begun,
        selection: args.leaving.apply(args.selecting.selection()),
        observer: Arc::clone(&running.observer),
        shared: Shared::of_one(pace.clone()),
        database: None,
        validated: false,
        progress: Arc::clone(&running.progress),
    };
    run_dir.map_or(Ok(()), |run| run.listen(&running.cancel, &pace))?;
    let progress = Arc::clone(&running.progress);
    let watched = run_dir.map(|run| run.watch(request.source.dbname(), progress));
    let finished = request.migrate(&Handle::current(), &running.cancel);
    drop(watched);
    let Some(finished) = finished? else {
        if let Some(run_dir) = run_dir
            && let Some(comparison) =
                request.compare_at_last(run_dir, &Handle::current(), &running.cancel)?
        {
            report::print_comparison(args.output.output, &comparison, None);
            return Ok(Outcome::of(&comparison));
        }
        request.note("the migration is already complete; `pghaul verify` compares both sides");
        return Ok(Outcome::Done);
    };
    running.report(&finished, Origin::Source(&request.source), &request.target)?;
    request.destination().lossless()?;
    finished.outcome()
}

/// How many databases to have open at a time. Each holds a snapshot, a few connections on either
/// side and its schema in memory until it is complete. So many are enough to keep the lanes busy
/// while the next ones are opened and the last ones get their indexes.
pub(crate) fn at_a_time(jobs: usize) -> usize {
    (2 * jobs).clamp(4, 16)
}

impl Request<'_> {
    /// Migrates the database, from whatever state its target is in; `None` if it was complete
    /// already. Blocks; call it from a thread that may.
    pub(crate) fn migrate(&self, handle: &Handle, cancel: &Cancel) -> Result<Option<Finished>> {
        let started = handle.block_on(cancel.until(self.start()))?;
        let Some(mut ends) = started else {
            return Ok(None);
        };
        let result = self.carry_out(&mut ends, handle, cancel);
        let ended = handle.block_on(ends.end(result)).inspect_err(|error| {
            if error.kind() != Kind::Fenced {
                self.note("what is done is kept: `pghaul migrate --resume` goes on from there");
            }
        });
        let done = ended?;
        Ok(Some(Finished {
            catalog: ends.to.catalog,
            summary: done.summary,
            compared: done.compared,
            carried: done.carried,
        }))
    }

    pub(crate) fn extract_config(
        &self,
        target_version: u32,
        selection: &Selection,
    ) -> pghaul_extract::Config {
        pghaul_extract::Config {
            target_version: Some(target_version),
            ..self.args.reading.config(self.jobs, selection, None)
        }
    }

    pub(crate) fn load_config(&self) -> pghaul_load::Config {
        self.args.writing.config(self.jobs)
    }

    pub(crate) fn note(&self, message: &str) {
        note(&*self.observer, message);
    }

    /// Tells that the target is this migration's from now on, so that whoever runs this again can
    /// go on with it.
    pub(crate) fn begun(&self) {
        if self.args.output.output == Form::Json {
            let database = self.database.unwrap_or(self.source.dbname());
            print_json(&json!({ "event": "begun", "database": database }));
        }
    }

    /// Compares both ends of a migration that an earlier process had completed, and not compared;
    /// `None` if that was not asked for, or is done.
    pub(crate) fn compare_at_last(
        &self,
        run_dir: &RunDir,
        handle: &Handle,
        cancel: &Cancel,
    ) -> Result<Option<pghaul_load::Report>> {
        let database = self.database.unwrap_or(self.source.dbname());
        if !self.args.verify || run_dir.had_compared(database) {
            return Ok(None);
        }
        let options = VerifyOptions {
            jobs: self.jobs,
            selection: self.selection.clone(),
            ..VerifyOptions::default()
        };
        handle
            .block_on(cancel.until(self.compare(options)))
            .map(Some)
    }

    async fn compare(&self, options: VerifyOptions) -> Result<pghaul_load::Report> {
        let _turn = self.shared.comparing.lock().await;
        verify::compare(self, options).await
    }

    fn carry_out(&self, ends: &mut Ends, handle: &Handle, cancel: &Cancel) -> Result<Done> {
        let to = &ends.to;
        let copying = &self.args.copying;
        let mut runner = copying
            .runner(
                ends.source.stage(),
                Arc::clone(&to.target) as _,
                handle,
                self.shared.pace.clone(),
            )?
            .observer(Arc::clone(&self.observer))
            .cancel(cancel.clone());
        if let Some(lanes) = &self.shared.lanes {
            runner = runner.lanes(Arc::clone(lanes));
        }
        let summary = runner.run(&to.catalog, &to.plan)?;
        drop(runner);
        let carried = to.target.carried();
        ends.forget();
        if !self.args.verify {
            return Ok(Done {
                summary,
                carried,
                compared: None,
            });
        }
        let options = VerifyOptions {
            jobs: self.jobs,
            source_snapshot: ends.source.snapshot(),
            selection: ends.to.catalog.selection.clone(),
            ..VerifyOptions::default()
        };
        let comparison = handle.block_on(cancel.until(self.compare(options)));
        if comparison.is_err() {
            self.note("the migration is complete; `pghaul verify` compares both sides");
        }
        Ok(Done {
            summary,
            carried,
            compared: Some(comparison),
        })
    }
}

impl Ends {
    /// Lets go of what describes each table, as [`Prepared::forget`] does.
    fn forget(&mut self) {
        // It has no other owner by now; if it had, its memory would be used for longer.
        if let Rows::Open(source) = &mut self.source {
            Arc::get_mut(source).into_iter().for_each(PgSource::forget);
        }
        self.to.forget();
    }

    /// Leaves both servers as if this run had no sessions there, however it went.
    async fn end<T>(&self, result: Result<T>) -> Result<T> {
        // The holder of the snapshot must have lived until here, or rows may be missing.
        let closed = self.source.close().await;
        farewell(Side::Source, self.source.abandon()).await;
        farewell(Side::Target, self.to.target.abandon()).await;
        result.and_then(|done| closed.map(|()| done))
    }
}

impl Rows {
    fn stage(&self) -> Arc<dyn Source> {
        match self {
            Rows::Open(source) => Arc::clone(source) as _,
            Rows::Settled(source) => Arc::clone(source) as _,
        }
    }

    fn snapshot(&self) -> Option<String> {
        match self {
            Rows::Open(source) => Some(source.snapshot_id().to_owned()),
            Rows::Settled(_) => None,
        }
    }

    async fn close(&self) -> Result<()> {
        match self {
            Rows::Open(source) => source.close().await,
            Rows::Settled(_) => Ok(()),
        }
    }

    async fn abandon(&self) -> Result<()> {
        match self {
            Rows::Open(source) => source.abandon().await,
            Rows::Settled(_) => Ok(()),
        }
    }
}
