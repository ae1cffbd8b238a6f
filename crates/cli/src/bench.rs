//! `pghaul bench`: how fast are the source, the link, the target, and all of them together, and
//! which one holds the others up?
//!
//! Rows move through the same pipeline as in a migration. Whatever a benchmark needs on a server
//! is in a database of its own (`bench/scratch.rs`), dropped at the end, however that came.

mod args;
mod cpu;
mod curve;
mod html;
mod report;
mod scratch;
mod spool;
mod timed;
mod verdict;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pghaul_extract::{PgSource, Split};
use pghaul_load::PgTarget;
use pghaul_relay::{Cancel, Link, Options, Pace, Pipeline};
use pghaul_stage::{
    Catalog, Database, Error, Generator, Kind, NullTarget, Plan, Result, RowShape, Side, Silent,
    Source, TableId, Target,
};
use pghaul_wire::Conninfo;
use tokio::runtime::Handle;

pub(crate) use args::Bench;
use args::Common;
use cpu::Watch;
use curve::Curve;
use report::Measured;
use scratch::Scratch;
use timed::{TimedSource, TimedTarget, Times};
use verdict::{Ends, GENERATOR, Shares, Verdict};

use crate::copying::{farewell, jobs};
use crate::{Outcome, signal};

/// Payload bytes that may be under way in one lane.
const LINK: usize = 8 << 20;

/// Parts are no smaller than this, however many lanes there are.
const SMALLEST_PART: u64 = 1 << 20;

/// One benchmark while it runs.
struct Run<'a> {
    name: &'static str,
    common: &'a Common,
    jobs: usize,
    handle: Handle,
    cancel: Cancel,
}

/// What is measured of the way from a source to a target.
struct Way {
    source: Arc<dyn Source>,
    target: Arc<dyn Target>,
    catalog: Catalog,
    plan: Plan,
    ends: Ends,
    /// The databases whose servers take part.
    servers: Vec<(Side, Conninfo)>,
}

/// Runs the command.
pub(crate) fn run(bench: &Bench) -> Result<Outcome> {
    let common = bench.common();
    let run = Run {
        name: bench.name(),
        common,
        jobs: jobs(common.jobs),
        handle: Handle::current(),
        cancel: Cancel::new(),
    };
    signal::cancel_on_interrupt(run.cancel.clone());
    let measured = match bench {
        Bench::Extract(args) => {
            let source = args.connections.source()?;
            match &args.table {
                Some(table) => run.extract_table(&source, &table_id(table)?),
                None => run.with_source(&source, |scratch| run.extract(&scratch.info)),
            }
            .map(one)
        }
        Bench::Link(args) => match &args.spool {
            Some(place) => run.spool(place, args),
            None => run.link().map(one),
        },
        Bench::Load(args) => {
            let target = args.connections.target()?;
            run.with_scratch(&target, Side::Target, |scratch| run.load(&scratch.info))
                .map(one)
        }
        Bench::Migrate(args) => {
            let (source, target) = (args.connections.source()?, args.connections.target()?);
            run.with_source(&source, |from| {
                run.with_scratch(&target, Side::Target, |to| {
                    run.migrate(&from.info, &to.info)
                })
            })
            .map(one)
        }
    }
    .map_err(not_resumable)?;
    for measured in &measured {
        report::print(common.output.output, measured);
    }
    if let Some(path) = &common.html {
        html::write(path, &measured)?;
    }
    Ok(Outcome::Done)
}

/// What most benchmarks find.
fn one(measured: Measured) -> Vec<Measured> {
    vec![measured]
}

/// A benchmark that was stopped is not resumed.
fn not_resumable(error: Error) -> Error {
    if error.kind() == Kind::Cancelled {
        return Error::new(Kind::Cancelled, "stopped on request");
    }
    error
}

