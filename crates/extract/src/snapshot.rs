//! The exported snapshot, and the session that keeps it and the tables' locks.

use std::collections::HashSet;

use pghaul_stage::{Error, Kind, Lsn, Result, Side, TableId};
use pghaul_wire::quote::{ident, literal};
use pghaul_wire::{Chosen, Client, Conninfo, search_path};

use crate::Config;
use crate::catalog::tables;
use crate::session::{begin, execute, field, row, rows};

/// Tables named in one LOCK statement: few round trips, and no statement of many megabytes.
const LOCKS_PER_STATEMENT: usize = 1000;

/// An exported snapshot. It lasts until the last owner drops it or its session breaks.
pub(crate) struct Snapshot {
    holder: Client,
    version: u32,
    id: String,
    visible: String,
    start: Lsn,
    chosen: Chosen,
}

/// Why an attempt at a snapshot has to be repeated.
enum Outcome {
    Taken {
        id: String,
        visible: String,
        start: Lsn,
        chosen: Chosen,
    },
    /// A table was dropped or rewritten meanwhile.
    Disturbed { table: String },
}

impl Snapshot {
    /// Locks all tables, then exports a snapshot of what they hold.
    ///
    /// TRUNCATE, and everything else that rewrites a table, is not MVCC-safe: to a snapshot
    /// taken before, the table would look empty. So locks come first and the snapshot second.
    /// A table created between the two is locked afterwards; whether one was rewritten in that
    /// gap shows in its file number, and then all is done again.
    pub(crate) async fn take(holder: Client, version: u32, config: &Config) -> Result<Snapshot> {
        let mut disturbed = String::new();
        for _ in 0..config.snapshot_attempts {
            match attempt(&holder, version, config).await? {
                Outcome::Taken {
                    id,
                    visible,
                    start,
                    chosen,
                } => {
                    return Ok(Self {
                        holder,
                        version,
                        id,
                        visible,
                        start,
                        chosen,
                    });
                }
                Outcome::Disturbed { table } => {
                    tracing::info!(%table, "table changed under the snapshot, taking another");
                    execute(&holder, "the snapshot", "ROLLBACK").await?;
                    disturbed = table;
                }
            }
        }
        Err(Error::new(
            Kind::Transient,
            format!(
                "tables kept being dropped, truncated or rewritten while the snapshot was taken, \
                 {} times",
                config.snapshot_attempts
            ),
        )
        .at(Side::Source)
        .on(format!("table {disturbed}"))
        .remedy("pause the job that does this until the copy has begun, and start again"))
    }

    /// Adopts a snapshot that another process exported, locks its tables too, and exports it once
    /// more: from now on it does not depend on that process.
    ///
    /// The other process holds the same locks while it lives; should it end in between, whatever
    /// was rewritten shows in its file number.
    ///
    /// # Errors
    ///
    /// Kind permanent if there is no such snapshot any more.
    pub(crate) async fn adopt(
        holder: Client,
        version: u32,
        config: &Config,
        id: &str,
    ) -> Result<Snapshot> {
        let what = "the snapshot";
        let path = search_path(&holder).await?;
        let import = format!(
            "{} SET TRANSACTION SNAPSHOT {}; SET LOCAL lock_timeout = {}",
            begin(version),
            literal(id),
            config.lock_wait.as_millis().max(1)
        );
        let adopted = execute(&holder, what, &import).await;
        adopted.map_err(|error| match error.code() {
            Some("22023" | "42704" | "55000") => lost().because(error),
            _ => error,
        })?;
        let chosen = choose(&holder, config, &path).await?;
        let tables = list(&holder, &chosen).await?;
        let gone = match lock(&holder, version, &chosen, &tables).await? {
            Some(gone) => Some(gone),
            None => disturbed(&holder, &chosen).await?,
        };
        if let Some(table) = gone {
            return Err(lost().on(format!("table {table}")));
        }
        let (id, visible, start) = export(&holder).await?;
        execute(&holder, what, "SET LOCAL lock_timeout = 0").await?;
        Ok(Self {
            holder,
            version,
            id,
            visible,
            start,
            chosen,
        })
    }

    /// The identifier under which other sessions import it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Which transactions it sees, as `xmin:xmax:xip,…`.
    pub(crate) fn visible(&self) -> &str {
        &self.visible
    }

    /// The position after which nothing is part of it.
    pub(crate) fn start(&self) -> Lsn {
        self.start
    }

    /// What is selected of what it sees.
    pub(crate) fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// The statements that open a transaction under this snapshot.
    pub(crate) fn import(&self) -> String {
        format!(
            "{} SET TRANSACTION SNAPSHOT {};",
            begin(self.version),
            literal(&self.id)
        )
    }

    /// Fails if the session that keeps it has ended.
    pub(crate) fn check(&self) -> Result<()> {
        if self.holder.is_closed() {
            Err(lost())
        } else {
            Ok(())
        }
    }

