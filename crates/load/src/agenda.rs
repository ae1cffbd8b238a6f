//! Sorts an archive's entries into what is done when.
//!
//! Pure. Entries are named by their position in the archive.

use std::collections::HashMap;
use std::sync::Arc;

use pghaul_stage::{Catalog, Index, Table, TableId};

use crate::archive::{Archive, Entry, Positions};
use crate::entry::{Phase, phases};

/// What is done when, by position in the archive.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Before the rows.
    pub(crate) pre_data: Vec<usize>,
    /// Per table, as soon as its rows are there.
    pub(crate) tables: Tables,
    /// Foreign keys. Those between such tables follow as soon as both are done.
    pub(crate) foreign_keys: Box<[ForeignKey]>,
    /// When all tables are done.
    pub(crate) rest: Vec<usize>,
    /// Positions in `foreign_keys` of those that need something of `rest`.
    pub(crate) late_foreign_keys: Vec<usize>,
    /// What needs a foreign key.
    pub(crate) after_foreign_keys: Vec<usize>,
    /// Privileges.
    pub(crate) privileges: Vec<usize>,
    /// Materialized views' rows.
    pub(crate) refreshes: Vec<Refresh>,
    /// What comes last.
    pub(crate) last: Vec<usize>,
}

/// Tables with what they wait for. They are sorted by name, and what they wait for lies side by side,
/// which takes a third of the room that a map of lists would.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Names, and bytes on the source.
    known: Box<[(TableId, u64)]>,
    indexes: Grouped<IndexWork>,
    statistics: Grouped<usize>,
    foreign_keys: Grouped<u32>,
}

/// What one table waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableWork<'a> {
    /// The table, as it is known here.
    pub(crate) table: &'a TableId,
    /// Its place among all of them.
    pub(crate) place: usize,
    /// Bytes on the source.
    pub(crate) bytes: u64,
    /// Its indexes and the constraints that are made of an index.
    pub(crate) indexes: &'a [IndexWork],
    /// Its statistics objects.
    pub(crate) statistics: &'a [usize],
    /// Positions in `foreign_keys` of those that it is part of, unless they are late.
    pub(crate) foreign_keys: &'a [u32],
}

/// Items of each table, one table after the other.
#[derive(Debug)]
struct Grouped<T> {
    items: Box<[T]>,
    /// Where those of each table end.
    ends: Box<[u32]>,
}

impl Tables {
    fn new(tables: impl Iterator<Item = (TableId, u64)>) -> Self {
        let mut known: Box<[(TableId, u64)]> = tables.collect();
        known.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self {
            known,
            ..Self::default()
        }
    }

    /// What a table waits for.
    pub(crate) fn get(&self, table: &TableId) -> Option<TableWork<'_>> {
        let place = self.place(table)?;
        let (table, bytes) = self.known.get(place)?;
        Some(TableWork {
            table,
            place,
            bytes: *bytes,
            indexes: self.indexes.of(place),
            statistics: self.statistics.of(place),
            foreign_keys: self.foreign_keys.of(place),
        })
    }

    /// Whether a table is one of these.
    pub(crate) fn contains(&self, table: &TableId) -> bool {
        self.place(table).is_some()
    }

    /// Their names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &TableId> {
        self.known.iter().map(|(table, _)| table)
    }

    /// Where a table is among all of them.
    pub(crate) fn place(&self, table: &TableId) -> Option<usize> {
        self.known
            .binary_search_by(|(known, _)| known.cmp(table))
            .ok()
    }
}

impl<T> Grouped<T> {
    /// Groups items by the places of their tables, and leaves those of a table in their order.
    fn new(mut items: Vec<(usize, T)>, tables: usize) -> Self {
        items.sort_by_key(|(place, _)| *place);
        let mut end = 0;
        let ends = (0..tables).map(|table| {
            let rest = items.get(end..).unwrap_or_default();
            end += rest.partition_point(|(place, _)| *place <= table);
            // The items are entries of an archive, whose places are numbers of this size.
            end as u32
        });
        Self {
            ends: ends.collect(),
            items: items.into_iter().map(|(_, item)| item).collect(),
        }
    }

