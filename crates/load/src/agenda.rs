//! Sorts an archive's entries into what is done when.
//!
//! Pure. Entries are named by their position in the archive.

use std::collections::HashMap;
use std::sync::Arc;

use pghaul_stage::{Catalog, Index, Table, TableId, Tables};

use crate::archive::{Archive, Entry, Positions};
use crate::entry::{Phase, phases};

/// What is done when, by position in the archive.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Before the rows.
    pub(crate) pre_data: Vec<u32>,
    /// Per table, as soon as its rows are there.
    pub(crate) tables: Waiting,
    /// What the source's catalog knows of large tables' indexes, by the position of the entry that
    /// makes them.
    pub(crate) indexes: HashMap<u32, Arc<Index>>,
    /// Foreign keys. Those between such tables follow as soon as both are done.
    pub(crate) foreign_keys: ForeignKeys,
    /// When all tables are done.
    pub(crate) rest: Vec<u32>,
    /// Places in `foreign_keys` of those that need something of `rest`.
    pub(crate) late_foreign_keys: Vec<u32>,
    /// What needs a foreign key.
    pub(crate) after_foreign_keys: Vec<u32>,
    /// Privileges.
    pub(crate) privileges: Vec<u32>,
    /// Materialized views' rows.
    pub(crate) refreshes: Vec<Refresh>,
    /// What comes last.
    pub(crate) last: Vec<u32>,
}

/// Tables with what they wait for, which lies side by side.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    tables: Tables,
    indexes: Grouped<u32>,
    statistics: Grouped<u32>,
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
    pub(crate) indexes: &'a [u32],
    /// Its statistics objects.
    pub(crate) statistics: &'a [u32],
    /// Places in `foreign_keys` of those that it is part of, unless they are late.
    pub(crate) foreign_keys: &'a [u32],
}

/// Items of each group, one group after the other.
#[derive(Debug)]
struct Grouped<T> {
    items: Box<[T]>,
    /// Where those of each group end.
    ends: Box<[u32]>,
}

impl Waiting {
    /// What a table waits for.
    pub(crate) fn get(&self, table: &TableId) -> Option<TableWork<'_>> {
        let place = self.place(table)?;
        let table = self.tables.get(place)?;
        Some(TableWork {
            table: &table.id,
            place,
            bytes: bytes(table),
            indexes: self.indexes.of(place),
            statistics: self.statistics.of(place),
            foreign_keys: self.foreign_keys.of(place),
        })
    }

    /// Whether a table is one of these.
    pub(crate) fn contains(&self, table: &TableId) -> bool {
        self.place(table).is_some()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tables.len()
    }

    /// Their names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &TableId> {
        self.tables.iter().map(|table| &table.id)
    }

    /// Where a table is among all of them.
    pub(crate) fn place(&self, table: &TableId) -> Option<usize> {
        self.tables.place(table)
    }
}

fn bytes(table: &Table) -> u64 {
    table.heap.saturating_add(table.toast)
}

impl<T> Grouped<T> {
    /// Groups items by the places of their groups, and leaves those of a group in their order.
    fn new(mut items: Vec<(usize, T)>, groups: usize) -> Self {
        items.sort_by_key(|(place, _)| *place);
        let mut end = 0;
        let ends = (0..groups).map(|group| {
            let rest = items.get(end..).unwrap_or_default();
            end += rest.partition_point(|(place, _)| *place <= group);
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

/// Foreign keys.
#[derive(Debug, Default)]
pub(crate) struct ForeignKeys {
    entries: Vec<u32>,
    tables: Grouped<TableId>,
}

/// A foreign key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForeignKey<'a> {
    /// The entry.
    pub(crate) entry: u32,
    /// The tables it connects, and no others if they are plain.
    pub(crate) tables: &'a [TableId],
}

impl ForeignKeys {
    /// The foreign key at this place.
    pub(crate) fn get(&self, place: u32) -> Option<ForeignKey<'_>> {
        let place = place as usize;
        Some(ForeignKey {
            entry: *self.entries.get(place)?,
            tables: self.tables.of(place),
        })
    }

    /// All of them, by their places.
    fn all(&self) -> impl Iterator<Item = (u32, ForeignKey<'_>)> {
        (0..).map_while(|place| Some((place, self.get(place)?)))
    }
}

/// A materialized view's rows.
#[derive(Debug)]
pub(crate) struct Refresh {
    /// The entry.
    pub(crate) entry: u32,
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
        self.foreign_keys.entries.shrink_to_fit();
    }

    /// Sorts.
    pub(crate) fn new(archive: &Archive, catalog: &Catalog) -> Agenda {
        let known = catalog.indexes.iter();
        let constraints = known
            .clone()
            .filter_map(|index| Some((index.constraint?, index)));
        let sorter = Sorter {
            positions: archive.positions(),
            tables: named_tables(archive, &catalog.tables),
            archive,
            indexes: known.map(|index| (index.oid, index)).collect(),
            constraints: constraints.collect(),
        };
        sorter.sort(Agenda {
            tables: Waiting {
                tables: catalog.tables.clone(),
                ..Waiting::default()
            },
            ..Agenda::default()
        })
    }
}

/// The names of an archive's tables by the numbers of their entries, shared with those that are known.
pub(crate) fn named_tables(archive: &Archive, known: &Tables) -> HashMap<i32, TableId> {
    let tables = archive.entries().filter(|entry| entry.desc == "TABLE");
    let named = tables.map(|entry| {
        let name = TableId::new(&*entry.schema, &*entry.tag);
        let name = known.named(&name).map_or(name, |table| table.id.clone());
        (entry.id, name)
    });
    named.collect()
}

struct Sorter<'a> {
    archive: &'a Archive,
    positions: Positions,
    tables: HashMap<i32, TableId>,
    /// Indexes by their object identifiers, and by those of their constraints.
    indexes: HashMap<u32, &'a Arc<Index>>,
    constraints: HashMap<u32, &'a Arc<Index>>,
}

