//! The record of a migration, kept on the target in the schema `pghaul`.
//!
//! It commits together with what it records, so it is right after any crash. `migration` holds
//! the plan and the source's catalog, so that a later run goes on with them, and the schema's archive
//! in frames of zstd (`zstd -d` reads it); a row of `progress` says that a part's rows are there, a row of `step` that some DDL is. Whoever takes the
//! migration over raises its epoch, after which nobody with an older one commits anything.

mod saved;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::pin::pin;

use futures_util::TryStreamExt;
use pghaul_stage::{Catalog, Error, Kind, Mark, Packed, Packer, PartId, Plan, Result, Side};
use pghaul_wire::{Client, Conninfo, quote};
use serde::Serialize;
use serde_json::ser::Formatter;
use uuid::Uuid;

use crate::config::Config;
use crate::fence;
use crate::new_row::NewRow;
use crate::secret;
use crate::session::{FENCED, failed, fenced, open};
use crate::steps::Steps;
use crate::unlogged;

pub use saved::{Durable, Saved};

use saved::{durable, unreadable};

/// Creates the record. `fence` is called in every transaction that records something: it fails
/// once another run has taken over, and keeps one from doing so until the transaction ends.
fn schema() -> String {
    format!(
        "CREATE SCHEMA IF NOT EXISTS pghaul;
CREATE TABLE IF NOT EXISTS pghaul.migration (
    id uuid PRIMARY KEY,
    epoch bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('prepared', 'complete')),
    tool_version text NOT NULL,
    source_system numeric NOT NULL,
    source_database oid NOT NULL,
    source_name text NOT NULL,
    plan json NOT NULL,
    catalog json NOT NULL,
    archive bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    finished_at timestamptz
);
CREATE TABLE IF NOT EXISTS pghaul.progress (
    migration uuid NOT NULL,
    part int4 NOT NULL,
    epoch bigint NOT NULL,
    rows bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    mark bigint NOT NULL DEFAULT 0,
    finished_at timestamptz,
    PRIMARY KEY (migration, part)
);
CREATE TABLE IF NOT EXISTS pghaul.step (
    migration uuid NOT NULL,
    step text NOT NULL,
    PRIMARY KEY (migration, step)
);
CREATE OR REPLACE FUNCTION pghaul.fence(migration uuid, epoch bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = '' AS $fence$
BEGIN
    PERFORM FROM pghaul.migration AS m WHERE m.id = $1 AND m.epoch = $2 FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another run has taken over migration %', $1 USING ERRCODE = '{FENCED}';
    END IF;
END
$fence$;
REVOKE ALL ON FUNCTION pghaul.fence(uuid, bigint) FROM PUBLIC;
{}
{}",
        unlogged::CREATE,
        unlogged::SET
    )
}

/// The record of one migration, in the hands of one run of it.
#[derive(Debug)]
pub(crate) struct Ledger {
    conninfo: Conninfo,
    migration: Uuid,
    epoch: i64,
}

