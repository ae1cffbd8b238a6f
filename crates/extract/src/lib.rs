//! The PostgreSQL source: catalog, snapshot, part planning, COPY out.

mod changed;
mod config;
mod probe;

use std::sync::Arc;

use async_trait::async_trait;
use pghaul_stage::{
    Batches, Catalog, Error, Format, Kind, Mark, Observer, Part, Plan, Result, SequenceValue,
    Source,
};
use pghaul_wire::Conninfo;

pub use changed::Changed;
pub use config::{Config, CopyFormat, Split};
pub use probe::{Probe, probe};

/// A PostgreSQL database, read under one exported snapshot.
///
/// While it is open, every table is locked in `ACCESS SHARE` mode, so nothing can rewrite or
/// drop one; [`PgSource::close`] ends that.
pub struct PgSource {
    observer: Arc<dyn Observer>,
}

impl PgSource {
    /// Connects, takes the snapshot and the locks.
    pub async fn open(
        info: Conninfo,
        config: Config,
        observer: Arc<dyn Observer>,
    ) -> Result<PgSource> {
        config.validate()?;
        let _ = info;
        let source = Self { observer };
        source.not_built()?;
        Ok(source)
    }

    /// The server's version as in `server_version_num`.
    pub fn server_version(&self) -> u32 {
        0
    }

    /// `system_identifier` of the server's control file; 0 where it cannot be read.
    pub fn system(&self) -> u64 {
        0
    }

    /// The object identifier of the database.
    pub fn database_oid(&self) -> u32 {
        0
    }

    /// The exported snapshot's identifier, for other sessions that want to see the same.
    pub fn snapshot_id(&self) -> &str {
        ""
    }

    /// Ends the snapshot and releases all locks, once the last reader is gone. Rows cannot be
    /// read afterwards; [`Source::sequences`] still works.
    pub async fn close(&self) -> Result<()> {
        self.not_built()
    }

    fn not_built<T>(&self) -> Result<T> {
        let _ = &self.observer;
        Err(Error::new(Kind::Permanent, "not built yet"))
    }
}

impl std::fmt::Debug for PgSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgSource").finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for PgSource {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    async fn catalog(&self) -> Result<Catalog> {
        self.not_built()
    }

    async fn plan(&self) -> Result<Plan> {
        self.not_built()
    }

    async fn read(&self, _part: &Part, _format: Format) -> Result<Batches> {
        self.not_built()
    }

    async fn confirm(&self, _part: &Part, _durable: Mark) -> Result<()> {
        Ok(())
    }

    async fn sequences(&self) -> Result<Vec<SequenceValue>> {
        self.not_built()
    }
}
