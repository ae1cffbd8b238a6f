//! Where a migration goes: what may be there already, and how it is made ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pghaul_load::{Cluster, Occupied, PgTarget, Saved, State, inspect};
use pghaul_relay::Progress;
use pghaul_stage as stage;
use pghaul_stage::{Catalog, Error, Event, Kind, Observer, Plan, Result, Selection, Side, Step};
use pghaul_wire::Conninfo;

use crate::output::warn;

/// A template is in somebody's use: of a run that was killed, or of a process of the server, which
/// leaves when it is asked to.
const IN_USE: &str = "55006";

/// How long that may be so. The server itself waits for five seconds each time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before the server is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// How many names an error lists.
pub(crate) const NAMES: usize = 5;

/// A target that is ready, and what goes there.
pub(crate) struct Prepared {
    pub(crate) target: Arc<PgTarget>,
    pub(crate) catalog: Catalog,
    pub(crate) plan: Plan,
}

impl Prepared {
    /// Lets go of what describes each table, which nothing needs once all is on the target;
    /// comparing takes the room again.
    pub(crate) fn forget(&mut self) {
        self.plan.parts = Vec::new();
        self.catalog = Catalog {
            server: self.catalog.server.clone(),
            database: self.catalog.database.clone(),
            selection: self.catalog.selection.clone(),
            ..Catalog::default()
        };
        // It has no other owner by now; if it had, its memory would be used for longer.
        let target = Arc::get_mut(&mut self.target);
        target.into_iter().for_each(PgTarget::forget_schema);
    }
}

/// Refuses a target that is older than the source; both are versions as `server_version_num`.
pub(crate) fn not_older(target: u32, source: u32) -> Result<()> {
    let (target, source) = (target / 10_000, source / 10_000);
    if target >= source {
        return Ok(());
    }
    Err(Error::input(format!(
        "the target is PostgreSQL {target}, older than the source's {source}"
    ))
    .at(Side::Target)
    .remedy("name a target of the same or a newer major version"))
}

/// What is done about the target database when a migration begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    /// It is used as it is.
    Kept,
    /// It is created.
    Absent,
    /// It is dropped, then created.
    Replaced,
}

/// The target of a migration, and what the user allows to be done with it.
#[derive(Clone)]
pub(crate) struct Destination<'a> {
    pub(crate) target: &'a Conninfo,
    pub(crate) selection: &'a Selection,
    pub(crate) overwrite: bool,
    pub(crate) resume: bool,
    pub(crate) strict: bool,
    pub(crate) config: pghaul_load::Config,
    pub(crate) cluster: &'a Arc<Cluster>,
    pub(crate) observer: &'a Arc<dyn Observer>,
    /// What has happened so far.
    pub(crate) progress: &'a Progress,
}

