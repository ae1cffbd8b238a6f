//! The target stage: one PostgreSQL database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pghaul_stage::{
    Catalog, Database, Error, Event, Format, Kind, Mark, Observer, Part, Plan, Result,
    SequenceValue, Side, Step, TableId, Tables, Target, Writer,
};
use pghaul_wire::{Client, Conninfo};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::apply::Apply;
use crate::cluster::Cluster;
use crate::config::{Config, Freeze};
use crate::copy::script;
use crate::existing::Loaded;
use crate::ledger::{Ledger, Saved};
use crate::pool::Pool;
use crate::restore::Restore;
use crate::session::open;
use crate::writer::{Desk, PartWriter};
use crate::{
    fence, foreign_key, forget, properties, refresh, role_map, selection, tablespace, truncate,
    vacant,
};

/// The step that says that rows can come.
const PREPARED: &str = "prepared for rows";

/// How often one that helps looks whether rows can come.
const POLL: Duration = Duration::from_millis(300);

/// A PostgreSQL database that is written.
///
/// It begins with a database that is [empty](crate::State::Empty), or goes on with a
/// [migration](crate::State::Migration) that the database holds.
pub struct PgTarget {
    conninfo: Conninfo,
    config: Config,
    observer: Arc<dyn Observer>,
    cluster: Arc<Cluster>,
    /// Whether another process prepares and completes the target.
    helps: bool,
    ledger: OnceCell<Arc<Ledger>>,
    ready: OnceCell<Ready>,
}

/// What exists once the schema does.
struct Ready {
    desk: Arc<Desk>,
    restore: Restore,
    tables: Tables,
    /// What was begun with, if it is rows alone that are loaded.
    existing: Option<(Catalog, Plan)>,
    source: Database,
    tablespace: String,
}

impl PgTarget {
    /// A target for a new migration. Nothing is asked of the server yet.
    ///
    /// # Errors
    ///
    /// Kind input for a configuration that cannot work.
    pub fn fresh(
        conninfo: Conninfo,
        config: Config,
        observer: Arc<dyn Observer>,
    ) -> Result<PgTarget> {
        config.validate()?;
        let (ledger, ready) = (OnceCell::new(), OnceCell::new());
        Ok(PgTarget {
            cluster: Arc::new(Cluster::of_one()),
            conninfo,
            config,
            observer,
            helps: false,
            ledger,
            ready,
        })
    }

    /// Goes on with the migration `saved`: any other run of it is fenced off and its sessions
    /// on the target are ended. [`Target::prepare`] is to be called with the saved catalog and
    /// plan.
    ///
    /// # Errors
    ///
    /// Kind fenced if the migration was taken over since `saved` was read; kind input if a new
    /// name of a role is gone that was not for us to create.
    pub async fn resume(
        conninfo: Conninfo,
        config: Config,
        observer: Arc<dyn Observer>,
        saved: &Saved,
    ) -> Result<PgTarget> {
        let target = PgTarget::fresh(conninfo, config, observer)?;
        let client = open(&target.conninfo, None).await?;
        role_map::check(&client, &saved.catalog.selection).await?;
        let ledger = Ledger::take_over(&target.conninfo, saved, &target.config).await?;
        Ok(PgTarget {
            ledger: OnceCell::new_with(Some(Arc::new(ledger))),
            ..target
        })
    }

    /// Copies parts of the migration `saved` beside the process that began it or goes on with it,
    /// and leaves everything else to that one. It is fenced off together with that one.
    ///
    /// # Errors
    ///
    /// Kind input for a configuration that cannot work.
    pub fn help(
        conninfo: Conninfo,
        config: Config,
        observer: Arc<dyn Observer>,
        saved: &Saved,
    ) -> Result<PgTarget> {
        let ledger = Ledger::join(&conninfo, saved);
        Ok(PgTarget {
            helps: true,
            ledger: OnceCell::new_with(Some(Arc::new(ledger))),
            ..PgTarget::fresh(conninfo, config, observer)?
        })
    }

    /// Shares with other targets what belongs to their server. To be called before
    /// [`Target::prepare`].
    #[must_use]
    pub fn in_cluster(mut self, cluster: Arc<Cluster>) -> PgTarget {
        self.cluster = cluster;
        self
    }

