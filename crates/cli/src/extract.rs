//! `pghaul extract`: reads a source into a spool.

mod several;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pghaul_extract::{PgSource, probe};
use pghaul_load::VerifyOptions;
use pghaul_relay::{Cancel, Pace, Summary};
use pghaul_spool::{Exported, Recorder, Role, Spool, SpoolTarget, Storing, Worker};
use pghaul_stage::{Catalog, Error, Kind, Observer, PartId, Plan, Result, Selection, Side, Source};
use pghaul_wire::Conninfo;
use tokio::runtime::Handle;

use crate::Outcome;
use crate::agent;
use crate::args::Extract;
use crate::copying::farewell;
use crate::digest;
use crate::output::{Screen, note};
use crate::run_dir::RunDir;
use crate::running::Running;
use crate::spool::{Held, Place, Repair};
use crate::start::{changed, same_source};
use crate::validate::{Half, MEASURE, Scope};

/// How often a process that helps looks for a plan.
const POLL: Duration = Duration::from_millis(300);

/// How long the plan may take that it waits for: a large schema is dumped first.
const PATIENCE: Duration = Duration::from_secs(600);

/// What an extraction needs to know.
struct Extraction<'a> {
    args: &'a Extract,
    place: Place,
    /// The database's name, where it is one of several.
    database: Option<&'a str>,
    /// The spools of the databases before it.
    beside: Vec<Arc<Spool>>,
    source: Conninfo,
    jobs: usize,
    pace: Pace,
    selection: Selection,
    observer: Arc<dyn Observer>,
}

/// The source, opened, and what is to be read of it.
struct Opened {
    source: Arc<PgSource>,
    catalog: Catalog,
    plan: Plan,
}

/// Runs the command.
pub(crate) fn run(args: &Extract, run_dir: Option<&RunDir>) -> Result<Outcome> {
    if let Some(relay) = args.place.migration()? {
        return agent::run(relay, &args.place, agent::Half::Extract(args));
    }
    let trace = args.copying.trace.as_deref();
    let running = Running::begin(args.output.output, None, trace)?;
    if args.databases.are_several() || running.until(several::are_there(args))? {
        return several::run(args, running.of_several(run_dir));
    }
    let extraction = Extraction {
        args,
        place: args.place.clone(),
        database: None,
        beside: Vec::new(),
        source: args.connections()?,
        jobs: args.copying.jobs(),
        pace: args.copying.pace(),
        selection: args.leaving.apply(args.selecting.selection()),
        observer: Arc::clone(&running.observer),
    };
    let (handle, cancel) = (Handle::current(), &running.cancel);
    run_dir.map_or(Ok(()), |run| run.listen(cancel, &extraction.pace))?;
    if args.validate_only {
        return running.until(extraction.examine());
    }
    let progress = Arc::clone(&running.progress);
    let watched = run_dir.map(|run| run.watch(extraction.source.dbname(), progress));
    let Some(spool) = running.until(extraction.spool())? else {
        extraction.note("the extraction is complete already; `pghaul load` loads it");
        return Ok(Outcome::Done);
    };
    let summary = extraction.extract(&spool, &handle, cancel);
    drop(watched);
    let summary = summary.inspect_err(|error| {
        if error.kind() != Kind::Input {
            extraction.note("what is sealed is kept: `pghaul extract --resume` goes on from there");
        }
    })?;
    running.report_extraction(&summary, &spool);
    Ok(Outcome::Done)
}

