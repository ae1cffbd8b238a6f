//! A first look at a server, before anything is decided.

use pghaul_stage::{Error, Kind, Result, Side};
use pghaul_wire::Conninfo;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// `server_version_num`, for example 150018.
    pub version: u32,
    /// `system_identifier` of its control file, where it may be read.
    pub system: Option<u64>,
    /// The object identifier of the database.
    pub database_oid: u32,
    /// The database's name.
    pub database: String,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// The database's encoding, by PostgreSQL's name.
    pub encoding: String,
}

/// Connects, asks, disconnects. `side` says whose errors these are.
pub async fn probe(info: &Conninfo, side: Side) -> Result<Probe> {
    let _ = info;
    Err(Error::new(Kind::Permanent, "not built yet").at(side))
}