    /// Replaces the saved plan and catalog by those of another snapshot, and makes undone what
    /// is durable of `tables` (and, if asked, of the large objects): these tables, and those
    /// that share a part with them, are emptied. One transaction does it all. The plan's parts
    /// must be the saved ones. To be called between [`PgTarget::resume`] and
    /// [`Target::prepare`].
    ///
    /// # Errors
    ///
    /// Kind permanent if foreign keys already stand on one of the tables.
    pub async fn forget(
        &self,
        tables: &[TableId],
        large_objects: bool,
        plan: &Plan,
        catalog: &Catalog,
    ) -> Result<()> {
        let ledger = self.ledger.get().ok_or_else(unprepared)?;
        forget::forget(ledger, tables, large_objects, plan, catalog).await
    }

    /// The migration's identifier, once it has one.
    pub fn migration(&self) -> Option<uuid::Uuid> {
        self.ledger.get().map(|ledger| ledger.migration())
    }

    /// Ends what this run still has going on the target: a server process that is busy, with an
    /// index for example, or whose connection was cut, does not notice by itself that its
    /// client is gone. Whatever it had not committed is undone.
    ///
    /// # Errors
    ///
    /// Those of connecting, and of sessions that do not end.
    pub async fn abandon(&self) -> Result<()> {
        self.close();
        // The sessions of the other processes have the same name.
        if let Some(ledger) = self.ledger.get().filter(|_| !self.helps) {
            let client = ledger.session().await?;
            fence::abandon(&client, ledger, self.config.fence_timeout).await?;
        }
        Ok(())
    }

    /// Lets go of the schema and all else that describes each table. To be called after
    /// [`Target::complete`].
    pub fn forget_schema(&mut self) {
        self.ready.take();
    }

    /// How many objects of each kind were restored, for the report; empty before the schema is.
    pub fn carried(&self) -> BTreeMap<String, u64> {
        let ready = self.ready.get();
        ready
            .map(|ready| ready.restore.carried())
            .unwrap_or_default()
    }

    /// Closes the idle sessions.
    pub fn close(&self) {
        if let Some(ready) = self.ready.get() {
            ready.desk.pool.clear();
        }
    }

    fn ready(&self) -> Result<&Ready> {
        self.ready.get().ok_or_else(unprepared)
    }

    /// What is left to do for tables that were there: their schema stands, properties are not ours.
    async fn complete_existing(
        &self,
        client: &Client,
        ledger: &Arc<Ledger>,
        catalog: &Catalog,
        plan: &Plan,
    ) -> Result<()> {
        let loaded = Loaded::find(client, plan).await?;
        foreign_key::check(client, &loaded, &*self.observer).await?;
        let done = ledger.steps().await?;
        let mut units = refresh::units(client, catalog).await?;
        units.retain(|unit| !done.contains(&unit.step));
        let observer = Arc::clone(&self.observer);
        Apply::new(Arc::clone(ledger), observer, String::new())
            .run(&units)
            .await
    }

    async fn build(&self, catalog: &Catalog, plan: &Plan) -> Result<Ready> {
        // Who goes on with a migration goes on with its roles, of which only its ledger knows.
        let fresh = self.ledger.get().is_none();
        let ledger = self
            .ledger
            .get_or_try_init(async || {
                Ledger::create(&self.conninfo, catalog, plan)
                    .await
                    .map(Arc::new)
            })
            .await?;
        // The record keeps what the source has, so that a later run can choose from it again.
        let (catalog, lost) = selection::apply(catalog);
        for omission in &lost {
            self.observer.observe(&Event::Omitted(omission));
        }
        let catalog = &catalog;
        let restore = Restore::new(
            &self.config,
            Arc::clone(ledger),
            catalog.clone(),
            plan,
            Arc::clone(&self.observer),
            Arc::clone(&self.cluster),
        )?;
        let selection = &catalog.selection;
        if self.helps {
            self.await_others(ledger).await?;
        } else if selection.has_schema() {
            let mut roles = self.cluster.roles().await;
            if !(fresh && roles.are_settled(catalog)) {
                restore.roles().await?;
                roles.settle(catalog);
            }
            drop(roles);
            restore.pre_data().await?;
        } else if selection.truncate {
            truncate::run(ledger, plan).await?;
        }
        if !self.helps {
            vacant::check(ledger, plan).await?;
            ledger.note(PREPARED).await?;
        }
        let desk = Desk {
            ledger: Arc::clone(ledger),
            pool: Pool::new(
                self.conninfo.clone(),
                ledger.migration(),
                !selection.has_schema(),
            ),
            config: self.config.clone(),
            observer: Arc::clone(&self.observer),
            selection: selection.clone(),
        };
        Ok(Ready {
            desk: Arc::new(desk),
            restore,
            existing: (!selection.has_schema()).then(|| (catalog.clone(), plan.clone())),
            tables: catalog.tables.clone(),
            source: catalog.database.clone(),
            tablespace: catalog.database_tablespace().to_owned(),
        })
    }
}

