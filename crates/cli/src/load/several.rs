//! `pghaul load` of several databases: one after the other, each from its spool into the database of
//! its name, while an extraction may still be going on.

use std::sync::Arc;
use std::time::Instant;

use pghaul_load::Cluster;
use pghaul_relay::Pace;
use pghaul_spool::{Role, Spool, Worker};
use pghaul_stage::{Error, Kind, Result, Side};
use pghaul_wire::Conninfo;

use super::{Loading, POLL};
use crate::Outcome;
use crate::args::Load;
use crate::databases::{Chosen, One, Row, Several, State};
use crate::report::{self, Migration};
use crate::runbook::Origin;

/// What is done to each.
const DONE: &str = "loaded";

/// What the loads have in common.
struct Run<'a> {
    args: &'a Load,
    target: Conninfo,
    pace: Pace,
    cluster: Arc<Cluster>,
    worker: Worker,
    several: Several<'a>,
}

/// Runs the command.
pub(super) fn run(
    args: &Load,
    target: Conninfo,
    list: &Arc<Spool>,
    pace: Pace,
    several: Several<'_>,
) -> Result<Outcome> {
    if args.help_others {
        return Err(Error::input("others can help with one database only").remedy(
            "name the place of its spool, which `pghaul spool ls` shows, and the database in the \
             connection string",
        ));
    }
    let worker = several.until(Worker::enter(Arc::clone(list), Role::Load))?;
    let index_jobs = args.writing.index_jobs(args.copying.jobs());
    let run = Run {
        args,
        target,
        pace,
        cluster: Arc::new(Cluster::of_several(index_jobs)),
        worker,
        several,
    };
    let several = &run.several;
    let listed = run.awaited(
        async || list.databases().await,
        || {
            Error::new(Kind::Permanent, "it does not say which databases it is of")
                .at(Side::Source)
                .on(format!("the spool {}", list.place()))
                .remedy("go on with `pghaul extract --resume`, then load")
        },
    );
    let chosen = several.until(listed).map(Chosen::again)?;
    chosen.tell(&several.screen, several.form);
    let mut rows: Vec<Row> = chosen.names.into_iter().map(Row::new).collect();
    for (row, number) in rows.iter_mut().zip(1..) {
        if several.cancel.is_cancelled() {
            break;
        }
        several.work(row, |one| run.database(one, number));
    }
    several.handle.block_on(run.worker.leave());
    run.several.end(&rows, DONE)
}

impl Run<'_> {
    /// Asks for something until it is there, as long as somebody extracts who can bring it about, or
    /// may still begin to.
    async fn awaited<T>(
        &self,
        ask: impl AsyncFn() -> Result<Option<T>>,
        missing: impl FnOnce() -> Error,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            let may_come =
                self.worker.anyone(Role::Extract).await? || began.elapsed() < self.args.patience();
            match ask().await? {
                Some(answer) => return Ok(answer),
                None if may_come => tokio::time::sleep(POLL).await,
                None => return Err(missing()),
            }
        }
    }

    /// Loads one.
    fn database(&self, one: &One<'_>, number: usize) -> Result<State> {
        let (args, several) = (self.args, &self.several);
        let place = args.place.of_database(number);
        let spool = self.awaited(async || place.find().await, || {
            Error::new(Kind::Permanent, "its extraction has not begun, and no process that extracts gives a sign of life")
                .at(Side::Source)
                .on(format!("the spool {}", place.spool))
                .remedy("go on with `pghaul extract --resume`, then load with --resume")
        });
        let loading = Loading {
            args,
            spool: several.until(spool)?,
            database: Some(one.name),
            target: self.target.with_dbname(one.name),
            jobs: args.copying.jobs(),
            pace: self.pace.clone(),
            observer: Arc::clone(&one.observer),
            progress: Arc::clone(&one.progress),
            cluster: Arc::clone(&self.cluster),
        };
        let Some(finished) = loading.load(&several.handle, &several.cancel)? else {
            if !args.verify {
                return Ok(State::Complete);
            }
            let comparison = loading.compare_at_last(&several.handle, &several.cancel)?;
            several.screen.report(|| {
                report::print_comparison(several.form, &comparison, Some(one.name));
            });
            return Ok(match Outcome::of(&comparison) {
                Outcome::Done => State::Complete,
                _ => State::Differs,
            });
        };
        let written = several.report(&Migration {
            database: Some(one.name),
            finished: &finished,
            origin: Origin::Spool(&args.place.spool),
            target: &loading.target,
            progress: &one.progress,
            elapsed: one.elapsed(),
        });
        let destination = loading.destination(&finished.catalog.selection);
        destination.lossless().and(written)?;
        Ok(State::of(DONE, finished.outcome()?))
    }
}
