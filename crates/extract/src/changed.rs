//! Whether rows that were copied under an earlier snapshot are still the same.

use pghaul_stage::{Catalog, PartId, Plan, Result, TableId};

use crate::PgSource;

/// Something that is no longer what an earlier run copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The table; `None` for large objects.
    pub table: Option<TableId>,
    /// The part whose rows differ; `None` if the table itself does.
    pub part: Option<PartId>,
    /// How that is known, as a clause about the table.
    pub why: String,
}

impl PgSource {
    /// Which of the durable parts of an earlier plan hold other rows under this source's
    /// snapshot than they did under the plan's. Nothing means that the durable parts together
    /// with the unfinished ones, read now, are one consistent state.
    ///
    /// `durable` lists the parts with the rows recorded for them.
    ///
    /// # Errors
    ///
    /// [`Kind::Identity`](pghaul_stage::Kind::Identity) if this is not the server or database
    /// of the earlier run, or one that has been set back in time.
    pub async fn changed_since(
        &self,
        plan: &Plan,
        catalog: &Catalog,
        durable: &[(PartId, u64)],
    ) -> Result<Vec<Changed>> {
        tracing::debug!(
            parts = plan.parts.len(),
            tables = catalog.tables.len(),
            durable = durable.len()
        );
        self.not_built()
    }

    /// How the tables differ from those of an earlier catalog: tables that came or went, and
    /// columns whose names, types or order differ.
    pub async fn schema_changes(&self, earlier: &Catalog) -> Result<Vec<Changed>> {
        tracing::debug!(tables = earlier.tables.len());
        self.not_built()
    }
}