impl Extraction<'_> {
    /// The spool to write into; `None` if it is complete.
    async fn spool(&self) -> Result<Option<Arc<Spool>>> {
        let place = &self.place;
        if self.args.help_others {
            return self.others_spool().await;
        }
        let found = Spool::open(place.store(true)?, place.key()?).await?;
        match found {
            Some(spool) if self.args.resume => {
                if spool.end().await?.is_some() {
                    return Ok(None);
                }
                Ok(Some(Arc::new(spool)))
            }
            _ => {
                if self.args.resume && found.is_none() {
                    self.note("there is no extraction to resume here; starting from the beginning");
                }
                let encoding = self.args.spool_encoding.into();
                let spool = Spool::create(place.store(true)?, encoding, place.key()?).await?;
                Ok(Some(Arc::new(spool)))
            }
        }
    }

    /// The spool that another process has begun.
    async fn others_spool(&self) -> Result<Option<Arc<Spool>>> {
        let spool = self.place.open().await?;
        Ok(match spool.end().await? {
            Some(_) => None,
            None => Some(spool),
        })
    }

    fn extract(&self, spool: &Arc<Spool>, handle: &Handle, cancel: &Cancel) -> Result<Summary> {
        let worker = Worker::enter(Arc::clone(spool), Role::Extract);
        let worker = Arc::new(handle.block_on(cancel.until(worker))?);
        let opened = handle.block_on(cancel.until(self.open(spool)));
        let result = opened.and_then(|opened| self.read(opened, &worker, handle, cancel));
        handle.block_on(worker.leave());
        result
    }

    fn read(
        &self,
        opened: Opened,
        worker: &Arc<Worker>,
        handle: &Handle,
        cancel: &Cancel,
    ) -> Result<Summary> {
        let copied = self.copy(&opened, worker, handle, cancel);
        handle.block_on(async {
            // The holder of the snapshot must have lived until here, or rows may be missing.
            let closed = opened.source.close().await;
            farewell(Side::Source, opened.source.abandon()).await;
            copied.and_then(|copied| closed.map(|()| copied))
        })
    }

    async fn open(&self, spool: &Arc<Spool>) -> Result<Opened> {
        if self.args.help_others {
            return self.join(spool).await;
        }
        let planned = spool.plan().await?.zip(spool.catalog().await?);
        match planned {
            Some((plan, catalog)) => self.resume(spool, plan, catalog).await,
            None => self.begin(spool).await,
        }
    }

    /// Takes a snapshot, of which the spool tells others.
    async fn begin(&self, spool: &Spool) -> Result<Opened> {
        self.validate(spool).await?;
        let source = self.open_source(&self.selection).await?;
        spool.put_snapshot(&exported(&source)).await?;
        let mut catalog = source.catalog().await?;
        let plan = source.plan().await?;
        if !self.args.role_passwords {
            catalog.archive = pghaul_load::withhold(&catalog.archive)?;
        }
        Ok(Opened {
            source,
            catalog,
            plan,
        })
    }

    /// Goes on with a plan, under the snapshot it was made for if another process holds that still,
    /// otherwise under another one that sees the same.
    async fn resume(&self, spool: &Spool, plan: Plan, catalog: Catalog) -> Result<Opened> {
        let recorded = &catalog.selection;
        if self.selection != *recorded && self.selection != Selection::default() {
            return Err(
                Error::input("this is not the selection that the extraction began with")
                    .at(Side::Source)
                    .remedy("leave the flags of selection out, or extract into another place"),
            );
        }
        same_source(&catalog, &probe(&self.source, Side::Source).await?)?;
        if let Some(source) = self.adopt(spool, recorded).await? {
            return Ok(Opened {
                source,
                catalog,
                plan,
            });
        }
        let source = self.open_source(recorded).await?;
        let (same, kept) = (
            source.schema_changes(&catalog).await?,
            self.sealed(spool).await?,
        );
        let since = source.changed_since(&plan, &catalog, &kept).await?;
        let differences = if same.is_empty() { since } else { same };
        if !differences.is_empty() {
            source.close().await?;
            return Err(changed(
                "the snapshot is gone, and the source has changed since in what was extracted",
                &differences,
            )
            .remedy("extract again, into an empty place"));
        }
        spool.put_snapshot(&exported(&source)).await?;
        Ok(Opened {
            source,
            catalog,
            plan,
        })
    }

    /// The parts that are sealed, and how many rows each has.
    async fn sealed(&self, spool: &Spool) -> Result<Vec<(PartId, u64)>> {
        let contents = pghaul_spool::contents(spool).await?;
        let sealed = contents.sealed.iter();
        Ok(sealed.map(|entry| (entry.part, entry.rows())).collect())
    }

    /// Adopts the snapshot that another process holds.
    async fn join(&self, spool: &Arc<Spool>) -> Result<Opened> {
        let began = Instant::now();
        let (plan, catalog) = loop {
            if let Some(planned) = spool.plan().await?.zip(spool.catalog().await?) {
                break planned;
            }
            if began.elapsed() > PATIENCE {
                return Err(
                    Error::new(Kind::Permanent, "the extraction has no plan yet")
                        .at(Side::Link)
                        .on(format!("the spool {}", spool.place()))
                        .remedy("see whether the process that began it is still there"),
                );
            }
            tokio::time::sleep(POLL).await;
        };
        same_source(&catalog, &probe(&self.source, Side::Source).await?)?;
        let source = self.adopt(spool, &catalog.selection).await?;
        let source = source.ok_or_else(|| {
            Error::new(
                Kind::Permanent,
                "no process holds the snapshot of the extraction any more",
            )
            .at(Side::Source)
            .on(format!("the spool {}", spool.place()))
            .remedy("go on with `pghaul extract --resume`; others can help that one")
        })?;
        Ok(Opened {
            source,
            catalog,
            plan,
        })
    }

    /// The source under a snapshot of this extraction that somebody still holds, and a record of
    /// it under our own name.
    async fn adopt(&self, spool: &Spool, selection: &Selection) -> Result<Option<Arc<PgSource>>> {
        for Exported { id, visible } in spool.snapshots().await? {
            let joined = PgSource::join(
                self.source.clone(),
                self.config(selection),
                Arc::clone(&self.observer),
                &id,
            );
            match joined.await {
                Ok(source) if source.visible() != visible => {
                    tracing::debug!(id, visible, "another snapshot has this identifier now");
                    source.close().await?;
                }
                Ok(source) => {
                    spool.put_snapshot(&exported(&source)).await?;
                    return Ok(Some(Arc::new(source)));
                }
                Err(error) if error.kind() == Kind::Permanent => {
                    tracing::debug!(%error, id, "nobody holds this snapshot");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn open_source(&self, selection: &Selection) -> Result<Arc<PgSource>> {
        let observer = Arc::clone(&self.observer);
        let open = PgSource::open(self.source.clone(), self.config(selection), observer);
        open.await.map(Arc::new)
    }

    fn config(&self, selection: &Selection) -> pghaul_extract::Config {
        let args = self.args;
        // Room is given part by part, so a part must be small beside it.
        let parts = 4 * u64::try_from(self.jobs).unwrap_or(u64::MAX);
        let small = args.spool_limit.map(|limit| (limit / parts).max(1 << 20));
        pghaul_extract::Config {
            target_version: args.target_version.map(|major| major * 10_000),
            spooled: true,
            ..args.reading.config(self.jobs, selection, small)
        }
    }

    /// What there is to check of the source.
    fn scope(&self) -> Scope<'_> {
        Scope {
            source: Some(&self.source),
            target: None,
            jobs: self.jobs,
            index_jobs: 0,
            overwrite: false,
            tablespace_map: &[],
            database: self.database,
            databases: 1,
            strict: false,
            facts: None,
            selection: &self.selection,
            measure: None,
        }
    }

    /// Checks the source for those who check the target, and extracts nothing.
    async fn examine(&self) -> Result<Outcome> {
        let args = self.args;
        let Some(spool) = self.spool().await? else {
            return Err(Error::input("the extraction is complete already").at(Side::Link));
        };
        let half = Half {
            scope: Scope {
                measure: Some(MEASURE),
                ..self.scope()
            },
            place: &self.place,
            form: args.output.output,
        };
        half.source(&spool, self.config(&self.selection), args.role_passwords)
            .await
    }

    async fn validate(&self, spool: &Spool) -> Result<()> {
        if self.args.copying.skip_validation {
            return Ok(());
        }
        let facts = self.scope().require(self.args.output.output).await?;
        if let Some(facts) = facts {
            let facts = serde_json::to_vec(&facts).map_err(|error| {
                Error::new(Kind::Permanent, "the facts cannot be written").because(error)
            })?;
            spool.put_facts(&facts).await?;
        }
        Ok(())
    }

    fn copy(
        &self,
        opened: &Opened,
        worker: &Arc<Worker>,
        handle: &Handle,
        cancel: &Cancel,
    ) -> Result<Summary> {
        let storing = Storing {
            level: self.args.compression_level,
            limit: self.args.spool_limit,
            secrets: self.args.role_passwords,
            helps: self.args.help_others,
        };
        let spool = SpoolTarget::new(Arc::clone(worker), storing);
        let mut spool = spool.beside(self.beside.clone());
        if !self.args.no_checksums {
            spool = spool.record(self.recorder(opened));
        }
        let (source, copying) = (Arc::clone(&opened.source), &self.args.copying);
        copying
            .runner(source as _, Arc::new(spool), handle, self.pace.clone())?
            .observer(Arc::clone(&self.observer))
            .cancel(cancel.clone())
            .run(&opened.catalog, &opened.plan)
    }

    /// Takes the checksums of what was read, under the snapshot it was read under.
    fn recorder(&self, opened: &Opened) -> Recorder {
        let options = VerifyOptions {
            jobs: self.jobs,
            selection: opened.catalog.selection.clone(),
            source_snapshot: Some(opened.source.snapshot_id().to_owned()),
            ..VerifyOptions::default()
        };
        let (source, observer) = (self.source.clone(), Arc::clone(&self.observer));
        Box::new(move || {
            let (source, observer) = (source.clone(), Arc::clone(&observer));
            let options = options.clone();
            Box::pin(async move {
                digest::pack(&pghaul_load::digest(&source, options, observer).await?)
            })
        })
    }

    fn note(&self, message: &str) {
        note(&*self.observer, message);
    }
}

/// The snapshot of an open source, for others to adopt.
fn exported(source: &PgSource) -> Exported {
    Exported {
        id: source.snapshot_id().to_owned(),
        visible: source.visible().to_owned(),
    }
}

/// Extracts these parts of a database's spool again, whatever is sealed of them.
///
/// # Errors
///
/// Kind identity if the source has changed since in any of what was extracted.
pub(crate) fn again(
    repair: &Repair,
    held: &Held,
    spool: &Arc<Spool>,
    parts: &BTreeSet<PartId>,
    handle: &Handle,
    cancel: &Cancel,
) -> Result<()> {
    let args = repair.extract(held.place.clone(), held.database.as_deref());
    let screen = Screen::open(args.output.output);
    let extraction = Extraction {
        place: args.place.clone(),
        database: None,
        beside: Vec::new(),
        source: args.connections()?,
        args: &args,
        jobs: args.copying.jobs(),
        pace: args.copying.pace(),
        selection: Selection::default(),
        observer: screen.observer(),
    };
    let worker = Worker::enter(Arc::clone(spool), Role::Extract);
    let worker = Arc::new(handle.block_on(cancel.until(worker))?);
    let repaired = handle.block_on(cancel.until(async {
        let planned = spool.plan().await?.zip(spool.catalog().await?);
        let (plan, catalog) = planned.ok_or_else(|| held.place.absent())?;
        let opened = extraction.resume(spool, plan, catalog).await?;
        for part in parts {
            spool.unseal(*part).await?;
        }
        Ok(opened)
    }));
    let repaired = repaired.and_then(|opened| extraction.read(opened, &worker, handle, cancel));
    handle.block_on(worker.leave());
    repaired.map(drop)
}