impl Run<'_> {
    /// Does something with a scratch database, and drops it afterwards whatever came of it.
    fn with_scratch<T>(
        &self,
        near: &Conninfo,
        side: Side,
        work: impl FnOnce(&Scratch) -> Result<T>,
    ) -> Result<T> {
        let scratch = Scratch::new(near, side);
        // Not cancelled halfway, so that it is known what there is.
        let result = self
            .handle
            .block_on(scratch.create())
            .and_then(|()| work(&scratch));
        let dropped = self.handle.block_on(scratch.remove());
        match (result, dropped) {
            (Ok(done), dropped) => dropped.map(|()| done),
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(left)) => {
                tracing::warn!(error = %left, "a database is left; `pghaul cleanup` removes it");
                Err(error)
            }
        }
    }

    /// As [`Self::with_scratch`], on the source, with a table full of rows.
    fn with_source<T>(
        &self,
        near: &Conninfo,
        work: impl FnOnce(&Scratch) -> Result<T>,
    ) -> Result<T> {
        self.with_scratch(near, Side::Source, |scratch| {
            let (shape, rows) = (self.shape(), self.generator());
            self.wait(async {
                scratch.table(shape, true).await?;
                scratch.fill(&rows).await
            })?;
            work(scratch)
        })
    }

    fn extract(&self, info: &Conninfo) -> Result<Measured> {
        self.open_source(info, self.split(), |source| {
            let plan = self.wait(source.plan())?;
            self.forget(info, Arc::clone(source), plan)
        })
    }

    /// Reads a table of the user's, and nothing else of the plan.
    fn extract_table(&self, info: &Conninfo, table: &TableId) -> Result<Measured> {
        self.open_source(info, Split::Auto, |source| {
            let mut plan = self.wait(source.plan())?;
            for part in &mut plan.parts {
                if let pghaul_stage::Work::Rows(slices) = &mut part.work {
                    let kept = slices.iter().filter(|slice| slice.table == *table);
                    *slices = kept.cloned().collect();
                }
            }
            plan.parts.retain(|part| !part.slices().is_empty());
            if plan.parts.is_empty() {
                return Err(Error::input("there is no such table that holds rows")
                    .at(Side::Source)
                    .on(format!("table {table}"))
                    .remedy("name it as schema.name, as the catalog stores it; a parent of partitions has no rows itself"));
            }
            self.forget(info, Arc::clone(source), plan)
        })
    }

    fn forget(&self, info: &Conninfo, source: Arc<PgSource>, plan: Plan) -> Result<Measured> {
        self.measure(Way {
            source,
            target: Arc::new(NullTarget::new()),
            catalog: Catalog::default(),
            plan,
            ends: Ends {
                source: "the source",
                target: "the null target",
            },
            servers: vec![(Side::Source, info.clone())],
        })
    }

    fn link(&self) -> Result<Measured> {
        let source = self.generator();
        let plan = self.wait(source.plan())?;
        self.measure(Way {
            source: Arc::new(source),
            target: Arc::new(NullTarget::new()),
            catalog: Catalog::default(),
            plan,
            ends: Ends {
                source: GENERATOR,
                target: "the null target",
            },
            servers: Vec::new(),
        })
    }

    fn load(&self, info: &Conninfo) -> Result<Measured> {
        let source = self.generator();
        let scratch = Scratch::known(info, Side::Target);
        self.wait(scratch.table(self.shape(), false))?;
        let catalog = Catalog {
            database: Database {
                owner: info.user().to_owned(),
                encoding: "UTF8".to_owned(),
                connection_limit: -1,
                ..Database::default()
            },
            ..self.wait(source.catalog())?
        };
        let plan = self.wait(source.plan())?;
        self.open_target(info, |target| {
            self.measure(Way {
                source: Arc::new(source),
                target,
                catalog,
                plan,
                ends: Ends {
                    source: GENERATOR,
                    target: "the target",
                },
                servers: vec![(Side::Target, info.clone())],
            })
        })
    }

    fn migrate(&self, from: &Conninfo, to: &Conninfo) -> Result<Measured> {
        self.open_source(from, self.split(), |source| {
            // Roles belong to the whole server, where a benchmark has nothing to create.
            let catalog = Catalog {
                roles: Vec::new(),
                memberships: Vec::new(),
                role_settings: Vec::new(),
                ..self.wait(source.catalog())?
            };
            let plan = self.wait(source.plan())?;
            self.open_target(to, |target| {
                self.measure(Way {
                    source: Arc::clone(source) as _,
                    target,
                    catalog,
                    plan,
                    ends: Ends {
                        source: "the source",
                        target: "the target",
                    },
                    servers: vec![(Side::Source, from.clone()), (Side::Target, to.clone())],
                })
            })
        })
    }

    /// Opens the source, and leaves no session there.
    fn open_source<T>(
        &self,
        info: &Conninfo,
        split: Split,
        work: impl FnOnce(&Arc<PgSource>) -> Result<T>,
    ) -> Result<T> {
        let config = pghaul_extract::Config {
            jobs: u32::try_from(self.jobs).unwrap_or(u32::MAX),
            split,
            ..pghaul_extract::Config::default()
        };
        let source = PgSource::open(info.clone(), config, Arc::new(Silent));
        let source = Arc::new(self.wait(source)?);
        let result = work(&source);
        let closed = self.handle.block_on(source.close());
        self.farewell(Side::Source, source.abandon());
        result.and_then(|done| closed.map(|()| done))
    }

    /// Opens the target, and leaves no session there.
    fn open_target<T>(
        &self,
        info: &Conninfo,
        work: impl FnOnce(Arc<dyn Target>) -> Result<T>,
    ) -> Result<T> {
        let config = pghaul_load::Config {
            index_jobs: self.jobs,
            ..pghaul_load::Config::default()
        };
        let target = Arc::new(PgTarget::fresh(info.clone(), config, Arc::new(Silent))?);
        let result = work(Arc::clone(&target) as _);
        self.farewell(Side::Target, target.abandon());
        result
    }

    /// Moves everything, with a watch on whoever takes part.
    fn measure(&self, way: Way) -> Result<Measured> {
        let (read, write) = (Arc::new(Times::default()), Arc::new(Times::default()));
        let source = TimedSource {
            inner: way.source,
            times: Arc::clone(&read),
        };
        let target = TimedTarget {
            inner: way.target,
            times: Arc::clone(&write),
        };
        let curve = Arc::new(Curve::start());
        let link = match self.common.link_rate {
            Some(rate) => Link::Paced {
                bytes: LINK,
                pace: Pace::new(rate),
            },
            None => Link::Channel { bytes: LINK },
        };
        let jobs = NonZeroUsize::new(self.jobs).ok_or_else(|| Error::input("no jobs"))?;
        let runner = Pipeline::from(Arc::new(source))
            .link(link)
            .to(Arc::new(target), self.handle.clone())
            .options(Options {
                jobs,
                ..Options::default()
            })
            .observer(Arc::clone(&curve) as _)
            .cancel(self.cancel.clone());

        let watches = way.servers.iter();
        let watches: Vec<_> = watches
            .map(|(side, info)| (*side, Watch::start(info, *side)))
            .collect();
        let (began, own) = (Instant::now(), cpu::own());
        let result = runner.run(&way.catalog, &way.plan);
        let (elapsed, own) = (began.elapsed(), cpu::own().saturating_sub(own));
        let mut cpu = vec![("pghaul", Some(own))];
        for (side, watch) in watches {
            let name = if side == Side::Source {
                "source"
            } else {
                "target"
            };
            cpu.push((name, self.handle.block_on(watch.end())));
        }
        let summary = result?;
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let spent: Duration = cpu.iter().filter_map(|(_, time)| *time).sum();
        let room = elapsed.as_secs_f64() * processors as f64;
        let busy = (spent.as_secs_f64() / room.max(f64::EPSILON)).min(1.0);
        let shares = Shares::of(&summary);
        Ok(Measured {
            bench: self.name,
            workload: self.workload(&way.plan),
            jobs: self.jobs,
            processors,
            shares,
            verdict: Verdict::new(shares, busy, &summary, way.ends),
            summary,
            cpu,
            read,
            write,
            curve: curve.points(),
            stored: None,
        })
    }

    fn workload(&self, plan: &Plan) -> String {
        let table = plan.parts.iter().flat_map(|part| part.slices()).next();
        match table {
            Some(slice) if slice.table != scratch::table() => format!("table {}", slice.table),
            _ => format!("{:?} rows", self.common.shape).to_lowercase(),
        }
    }

    fn shape(&self) -> RowShape {
        self.common.shape.into()
    }

    fn generator(&self) -> Generator {
        let rows = self.part_bytes() / self.shape().row_bytes();
        Generator::new(self.shape(), self.common.rows())
            .table(scratch::table())
            .seed(self.common.seed)
            .rows_per_part(rows)
    }

    fn split(&self) -> Split {
        Split::LargerThan(self.part_bytes())
    }

    /// Several parts for each lane, so that all are busy to the end.
    fn part_bytes(&self) -> u64 {
        (self.common.size / (self.jobs as u64 * 4)).max(SMALLEST_PART)
    }

    /// Drives what must end when the user says so.
    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.handle.block_on(self.cancel.until(work))
    }

    /// Ends sessions. All work is done by then, so a failure is only told.
    fn farewell(&self, side: Side, ending: impl Future<Output = Result<()>>) {
        self.handle.block_on(farewell(side, ending));
    }
}

/// A table as the user names it.
fn table_id(text: &str) -> Result<TableId> {
    match text.split_once('.') {
        Some((schema, name)) if !schema.is_empty() && !name.is_empty() => {
            Ok(TableId::new(schema, name))
        }
        _ => Err(Error::input("this is no table")
            .on(text)
            .remedy("name it as schema.name")),
    }
}
