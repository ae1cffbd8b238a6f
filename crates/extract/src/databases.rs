//! The databases of a server.

use pghaul_stage::{Error, Result, Side};
use pghaul_wire::{Client, Conninfo, pattern, server_error};

use crate::session::{field, size};

/// A database that a server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Whether others are created from it.
    pub template: bool,
    /// Whether anybody may connect to it.
    pub connectable: bool,
    /// Its size on disk, where this role may know it; otherwise 0.
    pub bytes: u64,
    /// Whether one of the patterns matches its name.
    pub matched: bool,
}

/// Lists the databases of the server that `info` names, by name. `patterns` are psql's; `side`
/// says whose errors these are.
///
/// # Errors
///
/// Kind input for a pattern that cannot be one, or that matches no database.
pub async fn databases(info: &Conninfo, side: Side, patterns: &[String]) -> Result<Vec<Listed>> {
    let client = Client::connect(info, side).await?;
    let mut listed = list(&client).await?;
    for pattern in patterns {
        let matches = matches(&client, pattern).await?;
        if matches.is_empty() {
            return Err(Error::input("no database matches the pattern")
                .at(side)
                .on(format!("pattern {pattern}"))
                .remedy("leave it out, or put capital letters in double quotes"));
        }
        for database in &mut listed {
            database.matched |= matches.contains(&database.name);
        }
    }
    Ok(listed)
}

async fn list(client: &Client) -> Result<Vec<Listed>> {
    let sql = "SELECT d.datname::text, d.datistemplate, d.datallowconn, \
                      CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') \
                           THEN pg_catalog.pg_database_size(d.oid) ELSE 0 END::int8 \
                 FROM pg_catalog.pg_database d ORDER BY d.datname";
    let rows = client.query(sql, &[]).await;
    let rows = rows.map_err(|error| server_error(client.side(), error).on("the databases"))?;
    rows.iter()
        .map(|row| {
            Ok(Listed {
                name: field(row, 0)?,
                template: field(row, 1)?,
                connectable: field(row, 2)?,
                bytes: size(row, 3)?,
                matched: false,
            })
        })
        .collect()
}

/// The names that a pattern matches, as the server itself understands it.
async fn matches(client: &Client, pattern: &str) -> Result<Vec<String>> {
    let side = client.side();
    let expression = pattern::name(pattern)?;
    let sql = "SELECT d.datname::text FROM pg_catalog.pg_database d \
                WHERE d.datname OPERATOR(pg_catalog.~) $1";
    let rows = client.query(sql, &[&expression]).await.map_err(|error| {
        let error = server_error(side, error).on(format!("pattern {pattern}"));
        // invalid_regular_expression
        if error.code() == Some("2201B") {
            let message = "the pattern cannot be understood";
            return Error::input(message)
                .at(side)
                .on(format!("pattern {pattern}"))
                .because(error);
        }
        error
    })?;
    rows.iter().map(|row| field(row, 0)).collect()
}