impl PgTarget {
    /// Waits until the process that prepares the target has done so.
    async fn await_others(&self, ledger: &Ledger) -> Result<()> {
        while !ledger.steps_among(&[PREPARED]).await?.contains(PREPARED) {
            ledger.demand().await?;
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Target for PgTarget {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    async fn prepare(&self, catalog: &Catalog, plan: &Plan) -> Result<()> {
        self.ready
            .get_or_try_init(|| self.build(catalog, plan))
            .await?;
        Ok(())
    }

    async fn durable(&self, parts: &[Part]) -> Result<Vec<Option<Mark>>> {
        let durable = match self.ledger.get() {
            Some(ledger) => ledger.durable().await?,
            None => {
                let client = open(&self.conninfo, None).await?;
                Saved::load(&client)
                    .await?
                    .map(|saved| saved.durable)
                    .unwrap_or_default()
            }
        };
        Ok(parts
            .iter()
            .map(|part| durable.get(&part.id).map(|durable| durable.mark))
            .collect())
    }

    async fn open(&self, part: &Part, format: Format) -> Result<Box<dyn Writer>> {
        if format != Format::Copy {
            return Err(Error::input("the target takes COPY only").at(Side::Target));
        }
        let ready = self.ready()?;
        let charset = &ready.source.encoding;
        let freeze = match ready.existing {
            // It needs a TRUNCATE, which would undo what stands.
            Some(_) => Freeze::Never,
            None => self.config.freeze,
        };
        let script = script(part, charset, freeze, |id| ready.tables.named(id))?;
        Ok(Box::new(
            PartWriter::open(Arc::clone(&ready.desk), part, script).await?,
        ))
    }

    async fn tables_loaded(&self, tables: &[TableId]) -> Result<()> {
        if self.helps {
            return Ok(());
        }
        self.ready()?.restore.tables_loaded(tables).await
    }

    async fn complete(&self, sequences: &[SequenceValue]) -> Result<()> {
        let ready = self.ready()?;
        ready.desk.pool.clear();
        if self.helps {
            return Ok(());
        }
        ready.restore.complete(sequences).await?;
        let ledger = &ready.desk.ledger;
        if let Some((catalog, plan)) = &ready.existing {
            let client = ledger.session().await?;
            self.complete_existing(&client, ledger, catalog, plan)
                .await?;
            return ledger.finish(&client).await;
        }
        let begun = Instant::now();
        let (step, subject, table) = (Step::Database, "properties", None);
        self.observer.observe(&Event::StepStarted {
            step,
            subject,
            table,
        });
        let client = ready.desk.ledger.session().await?;
        properties::apply(
            &client,
            &ready.source,
            &ready.desk.selection,
            &*self.observer,
        )
        .await?;
        tablespace::compare(&client, &ready.tablespace, &*self.observer).await?;
        self.observer.observe(&Event::StepDone {
            step,
            subject,
            table,
            elapsed: begun.elapsed(),
        });
        ready.desk.ledger.finish(&client).await
    }

    fn lane_left(&self) {
        if let Some(ready) = self.ready.get() {
            ready.desk.pool.shrink();
        }
    }
}

impl std::fmt::Debug for PgTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgTarget")
            .field("conninfo", &self.conninfo)
            .field("config", &self.config)
            .field("ledger", &self.ledger.get())
            .finish_non_exhaustive()
    }
}

fn unprepared() -> Error {
    Error::new(Kind::Permanent, "the target was not prepared").at(Side::Target)
}
