//! Databases that a benchmark makes, fills and drops.
//!
//! Such a database bears a name and a comment of its own kind. Only one that has both is ever
//! found and dropped, so nobody's database is taken for one.

use pghaul_stage::{Error, Result, Side};
use pghaul_wire::{Client, Conninfo, quote, server_error};

use crate::database::maintenance;
use crate::session::failed;

/// What every scratch database is called: this, and what tells it from others.
pub const SCRATCH: &str = "pghaul_bench_";

/// The comment on every scratch database.
const MARK: &str = "made by pghaul bench; may be dropped at any time";

/// Creates an empty scratch database on the server of `near`. Its name must begin with
/// [`SCRATCH`].
///
/// # Errors
///
/// What the server says; it needs the privilege to create databases.
pub async fn create_scratch(near: &Conninfo, side: Side, name: &str) -> Result<()> {
    if !name.starts_with(SCRATCH) {
        return Err(Error::input("this is no name of a scratch database").on(name));
    }
    let client = connect(near, side).await?;
    let database = quote::ident(name);
    for statement in [
        format!(
            "CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        ),
        format!("COMMENT ON DATABASE {database} IS {}", quote::literal(MARK)),
    ] {
        client.batch_execute(&statement).await.map_err(|error| {
            let error = server_error(side, error).on(format!("database {name}"));
            match error.code() {
                Some("42501") => error
                    .remedy("a benchmark makes a database of its own: use a role with CREATEDB"),
                _ => error,
            }
        })?;
    }
    Ok(())
}

/// Drops a scratch database with everything in it, ending its sessions. One that is gone, or
/// that is no scratch database, is left alone.
///
/// # Errors
///
/// What the server says.
pub async fn drop_scratch(near: &Conninfo, side: Side, name: &str) -> Result<()> {
    remove(&connect(near, side).await?, name).await
}

/// The scratch databases of a server, each with the number of its sessions.
pub(crate) async fn list(client: &Client) -> Result<Vec<(String, i64)>> {
    let sql = format!(
        "SELECT d.datname::text,
                (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid)
           FROM pg_catalog.pg_database d
          WHERE pg_catalog.left(d.datname::text, {}) = {}
            AND pg_catalog.shobj_description(d.oid, 'pg_database') = {}
          ORDER BY 1",
        SCRATCH.len(),
        quote::literal(SCRATCH),
        quote::literal(MARK)
    );
    let rows = client.query(&sql, &[]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub(crate) async fn remove(client: &Client, name: &str) -> Result<()> {
    let ours = list(client).await?;
    if !ours.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    // Not WITH (FORCE), which only PostgreSQL 13 knows.
    let end = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
                WHERE datname = $1 AND pid <> pg_catalog.pg_backend_pid()";
    let drop = format!("DROP DATABASE IF EXISTS {}", quote::ident(name));
    // The server itself waits up to five seconds for sessions that end.
    let mut attempts = 3;
    loop {
        client.execute(end, &[&name]).await.map_err(failed)?;
        match client.batch_execute(&drop).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                let error = server_error(client.side(), error).on(format!("database {name}"));
                attempts -= 1;
                if attempts == 0 || error.code() != Some("55006") {
                    return Err(error.remedy("`pghaul cleanup` removes it later"));
                }
            }
        }
    }
}

/// A session in a database that is not dropped.
async fn connect(near: &Conninfo, side: Side) -> Result<Client> {
    match side {
        // The target's database need not exist.
        Side::Target => maintenance(near).await,
        _ => Client::connect(near, side).await,
    }
}
