//! The PostgreSQL source: catalog, snapshot, part planning, COPY out.
//!
//! [`PgSource::open`] locks every table in `ACCESS SHARE` mode and exports a snapshot; all that
//! follows reads under it: the catalog, pg_dump, and one COPY per slice. The rows' bytes are
//! passed on as the server sends them.
//!
//! | step | file |
//! |---|---|
//! | what the operator chooses | `config.rs` |
//! | who is there | `probe.rs`, `databases.rs` |
//! | pinned settings, typed answers | `session.rs` |
//! | locks and the exported snapshot | `snapshot.rs` |
//! | the catalog's queries | `catalog/` |
//! | the schema archive | `schema.rs` |
//! | binary or text | `portable.rs` |
//! | where to cut, what shares a part | `plan.rs` asks, `slice.rs` decides |
//! | the COPY statements | `statement.rs` |
//! | the stage: plan, read, retry | `source.rs` |
//! | reading a part | `copy.rs` |
//! | rows too large for one COPY | `large.rs` |
//! | rows whose characters the target refuses | `untranslatable.rs` |
//! | checks before a migration | `validate.rs` |
//! | what changed since an earlier snapshot | `changed.rs` |
//! | when all rows are copied already | `settled.rs` |
//! | end sessions that were cut off | `stray.rs` |

#[cfg(feature = "bench")]
pub mod bench;
mod catalog;
mod changed;
mod config;
mod copy;
mod databases;
mod extension_table;
mod large;
mod plan;
mod portable;
mod probe;
mod schema;
mod session;
mod settled;
mod slice;
mod snapshot;
mod source;
mod statement;
mod stray;
mod untranslatable;
mod validate;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pghaul_stage::{Error, Kind, Observer, Packed, Plan, Result, Side};
use pghaul_wire::{Client, Conninfo};
use tokio::sync::OnceCell;
use uuid::Uuid;

use catalog::{Inventory, materialized_views};
pub use changed::Changed;
pub use config::{Config, CopyFormat, Split};
use copy::Pool;
pub use databases::{Listed, databases};
pub use probe::{Probe, probe};
use schema::Program;
pub use settled::Settled;
use snapshot::Snapshot;
pub use validate::{Extension, Read, Sample, SourceFacts, UserCollation, sample, validate};

/// The first target version that takes planner statistics.
const TAKES_STATISTICS: u32 = 180_000;

/// How long the orderly end of the snapshot may take.
const FAREWELL: Duration = Duration::from_secs(30);

/// A PostgreSQL database, read under one exported snapshot.
///
/// While it is open, every table is locked in `ACCESS SHARE` mode, so nothing can rewrite or
/// drop one; [`PgSource::close`] ends that.
pub struct PgSource {
    info: Conninfo,
    /// The `application_name` of every session of this run.
    name: String,
    config: Config,
    observer: Arc<dyn Observer>,
    server: Probe,
    snapshot_id: String,
    visible: String,
    /// `None` once closed. Streams hold it too, so it outlasts every reader.
    snapshot: Mutex<Option<Arc<Snapshot>>>,
    pool: Arc<Pool>,
    inventory: OnceCell<Inventory>,
    archives: OnceCell<Archives>,
    plan: OnceCell<Plan>,
}

/// What pg_dump has written.
#[derive(Debug, Default)]
struct Archives {
    schema: Packed,
    statistics: Packed,
}

impl PgSource {
    /// Connects, locks every table and takes the snapshot.
    ///
    /// # Errors
    ///
    /// [`Kind::Input`] for a configuration that cannot work; otherwise what the server said,
    /// with a remedy for missing privileges, locks held by others, and a lock table too small.
    pub async fn open(
        info: Conninfo,
        config: Config,
        observer: Arc<dyn Observer>,
    ) -> Result<PgSource> {
        Self::under(info, config, observer, None).await
    }

    /// Connects and adopts a snapshot that another process exported, to read other parts of what
    /// that one reads. It holds from then on, whatever becomes of that process.
    ///
    /// # Errors
    ///
    /// As [`PgSource::open`]; kind permanent if there is no such snapshot any more.
    pub async fn join(
        info: Conninfo,
        config: Config,
        observer: Arc<dyn Observer>,
        snapshot: &str,
    ) -> Result<PgSource> {
        Self::under(info, config, observer, Some(snapshot)).await
    }

    async fn under(
        info: Conninfo,
        config: Config,
        observer: Arc<dyn Observer>,
        snapshot: Option<&str>,
    ) -> Result<PgSource> {
        config.validate()?;
        // A name of its own, by which this run finds its sessions again.
        let name = format!("pghaul {}", Uuid::now_v7());
        let info = info.with_application_name(&name);
        let holder = Client::connect(&info, Side::Source).await?;
        let server = probe::ask(&holder).await?;
        if server.version < 100_000 {
            return Err(Error::input(format!(
                "the source's version is {}, and only PostgreSQL 10 and newer are supported",
                server.version
            ))
            .at(Side::Source));
        }
        let snapshot = match snapshot {
            Some(id) => Snapshot::adopt(holder, server.version, &config, id).await?,
            None => Snapshot::take(holder, server.version, &config).await?,
        };
        tracing::info!(
            snapshot = snapshot.id(),
            visible = snapshot.visible(),
            "snapshot taken"
        );
        Ok(Self {
            info,
            name,
            config,
            observer,
            server,
            snapshot_id: snapshot.id().to_owned(),
            visible: snapshot.visible().to_owned(),
            snapshot: Mutex::new(Some(Arc::new(snapshot))),
            pool: Arc::default(),
            inventory: OnceCell::new(),
            archives: OnceCell::new(),
            plan: OnceCell::new(),
        })
    }