/// Some of many positions.
#[derive(Debug, Default)]
pub(crate) struct Marked(Vec<bool>);

impl Marked {
    /// Adds one.
    pub(crate) fn mark(&mut self, at: u32) {
        let at = at as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, false);
        }
        if let Some(marked) = self.0.get_mut(at) {
            *marked = true;
        }
    }

    /// Whether this is one of them.
    pub(crate) fn has(&self, at: u32) -> bool {
        self.0.get(at as usize).is_some_and(|marked| *marked)
    }
}

impl Sorter<'_> {
    fn sort(&self, mut agenda: Agenda) -> Agenda {
        // Entries that are done by the time the tables' own work is.
        let mut early = Marked::default();
        let mut waiting = Marked::default();
        let (mut indexes, mut statistics) = (Vec::new(), Vec::new());
        let (mut keys, mut key_tables) = (Vec::new(), Vec::new());
        let mut refreshes: HashMap<u32, usize> = HashMap::new();
        for (at, (entry, phase)) in (0..).zip(phases(self.archive)) {
            match phase {
                Phase::Elsewhere => {}
                Phase::PreData => {
                    agenda.pre_data.push(at);
                    early.mark(at);
                }
                // A constraint of a partition that comes with its parent's has no identifier.
                Phase::Index | Phase::Constraint if entry.oid != 0 => {
                    let known = match phase {
                        Phase::Index => self.indexes.get(&entry.oid),
                        _ => self.constraints.get(&entry.oid),
                    };
                    if let Some(table) = self.only_table(&entry, &agenda) {
                        agenda
                            .indexes
                            .extend(known.map(|index| (at, Arc::clone(index))));
                        indexes.push((table, at));
                        early.mark(at);
                    } else {
                        agenda.rest.push(at);
                    }
                }
                Phase::Index | Phase::Constraint => agenda.rest.push(at),
                Phase::Statistics => {
                    if let Some(table) = self.only_table(&entry, &agenda) {
                        statistics.push((table, at));
                        early.mark(at);
                    } else {
                        agenda.rest.push(at);
                    }
                }
                Phase::ForeignKey => {
                    let tables = self.tables(&entry).into_iter();
                    key_tables.extend(tables.map(|table| (keys.len(), table.clone())));
                    keys.push(at);
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
                    let view = TableId::new(entry.schema, entry.tag);
                    agenda.refreshes.push(Refresh {
                        entry: at,
                        view,
                        after,
                    });
                }
                Phase::Last => agenda.last.push(at),
            }
        }
        agenda.foreign_keys = ForeignKeys {
            tables: Grouped::new(key_tables, keys.len()),
            entries: keys,
        };
        let mut foreign_keys = Vec::new();
        for (at, key) in agenda.foreign_keys.all() {
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
                Some(tables) => foreign_keys.extend(tables.into_iter().map(|table| (table, at))),
                None => agenda.late_foreign_keys.push(at),
            }
        }
        let waiting = &mut agenda.tables;
        waiting.indexes = Grouped::new(indexes, waiting.tables.len());
        waiting.statistics = Grouped::new(statistics, waiting.tables.len());
        waiting.foreign_keys = Grouped::new(foreign_keys, waiting.tables.len());
        agenda.shrink();
        agenda
    }

    /// The positions of what an entry needs, as far as the archive has it.
    fn dependencies<'e>(&'e self, entry: &'e Entry) -> impl Iterator<Item = u32> + 'e {
        entry
            .dependencies
            .iter()
            .filter_map(|id| self.positions.get(*id))
    }

    /// The tables that an entry needs, each once.
    fn tables(&self, entry: &Entry) -> Vec<&TableId> {
        let needs = entry.dependencies.iter();
        let mut tables: Vec<&TableId> = needs.filter_map(|id| self.tables.get(id)).collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    /// The place of the table that an entry needs, if it needs only one, whose rows are copied.
    fn only_table(&self, entry: &Entry, agenda: &Agenda) -> Option<usize> {
        match *self.tables(entry) {
            [table] => agenda.tables.place(table),
            _ => None,
        }
    }
}
