//! `pghaul load`: loads a target from a spool.

mod several;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pghaul_extract::SourceFacts;
use pghaul_load::{Cluster, PgTarget, Saved, State, VerifyOptions, inspect};
use pghaul_relay::{Cancel, Pace, Progress};
use pghaul_spool::{Role, Spool, SpoolSource, Worker};
use pghaul_stage::{
    Catalog, Error, Event, Kind, Observer, Plan, Result, Selection, Sharing, Side, Source,
};
use pghaul_wire::Conninfo;
use tokio::runtime::Handle;

use crate::args::Load;
use crate::copying::farewell;
use crate::destination::{Destination, Prepared, not_older};
use crate::migrate::Finished;
use crate::output::note;
use crate::run_dir::RunDir;
use crate::runbook::Origin;
use crate::running::Running;
use crate::validate::{Half, MEASURE, Scope};
use crate::{Outcome, agent, digest, report};

/// How often a spool, or a migration on the target, is looked for that somebody else begins.
const POLL: Duration = Duration::from_millis(300);

/// How long somebody else may take to begin one.
const PATIENCE: Duration = Duration::from_secs(60);

/// What loading needs to know.
struct Loading<'a> {
    args: &'a Load,
    spool: Arc<Spool>,
    /// The database's name, where it is one of several.
    database: Option<&'a str>,
    target: Conninfo,
    jobs: usize,
    pace: Pace,
    observer: Arc<dyn Observer>,
    progress: Arc<Progress>,
    cluster: Arc<Cluster>,
}

/// Runs the command.
pub(crate) fn run(args: &Load, run_dir: Option<&RunDir>) -> Result<Outcome> {
    if let Some(relay) = args.place.migration()? {
        return agent::run(relay, &args.place, agent::Half::Load(args));
    }
    let running = Running::begin(
        args.output.output,
        args.writing.report.as_deref(),
        args.copying.trace.as_deref(),
    )?;
    // A wrong connection string is better told before the spool is waited for.
    let (target, pace) = (args.connections()?, args.copying.pace());
    run_dir.map_or(Ok(()), |run| run.listen(&running.cancel, &pace))?;
    let spool = running.until(found(args))?;
    if spool.header().several {
        return several::run(args, target, &spool, pace, running.of_several(run_dir));
    }
    let loading = Loading {
        args,
        spool,
        database: None,
        target,
        jobs: args.copying.jobs(),
        pace,
        observer: Arc::clone(&running.observer),
        progress: Arc::clone(&running.progress),
        cluster: Arc::new(Cluster::of_one()),
    };
    if args.validate_only {
        return running.until(loading.examine());
    }
    let progress = Arc::clone(&running.progress);
    let watched = run_dir.map(|run| run.watch(loading.target.dbname(), progress));
    let finished = loading.load(&Handle::current(), &running.cancel);
    drop(watched);
    let Some(finished) = finished? else {
        if args.verify {
            let comparison = loading.compare_at_last(&Handle::current(), &running.cancel)?;
            report::print_comparison(args.output.output, &comparison, None);
            return Ok(Outcome::of(&comparison));
        }
        loading.note("the spool is loaded already; `pghaul verify --spool` compares");
        return Ok(Outcome::Done);
    };
    running.report(&finished, Origin::Spool(&args.place.spool), &loading.target)?;
    loading
        .destination(&finished.catalog.selection)
        .lossless()?;
    finished.outcome()
}

/// The spool, which an extraction that has just been started may still have to begin.
async fn found(args: &Load) -> Result<Arc<Spool>> {
    let began = Instant::now();
    loop {
        if let Some(spool) = args.place.find().await? {
            return Ok(spool);
        }
        if began.elapsed() > args.patience() {
            return Err(args.place.absent());
        }
        tokio::time::sleep(POLL).await;
    }
}

