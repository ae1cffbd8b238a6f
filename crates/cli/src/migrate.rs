//! `pghaul migrate`: opens both ends, runs the plan, verifies, reports.

mod several;

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pghaul_extract::{PgSource, Split};
use pghaul_load::{Cluster, PgTarget, VerifyOptions};
use pghaul_relay::{Cancel, Fanout, Lanes, Link, Options, Pace, Pipeline, Progress};
use pghaul_stage::{
    Catalog, Error, Event, Kind, Observer, Plan, Result, Selection, Severity, Side, Source,
};
use pghaul_wire::Conninfo;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::args::{CopyFormat, Migrate};
use crate::output::Screen;
use crate::report::{Migration, ReportFile};
use crate::runbook::Origin;
use crate::trace::Trace;
use crate::{Outcome, report, signal, verify};

/// Payload bytes that may be under way in all lanes together.
const QUEUES: usize = 32 << 20;

/// Payload bytes that may be under way in one lane.
const LINK: usize = 8 << 20;

/// How long a run may take to end its sessions on either side.
const FAREWELL: Duration = Duration::from_secs(10);

/// Both ends of a migration, ready to run.
pub(crate) struct Ends {
    pub(crate) source: Rows,
    pub(crate) target: Arc<PgTarget>,
    pub(crate) catalog: Catalog,
    pub(crate) plan: Plan,
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
    /// How many databases are open at a time.
    pub(crate) databases: usize,
}

impl Shared {
    /// For the only database.
    fn of_one() -> Self {
        Self {
            lanes: None,
            cluster: Arc::new(Cluster::of_one()),
            comparing: Arc::default(),
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
    pub(crate) comparison: Option<pghaul_load::Report>,
}

/// What carrying out a migration leaves.
struct Done {
    summary: pghaul_relay::Summary,
    carried: BTreeMap<String, u64>,
    comparison: Option<pghaul_load::Report>,
}

impl Finished {
    /// Whether source and target were compared and differ.
    pub(crate) fn differs(&self) -> bool {
        let comparison = self.comparison.as_ref();
        comparison.is_some_and(|comparison| !comparison.is_match())
    }
}

/// Runs the command.
pub(crate) fn run(args: &Migrate) -> Result<Outcome> {
    if args.databases.are_several() {
        return several::run(args);
    }
    let began = Instant::now();
    let progress = Arc::new(Progress::new());
    let screen = Screen::open(args.output.output);
    let file = args.report.as_deref().map(ReportFile::create).transpose()?;
    let trace = args.trace.as_deref().map(Trace::create).transpose()?;
    let mut watchers: Vec<Arc<dyn Observer>> = vec![Arc::clone(&progress) as _, screen.observer()];
    watchers.extend(trace.as_ref().map(Trace::observer));
    let jobs = jobs(args.jobs);
    let request = Request {
        args,
        source: args.connections.source()?,
        target: args.connections.target()?,
        jobs,
        selection: args.leaving.apply(args.selecting.selection()),
        observer: Arc::new(Fanout(watchers)),
        shared: Shared::of_one(),
        database: None,
        validated: false,
        progress: Arc::clone(&progress),
    };
    let cancel = Cancel::new();
    signal::cancel_on_interrupt(cancel.clone());

    let finished = request.migrate(&Handle::current(), &cancel)?;
    let Some(finished) = finished else {
        request.note("the migration is already complete; `pghaul verify` compares both sides");
        return Ok(Outcome::Done);
    };
    drop(screen);

    let migration = Migration {
        database: None,
        finished: &finished,
        origin: Origin::Source(&request.source),
        target: &request.target,
        progress: &progress,
        elapsed: began.elapsed(),
    };
    report::print(args.output.output, &migration);
    if let Some(file) = &file {
        file.add(&migration)?;
    }
    request.destination().lossless()?;
    Ok(if finished.differs() {
        Outcome::Differs
    } else {
        Outcome::Done
    })
}

/// How many databases to have open at a time. Each holds a snapshot, a few connections on either
/// side and its schema in memory until it is complete. So many are enough to keep the lanes busy
/// while the next ones are opened and the last ones get their indexes.
pub(crate) fn at_a_time(jobs: usize) -> usize {
    (2 * jobs).clamp(4, 16)
}

/// How many indexes to build at once.
fn index_jobs(args: &Migrate, jobs: usize) -> usize {
    args.index_jobs.map_or(jobs, usize::from)
}

/// How many things to do at once when the user does not say.
pub(crate) fn jobs(given: Option<u16>) -> usize {
    let processors = || std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    given.map_or_else(|| processors().clamp(2, 8), usize::from)
}

/// What joins reading and writing in each of so many lanes.
pub(crate) fn link(jobs: NonZeroUsize, rate: Option<NonZeroU64>) -> Link {
    let bytes = LINK.min(QUEUES / jobs);
    match rate {
        Some(rate) => Link::Paced {
            bytes,
            pace: Pace::new(rate),
        },
        None => Link::Channel { bytes },
    }
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
            catalog: ends.catalog,
            summary: done.summary,
            comparison: done.comparison,
            carried: done.carried,
        }))
    }

    pub(crate) fn extract_config(
        &self,
        target_version: u32,
        selection: &Selection,
    ) -> pghaul_extract::Config {
        let args = self.args;
        pghaul_extract::Config {
            jobs: u32::try_from(self.jobs).unwrap_or(u32::MAX),
            copy_format: match args.copy_format {
                CopyFormat::Auto => pghaul_extract::CopyFormat::Auto,
                CopyFormat::Binary => pghaul_extract::CopyFormat::Binary,
                CopyFormat::Text => pghaul_extract::CopyFormat::Text,
            },
            split: args
                .split_larger_than
                .map_or(Split::Auto, Split::LargerThan),
            target_version: Some(target_version),
            selection: selection.clone(),
            ..pghaul_extract::Config::default()
        }
    }

    pub(crate) fn load_config(&self) -> pghaul_load::Config {
        pghaul_load::Config {
            index_jobs: index_jobs(self.args, self.jobs),
            more_at_the_end: self.args.index_jobs.is_none(),
            ..pghaul_load::Config::default()
        }
    }

    pub(crate) fn note(&self, message: &str) {
        self.observer.observe(&Event::Notice {
            severity: Severity::Info,
            message,
        });
    }

    fn carry_out(&self, ends: &mut Ends, handle: &Handle, cancel: &Cancel) -> Result<Done> {
        let target = Arc::clone(&ends.target);
        let jobs = NonZeroUsize::new(self.jobs).ok_or_else(|| Error::input("no jobs"))?;
        let mut runner = Pipeline::from(ends.source.stage())
            .link(link(jobs, self.args.rate_limit))
            .to(target, handle.clone())
            .options(Options {
                jobs,
                ..Options::default()
            })
            .observer(Arc::clone(&self.observer))
            .cancel(cancel.clone());
        if let Some(lanes) = &self.shared.lanes {
            runner = runner.lanes(Arc::clone(lanes));
        }
        let summary = runner.run(&ends.catalog, &ends.plan)?;
        drop(runner);
        let carried = ends.target.carried();
        ends.forget();
        if !self.args.verify {
            return Ok(Done {
                summary,
                carried,
                comparison: None,
            });
        }
        let options = VerifyOptions {
            jobs: self.jobs,
            source_snapshot: ends.source.snapshot(),
            selection: ends.catalog.selection.clone(),
            ..VerifyOptions::default()
        };
        let comparison = async {
            let _turn = self.shared.comparing.lock().await;
            verify::compare(self, options).await
        };
        let comparison = handle.block_on(cancel.until(comparison))?;
        Ok(Done {
            summary,
            carried,
            comparison: Some(comparison),
        })
    }
}