impl Ledger {
    /// Begins a migration: one transaction makes the record with plan and catalog.
    pub(crate) async fn create(
        conninfo: &Conninfo,
        catalog: &Catalog,
        plan: &Plan,
    ) -> Result<Ledger> {
        let ledger = Ledger {
            conninfo: conninfo.clone(),
            migration: Uuid::now_v7(),
            epoch: 1,
        };
        let mut client = ledger.session().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        transaction
            .batch_execute(&schema())
            .await
            .map_err(|error| {
                let error = failed(error).on("schema pghaul");
                match error.code() {
                    Some("42501") => {
                        error.remedy("grant CREATE on the target database to this role")
                    }
                    _ => error,
                }
            })?;
        transaction
            .batch_execute("LOCK TABLE pghaul.migration IN EXCLUSIVE MODE")
            .await
            .map_err(failed)?;
        let exists = "SELECT EXISTS (SELECT FROM pghaul.migration)";
        if transaction
            .query_one(exists, &[])
            .await
            .map_err(failed)?
            .get::<_, bool>(0)
        {
            return Err(Error::input("the database already holds a migration")
                .at(Side::Target)
                .on(format!("database {}", conninfo.dbname()))
                .remedy("go on with --resume, or start over with --overwrite"));
        }
        let mut row = NewRow::begin(
            &transaction,
            "pghaul.migration (id, epoch, state, tool_version, source_system, source_database,
             source_name, plan, catalog, archive)",
        )
        .await?;
        row.text(&ledger.migration.to_string()).await?;
        row.text(&ledger.epoch.to_string()).await?;
        row.text("prepared").await?;
        row.text(env!("CARGO_PKG_VERSION")).await?;
        row.text(&catalog.server.system.to_string()).await?;
        row.text(&catalog.database.oid.to_string()).await?;
        row.text(&catalog.database.name).await?;
        row.ascii(&json(plan)?).await?;
        row.ascii(&json(catalog)?).await?;
        row.frames(&secret::withhold(&catalog.archive)?).await?;
        row.end().await?;
        transaction.commit().await.map_err(failed)?;
        Ok(ledger)
    }

    /// Takes over the migration that the database holds: raises its epoch, so that no other
    /// run commits anything any more, and ends the sessions such a run left behind.
    pub(crate) async fn take_over(
        conninfo: &Conninfo,
        saved: &Saved,
        config: &Config,
    ) -> Result<Ledger> {
        let migration = saved.migration;
        let client = open(conninfo, Some(migration)).await?;
        // Ended first, because a commit that hangs would hold the row; ended again afterwards,
        // because one may have begun in between.
        fence::evict(&client, migration, config.fence_timeout).await?;
        let row = client
            .query_opt(
                &format!(
                    "UPDATE pghaul.migration SET epoch = epoch + 1
                     WHERE id = '{migration}' AND epoch = $1 RETURNING epoch"
                ),
                &[&saved.epoch],
            )
            .await
            .map_err(failed)?;
        let Some(row) = row else {
            return Err(Error::new(
                Kind::Fenced,
                "another run has just taken over this migration",
            )
            .at(Side::Target));
        };
        fence::evict(&client, migration, config.fence_timeout).await?;
        Ok(Ledger {
            conninfo: conninfo.clone(),
            migration,
            epoch: row.get(0),
        })
    }

    /// The record of a migration that another process goes on with at the same time.
    pub(crate) fn join(conninfo: &Conninfo, saved: &Saved) -> Ledger {
        Ledger {
            conninfo: conninfo.clone(),
            migration: saved.migration,
            epoch: saved.epoch,
        }
    }

    /// Which migration.
    pub(crate) fn migration(&self) -> Uuid {
        self.migration
    }

    /// This run's epoch.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    /// A session of this migration.
    pub(crate) async fn session(&self) -> Result<Client> {
        open(&self.conninfo, Some(self.migration)).await
    }

    /// A statement that fails once another run has taken over. It keeps one from doing so
    /// until the transaction ends, so it belongs right before the end.
    pub(crate) fn fence_sql(&self) -> String {
        format!("SELECT pghaul.fence('{}', {})", self.migration, self.epoch)
    }

    /// Statements that record steps, of which there must be one; they belong at the end of the
    /// steps' own transaction. They fail if a step is recorded already, or if another run has
    /// taken over.
    pub(crate) fn steps_sql<'a>(&self, steps: impl IntoIterator<Item = &'a str>) -> String {
        let row = |step| format!("('{}', {})", self.migration, quote::literal(step));
        let rows: Vec<String> = steps.into_iter().map(row).collect();
        format!(
            "{};\nINSERT INTO pghaul.step (migration, step) VALUES {}",
            self.fence_sql(),
            rows.join(", ")
        )
    }

    /// Records a step, if it is not recorded yet.
    pub(crate) async fn note(&self, step: &str) -> Result<()> {
        let sql = format!("{} ON CONFLICT DO NOTHING", self.steps_sql([step]));
        let client = self.session().await?;
        let noted = client.batch_execute(&sql).await;
        noted.map_err(|error| fenced(failed(error)))
    }

    /// Fails once another run has taken over.
    pub(crate) async fn demand(&self) -> Result<()> {
        let client = self.session().await?;
        let held = client.batch_execute(&self.fence_sql()).await;
        held.map_err(|error| fenced(failed(error)))
    }

    /// The steps that are recorded.
    pub(crate) async fn steps(&self) -> Result<Steps> {
        let client = self.session().await?;
        let query = format!(
            "SELECT step FROM pghaul.step WHERE migration = '{}'",
            self.migration
        );
        let rows = client.query_raw(&query, std::iter::empty::<i32>());
        let mut rows = pin!(rows.await.map_err(failed)?);
        let mut steps = Steps::default();
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            steps.insert(row.get(0));
        }
        Ok(steps)
    }

    /// Those of these steps that are recorded.
    pub(crate) async fn steps_among(&self, steps: &[&str]) -> Result<Steps> {
        let client = self.session().await?;
        let query = format!(
            "SELECT step FROM pghaul.step WHERE migration = '{}' AND step = ANY ($1)",
            self.migration
        );
        let rows = client.query(&query, &[&steps]).await.map_err(failed)?;
        let mut found = Steps::default();
        rows.iter().for_each(|row| found.insert(row.get(0)));
        Ok(found)
    }

    /// The parts that are durable. Fails once another run has taken over: a run that only waits for
    /// parts of others would not learn of it in any other way.
    pub(crate) async fn durable(&self) -> Result<BTreeMap<PartId, Durable>> {
        let client = self.session().await?;
        let held = client.batch_execute(&self.fence_sql()).await;
        held.map_err(|error| fenced(failed(error)))?;
        durable(&client, self.migration).await
    }

    /// The statement that opens a part's record. It waits while another session holds it,
    /// violates the primary key if the part is durable, and inserts nothing once another run
    /// has taken over.
    pub(crate) fn begin_sql(&self, part: PartId) -> String {
        format!(
            "INSERT INTO pghaul.progress (migration, part, epoch)
             SELECT id, {part}, epoch FROM pghaul.migration WHERE id = '{}' AND epoch = {}",
            self.migration, self.epoch
        )
    }

    /// The statements that complete a part's record.
    pub(crate) fn end_sql(&self, part: PartId, durable: &Durable) -> String {
        let Durable {
            rows,
            bytes,
            mark: Mark(mark),
        } = durable;
        format!(
            "{}; UPDATE pghaul.progress
             SET rows = {rows}, bytes = {bytes}, mark = {mark},
                 finished_at = pg_catalog.clock_timestamp()
             WHERE migration = '{}' AND part = {part}",
            self.fence_sql(),
            self.migration,
        )
    }

    /// Records that everything is done.
    pub(crate) async fn finish(&self, client: &Client) -> Result<()> {
        unlogged::check(client).await?;
        let statements = format!(
            "{};
             UPDATE pghaul.migration
             SET state = 'complete', finished_at = pg_catalog.clock_timestamp()
             WHERE id = '{}'",
            self.fence_sql(),
            self.migration
        );
        client
            .batch_execute(&format!("BEGIN; {statements}; COMMIT"))
            .await
            .map_err(failed)
    }

    /// Replaces the plan and the catalog inside a transaction; the parts must be the same.
    pub(crate) async fn replace(
        &self,
        transaction: &tokio_postgres::Transaction<'_>,
        plan: &Plan,
        catalog: &Catalog,
    ) -> Result<()> {
        transaction
            .execute(
                &format!(
                    "UPDATE pghaul.migration SET plan = $1::text::json, catalog = $2::text::json,
                            state = 'prepared', finished_at = NULL
                     WHERE id = '{}'",
                    self.migration
                ),
                &[&text(&json(plan)?)?, &text(&json(catalog)?)?],
            )
            .await
            .map_err(failed)?;
        Ok(())
    }
}

/// JSON in ASCII, which a database of any encoding stores as it is.
fn json(value: &impl Serialize) -> Result<Packed> {
    let mut packer = Packer::new()?;
    let mut serializer = serde_json::Serializer::with_formatter(&mut packer, Ascii);
    value.serialize(&mut serializer).map_err(|error| {
        Error::new(Kind::Permanent, "the plan cannot be written as JSON").because(error)
    })?;
    packer.finish()
}

/// Such JSON, all at once.
fn text(json: &Packed) -> Result<String> {
    String::from_utf8(json.unpack()?.into()).map_err(unreadable)
}

/// Writes what is beyond ASCII as an escape.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut units = [0; 2];
        for piece in fragment.split_inclusive(|character: char| !character.is_ascii()) {
            let plain = piece.trim_end_matches(|character: char| !character.is_ascii());
            writer.write_all(plain.as_bytes())?;
            for character in piece.chars().filter(|character| !character.is_ascii()) {
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_ascii_and_reads_back() {
        let text = "na\u{ef}ve \u{1f600} \"quoted\"";
        let written = super::text(&json(&text).unwrap()).unwrap();
        assert!(written.is_ascii());
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }
}
