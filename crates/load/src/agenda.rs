//! Sorts an archive's entries into what is done when.
//!
//! Pure. Entries are named by their position in the archive.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pghaul_stage::{Catalog, Index, TableId};

use crate::archive::{Archive, Entry};
use crate::entry::{Phase, phases};

/// What is done when, by position in the archive.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Before the rows.
    pub(crate) pre_data: Vec<usize>,
    /// Per table, as soon as its rows are there.
    pub(crate) tables: HashMap<TableId, TableWork>,
    /// Foreign keys between such tables, as soon as both are done.
    pub(crate) foreign_keys: Vec<Arc<ForeignKey>>,
    /// When all tables are done.
    pub(crate) rest: Vec<usize>,
    /// Foreign keys that need something of `rest`.
    pub(crate) late_foreign_keys: Vec<Arc<ForeignKey>>,
    /// What needs a foreign key.
    pub(crate) after_foreign_keys: Vec<usize>,
    /// Privileges.
    pub(crate) privileges: Vec<usize>,
    /// Materialized views' rows.
    pub(crate) refreshes: Vec<Refresh>,
    /// What comes last.
    pub(crate) last: Vec<usize>,
}

/// What one table waits for.
#[derive(Debug, Default)]
pub(crate) struct TableWork {
    /// Bytes on the source.
    pub(crate) bytes: u64,
    /// Its indexes and the constraints that are made of an index.
    pub(crate) indexes: Vec<IndexWork>,
    /// Its statistics objects.
    pub(crate) statistics: Vec<usize>,
    /// Positions in `foreign_keys` of those that it is part of.
    pub(crate) foreign_keys: Vec<usize>,
}

impl TableWork {
    /// Gives back the room that nothing came for, which is most where tables have an index or two.
    fn shrink(&mut self) {
        self.indexes.shrink_to_fit();
        self.statistics.shrink_to_fit();
        self.foreign_keys.shrink_to_fit();
    }
}

/// An index, or a constraint that is one.
#[derive(Debug)]
pub(crate) struct IndexWork {
    /// The entry.
    pub(crate) entry: usize,
    /// What the source's catalog knows of it.
    pub(crate) index: Arc<Index>,
    /// Whether the entry is a constraint.
    pub(crate) constraint: bool,
}

/// A foreign key.
#[derive(Debug)]
pub(crate) struct ForeignKey {
    /// The entry.
    pub(crate) entry: usize,
    /// The tables it connects, and no others if they are plain.
    pub(crate) tables: Box<[TableId]>,
}

/// A materialized view's rows.
#[derive(Debug)]
pub(crate) struct Refresh {
    /// The entry.
    pub(crate) entry: usize,
    /// Its name.
    pub(crate) view: TableId,
    /// Positions in `refreshes` that must be done before.
    pub(crate) after: Vec<usize>,
}

impl Agenda {
    /// Sorts.
    pub(crate) fn new(archive: &Archive, catalog: &Catalog) -> Agenda {
        let sorter = Sorter {
            positions: archive
                .entries()
                .enumerate()
                .map(|(at, entry)| (entry.id, at))
                .collect(),
            archive,
            indexes: catalog
                .indexes
                .iter()
                .map(|index| (index.oid, index))
                .collect(),
            constraints: catalog
                .indexes
                .iter()
                .filter_map(|index| Some((index.constraint?, index)))
                .collect(),
        };
        let work = |table: &Arc<pghaul_stage::Table>| TableWork {
            bytes: table.heap.saturating_add(table.toast),
            ..TableWork::default()
        };
        let tables = catalog
            .tables
            .iter()
            .map(|table| (table.id.clone(), work(table)))
            .collect();
        sorter.sort(Agenda {
            tables,
            ..Agenda::default()
        })
    }
}

struct Sorter<'a> {
    archive: &'a Archive,
    positions: HashMap<i32, usize>,
    indexes: HashMap<u32, &'a Arc<Index>>,
    constraints: HashMap<u32, &'a Arc<Index>>,
}

