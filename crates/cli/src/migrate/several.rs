//! `pghaul migrate` of several databases: each is a migration of its own, and all share the
//! lanes, the builders of indexes, and the turn at what belongs to the server.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use pghaul_load::Cluster;
use pghaul_relay::{Lanes, Progress};
use pghaul_stage::{Error, Kind, Observer, Result, Side};
use pghaul_wire::Conninfo;

use super::{Request, Shared, at_a_time};
use crate::Outcome;
use crate::args::Migrate;
use crate::databases::{One, Row, Several, State};
use crate::report::{self, Migration};
use crate::run_dir::RunDir;
use crate::runbook::Origin;
use crate::running::Running;

/// What is done to each.
const DONE: &str = "migrated";

/// What all databases of a run have in common.
struct Run<'a> {
    args: &'a Migrate,
    source: Conninfo,
    target: Conninfo,
    jobs: usize,
    shared: Shared,
    several: Several<'a>,
}

/// Runs the command.
pub(super) fn run(args: &Migrate, run_dir: Option<&RunDir>) -> Result<Outcome> {
    let jobs = args.copying.jobs();
    let running = Running::begin(
        args.output.output,
        args.writing.report.as_deref(),
        args.copying.trace.as_deref(),
    )?;
    let several = running.of_several(run_dir);
    let mut run = Run {
        args,
        source: args.connections.source()?,
        target: args.connections.target()?,
        jobs,
        shared: Shared {
            lanes: None,
            cluster: Arc::new(Cluster::of_several(args.writing.index_jobs(jobs))),
            comparing: Arc::default(),
            pace: args.copying.pace(),
            databases: 1,
        },
        several,
    };
    run_dir.map_or(Ok(()), |dir| {
        dir.listen(&run.several.cancel, &run.shared.pace)
    })?;
    let choice = args.databases.choose(&run.source, Side::Source);
    let chosen = run.several.until(choice)?;
    chosen.tell(&run.several.screen, args.output.output);
    run.shared.databases = at_a_time(jobs).min(chosen.names.len());
    run.check(&chosen.names)?;

    let lanes = NonZeroUsize::new(jobs).ok_or_else(|| Error::input("no jobs"))?;
    run.shared.lanes = Some(Arc::new(Lanes::start(lanes)?));
    let rows = run.migrate(chosen.names);
    run.several.end(&rows, DONE)
}

impl Run<'_> {
    /// Refuses the whole run if one database could not begin, so that wrong use changes nothing.
    fn check(&self, names: &[String]) -> Result<()> {
        let mut refused = None;
        for name in names {
            let observer = self.several.screen.observer_of(name);
            let request = self.request(name, observer, Arc::default(), false);
            let Err(error) = self.several.until(request.check()) else {
                continue;
            };
            if error.kind() == Kind::Cancelled {
                return Err(error);
            }
            self.several.tell(&error, name);
            // Not only wrong use, if there is anything else.
            if refused.is_none_or(|kind| kind == Kind::Input) {
                refused = Some(error.kind());
            }
        }
        match refused {
            None => Ok(()),
            Some(kind) => Err(Error::new(
                kind,
                "nothing was begun, because not every database can be",
            )
            .remedy("see above, or leave such databases out")),
        }
    }

    /// Migrates all, a few at a time.
    fn migrate(&self, names: Vec<String>) -> Vec<Row> {
        let rows: Vec<Mutex<Row>> = names
            .into_iter()
            .map(|name| Mutex::new(Row::new(name)))
            .collect();
        let next = Mutex::new(rows.iter());
        thread::scope(|scope| {
            for _ in 0..self.shared.databases {
                scope.spawn(|| {
                    // What holds connections may only be dropped where their runtime can be found.
                    let _context = self.several.handle.enter();
                    loop {
                        let row = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(row) = row.filter(|_| !self.several.cancel.is_cancelled()) else {
                            return;
                        };
                        let mut row = row.lock().unwrap_or_else(PoisonError::into_inner);
                        self.several.work(&mut row, |one| self.database(one));
                    }
                });
            }
        });
        rows.into_iter()
            .map(|row| row.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    /// Migrates one.
    fn database(&self, one: &One<'_>) -> Result<State> {
        let observer = Arc::clone(&one.observer);
        let request = self.request(one.name, observer, Arc::clone(&one.progress), true);
        let several = &self.several;
        let Some(finished) = request.migrate(&several.handle, &several.cancel)? else {
            request.note("the migration is already complete; nothing of it is read");
            return self.compare_at_last(&request);
        };
        let written = several.report(&Migration {
            database: Some(one.name),
            finished: &finished,
            origin: Origin::Source(&request.source),
            target: &request.target,
            progress: &one.progress,
            elapsed: one.elapsed(),
        });
        request.destination().lossless().and(written)?;
        Ok(State::of(DONE, finished.outcome()?))
    }

    /// Compares a database that an earlier process of this run had completed, if that is yet to be
    /// done.
    fn compare_at_last(&self, request: &Request<'_>) -> Result<State> {
        let several = &self.several;
        let compared = several.run_dir.map_or(Ok(None), |dir| {
            request.compare_at_last(dir, &several.handle, &several.cancel)
        });
        Ok(match compared? {
            None => State::Complete,
            Some(comparison) => {
                several.screen.report(|| {
                    report::print_comparison(several.form, &comparison, request.database);
                });
                State::of(DONE, Outcome::of(&comparison))
            }
        })
    }

    fn request<'r>(
        &'r self,
        name: &'r str,
        observer: Arc<dyn Observer>,
        progress: Arc<Progress>,
        validated: bool,
    ) -> Request<'r> {
        // What an earlier process of this run had begun is gone on with.
        let run_dir = self.several.run_dir;
        let begun = run_dir.is_some_and(|dir| dir.had_begun(name));
        Request {
            args: self.args,
            resume: self.args.resume || begun,
            overwrite: self.args.overwrite && !begun,
            allow_new_snapshot: self.args.allow_new_snapshot || begun,
            source: self.source.with_dbname(name),
            target: self.target.with_dbname(name),
            jobs: self.jobs,
            selection: self.args.leaving.apply(self.args.selecting.selection()),
            observer,
            shared: self.shared.clone(),
            database: Some(name),
            validated,
            progress,
        }
    }
}
