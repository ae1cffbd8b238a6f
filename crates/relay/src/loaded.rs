//! Which tables are complete on the target.

use std::collections::HashMap;

use pghaul_stage::{Part, TableId};

/// Counts, per table, the slices that are not durable yet.
#[derive(Debug)]
pub(crate) struct Loaded {
    missing: HashMap<TableId, usize>,
}

impl Loaded {
    /// Nothing of these parts is durable.
    pub(crate) fn new(parts: &[Part]) -> Self {
        let mut missing = HashMap::new();
        for slice in parts.iter().flat_map(Part::slices) {
            *missing.entry(slice.table.clone()).or_default() += 1;
        }
        Self { missing }
    }

    /// Takes note that a part is durable, and returns the tables that are complete with it:
    /// each table once, with its last part.
    pub(crate) fn done(&mut self, part: &Part) -> Vec<TableId> {
        let mut complete = Vec::new();
        for slice in part.slices() {
            if let Some(missing) = self.missing.get_mut(&slice.table) {
                *missing -= 1;
                if *missing == 0 {
                    self.missing.remove(&slice.table);
                    complete.push(slice.table.clone());
                }
            }
        }
        complete
    }
}
