//! Counts and checksums of all relations, on one server or on both at once.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use pghaul_stage::{Error, Event, Kind, Observer, Result, Side, Step};
use serde::{Deserialize, Serialize};

use super::image::Image;
use super::relation::{Recorded, Relation, Share};
use super::snapshot::{Session, Snapshot, number};

/// How many relations are worth being read together. What is known of each while it is read takes
/// hundreds of bytes, and there may be a hundred thousand.
pub(super) const AT_ONCE: usize = 4000;

/// Small tables share a query: at most this many, whose locks a server must hold together.
const TABLES_PER_QUERY: usize = 64;
/// … and at most this many bytes.
const BYTES_PER_QUERY: u64 = 8 << 20;

/// Rows and the sums of their hashes' halves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) rows: u64,
    /// In JSON they are text, because few readers have numbers of 128 bits.
    #[serde(with = "halves")]
    pub(super) halves: [i128; 2],
}

impl Sum {
    pub(super) fn add(&mut self, other: Sum) {
        self.rows = self.rows.saturating_add(other.rows);
        for (sum, half) in self.halves.iter_mut().zip(other.halves) {
            *sum = sum.wrapping_add(half);
        }
    }
}

mod halves {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        halves: &[i128; 2],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        halves.map(|half| half.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[i128; 2], D::Error> {
        let [high, low] = <[String; 2]>::deserialize(deserializer)?;
        let half = |text: String| text.parse().map_err(de::Error::custom);
        Ok([half(high)?, half(low)?])
    }
}

/// What is known of a relation's rows.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The sums of source and target.
    Sums {
        sums: [Sum; 2],
        /// Whether it took the image for rows that are too long.
        wide: bool,
        elapsed: Duration,
    },
    /// One side could not read the rows.
    Failed(Error),
}

/// Computes the sums of every relation with `jobs` sessions on each of these ends.
pub(super) async fn run(
    ends: &[&Snapshot],
    image: &Image,
    relations: &[Relation],
    jobs: usize,
    observer: &dyn Observer,
) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(relations.len());
    let (mut narrow, mut wide) = (Vec::new(), Vec::new());
    for (place, relation) in relations.iter().enumerate() {
        match relation.recorded.as_deref() {
            Some(Recorded::Failed(_)) => {}
            Some(Recorded::Sum { wide: true, .. }) => wide.push(place),
            Some(Recorded::Sum { wide: false, .. }) | None => narrow.push(place),
        }
        outcomes.push(Outcome::recorded(relation));
    }
    let found = pass(ends, image, relations, &narrow, false, jobs, observer).await?;
    for (place, outcome) in narrow.into_iter().zip(found) {
        // Rows too long for their text are the usual reason why a readable table fails. What was
        // recorded by its text cannot be read anew.
        let again = |relation: &Relation| relation.recorded.is_none();
        if matches!(outcome, Outcome::Failed(_)) && relations.get(place).is_some_and(again) {
            wide.push(place);
        }
        note(&mut outcomes, place, outcome);
    }
    if !wide.is_empty() {
        let found = pass(ends, image, relations, &wide, true, jobs, observer).await?;
        for (place, outcome) in wide.into_iter().zip(found) {
            note(&mut outcomes, place, outcome);
        }
    }
    Ok(outcomes)
}

/// Adds what was read to what was recorded.
fn note(outcomes: &mut [Outcome], place: usize, mut read: Outcome) {
    let Some(outcome) = outcomes.get_mut(place) else {
        return;
    };
    if let (Outcome::Sums { sums: read, .. }, Outcome::Sums { sums: known, .. }) =
        (&mut read, &*outcome)
    {
        for (read, known) in read.iter_mut().zip(known) {
            read.add(*known);
        }
    }
    *outcome = read;
}

impl Outcome {
    /// What is known of a relation before anything is read.
    fn recorded(relation: &Relation) -> Self {
        let sum = match relation.recorded.as_deref() {
            Some(Recorded::Failed(reason)) => {
                let reason = format!("the source's rows could not be read: {reason}");
                return Outcome::Failed(Error::new(Kind::Permanent, reason));
            }
            Some(Recorded::Sum { sum, .. }) => *sum,
            None => Sum::default(),
        };
        Outcome::Sums {
            sums: [sum, Sum::default()],
            wide: false,
            elapsed: Duration::ZERO,
        }
    }

