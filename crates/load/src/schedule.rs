//! Which jobs on tables are ready, and which one goes first.
//!
//! Pure: states and transitions. A job becomes ready when every job before it is done, and
//! starts when nobody holds its tables in a conflicting way; therefore jobs never wait for
//! one another inside the server, and cannot deadlock there.
//!
//! There may be a hundred thousand jobs that need the same table. A job that finds a table held
//! against it is set aside with that table, and looked at again when the table is let go: then one
//! of those that want it alone has its turn, or all that share it. So what a job costs here does
//! not depend on how many others wait.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use pghaul_stage::TableId;

/// Names a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(u32);

/// How urgent a job is; the later ones go first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Planner statistics.
    #[default]
    Analyze,
    /// A foreign key, or a materialized view's rows.
    Check,
    /// An index.
    Build,
    /// What turns finished indexes into constraints; short, and others wait for it.
    Finish,
}

/// What the schedule needs to know of a job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    /// How urgent it is.
    pub(crate) rank: Rank,
    /// How much work it is, in bytes; the largest goes first among equally urgent ones.
    pub(crate) size: u64,
    /// Tables it needs as they are: several such jobs may run at once.
    pub(crate) shares: Vec<TableId>,
    /// Tables that it alone may work on.
    pub(crate) takes: Vec<TableId>,
}

/// Jobs with the work `W`, and where they stand.
#[derive(Debug)]
pub(crate) struct Schedule<W> {
    jobs: Vec<Job<W>>,
    /// Those that may be able to start.
    ready: BTreeSet<Key>,
    /// Those that wait for a table, each for one.
    aside: HashMap<TableId, Queue>,
    /// The table that a ready job was set aside for.
    recalled: HashMap<JobId, TableId>,
    held: HashMap<TableId, Hold>,
    running: BTreeSet<JobId>,
    unfinished: usize,
}

/// The order of jobs: the most urgent one first, then the largest.
type Key = (Reverse<Rank>, Reverse<u64>, JobId);

/// Jobs that wait for a table.
#[derive(Debug, Default)]
struct Queue {
    sharing: BTreeSet<Key>,
    taking: BTreeSet<Key>,
}

/// A job that has been started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Started<W> {
    /// To name it when it ends.
    pub(crate) id: JobId,
    /// What to do.
    pub(crate) work: W,
    /// Whether it outweighs all that could run beside it, so that it would leave processors idle.
    pub(crate) lone: bool,
}

#[derive(Debug)]
struct Job<W> {
    work: Option<W>,
    terms: Terms,
    waits_for: usize,
    followers: Vec<JobId>,
    done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Shared(usize),
    Taken,
}

impl<W> Default for Schedule<W> {
    fn default() -> Self {
        Self {
            jobs: Vec::new(),
            ready: BTreeSet::new(),
            aside: HashMap::new(),
            recalled: HashMap::new(),
            held: HashMap::new(),
            running: BTreeSet::new(),
            unfinished: 0,
        }
    }
}

impl<W> Schedule<W> {
    /// Adds a job that starts after these others.
    pub(crate) fn add(&mut self, work: W, terms: Terms, after: &[JobId]) -> JobId {
        // Each has tables of its own, or a foreign key, of which there are fewer than that.
        let id = JobId(self.jobs.len() as u32);
        let mut waits_for = 0;
        for before in after {
            if let Some(job) = self.jobs.get_mut(before.0 as usize).filter(|job| !job.done) {
                job.followers.push(id);
                waits_for += 1;
            }
        }
        let job = Job {
            work: Some(work),
            terms,
            waits_for,
            followers: Vec::new(),
            done: false,
        };
        self.jobs.push(job);
        self.unfinished += 1;
        if waits_for == 0 {
            self.enqueue(id);
        }
        id
    }

    /// Starts the most urgent job whose tables are free.
    pub(crate) fn start(&mut self) -> Option<Started<W>> {
        self.sift(|_| false);
        let key = self.ready.pop_first()?;
        let (_, _, id) = key;
        let job = self.jobs.get_mut(id.0 as usize)?;
        for table in &job.terms.shares {
            match self.held.entry(table.clone()).or_insert(Hold::Shared(0)) {
                Hold::Shared(count) => *count += 1,
                Hold::Taken => {}
            }
        }
        for table in &job.terms.takes {
            self.held.insert(table.clone(), Hold::Taken);
        }
        let (work, size) = (job.work.take()?, job.terms.size);
        if let Some(table) = self.recalled.remove(&id) {
            self.recall(&table);
        }
        let lone = self.outweighs(size);
        self.running.insert(id);
        Some(Started { id, work, lone })
    }

