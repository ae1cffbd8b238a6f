//! Restores the schema: roles and what rows need before them, everything else after them.

use std::sync::Arc;

use pghaul_stage::{Catalog, Observer, Result, SequenceValue, TableId};
use pghaul_wire::Conninfo;

use crate::archive::Archive;
use crate::config::Config;
use crate::ledger::Ledger;

/// The restoring of one schema archive into one database.
pub(crate) struct Restore {
    archive: Archive,
    conninfo: Conninfo,
    ledger: Arc<Ledger>,
    observer: Arc<dyn Observer>,
}

impl Restore {
    /// Reads the archive and sorts its entries; sends nothing.
    pub(crate) fn new(
        conninfo: Conninfo,
        _config: &Config,
        ledger: Arc<Ledger>,
        catalog: &Catalog,
        observer: Arc<dyn Observer>,
    ) -> Result<Restore> {
        let archive = Archive::parse(&catalog.archive)?;
        Ok(Restore { archive, conninfo, ledger, observer })
    }

    /// Creates the roles that the target does not have. Harmless when done before.
    pub(crate) async fn roles(&self) -> Result<()> {
        Ok(())
    }

    /// Restores what rows need. Harmless when done before.
    pub(crate) async fn pre_data(&self) -> Result<()> {
        Ok(())
    }

    /// Starts the indexes and constraints of tables whose rows are durable, in the background.
    pub(crate) async fn tables_loaded(&self, _tables: &[TableId]) -> Result<()> {
        Ok(())
    }

    /// Waits for what was started, then restores the rest.
    pub(crate) async fn complete(&self, _sequences: &[SequenceValue]) -> Result<()> {
        Ok(())
    }
}