impl Destination<'_> {
    /// Refuses a target with something in it that nobody has said what to do with.
    pub(crate) fn judge(&self, state: &State) -> Result<()> {
        let needs_schema = !self.selection.has_schema();
        match state {
            State::Migration(_) if self.resume => Ok(()),
            State::Absent if needs_schema => Err(self.absent()),
            State::Occupied(_) if needs_schema => Ok(()),
            State::Migration(saved) if !self.overwrite => Err(self.unfinished(saved)),
            State::Occupied(occupied) if !self.overwrite => Err(self.occupied(occupied)),
            _ => Ok(()),
        }
    }

    /// What is to be done about the database, in this state of it.
    pub(crate) fn plan(&self, state: &State) -> Database {
        match state {
            State::Absent => Database::Absent,
            State::Occupied(_) if !self.selection.has_schema() => Database::Kept,
            State::Empty => Database::Kept,
            _ => Database::Replaced,
        }
    }

    /// Refuses what cannot work on the target, and with --strict whatever would be lost.
    pub(crate) async fn foresee(&self, catalog: &Catalog, database: Database) -> Result<()> {
        pghaul_load::check_tablespaces(self.target, catalog).await?;
        let anew = database != Database::Kept;
        let foreseen = pghaul_load::foresee(self.target, catalog, anew).await?;
        if !foreseen.blocked.is_empty() {
            return Err(Error::new(
                Kind::Permanent,
                format!(
                    "these tables need what only a superuser can create on the target: {}",
                    foreseen.blocked.join(", ")
                ),
            )
            .at(Side::Target)
            .remedy("connect to the target as a superuser"));
        }
        if !self.strict {
            return Ok(());
        }
        for omission in &foreseen.omissions {
            self.observer.observe(&Event::Omitted(omission));
        }
        self.lossless()
    }

    /// With --strict: fails if anything was not carried over, or will not be.
    pub(crate) fn lossless(&self) -> Result<()> {
        let omissions = self.progress.omissions();
        if !self.strict || omissions.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = omissions.iter().map(|one| one.object.as_str()).collect();
        let more = names.len().saturating_sub(NAMES);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let named = names.get(..NAMES.min(names.len())).unwrap_or_default();
        Err(Error::new(
            Kind::Permanent,
            format!(
                "{} things are not carried over, which --strict forbids: {}{more}",
                names.len(),
                named.join(", ")
            ),
        )
        .at(Side::Target)
        .remedy("migrate without --strict; the report has the statements that make up for them"))
    }

    /// Drops and creates the database as decided, and gives a target for a new migration.
    pub(crate) async fn make(&self, catalog: &Catalog, database: Database) -> Result<PgTarget> {
        if database == Database::Replaced {
            self.warn(&format!(
                "dropping the target database {} with everything in it, as --overwrite asks",
                self.target.dbname()
            ));
            let _turn = self.cluster.databases().await;
            pghaul_load::drop_database(self.target).await?;
        }
        if database != Database::Kept {
            let tablespace = catalog.database_tablespace();
            let create = self.create(&catalog.database, tablespace);
            if let Err(error) = self.step(Step::Database, create).await {
                // The server may just have finished what a run that was killed had asked for.
                let exists = matches!(error.code(), Some("42P04" | "23505"));
                if !exists || !matches!(inspect(self.target).await?, State::Empty) {
                    return Err(error);
                }
            }
        }
        let target = PgTarget::fresh(
            self.target.clone(),
            self.config.clone(),
            Arc::clone(self.observer),
        )?
        .in_cluster(Arc::clone(self.cluster));
        Ok(target)
    }

    /// Creates the database, once nobody uses the template it is made from.
    async fn create(&self, database: &stage::Database, tablespace: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let created = {
                let _turn = self.cluster.databases().await;
                pghaul_load::create(self.target, database, tablespace).await
            };
            match created {
                Err(error) if error.code() == Some(IN_USE) && began.elapsed() < PATIENCE => {
                    self.warn(&format!("waiting, because {}", error.message()));
                    tokio::time::sleep(PAUSE).await;
                }
                created => return created,
            }
        }
    }

    /// Reports a step that happens once.
    async fn step<T>(&self, step: Step, work: impl Future<Output = Result<T>>) -> Result<T> {
        let began = Instant::now();
        self.observer.observe(&Event::StepStarted {
            step,
            subject: "",
            table: None,
        });
        let done = work.await?;
        let elapsed = began.elapsed();
        self.observer.observe(&Event::StepDone {
            step,
            subject: "",
            table: None,
            elapsed,
        });
        Ok(done)
    }

    fn warn(&self, message: &str) {
        warn(&**self.observer, message);
    }

    fn absent(&self) -> Error {
        Error::input("it does not exist, and --data-only needs one with the schema in it")
            .at(Side::Target)
            .on(format!("database {}", self.target.dbname()))
            .remedy("create it with the schema first, for example with --schema-only")
    }

    fn occupied(&self, occupied: &Occupied) -> Error {
        let more = occupied.count.saturating_sub(occupied.sample.len() as u64);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        Error::input(format!(
            "it already holds objects: {}{more}",
            occupied.sample.join(", ")
        ))
        .at(Side::Target)
        .on(format!("database {}", self.target.dbname()))
        .remedy("name an empty or absent database, or let --overwrite drop this one")
    }

    fn unfinished(&self, saved: &Saved) -> Error {
        let remedy = if !self.selection.has_schema() {
            "go on with --resume if it is unfinished, or remove its record with `pghaul cleanup`"
        } else if saved.complete {
            "it is complete; `pghaul verify` compares both sides, and --overwrite would start again"
        } else {
            "go on with --resume, or start again with --overwrite"
        };
        Error::input(format!(
            "it holds the migration that began at {}",
            saved.created_at
        ))
        .at(Side::Target)
        .on(format!("database {}", self.target.dbname()))
        .remedy(remedy)
    }
}