    /// Goes through the ready jobs whose tables are free, the most urgent first, for as long as
    /// `go_on` says so of their sizes. Those that cannot start are set aside.
    fn sift(&mut self, mut go_on: impl FnMut(u64) -> bool) {
        let mut last: Option<Key> = None;
        loop {
            let from = last.map_or(Bound::Unbounded, Bound::Excluded);
            let Some(&key) = self.ready.range((from, Bound::Unbounded)).next() else {
                return;
            };
            let (_, Reverse(size), id) = key;
            match self.obstacle(id) {
                Some((table, hold)) => self.set_aside(key, table, hold),
                None if go_on(size) => last = Some(key),
                None => return,
            }
        }
    }

    /// A table that is held against a job, and how the job wants it.
    fn obstacle(&self, id: JobId) -> Option<(TableId, Hold)> {
        let terms = &self.jobs.get(id.0 as usize)?.terms;
        let taken = |table: &&TableId| self.held.get(*table) == Some(&Hold::Taken);
        let held = |table: &&TableId| self.held.contains_key(*table);
        let shared = terms.shares.iter().find(taken);
        let shared = shared.map(|table| (table.clone(), Hold::Shared(1)));
        let taken = || terms.takes.iter().find(held);
        shared.or_else(|| taken().map(|table| (table.clone(), Hold::Taken)))
    }

    /// Lets a ready job wait for a table. If it was recalled for another one, others may have that.
    fn set_aside(&mut self, key: Key, table: TableId, hold: Hold) {
        let (_, _, id) = key;
        self.ready.remove(&key);
        let queue = self.aside.entry(table).or_default();
        match hold {
            Hold::Shared(_) => queue.sharing.insert(key),
            Hold::Taken => queue.taking.insert(key),
        };
        if let Some(table) = self.recalled.remove(&id) {
            self.recall(&table);
        }
    }

    /// Makes those ready that wait for a table and could have it now.
    fn recall(&mut self, table: &TableId) {
        let Some(queue) = self.aside.get_mut(table) else {
            return;
        };
        let recalled = match self.held.get(table) {
            Some(Hold::Taken) => BTreeSet::new(),
            Some(Hold::Shared(_)) => std::mem::take(&mut queue.sharing),
            None => {
                let first = queue
                    .sharing
                    .first()
                    .into_iter()
                    .chain(queue.taking.first());
                let first = first.min().copied();
                if let Some(first) = &first {
                    queue.sharing.remove(first);
                    queue.taking.remove(first);
                }
                first.into_iter().collect()
            }
        };
        if queue.sharing.is_empty() && queue.taking.is_empty() {
            self.aside.remove(table);
        }
        for key in recalled {
            self.recalled.insert(key.2, table.clone());
            self.ready.insert(key);
        }
    }

    /// Whether a job of this size is more work than all that run or could run beside it.
    fn outweighs(&mut self, size: u64) -> bool {
        let running = self
            .running
            .iter()
            .filter_map(|id| self.jobs.get(id.0 as usize));
        let (mut left, mut alone) = (Some(size), self.running.is_empty());
        for job in running {
            left = left.and_then(|left| left.checked_sub(job.terms.size));
        }
        self.sift(|other| {
            alone = false;
            left = left.and_then(|left| left.checked_sub(other));
            left.is_some_and(|left| left > 0)
        });
        alone || left.is_some_and(|left| left > 0)
    }

    /// How many jobs run, or could start now; no more than `limit` are counted.
    pub(crate) fn current(&mut self, limit: usize) -> usize {
        let mut ready = 0;
        if limit > 0 {
            self.sift(|_| {
                ready += 1;
                ready < limit
            });
        }
        self.running.len() + ready
    }

    /// How many jobs run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Ends a job, so that those after it can start.
    pub(crate) fn finish(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(id.0 as usize).filter(|job| !job.done) else {
            return;
        };
        job.done = true;
        let followers = std::mem::take(&mut job.followers);
        let terms = std::mem::take(&mut job.terms);
        for table in terms.shares {
            match self.held.get_mut(&table) {
                Some(Hold::Shared(count)) if *count > 1 => *count -= 1,
                _ => drop(self.held.remove(&table)),
            }
            self.recall(&table);
        }
        for table in terms.takes {
            self.held.remove(&table);
            self.recall(&table);
        }
        self.running.remove(&id);
        self.unfinished -= 1;
        for follower in followers {
            let Some(job) = self.jobs.get_mut(follower.0 as usize) else {
                continue;
            };
            job.waits_for -= 1;
            if job.waits_for == 0 {
                self.enqueue(follower);
            }
        }
    }