    /// An error of importing it: whatever says that it does not exist means that it is lost.
    ///
    /// The code differs between versions: 22023 up to 16, 42704 since, and 55000 if the
    /// session ended in the moment of importing.
    pub(crate) fn import_failed(&self, error: Error) -> Error {
        match error.code() {
            Some("22023" | "42704" | "55000") => lost().because(error),
            _ if self.holder.is_closed() => lost().because(error),
            _ => error,
        }
    }

    /// A session that sees this snapshot, for catalog queries.
    pub(crate) async fn session(&self, info: &Conninfo) -> Result<Client> {
        self.check()?;
        let client = Client::connect(info, Side::Source).await?;
        execute(&client, "the snapshot", &self.import())
            .await
            .map_err(|error| self.import_failed(error))?;
        Ok(client)
    }

    /// Explains why a reader did not get a table's lock although nobody can hold a conflicting
    /// one: somebody waits for it.
    pub(crate) async fn overtaken(&self, info: &Conninfo, error: Error) -> Error {
        let Ok(Some(pid)) = self.waiting(info).await else {
            return error;
        };
        Error::new(
            Kind::Transient,
            format!("server process {pid} waits to lock a table, which keeps readers out"),
        )
        .at(Side::Source)
        .on(error.subject().unwrap_or_default().to_owned())
        .sqlstate("55P03")
        .remedy(format!(
            "see its query in pg_stat_activity and cancel it with pg_cancel_backend({pid}), then \
             run again with --resume"
        ))
        .because(error)
    }

    /// A server process that waits for the holder's locks. Not its query, which may hold values.
    async fn waiting(&self, info: &Conninfo) -> Result<Option<i32>> {
        let client = Client::connect(info, Side::Source).await?;
        let sql = format!(
            "SELECT pid FROM pg_catalog.pg_stat_activity \
              WHERE wait_event_type = 'Lock' AND {} = ANY (pg_catalog.pg_blocking_pids(pid)) \
              ORDER BY query_start LIMIT 1",
            self.holder.pid()
        );
        let found = rows(&client, "who waits for locks", &sql).await?;
        found.first().map(|row| field(row, 0)).transpose()
    }

    /// Ends it in an orderly way.
    pub(crate) async fn release(self) -> Result<()> {
        execute(&self.holder, "the snapshot", "COMMIT").await
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("id", &self.id)
            .field("visible", &self.visible)
            .finish_non_exhaustive()
    }
}

fn lost() -> Error {
    Error::new(
        Kind::Permanent,
        "the session that held the snapshot has ended, and with it the state being copied",
    )
    .at(Side::Source)
    .remedy(
        "see the source server's log for why it ended, then run again with --resume: what was \
         copied is kept if the source has not changed since",
    )
}

async fn attempt(holder: &Client, version: u32, config: &Config) -> Result<Outcome> {
    let what = "the snapshot";
    let path = search_path(holder).await?;
    execute(holder, what, &begin(version)).await?;
    let early = choose(holder, config, &path).await?;
    let listed = list(holder, &early).await?;
    // The listing took a snapshot, so a new transaction must lock before it looks.
    let wait = format!(
        "SET LOCAL lock_timeout = {};",
        config.lock_wait.as_millis().max(1)
    );
    execute(holder, what, &format!("COMMIT; {} {wait}", begin(version))).await?;
    if let Some(table) = lock(holder, version, &early, &listed).await? {
        return Ok(Outcome::Disturbed { table });
    }

    let (id, visible, start) = export(holder).await?;
    let locked: HashSet<&TableId> = listed.iter().collect();
    let chosen = choose(holder, config, &path).await?;
    let seen = list(holder, &chosen).await?;
    let late: Vec<TableId> = seen
        .into_iter()
        .filter(|table| !locked.contains(table))
        .collect();
    if let Some(table) = lock(holder, version, &chosen, &late).await? {
        return Ok(Outcome::Disturbed { table });
    }
    if let Some(table) = disturbed(holder, &chosen).await? {
        return Ok(Outcome::Disturbed { table });
    }
    execute(holder, what, "SET LOCAL lock_timeout = 0").await?;
    Ok(Outcome::Taken {
        id,
        visible,
        start,
        chosen,
    })
}

/// Exports the transaction's snapshot: its identifier, what it sees, and the present position.
async fn export(holder: &Client) -> Result<(String, String, Lsn)> {
    let what = "the snapshot";
    let recovery = row(holder, what, "SELECT pg_catalog.pg_is_in_recovery()").await?;
    let position = if field(&recovery, 0)? {
        "pg_catalog.pg_last_wal_replay_lsn()"
    } else {
        "pg_catalog.pg_current_wal_insert_lsn()"
    };
    let exported = row(
        holder,
        what,
        &format!(
            "SELECT pg_catalog.pg_export_snapshot(), \
                    pg_catalog.txid_current_snapshot()::text, {position}::text"
        ),
    )
    .await?;
    Ok((
        field(&exported, 0)?,
        field(&exported, 1)?,
        field::<String>(&exported, 2)?.parse()?,
    ))
}