impl Loading<'_> {
    fn load(&self, handle: &Handle, cancel: &Cancel) -> Result<Option<Finished>> {
        let worker = Worker::enter(Arc::clone(&self.spool), Role::Load);
        let worker = Arc::new(handle.block_on(cancel.until(worker))?);
        let loaded = self.load_as(&worker, handle, cancel);
        handle.block_on(worker.leave());
        loaded
    }

    fn load_as(
        &self,
        worker: &Arc<Worker>,
        handle: &Handle,
        cancel: &Cancel,
    ) -> Result<Option<Finished>> {
        let mut source = SpoolSource::new(Arc::clone(worker), self.args.keep);
        if self.args.place.admission.seat.is_some() {
            // The server sees to it that somebody extracts.
            source = source.patient();
        }
        let source = Arc::new(source);
        let Some(mut begun) = handle.block_on(cancel.until(self.begin(&source)))? else {
            return Ok(None);
        };
        let copying = &self.args.copying;
        let copied = copying
            .runner(
                source as _,
                Arc::clone(&begun.target) as _,
                handle,
                self.pace.clone(),
            )?
            .observer(Arc::clone(&self.observer))
            .cancel(cancel.clone())
            .run(&begun.catalog, &begun.plan);
        handle.block_on(farewell(Side::Target, begun.target.abandon()));
        let summary = copied.inspect_err(|error| {
            if error.kind() != Kind::Fenced {
                self.note("what is done is kept: `pghaul load --resume` goes on from there");
            }
        })?;
        let carried = begun.target.carried();
        let compared = self.args.verify.then(|| {
            begun.forget();
            let selection = &begun.catalog.selection;
            handle.block_on(cancel.until(self.compare(selection)))
        });
        if let Some(Err(_)) = compared {
            self.note("the spool is loaded; `pghaul verify --spool` compares");
        }
        Ok(Some(Finished {
            carried,
            catalog: begun.catalog,
            summary,
            compared,
        }))
    }

    /// Compares what an earlier process had loaded.
    fn compare_at_last(&self, handle: &Handle, cancel: &Cancel) -> Result<pghaul_load::Report> {
        handle.block_on(cancel.until(async {
            let catalog = self.spool.catalog().await?;
            let catalog = catalog.ok_or_else(|| self.args.place.absent())?;
            let selection = self.args.selection(catalog.selection);
            self.compare(&selection).await
        }))
    }

    async fn compare(&self, selection: &Selection) -> Result<pghaul_load::Report> {
        let digest = digest::of_spool(&self.spool).await?;
        let options = VerifyOptions {
            jobs: self.jobs,
            selection: selection.clone(),
            ..VerifyOptions::default()
        };
        let observer = Arc::clone(&self.observer);
        pghaul_load::verify_digest(&digest, &self.target, options, observer).await
    }

    /// Makes the target ready; `None` if everything was loaded already.
    async fn begin(&self, source: &SpoolSource) -> Result<Option<Prepared>> {
        let (mut catalog, mut plan) = (source.catalog().await?, source.plan().await?);
        Sharing::within(&mut catalog, &mut plan);
        self.args.fits(&catalog.selection)?;
        catalog.selection = self.args.selection(catalog.selection);
        catalog.tablespace_map = self.args.tablespace_map.iter().cloned().collect();
        if self.args.help_others {
            return self.help(catalog, plan).await;
        }
        let state = inspect(&self.target).await?;
        let version = pghaul_load::server_version(&self.target).await?;
        not_older(version, catalog.server.version)?;
        for omission in &catalog.omitted {
            self.observer.observe(&Event::Omitted(omission));
        }
        let selection = catalog.selection.clone();
        let destination = self.destination(&selection);
        destination.judge(&state)?;
        if let State::Migration(saved) = state {
            if self.args.resume {
                return self.resume(*saved, catalog, plan).await;
            }
            return self
                .fresh(&destination, &State::Migration(saved), catalog, plan)
                .await;
        }
        if self.args.resume {
            self.note("the target holds no migration to resume; starting from the beginning");
        }
        self.fresh(&destination, &state, catalog, plan).await
    }

    async fn fresh(
        &self,
        destination: &Destination<'_>,
        state: &State,
        catalog: Catalog,
        plan: Plan,
    ) -> Result<Option<Prepared>> {
        let spent = self.spool.spent().await?;
        if spent > 0 {
            return Err(Error::input(format!(
                "{spent} of its parts were loaded before, and their files removed"
            ))
            .at(Side::Link)
            .on(format!("the spool {}", self.spool.place()))
            .remedy("extract again into an empty place, and load with --keep to load twice"));
        }
        self.validate(&catalog.selection).await?;
        let database = destination.plan(state);
        if catalog.selection.has_schema() {
            destination.foresee(&catalog, database).await?;
        } else {
            pghaul_load::check_existing(&self.target, &catalog, &plan).await?;
        }
        Ok(Some(Prepared {
            target: Arc::new(destination.make(&catalog, database).await?),
            catalog,
            plan,
        }))
    }

    /// Goes on with a load of this very extraction.
    async fn resume(&self, saved: Saved, catalog: Catalog, plan: Plan) -> Result<Option<Prepared>> {
        self.same_extraction(&saved, &catalog, &plan)?;
        let said = self.args.selection(Selection::default()) != Selection::default();
        let mapped = !self.args.tablespace_map.is_empty();
        if said && catalog.selection != saved.catalog.selection
            || mapped && catalog.tablespace_map != saved.catalog.tablespace_map
        {
            return Err(Error::input(
                "this is not what the load that is to go on began to leave alone",
            )
            .at(Side::Target)
            .remedy("leave these flags out, or start again with --overwrite"));
        }
        if saved.complete {
            return Ok(None);
        }
        let target = PgTarget::resume(
            self.target.clone(),
            self.config(),
            Arc::clone(&self.observer),
            &saved,
        )
        .await?
        .in_cluster(Arc::clone(&self.cluster));
        // What a crash of the server has emptied is recorded as if it were there.
        target
            .forget(&[], false, &saved.plan, &saved.catalog)
            .await?;
        Ok(Some(Prepared {
            target: Arc::new(target),
            catalog: Catalog {
                // What was chosen when it began counts, as for `migrate`.
                selection: saved.catalog.selection,
                tablespace_map: saved.catalog.tablespace_map,
                ..catalog
            },
            plan,
        }))
    }

    /// Copies parts beside another process, which prepares and completes the target.
    async fn help(&self, catalog: Catalog, plan: Plan) -> Result<Option<Prepared>> {
        let began = Instant::now();
        let saved = loop {
            match inspect(&self.target).await {
                Ok(State::Migration(saved)) => break saved,
                Ok(_) if began.elapsed() < PATIENCE => tokio::time::sleep(POLL).await,
                Ok(_) => {
                    return Err(
                        Error::input("nobody loads into it whom this process could help")
                            .at(Side::Target)
                            .on(format!("database {}", self.target.dbname()))
                            .remedy("start `pghaul load` without --help-others"),
                    );
                }
                Err(error) => return Err(error),
            }
        };
        self.same_extraction(&saved, &catalog, &plan)?;
        if saved.complete {
            return Ok(None);
        }
        let target = PgTarget::help(
            self.target.clone(),
            self.config(),
            Arc::clone(&self.observer),
            &saved,
        )?;
        Ok(Some(Prepared {
            target: Arc::new(target),
            catalog: Catalog {
                selection: saved.catalog.selection,
                ..catalog
            },
            plan,
        }))
    }

    fn same_extraction(&self, saved: &Saved, catalog: &Catalog, plan: &Plan) -> Result<()> {
        let source = |catalog: &Catalog| (catalog.server.system, catalog.database.oid);
        let same = source(&saved.catalog) == source(catalog)
            && saved.plan.visible == plan.visible
            && saved.plan.parts == plan.parts;
        if same {
            return Ok(());
        }
        Err(Error::new(
            Kind::Identity,
            "the target holds a migration from another extraction than this spool's",
        )
        .at(Side::Target)
        .on(format!("database {}", self.target.dbname()))
        .remedy("name the spool it began with, or start again with --overwrite"))
    }

    async fn validate(&self, selection: &Selection) -> Result<()> {
        if self.args.copying.skip_validation {
            return Ok(());
        }
        let facts: Option<SourceFacts> = match self.spool.facts().await? {
            Some(facts) => serde_json::from_slice(&facts).ok(),
            None => None,
        };
        let scope = Scope {
            facts: facts.as_ref(),
            ..self.scope(selection)
        };
        scope.require(self.args.output.output).await?;
        Ok(())
    }

    /// What there is to check of the target.
    fn scope<'s>(&'s self, selection: &'s Selection) -> Scope<'s> {
        Scope {
            source: None,
            target: Some(&self.target),
            jobs: self.jobs,
            index_jobs: self.config().index_jobs,
            overwrite: self.args.overwrite,
            tablespace_map: &self.args.tablespace_map,
            database: self.database,
            databases: 1,
            strict: self.args.writing.strict,
            facts: None,
            selection,
            measure: None,
        }
    }

    /// Checks the target once the source was examined, and loads nothing.
    async fn examine(&self) -> Result<Outcome> {
        let examined = loop {
            match self.spool.examined().await? {
                Some(examined) => break examined,
                None => tokio::time::sleep(POLL).await,
            }
        };
        let catalog = examined.catalog.as_ref();
        let examined_of = catalog.map(|catalog| catalog.selection.clone());
        let selection = self.args.selection(examined_of.unwrap_or_default());
        let half = Half {
            scope: Scope {
                measure: Some(MEASURE),
                ..self.scope(&selection)
            },
            place: &self.args.place,
            form: self.args.output.output,
        };
        half.target(examined).await
    }

    fn destination<'d>(&'d self, selection: &'d Selection) -> Destination<'d> {
        Destination {
            target: &self.target,
            selection,
            overwrite: self.args.overwrite,
            resume: self.args.resume,
            strict: self.args.writing.strict,
            config: self.config(),
            cluster: &self.cluster,
            observer: &self.observer,
            progress: &self.progress,
        }
    }

    fn config(&self) -> pghaul_load::Config {
        self.args.writing.config(self.jobs)
    }

    fn note(&self, message: &str) {
        note(&*self.observer, message);
    }
}