impl Sorter<'_> {
    fn sort(&self, mut agenda: Agenda) -> Agenda {
        // Entries that are done by the time the tables' own work is.
        let mut early: HashSet<usize> = HashSet::new();
        let mut waiting: HashSet<usize> = HashSet::new();
        let mut keys = Vec::new();
        let mut refreshes: HashMap<usize, usize> = HashMap::new();
        for (at, (entry, phase)) in phases(self.archive).enumerate() {
            match phase {
                Phase::Elsewhere => {}
                Phase::PreData => {
                    agenda.pre_data.push(at);
                    early.insert(at);
                }
                Phase::Index | Phase::Constraint => {
                    let index = match phase {
                        Phase::Index => self.indexes.get(&entry.oid),
                        _ => self.constraints.get(&entry.oid),
                    };
                    let table = index.and_then(|index| agenda.tables.get_mut(&index.table));
                    if let (Some(index), Some(work)) = (index, table) {
                        let constraint = phase == Phase::Constraint;
                        let index = Arc::clone(index);
                        work.indexes.push(IndexWork {
                            entry: at,
                            index,
                            constraint,
                        });
                        early.insert(at);
                    } else {
                        agenda.rest.push(at);
                    }
                }
                Phase::Statistics => match &*self.tables(&entry, &agenda) {
                    [table] if agenda.tables.contains_key(table) => {
                        if let Some(work) = agenda.tables.get_mut(table) {
                            work.statistics.push(at);
                        }
                        early.insert(at);
                    }
                    _ => agenda.rest.push(at),
                },
                Phase::ForeignKey => {
                    keys.push(Arc::new(ForeignKey {
                        entry: at,
                        tables: self.tables(&entry, &agenda),
                    }));
                    waiting.insert(at);
                }
                Phase::PostData => {
                    if self.dependencies(&entry).any(|on| waiting.contains(&on)) {
                        agenda.after_foreign_keys.push(at);
                        waiting.insert(at);
                    } else {
                        agenda.rest.push(at);
                    }
                }
                Phase::Privileges => agenda.privileges.push(at),
                Phase::Refresh => {
                    let after = self.dependencies(&entry);
                    let after = after.filter_map(|on| refreshes.get(&on).copied()).collect();
                    refreshes.insert(at, agenda.refreshes.len());
                    let view = TableId::new(&entry.schema, &entry.tag);
                    agenda.refreshes.push(Refresh {
                        entry: at,
                        view,
                        after,
                    });
                }
                Phase::Last => agenda.last.push(at),
            }
        }
        for key in keys {
            let plain =
                key.tables
                    .iter()
                    .all(|table| agenda.tables.contains_key(table))
                    && !key.tables.is_empty()
                    && self.archive.entry(key.entry).is_some_and(|entry| {
                        self.dependencies(&entry).all(|on| early.contains(&on))
                    });
            if plain {
                for table in &key.tables {
                    if let Some(work) = agenda.tables.get_mut(table) {
                        work.foreign_keys.push(agenda.foreign_keys.len());
                    }
                }
                agenda.foreign_keys.push(key);
            } else {
                agenda.late_foreign_keys.push(key);
            }
        }
        agenda.tables.values_mut().for_each(TableWork::shrink);
        agenda
    }

    /// The positions of what an entry needs, as far as the archive has it.
    fn dependencies<'e>(&'e self, entry: &'e Entry) -> impl Iterator<Item = usize> + 'e {
        entry
            .dependencies
            .iter()
            .filter_map(|id| self.positions.get(id).copied())
    }

    /// The tables that an entry needs, each once.
    fn tables(&self, entry: &Entry, agenda: &Agenda) -> Box<[TableId]> {
        // Names are shared with those that are known already.
        let shared = |table: TableId| match agenda.tables.get_key_value(&table) {
            Some((known, _)) => known.clone(),
            None => table,
        };
        let mut tables: Vec<TableId> = self
            .dependencies(entry)
            .filter_map(|on| self.archive.entry(on))
            .filter(|entry| entry.desc == "TABLE")
            .map(|entry| shared(TableId::new(&entry.schema, &entry.tag)))
            .collect();
        tables.sort_unstable();
        tables.dedup();
        tables.into()
    }
}