    /// The server's version as in `server_version_num`.
    pub fn server_version(&self) -> u32 {
        self.server.version
    }

    /// `system_identifier` of the server's control file; 0 where it cannot be read.
    pub fn system(&self) -> u64 {
        self.server.system.unwrap_or(0)
    }

    /// The object identifier of the database.
    pub fn database_oid(&self) -> u32 {
        self.server.database_oid
    }

    /// The exported snapshot's identifier, for other sessions that want to see the same.
    pub fn snapshot_id(&self) -> &str {
        &self.snapshot_id
    }

    /// Which transactions the snapshot sees, as `xmin:xmax:xip,…`.
    pub fn visible(&self) -> &str {
        &self.visible
    }

    /// Ends the snapshot and releases all locks, or leaves that to the last reader if there
    /// still is one. Rows cannot be read afterwards; [`sequences`](pghaul_stage::Source::sequences) still works.
    pub async fn close(&self) -> Result<()> {
        let snapshot = self
            .snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.pool.clear();
        match snapshot.and_then(Arc::into_inner) {
            // Should the server not answer, dropping the session ends it too.
            Some(snapshot) => tokio::time::timeout(FAREWELL, snapshot.release())
                .await
                .unwrap_or(Ok(())),
            None => Ok(()),
        }
    }

    /// Lets go of the catalog and the plan once every row is copied. Asked for again, they are read
    /// again; the snapshot stays.
    pub fn forget(&mut self) {
        self.inventory.take();
        self.archives.take();
        self.plan.take();
    }

    /// Ends what this run still has going on the source once it is closed. A server process whose
    /// connection was cut while it sent rows does not notice by itself, and would hold the
    /// snapshot, and with it dead rows of the whole server, until its network gives up.
    ///
    /// # Errors
    ///
    /// Those of connecting, and of sessions that do not end.
    pub async fn abandon(&self) -> Result<()> {
        stray::end(&self.info, &self.name, FAREWELL).await
    }

    /// Those of these large objects that the source has.
    ///
    /// # Errors
    ///
    /// Those of reading the catalog.
    pub async fn large_objects_among(&self, oids: &[u32]) -> Result<Vec<u32>> {
        if oids.is_empty() {
            return Ok(Vec::new());
        }
        let client = self.snapshot()?.session(&self.info).await?;
        catalog::large_objects::among(&client, oids).await
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>> {
        let held = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map(Arc::clone).ok_or_else(|| {
            Error::new(Kind::Permanent, "the snapshot has been given back already").at(Side::Source)
        })
    }

    async fn inventory(&self) -> Result<&Inventory> {
        self.inventory
            .get_or_try_init(async || {
                let client = self.snapshot()?.session(&self.info).await?;
                let snapshot = self.snapshot()?;
                let (selection, chosen) = (&self.config.selection, snapshot.chosen());
                Inventory::read(&client, &self.server, selection, chosen).await
            })
            .await
    }

    async fn archives(&self) -> Result<&Archives> {
        self.archives
            .get_or_try_init(async || {
                let bindir = self.config.pg_bindir.as_deref();
                let target = self.config.target_version;
                if !self.config.selection.has_schema() {
                    return Ok(Archives::default());
                }
                let program = schema::find(self.server.version, target, bindir).await?;
                let snapshot = self.snapshot()?;
                // pg_dump writes literals as its session reads them, and those who restore them
                // read them as the standard has it. A pooler may refuse options, so none are
                // given where none are needed.
                let mut info = self.info.clone();
                if !self.server.standard_strings {
                    info = info.with_option("standard_conforming_strings", "on");
                }
                if self.server.local_money {
                    info = info.with_option("lc_monetary", "C");
                }
                let (id, wait) = (snapshot.id(), self.config.lock_wait);
                let refreshes = self.refreshes(&snapshot).await?;
                let selection = &self.config.selection;
                let (schema, statistics) = tokio::join!(
                    schema::dump(&program, &info, id, wait, selection, refreshes),
                    self.statistics(&program, &info, id),
                );
                let schema = schema.map_err(|error| snapshot.check().err().unwrap_or(error))?;
                Ok(Archives { schema, statistics })
            })
            .await
    }

    /// Whether materialized views are to be filled.
    async fn refreshes(&self, snapshot: &Snapshot) -> Result<bool> {
        if !self.config.selection.has_rows() {
            return Ok(false);
        }
        let client = snapshot.session(&self.info).await?;
        let populated = materialized_views::populated(&client, snapshot.chosen()).await?;
        Ok(!populated.is_empty())
    }

    /// The planner statistics, if the target takes them. Without them it collects its own, so
    /// that it failed is worth a line in the log only.
    async fn statistics(&self, program: &Program, info: &Conninfo, snapshot: &str) -> Packed {
        let target = self.config.target_version.unwrap_or(0);
        let selection = &self.config.selection;
        let wanted = selection.has_rows() && !selection.no_analyze;
        if !wanted || target < TAKES_STATISTICS || !program.knows_statistics() {
            return Packed::default();
        }
        schema::statistics(program, info, snapshot, self.config.lock_wait, selection)
            .await
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "planner statistics are collected anew");
                Packed::default()
            })
    }
}

impl std::fmt::Debug for PgSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgSource")
            .field("server", &self.server)
            .field("snapshot", &self.snapshot_id)
            .finish_non_exhaustive()
    }
}
