//! Turns loaded tables into jobs: indexes, then constraints, then statistics, then foreign keys.

use std::collections::BTreeSet;
use std::sync::Arc;

use pghaul_stage::{Omission, Step, TableId};

use crate::admission::Admission;
use crate::agenda::{Agenda, ForeignKey, Marked, TableWork};
use crate::analyze::{self, Scope};
use crate::archive::{Archive, Entry};
use crate::entry::{Unit, Using};
use crate::foresight::Foresight;
use crate::present::{Families, Present};
use crate::schedule::{JobId, Rank, Schedule, Terms};
use crate::statistics::Statistics;
use crate::steps::Steps;

/// Tables smaller than this share a job, because round trips and commits would cost more than
/// what one builds.
const SMALL: u64 = 1 << 20;

/// How many small tables share a job.
const GROUP: usize = 50;

/// What never changes while jobs are made.
#[derive(Debug)]
pub(crate) struct Ground {
    /// What is to be done.
    pub(crate) archive: Arc<Archive>,
    /// When.
    pub(crate) agenda: Arc<Agenda>,
    /// What the source knows of its tables.
    pub(crate) statistics: Arc<Statistics>,
    /// What the target has.
    pub(crate) present: Present,
    /// Which owners must be let in to get their objects.
    pub(crate) admission: Admission,
    /// What cannot be restored there.
    pub(crate) foresight: Foresight,
    /// How its tables hang together.
    pub(crate) families: Families,
    /// Whether planner statistics are wanted.
    pub(crate) collect: bool,
    /// Steps that an earlier run did.
    pub(crate) done: Steps,
}

/// Makes the units of a job when it starts: those of all jobs at once would fill the memory.
pub(crate) type Work = Box<dyn FnOnce() -> Vec<Unit> + Send>;

/// The jobs that have been made.
#[derive(Default)]
pub(crate) struct Build {
    /// With their order.
    pub(crate) schedule: Schedule<Work>,
    /// The job after which a table's indexes and constraints stand, by the table's place.
    loaded: Box<[Option<JobId>]>,
    /// Foreign keys that have a job.
    connected: Marked,
}

impl Ground {
    /// An entry, unless it is passed over.
    fn entry(&self, at: u32) -> Option<Entry> {
        let entry = self.archive.entry(at);
        entry.filter(|_| !self.foresight.omits(at))
    }

    /// What the target will lack of the archive, in the order in which to make up for it.
    pub(crate) fn omissions(&self) -> Vec<Omission> {
        self.foresight.all(&self.archive, &self.present)
    }

    /// The units of entries, in order, without those that are done.
    pub(crate) fn units(&self, positions: &[u32]) -> Vec<Unit> {
        let entries = positions.iter().filter_map(|at| self.entry(*at));
        self.pending(entries.map(|entry| {
            let mut unit = Unit::of(&entry, &self.present);
            if entry.desc == "SCHEMA" {
                unit.sql += &self.admission.schema(&entry.tag);
            }
            unit
        }))
    }

    /// The units that are not done.
    pub(crate) fn pending(&self, units: impl IntoIterator<Item = Unit>) -> Vec<Unit> {
        units
            .into_iter()
            .filter(|unit| !self.done.contains(&unit.step))
            .collect()
    }

    /// All that a small table gets once its rows are there, foreign keys aside.
    fn all(&self, table: &TableId) -> Vec<Unit> {
        let Some(work) = self.agenda.tables.get(table) else {
            return Vec::new();
        };
        let indexes = work.indexes.iter();
        let mut units: Vec<Unit> = indexes
            .filter_map(|index| self.whole(table, *index))
            .collect();
        units.extend(self.units(work.statistics));
        units.extend(self.statistics(table));
        units
    }

    /// The statistics of a table whose rows are there; `None` if they have to wait for others'.
    fn statistics(&self, table: &TableId) -> Option<Unit> {
        if !self.collect {
            return None;
        }
        let carried = self.statistics.of(table);
        let head = self.families.heads.contains(table);
        let wait = self.families.postponed.contains(table);
        // With statistics from the source no ancestor's run covers its partitions.
        let covered = if self.statistics.are_brought() {
            head
        } else {
            wait
        };
        (carried.is_some() || !covered).then(|| analyze::unit(table, carried, Scope::Tree))
    }

    /// A foreign key as its entry says.
    fn foreign_key(&self, key: ForeignKey<'_>) -> Option<Unit> {
        let entry = self.entry(key.entry)?;
        let unit = Unit::of(&entry, &self.present);
        let tables = key.tables.iter();
        let own = tables.filter_map(|table| Some((table, entry.constraint_of(table)?)));
        let Some((table, key)) = own.max_by_key(|(table, _)| table.name.len()) else {
            return Some(unit);
        };
        Some(unit.reported(Step::ForeignKey, &name(table, key), table))
    }

    /// An index or constraint as its entry says.
    fn whole(&self, table: &TableId, at: u32) -> Option<Unit> {
        let entry = self.entry(at)?;
        let (step, index) = match entry.constraint_of(table) {
            Some(constraint) => (Step::Constraint, constraint),
            None => (Step::Index, &*entry.tag),
        };
        let unit = Unit::of(&entry, &self.present);
        Some(unit.reported(step, &name(table, index), table))
    }