impl Load {
    /// Refuses what does not go with what was extracted; for `migrate`, its flags exclude one
    /// another.
    fn fits(&self, extracted: &Selection) -> Result<()> {
        let alone = !extracted.has_schema();
        let mapped = !self.tablespace_map.is_empty();
        let flags = [
            ("--overwrite", alone && self.overwrite),
            ("--no-roles", alone && self.no_roles),
            ("--no-tablespaces", alone && self.no_tablespaces),
            ("--tablespace-map", alone && mapped),
            ("--truncate", !alone && self.truncate),
        ];
        let Some((flag, _)) = flags.iter().find(|(_, wrong)| *wrong) else {
            return Ok(());
        };
        let what = match alone {
            true => "rows alone were extracted, into a schema that the target has",
            false => "more than rows was extracted",
        };
        Err(Error::input(format!("{flag} cannot be used: {what}")).at(Side::Target))
    }

    /// How long an extraction may take to begin.
    fn patience(&self) -> Duration {
        self.wait.map_or(Duration::ZERO, Duration::from_secs)
    }

    /// What was extracted, without what these flags leave alone.
    pub(crate) fn selection(&self, extracted: Selection) -> Selection {
        let extracted = self.properties.apply(extracted);
        Selection {
            no_roles: extracted.no_roles || self.no_roles,
            no_tablespaces: extracted.no_tablespaces || self.no_tablespaces,
            no_analyze: extracted.no_analyze || self.no_analyze,
            truncate: extracted.truncate || self.truncate,
            ..extracted
        }
    }
}