/// The selection, as the transaction sees it.
async fn choose(holder: &Client, config: &Config, path: &str) -> Result<Chosen> {
    Chosen::resolve(holder, &config.selection, path, false).await
}

/// The tables that will be read, as the transaction sees them.
async fn list(holder: &Client, chosen: &Chosen) -> Result<Vec<TableId>> {
    let sql = format!(
        "SELECT n.nspname, c.relname FROM {} WHERE {} ORDER BY c.oid",
        tables::FROM,
        tables::copied('r', chosen),
    );
    rows(holder, "the list of tables", &sql)
        .await?
        .iter()
        .map(|row| Ok(TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?)))
        .collect()
}

/// Locks tables against everything that rewrites or drops them; a table that is gone already
/// is returned.
async fn lock(
    holder: &Client,
    version: u32,
    chosen: &Chosen,
    tables: &[TableId],
) -> Result<Option<String>> {
    for chunk in tables.chunks(LOCKS_PER_STATEMENT) {
        let names: Vec<String> = chunk
            .iter()
            .map(|table| format!("ONLY {}.{}", ident(&table.schema), ident(&table.name)))
            .collect();
        let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
        if let Err(error) = execute(holder, "locking the tables", &sql).await {
            return match error.code() {
                // Undefined table or schema, or another kind of relation under that name.
                Some("42P01" | "3F000" | "42809") => Ok(Some(error.message().to_owned())),
                _ => Err(lock_failed(holder, version, chosen, error).await),
            };
        }
    }
    Ok(None)
}

async fn lock_failed(holder: &Client, version: u32, chosen: &Chosen, error: Error) -> Error {
    let (message, remedy) = match error.code() {
        Some("42501") => (
            error.message().to_owned(),
            "grant the role USAGE on every schema and SELECT on every table and sequence, or \
             membership in pg_read_all_data",
        ),
        Some("53200") => (
            "the server has no room for a lock on every table".to_owned(),
            "raise max_locks_per_transaction on the source and restart it",
        ),
        Some("55P03") => (
            match blockers(holder, version, chosen).await {
                Ok(blockers) if !blockers.is_empty() => {
                    format!(
                        "a table stays locked by another session: {}",
                        blockers.join(", ")
                    )
                }
                _ => "a table stayed locked by another session".to_owned(),
            },
            "let that session finish, or end it, and start again",
        ),
        _ => return error,
    };
    let code = error.code().unwrap_or_default().to_owned();
    Error::new(Kind::Permanent, message)
        .at(Side::Source)
        .on("locking the tables")
        .sqlstate(code)
        .remedy(remedy)
        .because(error)
}

/// Who holds exclusive locks on tables that will be read; asked after a lock was not granted.
async fn blockers(holder: &Client, version: u32, chosen: &Chosen) -> Result<Vec<String>> {
    let what = "the holders of locks";
    execute(holder, what, &format!("ROLLBACK; {}", begin(version))).await?;
    let sql = format!(
        "SELECT n.nspname, c.relname, l.pid FROM {} \
           JOIN pg_catalog.pg_locks l ON l.relation = c.oid AND l.locktype = 'relation' \
          WHERE {} AND l.granted AND l.mode = 'AccessExclusiveLock' LIMIT 5",
        tables::FROM,
        tables::copied('r', chosen),
    );
    rows(holder, what, &sql)
        .await?
        .iter()
        .map(|row| {
            let table = TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?);
            Ok(format!(
                "{table} by server process {}",
                field::<i32>(row, 2)?
            ))
        })
        .collect()
}

/// A table of the snapshot that is not locked, or whose file is not the one it had in the
/// snapshot.
///
/// `pg_class` is read under the snapshot, while `pg_relation_filenode` answers with the present
/// state; `pg_locks` proves that the lock is on this table and not on another one that had
/// meanwhile taken its name. `NOT IN` hashes the locks; a join would compare each table with each
/// lock, because the planner expects few.
async fn disturbed(holder: &Client, chosen: &Chosen) -> Result<Option<String>> {
    let sql = format!(
        "SELECT n.nspname, c.relname FROM {} \
          WHERE {} AND (c.oid NOT IN (SELECT l.relation FROM pg_catalog.pg_locks l \
                        WHERE l.pid = pg_catalog.pg_backend_pid() AND l.granted \
                          AND l.locktype = 'relation' AND l.mode = 'AccessShareLock' \
                          AND l.relation IS NOT NULL) \
                OR c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)) \
          LIMIT 1",
        tables::FROM,
        tables::copied('r', chosen),
    );
    rows(holder, "the check for rewritten tables", &sql)
        .await?
        .first()
        .map(|row| Ok(TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?).to_string()))
        .transpose()
}