    /// An index whose constraint, or whose entry's further statements, follow apart from it.
    fn parts(&self, table: &TableId, at: u32) -> Option<(Unit, Unit)> {
        let entry = self.entry(at)?;
        let constraint = entry.constraint_of(table);
        let (definition, using) = match constraint {
            Some(_) => {
                let known = self.agenda.indexes.get(&at);
                let known = known.filter(|known| known.separable)?;
                let primary = match known.constraint_type? {
                    'p' => true,
                    'u' => false,
                    _ => return None,
                };
                let using = Using {
                    table,
                    index: &known.name,
                    primary,
                };
                (Some(&*known.definition), Some(using))
            }
            None => (None, None),
        };
        let subject = name(table, constraint.unwrap_or(&entry.tag));
        let index =
            Unit::index(&entry, definition, &self.present).reported(Step::Index, &subject, table);
        let mut completion = Unit::completion(&entry, using);
        if constraint.is_some() {
            completion = completion.reported(Step::Constraint, &subject, table);
        }
        Some((index, completion))
    }
}

impl Build {
    /// Adds the jobs of tables whose rows are durable.
    pub(crate) fn load<'a>(
        &mut self,
        ground: &Arc<Ground>,
        tables: impl IntoIterator<Item = &'a TableId>,
    ) {
        let mut fresh: Vec<TableWork<'_>> = tables
            .into_iter()
            .filter_map(|table| ground.agenda.tables.get(table))
            .filter(|work| self.job(work.place).is_none())
            .collect();
        fresh.sort_unstable_by_key(|work| work.place);
        fresh.dedup_by_key(|work| work.place);
        let candidates: BTreeSet<u32> = fresh
            .iter()
            .flat_map(|work| work.foreign_keys.iter().copied())
            .collect();
        let (small, large): (Vec<_>, Vec<_>) =
            fresh.into_iter().partition(|work| work.bytes < SMALL);
        for group in small.chunks(GROUP) {
            self.group(ground, group);
        }
        for work in large {
            self.table(ground, work);
        }
        let ready: Vec<u32> = candidates
            .into_iter()
            .filter(|at| self.is_ready(ground, *at))
            .collect();
        self.connect(ground, &ready);
    }

    /// The job after which the indexes and constraints of the table at this place stand, if it has
    /// one.
    fn job(&self, place: usize) -> Option<JobId> {
        self.loaded.get(place).copied().flatten()
    }

    fn set_job(&mut self, ground: &Ground, place: usize, job: JobId) {
        if self.loaded.is_empty() {
            self.loaded = vec![None; ground.agenda.tables.len()].into();
        }
        if let Some(known) = self.loaded.get_mut(place) {
            *known = Some(job);
        }
    }

    /// Everything of several small tables in one job.
    fn group(&mut self, ground: &Arc<Ground>, tables: &[TableWork<'_>]) {
        let mut terms = Terms {
            rank: Rank::Build,
            ..Terms::default()
        };
        for work in tables {
            terms.takes.push(work.table.clone());
            terms.size += work.bytes;
        }
        let (all, names) = (Arc::clone(ground), terms.takes.clone());
        let work = move || all.pending(names.iter().flat_map(|table| all.all(table)));
        let job = self.schedule.add(Box::new(work), terms, &[]);
        for work in tables {
            self.set_job(ground, work.place, job);
        }
    }

    /// The indexes of a large table side by side, then what needs them.
    fn table(&mut self, ground: &Arc<Ground>, work: TableWork<'_>) {
        let table = work.table;
        let alone = || vec![table.clone()];
        let (mut jobs, mut finish) = (Vec::new(), Vec::new());
        for index in work.indexes {
            let known = ground.agenda.indexes.get(index);
            let size = known.map_or(0, |known| known.bytes);
            let build = Terms {
                rank: Rank::Build,
                size,
                ..Terms::default()
            };
            let (unit, terms) = if let Some((unit, completion)) = ground.parts(table, *index) {
                finish.push(completion);
                (
                    unit,
                    Terms {
                        shares: alone(),
                        ..build
                    },
                )
            } else if let Some(unit) = ground.whole(table, *index) {
                (
                    unit,
                    Terms {
                        takes: alone(),
                        ..build
                    },
                )
            } else {
                continue;
            };
            let units = ground.pending([unit]);
            if !units.is_empty() {
                jobs.push(self.schedule.add(Box::new(|| units), terms, &[]));
            }
        }
        finish.extend(ground.units(work.statistics));
        let terms = Terms {
            rank: Rank::Finish,
            takes: alone(),
            ..Terms::default()
        };
        let finish = ground.pending(finish);
        let finished = self.schedule.add(Box::new(|| finish), terms, &jobs);
        self.set_job(ground, work.place, finished);
        if let Some(unit) = ground.statistics(table) {
            self.analyze(ground, table, unit, work.bytes, &[finished]);
        }
    }

    /// Whether a foreign key has no job yet, and its tables all have their indexes or a job that
    /// makes them.
    fn is_ready(&self, ground: &Ground, key: u32) -> bool {
        let tables = |key: ForeignKey<'_>| {
            key.tables
                .iter()
                .all(|table| self.loading(ground, table).is_some())
        };
        !self.connected.has(key) && ground.agenda.foreign_keys.get(key).is_some_and(tables)
    }

    /// The job after which a table's indexes and constraints stand, if it has one.
    fn loading(&self, ground: &Ground, table: &TableId) -> Option<JobId> {
        self.job(ground.agenda.tables.place(table)?)
    }

    /// Adds the jobs of foreign keys that have none; those between small tables share one.
    pub(crate) fn connect(&mut self, ground: &Arc<Ground>, keys: &[u32]) {
        let size = |key: &ForeignKey<'_>| -> u64 {
            let tables = key.tables.iter();
            let tables = tables.filter_map(|table| ground.agenda.tables.get(table));
            tables.map(|work| work.bytes).sum()
        };
        let keys = keys.iter().filter(|at| !self.connected.has(**at));
        let keys = keys.filter_map(|at| Some((*at, ground.agenda.foreign_keys.get(*at)?)));
        let (small, large): (Vec<(u32, ForeignKey<'_>)>, Vec<_>) =
            keys.partition(|(_, key)| size(key) < SMALL);
        for group in small.chunks(GROUP).chain(large.chunks(1)) {
            let tables = group.iter().flat_map(|(_, key)| key.tables);
            let tables: BTreeSet<&TableId> = tables.collect();
            let after: Vec<JobId> = tables
                .iter()
                .filter_map(|table| self.loading(ground, table))
                .collect();
            let terms = Terms {
                rank: Rank::Check,
                size: group.iter().map(|(_, key)| size(key)).sum(),
                shares: Vec::new(),
                takes: tables.into_iter().cloned().collect(),
            };
            let positions: Vec<u32> = group.iter().map(|(at, _)| *at).collect();
            for at in &positions {
                self.connected.mark(*at);
            }
            let ground = Arc::clone(ground);
            let work = move || {
                let keys = positions.iter();
                let keys = keys.filter_map(|at| ground.agenda.foreign_keys.get(*at));
                ground.pending(keys.filter_map(|key| ground.foreign_key(key)))
            };
            self.schedule.add(Box::new(work), terms, &after);
        }
    }

    /// Adds the statistics of partitioned tables and of tables with children, when all rows are
    /// there.
    pub(crate) fn families(&mut self, ground: &Arc<Ground>) {
        if !ground.collect {
            return;
        }
        let brought = ground.statistics.are_brought();
        for table in &ground.families.postponed {
            let partitioned = !ground.agenda.tables.contains(table);
            let head = ground.families.heads.contains(table);
            let carried = ground.statistics.of(table);
            // Rows of its own came with what the source knows of them, and so did partitions.
            let done = brought && !partitioned && (carried.is_some() || !head);
            if done || !brought && !head {
                continue;
            }
            let scope = if brought && partitioned {
                Scope::Alone
            } else {
                Scope::Tree
            };
            let unit = analyze::unit(table, carried, scope);
            self.analyze(ground, table, unit, 0, &[]);
        }
    }

    /// Adds a job for the statistics of a table.
    fn analyze(
        &mut self,
        ground: &Arc<Ground>,
        table: &TableId,
        unit: Unit,
        size: u64,
        after: &[JobId],
    ) {
        let terms = Terms {
            rank: Rank::Analyze,
            size,
            shares: Vec::new(),
            takes: vec![table.clone()],
        };
        let units = ground.pending([unit]);
        self.schedule.add(Box::new(|| units), terms, after);
    }

    /// Adds the jobs that fill materialized views, in the order in which they build on one
    /// another, and collect their statistics.
    pub(crate) fn refresh(&mut self, ground: &Arc<Ground>) {
        let mut jobs: Vec<JobId> = Vec::new();
        for refresh in &ground.agenda.refreshes {
            let view = &refresh.view;
            let after: Vec<JobId> = refresh
                .after
                .iter()
                .filter_map(|at| jobs.get(*at).copied())
                .collect();
            let entry = ground.entry(refresh.entry);
            let omitted = entry.is_none();
            let unit = entry.map(|entry| Unit {
                step: format!("refresh {}", entry.id),
                ..Unit::of(&entry, &ground.present).reported(Step::Refresh, &view.to_string(), view)
            });
            let terms = Terms {
                rank: Rank::Check,
                takes: vec![view.clone()],
                ..Terms::default()
            };
            let units = ground.pending(unit);
            let job = self.schedule.add(Box::new(|| units), terms, &after);
            jobs.push(job);
            if !omitted && ground.collect {
                let unit = analyze::unit(view, ground.statistics.of(view), Scope::Tree);
                self.analyze(ground, view, unit, 0, &[job]);
            }
        }
    }
}

/// For people: an object that is named within its table's schema.
fn name(table: &TableId, object: &str) -> String {
    TableId::new(Arc::clone(&table.schema), object).to_string()
}
