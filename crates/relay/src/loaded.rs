//! Which tables are complete on the target.

use std::collections::HashMap;

use pghaul_stage::{Part, TableId};

/// Counts, per table of several slices, those that are not durable yet. A table of one slice is
/// complete with it.
#[derive(Debug)]
pub(crate) struct Loaded {
    missing: HashMap<TableId, usize>,
}

impl Loaded {
    /// Nothing of these parts is durable.
    pub(crate) fn new(parts: &[Part]) -> Self {
        let slices = parts.iter().flat_map(Part::slices);
        let mut tables: Vec<&TableId> = slices.map(|slice| &slice.table).collect();
        tables.sort_unstable();
        let tables = tables.chunk_by(|one, other| one == other);
        let several = tables.filter(|same| same.len() > 1);
        let missing = several.filter_map(|same| Some(((*same.first()?).clone(), same.len())));
        Self {
            missing: missing.collect(),
        }
    }

    /// Takes note that a part is durable, and returns the tables that are complete with it:
    /// each table once, with its last part.
    pub(crate) fn done(&mut self, part: &Part) -> Vec<TableId> {
        let mut complete = Vec::new();
        for slice in part.slices() {
            let left = self.missing.get_mut(&slice.table).map(|missing| {
                *missing -= 1;
                *missing
            });
            match left {
                Some(1..) => continue,
                Some(0) => drop(self.missing.remove(&slice.table)),
                None => {}
            }
            complete.push(slice.table.clone());
        }
        complete
    }
}
