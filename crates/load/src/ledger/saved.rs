//! What a target remembers of a migration.

use std::collections::BTreeMap;

use pghaul_stage::{Catalog, Error, Kind, Mark, Packed, PartId, Plan, Result, Sharing, Side};
use pghaul_wire::Client;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::session::failed;
use crate::unlogged;

/// A part that is durable, as it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    /// Rows in it.
    pub rows: u64,
    /// Payload bytes that were written.
    pub bytes: u64,
    /// How far it is durable: its end.
    pub mark: Mark,
}

/// A migration as the target remembers it.
#[derive(Debug, Clone)]
pub struct Saved {
    /// Which migration.
    pub migration: Uuid,
    /// How often it has been taken over.
    pub epoch: i64,
    /// The plan that its parts are numbered by.
    pub plan: Plan,
    /// The source's catalog with the schema's archive, both without passwords; see
    /// [`reveal`](crate::reveal).
    pub catalog: Catalog,
    /// The parts that are there; those that a crash of the server has emptied are not.
    pub durable: BTreeMap<PartId, Durable>,
    /// Whether everything is.
    pub complete: bool,
    /// The version of pghaul that began it.
    pub tool_version: String,
    /// When it began, as text in UTC.
    pub created_at: String,
}

impl Saved {
    /// Reads the migration that the database holds, if it holds one.
    pub(crate) async fn load(client: &Client) -> Result<Option<Saved>> {
        let exists = "SELECT pg_catalog.to_regclass('pghaul.migration') IS NOT NULL";
        if !client
            .query_one(exists, &[])
            .await
            .map_err(failed)?
            .get::<_, bool>(0)
        {
            return Ok(None);
        }
        let row = client
            .query_opt(
                "SELECT id::text, epoch, plan::text, catalog::text, state = 'complete',
                        tool_version, created_at::text
                 FROM pghaul.migration ORDER BY created_at DESC LIMIT 1",
                &[],
            )
            .await
            .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let migration: Uuid = row.get::<_, String>(0).parse().map_err(unreadable)?;
        let mut catalog: Catalog = serde_json::from_str(row.get(3)).map_err(unreadable)?;
        let mut plan: Plan = serde_json::from_str(row.get(2)).map_err(unreadable)?;
        Sharing::within(&mut catalog, &mut plan);
        let (epoch, complete) = (row.get(1), row.get(4));
        let (tool_version, created_at) = (row.get(5), row.get(6));
        // The largest values are not in memory together.
        drop(row);
        catalog.archive = archive(client, migration).await?;
        let mut durable = durable(client, migration).await?;
        let lost = unlogged::lost(client).await?;
        for part in &plan.parts {
            if part
                .slices()
                .iter()
                .any(|slice| lost.contains(&slice.table))
            {
                durable.remove(&part.id);
            }
        }
        Ok(Some(Saved {
            migration,
            epoch,
            plan,
            catalog,
            durable,
            complete,
            tool_version,
            created_at,
        }))
    }
}

pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(
        Kind::Permanent,
        "the record of the migration cannot be read",
    )
    .at(Side::Target)
    .on("table pghaul.migration")
    .remedy("use the pghaul version that began it, or start over with --overwrite")
    .because(error)
}

/// The schema's archive as it was stored.
pub(super) async fn archive(client: &Client, migration: Uuid) -> Result<Packed> {
    let query = format!("SELECT archive FROM pghaul.migration WHERE id = '{migration}'");
    let row = client.query_one(&query, &[]).await.map_err(failed)?;
    Packed::of_frames(row.get(0)).map_err(unreadable)
}

pub(super) async fn durable(client: &Client, migration: Uuid) -> Result<BTreeMap<PartId, Durable>> {
    let query = format!(
        "SELECT part, rows, bytes, mark FROM pghaul.progress WHERE migration = '{migration}'"
    );
    let rows = client.query(&query, &[]).await.map_err(failed)?;
    rows.iter()
        .map(|row| Ok((PartId(unsigned(row.get::<_, i32>(0))?), recorded(row)?)))
        .collect()
}

pub(super) fn recorded(row: &Row) -> Result<Durable> {
    Ok(Durable {
        rows: unsigned(row.get::<_, i64>(1))?,
        bytes: unsigned(row.get::<_, i64>(2))?,
        mark: Mark(unsigned(row.get::<_, i64>(3))?),
    })
}

pub(super) fn unsigned<S, U: TryFrom<S>>(value: S) -> Result<U>
where
    U::Error: std::error::Error + Send + Sync + 'static,
{
    U::try_from(value).map_err(unreadable)
}