impl Ends {
    /// Lets go of what describes each table, which nothing needs once all is on the target;
    /// comparing takes the room again.
    fn forget(&mut self) {
        self.plan.parts = Vec::new();
        self.catalog = Catalog {
            server: self.catalog.server.clone(),
            database: self.catalog.database.clone(),
            selection: self.catalog.selection.clone(),
            ..Catalog::default()
        };
        // Neither has another owner by now; if it had, its memory would be used for longer.
        if let Rows::Open(source) = &mut self.source {
            Arc::get_mut(source).into_iter().for_each(PgSource::forget);
        }
        let target = Arc::get_mut(&mut self.target);
        target.into_iter().for_each(PgTarget::forget_schema);
    }

    /// Leaves both servers as if this run had no sessions there, however it went.
    async fn end<T>(&self, result: Result<T>) -> Result<T> {
        // The holder of the snapshot must have lived until here, or rows may be missing.
        let closed = self.source.close().await;
        farewell(Side::Source, self.source.abandon()).await;
        farewell(Side::Target, self.target.abandon()).await;
        result.and_then(|done| closed.map(|()| done))
    }
}

/// Ends a run's sessions on one side. All work is done by then, so a failure is only told.
pub(crate) async fn farewell(side: Side, ending: impl Future<Output = Result<()>>) {
    match tokio::time::timeout(FAREWELL, ending).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "sessions may be left on the {side}"),
        Err(_) => tracing::warn!("sessions may be left on the {side}"),
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