    /// What is to be recorded of the source.
    pub(super) fn record(self) -> Recorded {
        match self {
            Outcome::Sums {
                sums: [sum, _],
                wide,
                ..
            } => Recorded::Sum { sum, wide },
            Outcome::Failed(error) => Recorded::Failed(error.to_string()),
        }
    }
}

/// One query's worth of work: shares of relations, by their place in the board.
#[derive(Debug, Default)]
struct Unit {
    shares: Vec<(usize, Share)>,
    bytes: u64,
}

/// What one pass has found so far, relation by relation.
struct Board<'a> {
    image: &'a Image,
    relations: Vec<&'a Relation>,
    wide: bool,
    tallies: Mutex<Vec<Tally>>,
    observer: &'a dyn Observer,
}

#[derive(Default)]
struct Tally {
    sums: [Sum; 2],
    shares_left: usize,
    start: Option<Instant>,
    elapsed: Duration,
    failure: Option<Error>,
}

async fn pass(
    ends: &[&Snapshot],
    image: &Image,
    relations: &[Relation],
    which: &[usize],
    wide: bool,
    jobs: usize,
    observer: &dyn Observer,
) -> Result<impl Iterator<Item = Outcome> + use<>> {
    let relations: Vec<&Relation> = which.iter().filter_map(|i| relations.get(*i)).collect();
    let sides = ends
        .iter()
        .map(|end| usize::from(end.side() == Side::Target));
    let queues: Vec<_> = sides.map(|side| (side, units(&relations, side))).collect();
    let mut tallies: Vec<Tally> = relations.iter().map(|_| Tally::default()).collect();
    let units = queues.iter().flat_map(|(_, queue)| queue);
    for (place, _) in units.flat_map(|unit| &unit.shares) {
        if let Some(tally) = tallies.get_mut(*place) {
            tally.shares_left += 1;
        }
    }
    let board = Board {
        image,
        relations,
        wide,
        tallies: Mutex::new(tallies),
        observer,
    };
    let queues = queues.into_iter();
    let queues: Vec<_> = queues
        .map(|(side, queue)| (side, Mutex::new(queue)))
        .collect();
    let workers = queues.iter().zip(ends).flat_map(|((side, queue), end)| {
        let board = &board;
        let sessions = jobs.min(lock(queue).len());
        (0..sessions).map(move |_| board.work(*side, end, queue))
    });
    try_join_all(workers).await?;
    for end in ends {
        end.check()?;
    }
    Ok(board.outcomes())
}

/// Cuts one side's relations into units, largest first.
fn units(relations: &[&Relation], side: usize) -> VecDeque<Unit> {
    let mut units = Vec::new();
    let mut small = Unit::default();
    for (place, relation) in relations.iter().enumerate() {
        let shares = relation.shares(side);
        match shares.as_slice() {
            [(share, bytes)] if *bytes < BYTES_PER_QUERY && relation.table.is_some() => {
                if small.shares.len() == TABLES_PER_QUERY || small.bytes + bytes > BYTES_PER_QUERY {
                    units.push(std::mem::take(&mut small));
                }
                small.shares.push((place, *share));
                small.bytes += bytes;
            }
            shares => units.extend(shares.iter().map(|(share, bytes)| Unit {
                shares: vec![(place, *share)],
                bytes: *bytes,
            })),
        }
    }
    if !small.shares.is_empty() {
        units.push(small);
    }
    units.sort_by_key(|unit| std::cmp::Reverse(unit.bytes));
    units.into()
}

