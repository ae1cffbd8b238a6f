//! A first look at a server, before anything is decided.

use pghaul_stage::{Result, Side};
use pghaul_wire::{Client, Conninfo, server_error};

use crate::session::field;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// `server_version_num`, for example 150018.
    pub version: u32,
    /// `system_identifier` of its control file, where it may be read.
    pub system: Option<u64>,
    /// When its server process started, in microseconds since 1970.
    pub started: i64,
    /// The object identifier of the database.
    pub database_oid: u32,
    /// The database's name.
    pub database: String,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// The database's encoding, by PostgreSQL's name.
    pub encoding: String,
    /// Whether sessions begin with `standard_conforming_strings` on.
    pub standard_strings: bool,
    /// Whether sessions begin with a locale that writes money in its own way, and the schema may
    /// have amounts in it.
    pub local_money: bool,
}

impl Probe {
    /// Whether both are one and the same database.
    ///
    /// The system identifier is not asked: a physical copy of a server has the original's, and
    /// a role may not be allowed to read it. No two servers start in the same microsecond.
    pub fn same_database(&self, other: &Probe) -> bool {
        self.started == other.started && self.database_oid == other.database_oid
    }
}

/// Connects, asks, disconnects. `side` says whose errors these are.
pub async fn probe(info: &Conninfo, side: Side) -> Result<Probe> {
    let client = Client::connect(info, side).await?;
    ask(&client).await
}

/// Asks a session that has no transaction open: a refused question must not break one.
pub(crate) async fn ask(client: &Client) -> Result<Probe> {
    let failed = |error| server_error(client.side(), error).on("the server's identity");
    let row = client
        .query_one(
            "SELECT pg_catalog.current_setting('server_version_num')::int4, \
                    d.oid, d.datname, pg_catalog.pg_is_in_recovery(), \
                    pg_catalog.pg_encoding_to_char(d.encoding), \
                    pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'), \
                    (1e6 * pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()))::int8, \
                    pg_catalog.current_setting('standard_conforming_strings') = 'on', \
                    pg_catalog.current_setting('lc_monetary') NOT IN ('C', 'POSIX') AND ( \
                      EXISTS (SELECT FROM pg_catalog.pg_attribute a \
                               WHERE a.attrelid >= 16384 AND a.atttypid IN (790, 791)) OR \
                      EXISTS (SELECT FROM pg_catalog.pg_type t \
                               WHERE t.oid >= 16384 AND t.typbasetype IN (790, 791)) OR \
                      EXISTS (SELECT FROM pg_catalog.pg_proc p \
                               WHERE p.oid >= 16384 AND ('790' = ANY (p.proargtypes) \
                                                         OR '791' = ANY (p.proargtypes)))) \
               FROM pg_catalog.pg_database d \
              WHERE d.datname = pg_catalog.current_database()",
            &[],
        )
        .await
        .map_err(failed)?;
    let system = if field::<bool>(&row, 5)? {
        let sql = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
        let row = client.query_one(sql, &[]).await.map_err(failed)?;
        Some(field::<i64>(&row, 0)?.cast_unsigned())
    } else {
        None
    };
    Ok(Probe {
        version: field::<i32>(&row, 0)?.unsigned_abs(),
        system,
        started: field(&row, 6)?,
        database_oid: field(&row, 1)?,
        database: field(&row, 2)?,
        in_recovery: field(&row, 3)?,
        encoding: field(&row, 4)?,
        standard_strings: field(&row, 7)?,
        local_money: field(&row, 8)?,
    })
}
