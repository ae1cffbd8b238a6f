//! Sorts an archive's entries into what is done when.
//!
//! Pure. Entries are named by their position in the archive.

use std::collections::HashMap;
use std::sync::Arc;

use pghaul_stage::{Catalog, Index, TableId};

use crate::archive::{Archive, Entry, Positions};
use crate::entry::{Phase, phases};

/// What is done when, by position in the archive.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Before the rows.
    pub(crate) pre_data: Vec<usize>,
    /// Per table, as soon as its rows are there.
    pub(crate) tables: Tables,
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

/// Tables with what they wait for. They are sorted by name, which takes half the room that a map
/// would.
#[derive(Debug, Default)]
pub(crate) struct Tables(Box<[(TableId, TableWork)]>);

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

impl Tables {
    fn new(tables: impl Iterator<Item = (TableId, TableWork)>) -> Self {
        let mut tables: Box<[(TableId, TableWork)]> = tables.collect();
        tables.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self(tables)
    }

    /// A table as it is known here, with what it waits for.
    pub(crate) fn find(&self, table: &TableId) -> Option<(&TableId, &TableWork)> {
        let (known, work) = self.0.get(self.position(table)?)?;
        Some((known, work))
    }

    /// What a table waits for.
    pub(crate) fn get(&self, table: &TableId) -> Option<&TableWork> {
        self.find(table).map(|(_, work)| work)
    }

    /// Whether a table is one of these.
    pub(crate) fn contains(&self, table: &TableId) -> bool {
        self.position(table).is_some()
    }

    /// Their names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &TableId> {
        self.0.iter().map(|(table, _)| table)
    }

    fn get_mut(&mut self, table: &TableId) -> Option<&mut TableWork> {
        let (_, work) = self.0.get_mut(self.position(table)?)?;
        Some(work)
    }

    fn position(&self, table: &TableId) -> Option<usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(table)).ok()
    }
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
    /// Gives back the room that nothing came for.
    fn shrink(&mut self) {
        for positions in [
            &mut self.pre_data,
            &mut self.rest,
            &mut self.after_foreign_keys,
            &mut self.privileges,
            &mut self.last,
        ] {
            positions.shrink_to_fit();
        }
        self.foreign_keys.shrink_to_fit();
        for (_, work) in &mut self.tables.0 {
            work.shrink();
        }
    }

    /// Sorts.
    pub(crate) fn new(archive: &Archive, catalog: &Catalog) -> Agenda {
        let sorter = Sorter {
            positions: archive.positions(),
            archive,
            indexes: ByOid::new(catalog.indexes.iter().map(|index| (index.oid, index))),
            constraints: ByOid::new(
                catalog
                    .indexes
                    .iter()
                    .filter_map(|index| Some((index.constraint?, index))),
            ),
        };
        let work = |table: &Arc<pghaul_stage::Table>| TableWork {
            bytes: table.heap.saturating_add(table.toast),
            ..TableWork::default()
        };
        let tables = catalog.tables.iter();
        let tables = Tables::new(tables.map(|table| (table.id.clone(), work(table))));
        sorter.sort(Agenda {
            tables,
            ..Agenda::default()
        })
    }
}

struct Sorter<'a> {
    archive: &'a Archive,
    positions: Positions,
    indexes: ByOid<'a>,
    constraints: ByOid<'a>,
}

/// Indexes by an object identifier: their own, or their constraints'.
struct ByOid<'a>(Vec<(u32, &'a Arc<Index>)>);

impl<'a> ByOid<'a> {
    fn new(indexes: impl Iterator<Item = (u32, &'a Arc<Index>)>) -> Self {
        let mut indexes: Vec<_> = indexes.collect();
        indexes.sort_unstable_by_key(|(oid, _)| *oid);
        Self(indexes)
    }

    fn get(&self, oid: u32) -> Option<&'a Arc<Index>> {
        let at = self.0.binary_search_by_key(&oid, |(oid, _)| *oid).ok()?;
        self.0.get(at).map(|(_, index)| *index)
    }
}

/// Some of the positions in an archive.
#[derive(Default)]
struct Marked(Vec<bool>);

impl Marked {
    fn mark(&mut self, at: usize) {
        if self.0.len() <= at {
            self.0.resize(at + 1, false);
        }
        if let Some(marked) = self.0.get_mut(at) {
            *marked = true;
        }
    }

    fn has(&self, at: usize) -> bool {
        self.0.get(at).is_some_and(|marked| *marked)
    }
}

impl Sorter<'_> {
    fn sort(&self, mut agenda: Agenda) -> Agenda {
        // Entries that are done by the time the tables' own work is.
        let mut early = Marked::default();
        let mut waiting = Marked::default();
        let mut keys = Vec::new();
        let mut refreshes: HashMap<usize, usize> = HashMap::new();
        for (at, (entry, phase)) in phases(self.archive).enumerate() {
            match phase {
                Phase::Elsewhere => {}
                Phase::PreData => {
                    agenda.pre_data.push(at);
                    early.mark(at);
                }
                Phase::Index | Phase::Constraint => {
                    let index = match phase {
                        Phase::Index => self.indexes.get(entry.oid),
                        _ => self.constraints.get(entry.oid),
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
                        early.mark(at);
                    } else {
                        agenda.rest.push(at);
                    }
                }
                Phase::Statistics => match &*self.tables(&entry, &agenda) {
                    [table] if agenda.tables.contains(table) => {
                        if let Some(work) = agenda.tables.get_mut(table) {
                            work.statistics.push(at);
                        }
                        early.mark(at);
                    }
                    _ => agenda.rest.push(at),
                },
                Phase::ForeignKey => {
                    keys.push(Arc::new(ForeignKey {
                        entry: at,
                        tables: self.tables(&entry, &agenda),
                    }));
                    waiting.mark(at);
                }
                Phase::PostData => {
                    if self.dependencies(&entry).any(|on| waiting.has(on)) {
                        agenda.after_foreign_keys.push(at);
                        waiting.mark(at);
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
            let plain = key.tables.iter().all(|table| agenda.tables.contains(table))
                && !key.tables.is_empty()
                && self
                    .archive
                    .entry(key.entry)
                    .is_some_and(|entry| self.dependencies(&entry).all(|on| early.has(on)));
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
        agenda.shrink();
        agenda
    }

    /// The positions of what an entry needs, as far as the archive has it.
    fn dependencies<'e>(&'e self, entry: &'e Entry) -> impl Iterator<Item = usize> + 'e {
        entry
            .dependencies
            .iter()
            .filter_map(|id| self.positions.get(*id))
    }

    /// The tables that an entry needs, each once.
    fn tables(&self, entry: &Entry, agenda: &Agenda) -> Box<[TableId]> {
        // Names are shared with those that are known already.
        let shared = |table: TableId| match agenda.tables.find(&table) {
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
