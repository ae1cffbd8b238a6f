//! The names of objects. Numbers and random identifiers only: a table's name is nobody's business
//! who can merely list a bucket.

use pghaul_stage::PartId;
use uuid::Uuid;

use crate::worker::Role;

pub(crate) const HEADER: &str = "spool";
pub(crate) const DATABASES: &str = "databases";
pub(crate) const CATALOG: &str = "catalog";
pub(crate) const SCHEMA: &str = "schema";
pub(crate) const STATISTICS: &str = "statistics";
pub(crate) const SECRETS: &str = "secrets";
pub(crate) const EXAMINED: &str = "examined";
pub(crate) const PLAN: &str = "plan";
pub(crate) const FACTS: &str = "facts";
pub(crate) const DIGEST: &str = "digest";
pub(crate) const END: &str = "end";
pub(crate) const COMPLETE: &str = "complete";
pub(crate) const PARTS: &str = "parts";
pub(crate) const MANIFEST: &str = "manifest";
pub(crate) const LOADED: &str = "loaded";
pub(crate) const CLAIMS: &str = "claims";
pub(crate) const WORKERS: &str = "workers";
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// A file of rows.
pub(crate) fn file(part: PartId, attempt: Uuid, number: u32) -> String {
    format!("{PARTS}/{:010}/{attempt}-{number:06}.parquet", part.0)
}

/// A list of files.
pub(crate) fn entry(part: PartId, number: u32) -> String {
    format!("{MANIFEST}/{:010}/{number:06}", part.0)
}

/// That a part is on the target.
pub(crate) fn loaded(part: PartId) -> String {
    format!("{LOADED}/{:010}", part.0)
}

/// All claims of a side on a part.
pub(crate) fn claims(role: Role, part: PartId) -> String {
    format!("{CLAIMS}/{role}/{:010}", part.0)
}

/// One of them.
pub(crate) fn claim(role: Role, part: PartId, number: u32) -> String {
    format!("{}/{number:06}", claims(role, part))
}

/// A sign of life.
pub(crate) fn worker(role: Role, worker: Uuid) -> String {
    format!("{WORKERS}/{role}/{worker}")
}

/// An exported snapshot.
pub(crate) fn snapshot(worker: Uuid) -> String {
    format!("{SNAPSHOTS}/{worker}")
}

/// The part that an object below `parts`, `manifest` or `loaded` belongs to.
pub(crate) fn part_of(name: &str) -> Option<PartId> {
    name.split('/').nth(1)?.parse().ok().map(PartId)
}

/// The number at the end of a name.
pub(crate) fn number(name: &str) -> Option<u32> {
    name.rsplit('/').next()?.parse().ok()
}