    fn of(&self, place: usize) -> &[T] {
        let end = |place| self.ends.get(place).map_or(0, |end| *end as usize);
        let begin = place.checked_sub(1).map_or(0, end);
        self.items.get(begin..end(place)).unwrap_or_default()
    }
}

impl<T> Default for Grouped<T> {
    fn default() -> Self {
        Self {
            items: Box::default(),
            ends: Box::default(),
        }
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
            &mut self.late_foreign_keys,
            &mut self.after_foreign_keys,
            &mut self.privileges,
            &mut self.last,
        ] {
            positions.shrink_to_fit();
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
        let bytes = |table: &Table| table.heap.saturating_add(table.toast);
        let tables = catalog.tables.iter();
        let tables = Tables::new(tables.map(|table| (table.id.clone(), bytes(table))));
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

/// Some of many positions.
#[derive(Debug, Default)]
pub(crate) struct Marked(Vec<bool>);

impl Marked {
    /// Adds one.
    pub(crate) fn mark(&mut self, at: usize) {
        if self.0.len() <= at {
            self.0.resize(at + 1, false);
        }
        if let Some(marked) = self.0.get_mut(at) {
            *marked = true;
        }
    }

    /// Whether this is one of them.
    pub(crate) fn has(&self, at: usize) -> bool {
        self.0.get(at).is_some_and(|marked| *marked)
    }
}

impl Sorter<'_> {
    fn sort(&self, mut agenda: Agenda) -> Agenda {
        // Entries that are done by the time the tables' own work is.
        let mut early = Marked::default();
        let mut waiting = Marked::default();
        let (mut keys, mut indexes, mut statistics) = (Vec::new(), Vec::new(), Vec::new());
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
                    let table = index.and_then(|index| agenda.tables.place(&index.table));
                    if let (Some(index), Some(table)) = (index, table) {
                        let work = IndexWork {
                            entry: at,
                            index: Arc::clone(index),
                            constraint: phase == Phase::Constraint,
                        };
                        indexes.push((table, work));
                        early.mark(at);
                    } else {
                        agenda.rest.push(at);
                    }
                }
                Phase::Statistics => {
                    let table = match &*self.tables(&entry, &agenda) {
                        [table] => agenda.tables.place(table),
                        _ => None,
                    };
                    if let Some(table) = table {
                        statistics.push((table, at));
                        early.mark(at);
                    } else {
                        agenda.rest.push(at);
                    }
                }
                Phase::ForeignKey => {
                    keys.push(ForeignKey {
                        entry: at,
                        tables: self.tables(&entry, &agenda),
                    });
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
        let mut foreign_keys = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let tables = key.tables.iter().map(|table| agenda.tables.place(table));
            let tables: Option<Vec<usize>> = tables.collect();
            let tables = tables.filter(|tables| {
                !tables.is_empty()
                    && self
                        .archive
                        .entry(key.entry)
                        .is_some_and(|entry| self.dependencies(&entry).all(|on| early.has(on)))
            });
            match tables {
                // There are fewer than entries, whose places are numbers of this size.
                Some(tables) => foreign_keys.extend(tables.iter().map(|table| (*table, at as u32))),
                None => agenda.late_foreign_keys.push(at),
            }
        }
        agenda.foreign_keys = keys.into();
        let tables = &mut agenda.tables;
        tables.indexes = Grouped::new(indexes, tables.known.len());
        tables.statistics = Grouped::new(statistics, tables.known.len());
        tables.foreign_keys = Grouped::new(foreign_keys, tables.known.len());
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
        let shared = |table: TableId| match agenda.tables.get(&table) {
            Some(work) => work.table.clone(),
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