impl Board<'_> {
    /// One session's life: takes units until none is left.
    async fn work(&self, side: usize, end: &Snapshot, queue: &Mutex<VecDeque<Unit>>) -> Result<()> {
        let mut session = end.session();
        loop {
            let Some(unit) = lock(queue).pop_front() else {
                return Ok(());
            };
            self.start(&unit);
            match self.query(&mut session, end, &unit.shares).await {
                Ok(sums) => self.note(side, &unit, Ok(sums)),
                // Short of memory for this table's rows, the server may well have enough for others.
                Err(error) if error.kind() != Kind::Permanent && error.code() != Some("53200") => {
                    return Err(error);
                }
                // One relation of many fails the whole query: ask for each by itself.
                Err(_) if unit.shares.len() > 1 => {
                    let bytes = unit.bytes / unit.shares.len() as u64;
                    lock(queue).extend(unit.shares.into_iter().map(|share| Unit {
                        shares: vec![share],
                        bytes,
                    }));
                }
                Err(error) => {
                    end.check()?;
                    self.note(side, &unit, Err(error));
                }
            }
        }
    }

    async fn query(
        &self,
        session: &mut Session<'_>,
        end: &Snapshot,
        shares: &[(usize, Share)],
    ) -> Result<Vec<(usize, Sum)>> {
        let [high, low] = self.image.halves("r.image");
        // The inner query must not be merged with the outer one, or each row's text would be
        // made twice. Before PostgreSQL 14 nothing is cut, so there the server's own parallel
        // query is worth more, and this barrier would prevent it.
        let barrier = if end.version() >= 140_000 {
            "OFFSET 0"
        } else {
            ""
        };
        let queries: Vec<String> = shares
            .iter()
            .filter_map(|(place, share)| {
                let relation = self.relations.get(*place)?;
                let row = self.image.row(&relation.columns, self.wide);
                let row = self.image.whole(&row);
                let from = relation.rows(*share, self.image, end.side());
                Some(format!(
                    "SELECT {place}, count(*), coalesce(sum({high}), 0), coalesce(sum({low}), 0)
                       FROM (SELECT {row} AS image FROM {from} {barrier}) r"
                ))
            })
            .collect();
        let rows =
            session
                .read(&queries.join(" UNION ALL "))
                .await
                .map_err(|error| match shares {
                    [(place, _)] => match self.relations.get(*place) {
                        Some(relation) => error.on(relation.name()),
                        None => error,
                    },
                    _ => error,
                })?;
        rows.iter()
            .map(|row| {
                let sum = Sum {
                    rows: number(row, 1)?,
                    halves: [number(row, 2)?, number(row, 3)?],
                };
                Ok((number(row, 0)?, sum))
            })
            .collect()
    }

    fn start(&self, unit: &Unit) {
        for (place, _) in &unit.shares {
            if let Some(tally) = lock(&self.tallies).get_mut(*place) {
                if tally.start.is_some() {
                    continue;
                }
                tally.start = Some(Instant::now());
            }
            self.tell(*place, None);
        }
    }

    fn note(&self, side: usize, unit: &Unit, result: Result<Vec<(usize, Sum)>>) {
        let mut failure = None;
        // What is told can be added up: those that one query reads share its time.
        let among = u32::try_from(unit.shares.len().max(1)).unwrap_or(u32::MAX);
        match result {
            Ok(sums) => {
                let mut tallies = lock(&self.tallies);
                for (place, sum) in sums {
                    let total = tallies
                        .get_mut(place)
                        .and_then(|tally| tally.sums.get_mut(side));
                    if let Some(total) = total {
                        total.add(sum);
                    }
                }
            }
            Err(error) => failure = Some(error),
        }
        for (place, _) in &unit.shares {
            let done = {
                let mut tallies = lock(&self.tallies);
                let Some(tally) = tallies.get_mut(*place) else {
                    continue;
                };
                tally.shares_left -= 1;
                if let Some(error) = failure.take() {
                    tally.failure.get_or_insert(error);
                }
                tally.elapsed = tally.start.map_or(Duration::ZERO, |start| start.elapsed());
                (tally.shares_left == 0).then_some(tally.elapsed / among)
            };
            if done.is_some() {
                self.tell(*place, done);
            }
        }
    }

    /// Tells the observer that a table was begun or, with its time, done.
    fn tell(&self, place: usize, done: Option<Duration>) {
        let Some(relation) = self.relations.get(place) else {
            return;
        };
        let subject = relation.name();
        let (step, subject, table) = (Step::Verify, subject.as_str(), relation.table.as_ref());
        self.observer.observe(&match done {
            None => Event::StepStarted {
                step,
                subject,
                table,
            },
            Some(elapsed) => Event::StepDone {
                step,
                subject,
                table,
                elapsed,
            },
        });
    }

    fn outcomes(self) -> impl Iterator<Item = Outcome> + use<> {
        let wide = self.wide;
        let tallies = self
            .tallies
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        tallies.into_iter().map(move |tally| match tally.failure {
            Some(error) => Outcome::Failed(error),
            None => Outcome::Sums {
                sums: tally.sums,
                wide,
                elapsed: tally.elapsed,
            },
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
