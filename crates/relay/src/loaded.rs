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

#[cfg(test)]
mod tests {
    use pghaul_stage::{Encoding, PartId, Range, Shape, Slice, Work};

    use super::*;

    fn part(id: u32, tables: &[&str]) -> Part {
        let slices = tables.iter().map(|table| Slice {
            table: TableId::new("s", *table),
            range: Range::All,
            encoding: Encoding::Text,
            shape: Shape::Whole,
        });
        Part {
            id: PartId(id),
            work: Work::Rows(slices.collect()),
            rows: 0,
            bytes: 0,
        }
    }

    #[test]
    fn a_table_is_complete_once_with_the_last_part_that_it_has_slices_in() {
        let parts = [
            part(0, &["large", "small"]),
            part(1, &["large"]),
            part(2, &["twice", "twice", "large"]),
        ];
        let mut loaded = Loaded::new(&parts);
        let mut done = |part: &Part| -> Vec<String> {
            let complete = loaded.done(part).into_iter();
            complete.map(|table| table.name.to_string()).collect()
        };
        let [first, second, third] = &parts;
        assert_eq!(done(first), ["small"]);
        assert!(done(second).is_empty());
        assert_eq!(done(third), ["twice", "large"]);
    }
}
