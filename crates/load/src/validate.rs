//! Checks of the target before a migration, and the facts that are compared with the source's.
//!
//! Privileges are found out by trying, in transactions that are rolled back; where the attempt
//! itself would be a lasting change (a database cannot be created in a transaction), by asking.

mod facts;
mod privileges;
mod state;

use std::time::Duration;

use pghaul_stage::{Check, Finding, Result, Side};
use pghaul_wire::bandwidth::{self, Throughput};
use pghaul_wire::checkup::{self, Sessions};
use pghaul_wire::{Client, Conninfo, Unconnected, server_error};

use crate::database::MAINTENANCE;
use crate::session::{PINNED, application_name};

pub use facts::{Available, Locale, TargetFacts};

/// What a migration would do with the target.
#[derive(Debug, Clone, Copy)]
pub struct Intent {
    /// How many connections it uses.
    pub connections: Sessions,
    /// Whether it drops the database first.
    pub overwrite: bool,
    /// Whether it loads rows into a schema that is there.
    pub data_only: bool,
}

/// The checks of a target; its facts too, unless a connection made that impossible.
///
/// # Errors
///
/// Those of a session that breaks; a server that cannot be reached is a finding.
pub async fn validate(
    info: &Conninfo,
    intent: Intent,
) -> Result<(Vec<Finding>, Option<TargetFacts>)> {
    let (client, present) = match connect(info).await {
        Ok(connected) => connected,
        Err(unconnected) => return Ok((checkup::unreachable(Side::Target, &unconnected), None)),
    };
    let broken = |error| server_error(Side::Target, error);
    let mut findings = checkup::connected(&client).await?;
    client.batch_execute(PINNED).await.map_err(broken)?;
    findings.push(checkup::connections(&client, intent.connections).await?);
    let mut facts = facts::read(client, present).await?;
    findings.push(state::target_empty(&facts, info.dbname(), intent).await?);
    let writable = state::writable(&facts);
    // A standby refuses every attempt, whatever the role may do.
    let standby = checkup::is_failed(std::slice::from_ref(&writable));
    findings.push(writable);
    if !standby {
        findings.extend(privileges::check(&mut facts, intent).await?);
    }
    Ok((findings, Some(facts)))
}

/// How fast the target takes made-up rows over one connection, tried for so long; nothing of them
/// stays. The target database may be absent.
///
/// # Errors
///
/// Those of a connection, and those of a server that takes no rows from the role.
pub async fn throughput(info: &Conninfo, limit: Duration) -> Result<Throughput> {
    let connected = connect(info).await;
    let (client, _) = connected.map_err(|unconnected| unconnected.error)?;
    let database = client.query_one("SELECT pg_catalog.current_database()::text", &[]);
    let database = database
        .await
        .map_err(|error| server_error(Side::Target, error))?;
    let info = info.with_application_name(&application_name(None));
    bandwidth::send(&info.with_dbname(database.get(0)), Side::Target, limit).await
}

/// A session in the database, or, if it is absent, in one that every server has; and whether it
/// is present.
async fn connect(info: &Conninfo) -> Result<(Client, bool), Unconnected> {
    let info = info.with_application_name(&application_name(None));
    let mut absent = match Client::try_connect(&info, Side::Target).await {
        Err(unconnected) if unconnected.step == Check::DatabaseExists => unconnected,
        outcome => return outcome.map(|client| (client, true)),
    };
    for name in MAINTENANCE {
        match Client::try_connect(&info.with_dbname(name), Side::Target).await {
            Ok(client) => return Ok((client, false)),
            Err(unconnected) => absent = unconnected,
        }
    }
    Err(absent)
}