    /// Jobs that are not done.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }

    fn enqueue(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get(id.0 as usize) {
            self.ready
                .insert((Reverse(job.terms.rank), Reverse(job.terms.size), id));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(name: u8) -> TableId {
        TableId::new("s", name.to_string())
    }

    fn terms(rank: Rank, size: u64, shares: &[u8], takes: &[u8]) -> Terms {
        let tables = |names: &[u8]| names.iter().copied().map(table).collect();
        Terms {
            rank,
            size,
            shares: tables(shares),
            takes: tables(takes),
        }
    }

    fn next<W>(schedule: &mut Schedule<W>) -> Option<(JobId, W)> {
        schedule.start().map(|started| (started.id, started.work))
    }

    #[test]
    fn indexes_of_a_table_run_together_and_its_completion_after_them() {
        let mut schedule = Schedule::default();
        let small = schedule.add("small", terms(Rank::Build, 1, &[1], &[]), &[]);
        let large = schedule.add("large", terms(Rank::Build, 9, &[1], &[]), &[]);
        schedule.add("finish", terms(Rank::Finish, 0, &[], &[1]), &[small, large]);
        assert_eq!(schedule.current(9), 2);
        assert_eq!(next(&mut schedule), Some((large, "large")));
        assert_eq!(next(&mut schedule), Some((small, "small")));
        assert!(schedule.start().is_none());
        assert_eq!(schedule.running(), 2);
        schedule.finish(large);
        assert!(schedule.start().is_none());
        schedule.finish(small);
        assert_eq!(next(&mut schedule).map(|(_, work)| work), Some("finish"));
        assert_eq!((schedule.unfinished(), schedule.running()), (1, 1));
    }

    #[test]
    fn the_most_urgent_goes_first_whatever_its_size() {
        let mut schedule = Schedule::default();
        let ranks = [Rank::Analyze, Rank::Check, Rank::Build, Rank::Finish];
        for (rank, size) in ranks.into_iter().zip([9, 7, 8, 1]) {
            schedule.add(rank, terms(rank, size, &[], &[]), &[]);
        }
        let order = std::iter::from_fn(|| schedule.start().map(|started| started.work));
        assert_eq!(
            order.collect::<Vec<_>>(),
            [Rank::Finish, Rank::Build, Rank::Check, Rank::Analyze]
        );
    }

    #[test]
    fn a_job_is_lone_if_it_outweighs_what_runs_beside_it() {
        let lone = |sizes: &[u64], later: &[u64]| {
            let mut schedule = Schedule::default();
            let mut ids = Vec::new();
            for size in sizes {
                ids.push(schedule.add((), terms(Rank::Build, *size, &[1], &[]), &[]));
            }
            for size in later {
                schedule.add((), terms(Rank::Finish, *size, &[], &[1]), &ids);
            }
            std::iter::from_fn(|| schedule.start().map(|started| started.lone)).collect::<Vec<_>>()
        };
        assert_eq!(lone(&[5], &[]), [true]);
        assert_eq!(lone(&[5], &[9]), [true], "what follows does not count");
        assert_eq!(lone(&[0], &[]), [true]);
        assert_eq!(lone(&[5, 5], &[]), [false, false]);
        assert_eq!(lone(&[9, 5, 3], &[]), [true, false, false]);
        assert_eq!(lone(&[8, 5, 3], &[]), [false, false, false]);
        assert_eq!(lone(&[0, 0], &[]), [false, false]);
    }

    #[test]
    fn foreign_keys_that_share_a_table_take_turns() {
        let mut schedule = Schedule::default();
        let first = schedule.add(1, terms(Rank::Check, 3, &[], &[1, 2]), &[]);
        schedule.add(2, terms(Rank::Check, 2, &[], &[2, 3]), &[]);
        let third = schedule.add(3, terms(Rank::Check, 1, &[], &[3, 4]), &[]);
        assert_eq!(next(&mut schedule), Some((first, 1)));
        let started = next(&mut schedule);
        assert_eq!(started, Some((third, 3)), "an unrelated one overtakes");
        assert!(schedule.start().is_none());
        schedule.finish(third);
        assert!(schedule.start().is_none());
        schedule.finish(first);
        assert_eq!(next(&mut schedule).map(|(_, work)| work), Some(2));
    }

    #[test]
    fn a_job_after_one_that_is_done_is_ready() {
        let mut schedule = Schedule::default();
        let first = schedule.add(1, Terms::default(), &[]);
        schedule.start();
        schedule.finish(first);
        schedule.finish(first);
        schedule.add(2, Terms::default(), &[first]);
        assert_eq!(next(&mut schedule).map(|(_, work)| work), Some(2));
    }

    /// What keeps the cost of a job from growing with the number of others.
    #[test]
    fn of_many_that_wait_for_a_table_one_is_looked_at_each_time() {
        let mut schedule = Schedule::default();
        for number in 0..1000u64 {
            let own = TableId::new("s", format!("t{number}"));
            let takes = vec![table(0), own];
            let rank = Rank::Check;
            let terms = Terms {
                rank,
                size: number,
                takes,
                ..Terms::default()
            };
            schedule.add(number, terms, &[]);
        }
        for number in (0..1000).rev() {
            let (id, started) = next(&mut schedule).unwrap();
            assert_eq!(started, number, "the largest first");
            assert!(schedule.start().is_none());
            assert!(schedule.ready.is_empty());
            schedule.finish(id);
            assert!(schedule.ready.len() < 2);
        }
        assert_eq!(schedule.unfinished(), 0);
        assert!(schedule.aside.is_empty() && schedule.recalled.is_empty());
    }

    proptest! {
        /// Whatever the order in which jobs end: all run, none before its predecessors, never two at
        /// once on a table that one of them takes, and none waits that could run.
        #[test]
        fn every_job_runs_once_and_none_conflict(
            jobs in prop::collection::vec(
                (0u64..4, prop::collection::vec(0u8..4, 0..3), prop::collection::vec(4u8..8, 0..3),
                 prop::collection::vec(any::<prop::sample::Index>(), 0..3)), 1..20),
            ends in prop::collection::vec(any::<prop::sample::Index>(), 64),
            width in 1usize..4,
        ) {
            let mut schedule = Schedule::default();
            let mut ids = Vec::new();
            let mut before = Vec::new();
            for (number, (size, shares, takes, after)) in jobs.iter().enumerate() {
                // Tables 0 to 3 are shared by some and taken by others.
                let (mut shares, mut takes) = (shares.clone(), takes.clone());
                if number % 3 == 0 { std::mem::swap(&mut shares, &mut takes); }
                takes.sort_unstable(); takes.dedup();
                let after: Vec<JobId> =
                    if ids.is_empty() { vec![] } else { after.iter().map(|i| *i.get(&ids)).collect() };
                ids.push(schedule.add(number, terms(Rank::Build, *size, &shares, &takes), &after));
                before.push((after, shares, takes));
            }
            let mut running: Vec<JobId> = Vec::new();
            let mut done: Vec<JobId> = Vec::new();
            let mut ends = ends.iter().cycle();
            while schedule.unfinished() > 0 {
                while running.len() < width {
                    let Some((id, number)) = next(&mut schedule) else {
                        for (id, (after, shares, takes)) in ids.iter().zip(&before) {
                            let waits = !done.contains(id) && !running.contains(id)
                                && after.iter().all(|id| done.contains(id));
                            let held = running.iter().any(|other| {
                                let (_, other_shares, other_takes) = &before[other.0 as usize];
                                takes.iter().any(|t| other_shares.contains(t) || other_takes.contains(t))
                                    || shares.iter().any(|t| other_takes.contains(t))
                            });
                            prop_assert!(!waits || held, "job {} could run", id.0);
                        }
                        break;
                    };
                    let (after, shares, takes) = &before[number];
                    prop_assert!(after.iter().all(|id| done.contains(id)));
                    for other in &running {
                        let (_, other_shares, other_takes) = &before[other.0 as usize];
                        prop_assert!(!takes.iter().any(|t| other_shares.contains(t) || other_takes.contains(t)));
                        prop_assert!(!shares.iter().any(|t| other_takes.contains(t)));
                    }
                    running.push(id);
                }
                prop_assert!(!running.is_empty(), "nothing can start");
                let end = ends.next().map_or(0, |at| at.index(running.len()));
                let id = running.swap_remove(end);
                schedule.finish(id);
                done.push(id);
            }
            prop_assert_eq!(done.len(), jobs.len());
        }
    }
}
