//! `pghaul migrate`: opens both ends, runs the plan, verifies, reports.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pghaul_extract::{PgSource, Split};
use pghaul_load::{PgTarget, VerifyOptions};
use pghaul_relay::{Cancel, Fanout, Link, Options, Pipeline, Progress};
use pghaul_stage::{Catalog, Error, Event, Kind, Observer, Plan, Result, Severity, Side, Source};
use pghaul_wire::Conninfo;
use tokio::runtime::Handle;

use crate::args::{CopyFormat, Migrate};
use crate::output::Screen;
use crate::report::Migration;
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
    pub(crate) observer: Arc<dyn Observer>,
}

/// Runs the command.
pub(crate) fn run(args: &Migrate) -> Result<Outcome> {
    let began = Instant::now();
    let progress = Arc::new(Progress::new());
    let screen = Screen::open(args.output.output);
    let trace = args.trace.as_deref().map(Trace::create).transpose()?;
    let mut watchers: Vec<Arc<dyn Observer>> = vec![Arc::clone(&progress) as _, screen.observer()];
    watchers.extend(trace.as_ref().map(Trace::observer));
    let request = Request {
        args,
        source: args.connections.source()?,
        target: args.connections.target()?,
        jobs: jobs(args.jobs),
        observer: Arc::new(Fanout(watchers)),
    };
    let handle = Handle::current();
    let cancel = Cancel::new();
    signal::cancel_on_interrupt(cancel.clone());

    let started = handle.block_on(cancel.until(request.start()))?;
    let Some(ends) = started else {
        request.note("the migration is already complete; `pghaul verify` compares both sides");
        return Ok(Outcome::Done);
    };
    let result = request.carry_out(&ends, &handle, &cancel);
    let ended = handle.block_on(ends.end(result)).inspect_err(|error| {
        if error.kind() != Kind::Fenced {
            request.note("what is done is kept: `pghaul migrate --resume` goes on from there");
        }
    });
    let (summary, comparison) = ended?;
    drop(screen);

    report::print(
        args.output.output,
        &Migration {
            catalog: &ends.catalog,
            progress: &progress,
            summary: &summary,
            comparison: comparison.as_ref(),
            elapsed: began.elapsed(),
        },
    );
    let differs = comparison.is_some_and(|comparison| !comparison.is_match());
    Ok(if differs {
        Outcome::Differs
    } else {
        Outcome::Done
    })
}

/// How many things to do at once when the user does not say.
pub(crate) fn jobs(given: Option<u16>) -> usize {
    let processors = || std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    given.map_or_else(|| processors().clamp(2, 8), usize::from)
}

impl Request<'_> {
    pub(crate) fn extract_config(&self, target_version: u32) -> pghaul_extract::Config {
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
            ..pghaul_extract::Config::default()
        }
    }

    pub(crate) fn load_config(&self) -> pghaul_load::Config {
        pghaul_load::Config {
            index_jobs: self.args.index_jobs.map_or(self.jobs, usize::from),
            ..pghaul_load::Config::default()
        }
    }

    pub(crate) fn note(&self, message: &str) {
        self.observer.observe(&Event::Notice {
            severity: Severity::Info,
            message,
        });
    }

    fn carry_out(
        &self,
        ends: &Ends,
        handle: &Handle,
        cancel: &Cancel,
    ) -> Result<(pghaul_relay::Summary, Option<pghaul_load::Report>)> {
        let target = Arc::clone(&ends.target);
        let jobs = NonZeroUsize::new(self.jobs).ok_or_else(|| Error::input("no jobs"))?;
        let bytes = LINK.min(QUEUES / jobs);
        let summary = Pipeline::from(ends.source.stage())
            .link(Link::Channel { bytes })
            .to(target, handle.clone())
            .options(Options {
                jobs,
                ..Options::default()
            })
            .observer(Arc::clone(&self.observer))
            .cancel(cancel.clone())
            .run(&ends.catalog, &ends.plan)?;
        if !self.args.verify {
            return Ok((summary, None));
        }
        let options = VerifyOptions {
            jobs: self.jobs,
            source_snapshot: ends.source.snapshot(),
            ..VerifyOptions::default()
        };
        let comparison = verify::compare(self, options);
        Ok((summary, Some(handle.block_on(cancel.until(comparison))?)))
    }
}

impl Ends {
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
async fn farewell(side: Side, ending: impl Future<Output = Result<()>>) {
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
