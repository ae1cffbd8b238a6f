//! Planner statistics that the source has collected, as statements for the target.
//!
//! PostgreSQL 18 takes them; they make a table ready for queries without reading it again. What
//! the source has not collected, what an older server would not take, and what does not travel
//! (statistics objects) is collected by ANALYZE on the target.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pghaul_stage::{Catalog, TableId, Tables};

use crate::agenda::named_tables;
use crate::archive::{Archive, Entry};

/// The kind of the entries that hold them.
const DESC: &str = "STATISTICS DATA";

/// The function that stores what is known of a column; the other one stores only a size.
///
/// Source: PostgreSQL's manual, "Statistics Manipulation Functions".
const COLUMN: &str = "pg_restore_attribute_stats";

/// The statistics of a source.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    archive: Archive,
    /// The positions of entries by table or materialized view, those of its indexes included.
    relations: HashMap<TableId, Vec<u32>>,
    /// Whether any were brought.
    brought: bool,
}

impl Statistics {
    /// Reads a catalog's archive of statistics. One that cannot be read is worth a line in the
    /// log only, because ANALYZE makes up for it.
    pub(crate) fn new(catalog: &Catalog, schema: &Archive) -> Statistics {
        if catalog.statistics.is_empty() {
            return Statistics::default();
        }
        let archive = match Archive::parse(catalog.statistics.clone()) {
            Ok(archive) => archive,
            Err(error) => {
                tracing::warn!(%error, "the source's planner statistics");
                return Statistics::default();
            }
        };
        let owners = owners(schema, &catalog.tables);
        let mut relations: HashMap<TableId, Vec<u32>> = HashMap::new();
        let mut known: HashSet<TableId> = HashSet::new();
        for (at, entry) in (0..).zip(archive.entries()) {
            if entry.desc != DESC {
                continue;
            }
            let relation = TableId::new(entry.schema, entry.tag);
            if entry.definition.contains(COLUMN) {
                known.insert(relation.clone());
            }
            let relation = owners.get(&relation).cloned().unwrap_or(relation);
            relations.entry(relation).or_default().push(at);
        }
        let objects = extended(schema);
        relations.retain(|table, _| known.contains(table) && !objects.contains(table));
        Statistics {
            archive,
            relations,
            brought: true,
        }
    }

    /// The statements that store all that is known of a table or a materialized view.
    pub(crate) fn of(&self, table: &TableId) -> Option<String> {
        let entries = self.relations.get(table)?.iter();
        let entries = entries.filter_map(|at| self.archive.entry(*at));
        Some(entries.map(|entry| entry.definition + "\n").collect())
    }

    /// Whether tables are looked at one by one, because some have statistics.
    pub(crate) fn are_brought(&self) -> bool {
        self.brought
    }
}

/// The tables of indexes, by the indexes' names.
fn owners(schema: &Archive, known: &Tables) -> HashMap<TableId, TableId> {
    let tables = named_tables(schema, known);
    let owner = |entry: Entry| {
        let mut owners = entry.dependencies.iter().filter_map(|id| tables.get(id));
        let (table, index) = match entry.desc.as_str() {
            "INDEX" => (owners.next()?, &*entry.tag),
            // Its index has the same name.
            "CONSTRAINT" => owners.find_map(|table| Some((table, entry.constraint_of(table)?)))?,
            _ => return None,
        };
        let index = TableId::new(Arc::clone(&table.schema), index);
        Some((index, table.clone()))
    };
    schema.entries().filter_map(owner).collect()
}

/// The tables with statistics objects, whose content does not travel.
fn extended(schema: &Archive) -> HashSet<TableId> {
    let tables: HashMap<i32, TableId> = schema
        .entries()
        .filter(|entry| entry.desc == "TABLE" || entry.desc == "MATERIALIZED VIEW")
        .map(|entry| (entry.id, TableId::new(entry.schema, entry.tag)))
        .collect();
    let objects = schema.entries().filter(|entry| entry.desc == "STATISTICS");
    objects
        .flat_map(|entry| entry.dependencies)
        .filter_map(|id| tables.get(&id).cloned())
        .collect()
}
