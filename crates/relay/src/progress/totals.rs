//! What a run has done to each table.

use std::collections::BTreeMap;
use std::time::Duration;

use pghaul_stage::{Encoding, Part, TableId};

use super::{TableReport, Tally};

/// What was done to the tables, by name.
pub(super) type Tables = BTreeMap<Option<TableId>, Totals>;

/// A [`TableReport`] in half of its room, because there may be a hundred thousand. Times are in
/// nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) parts: u32,
    pub(super) parts_done: u32,
    pub(super) parts_skipped: u32,
    pub(super) parts_failed: u32,
    pub(super) rows_expected: u64,
    pub(super) bytes_expected: u64,
    rows: u64,
    bytes: u64,
    copying: u64,
    indexing: u64,
    pub(super) encoding: Option<Encoding>,
}

impl Totals {
    /// Adds time spent on indexes and constraints.
    pub(super) fn add_indexing(&mut self, elapsed: Duration) {
        self.indexing = self.indexing.saturating_add(nanoseconds(elapsed));
    }

    /// The same for those who ask.
    pub(super) fn report(self, table: Option<TableId>) -> TableReport {
        TableReport {
            table,
            parts: self.parts.into(),
            parts_done: self.parts_done.into(),
            parts_skipped: self.parts_skipped.into(),
            parts_failed: self.parts_failed.into(),
            rows_expected: self.rows_expected,
            bytes_expected: self.bytes_expected,
            rows: self.rows,
            bytes: self.bytes,
            encoding: self.encoding,
            copying: Duration::from_nanos(self.copying),
            indexing: Duration::from_nanos(self.indexing),
        }
    }
}

/// Adds what was copied of a part, by the numbers of its slices.
pub(super) fn add(tables: &mut Tables, part: &Part, slices: &BTreeMap<u32, Tally>) {
    for (slice, tally) in slices {
        // Large objects have no slices of tables, so all theirs fall to `None`.
        let slice = usize::try_from(*slice).ok();
        let table = slice.and_then(|slice| part.slices().get(slice));
        let table = table.map(|slice| slice.table.clone());
        let report = tables.entry(table).or_default();
        report.rows += tally.rows;
        report.bytes += tally.bytes;
        report.copying = report.copying.saturating_add(nanoseconds(tally.elapsed));
    }
}

/// Centuries at most.
fn nanoseconds(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}
