//! The database that a benchmark makes on a server, with one table of rows.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::TryStreamExt;
use pghaul_load::{SCRATCH, create_scratch, drop_scratch};
use pghaul_stage::{Format, Generator, Payload, Result, RowShape, Side, Source, TableId};
use pghaul_wire::quote::ident;
use pghaul_wire::{Client, Conninfo, Lane, server_error};

/// The only table, in a schema that is named after what it is for.
pub(super) fn table() -> TableId {
    TableId::new("pghaul_bench", "rows")
}

/// A scratch database.
pub(super) struct Scratch {
    near: Conninfo,
    /// The database itself.
    pub(super) info: Conninfo,
    side: Side,
}

impl Scratch {
    /// One with a name of its own, on the server of `near`.
    pub(super) fn new(near: &Conninfo, side: Side) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = now.map_or(0, |now| now.as_nanos());
        let name = format!("{SCRATCH}{nanos:x}_{}_{side}", std::process::id());
        Self {
            near: near.clone(),
            info: near.with_dbname(&name).with_application_name("pghaul"),
            side,
        }
    }

    /// One that was created already.
    pub(super) fn known(info: &Conninfo, side: Side) -> Self {
        Self {
            near: info.clone(),
            info: info.clone(),
            side,
        }
    }

    pub(super) async fn create(&self) -> Result<()> {
        create_scratch(&self.near, self.side, self.info.dbname()).await
    }

    pub(super) async fn remove(&self) -> Result<()> {
        drop_scratch(&self.near, self.side, self.info.dbname()).await
    }

    /// Creates the table, with a primary key if an index is to be built of it later.
    pub(super) async fn table(&self, shape: RowShape, key: bool) -> Result<()> {
        let columns = shape.columns().iter();
        let mut columns: Vec<String> = columns
            .map(|(name, kind)| format!("{} {kind}", ident(name)))
            .collect();
        if key {
            columns.push(format!("PRIMARY KEY ({})", ident("id")));
        }
        let sql = format!(
            "CREATE SCHEMA {}; CREATE TABLE {} ({})",
            ident(&table().schema),
            qualified(),
            columns.join(", ")
        );
        let client = Client::connect(&self.info, self.side).await?;
        let created = client.batch_execute(&sql).await;
        created.map_err(|error| server_error(self.side, error))
    }

    /// Fills the table.
    pub(super) async fn fill(&self, rows: &Generator) -> Result<()> {
        let mut lane = Lane::connect(&self.info, self.side).await?;
        lane.execute("SET synchronous_commit = off").await?;
        for part in rows.plan().await?.parts {
            let copy = format!("COPY {} FROM STDIN (FORMAT binary)", qualified());
            let mut copy = lane.copy_in(&copy).await?;
            let mut batches = rows.read(&part, Format::Copy).await?;
            while let Some(batch) = batches.try_next().await? {
                if let Payload::Copy(bytes) = batch.payload {
                    copy.send(bytes).await?;
                }
            }
            copy.done().await?;
            (lane, _) = copy.finish().await?;
        }
        // So that statistics and hint bits are not what is measured.
        lane.execute(&format!("VACUUM ANALYZE {}", qualified()))
            .await?;
        Ok(())
    }
}

fn qualified() -> String {
    let table = table();
    format!("{}.{}", ident(&table.schema), ident(&table.name))
}
