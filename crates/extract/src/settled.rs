//! A source whose rows are all on the target already.

use async_trait::async_trait;
use pghaul_stage::{
    Batches, Catalog, Error, Format, Kind, Mark, Part, Plan, Result, SequenceValue, Side, Source,
};
use pghaul_wire::{Client, Conninfo};

use crate::{catalog, session};

/// A PostgreSQL database of which every row has been copied: it takes no snapshot, locks no
/// table and needs no privilege on one. Only its sequences are still read.
#[derive(Debug)]
pub struct Settled {
    info: Conninfo,
    catalog: Catalog,
    plan: Plan,
}

impl Settled {
    /// The source of a migration that `catalog` and `plan` describe.
    pub fn new(info: &Conninfo, catalog: Catalog, plan: Plan) -> Self {
        Self {
            info: info.with_application_name("pghaul"),
            catalog,
            plan,
        }
    }
}

#[async_trait]
impl Source for Settled {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    async fn catalog(&self) -> Result<Catalog> {
        Ok(self.catalog.clone())
    }

    async fn plan(&self) -> Result<Plan> {
        Ok(self.plan.clone())
    }

    async fn read(&self, part: &Part, _format: Format) -> Result<Batches> {
        let message = "its rows were recorded as durable when this run began, and no longer are";
        Err(Error::new(Kind::Identity, message)
            .at(Side::Source)
            .on(part.to_string())
            .remedy("run `pghaul migrate --resume` again"))
    }

    async fn confirm(&self, _part: &Part, _durable: Mark) -> Result<()> {
        Ok(())
    }

    async fn sequences(&self) -> Result<Vec<SequenceValue>> {
        let client = Client::connect(&self.info, Side::Source).await?;
        let begin = session::begin(self.catalog.server.version);
        session::execute(&client, "the values of sequences", &begin).await?;
        catalog::sequences::values(&client, &self.catalog.sequences).await
    }
}
