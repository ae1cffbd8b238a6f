//! Sets the objects of both sides against each other.
//!
//! What is alike on both sides is known by a hash, of which a million take little room. Only what is
//! not is kept whole, and the source's list is gone through again for it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use pghaul_stage::Result;
use tokio_postgres::SimpleQueryRow;

use super::inventory::{Address, Inventory, Legend, Object};
use super::object;
use super::parties::Wording;
use super::report::{Difference, Report};
use super::snapshot::Session;
use super::view::View;

/// How many objects of each kind there are.
type Counts = BTreeMap<Box<str>, u64>;

/// Reports the numbers and the differences.
pub(super) async fn compare(
    source: Cow<'_, Inventory>,
    ours: &Wording,
    theirs: &mut Session<'_>,
    to: &View<'_>,
    report: &mut Report,
) -> Result<()> {
    let expected = Expected::of(&source, ours)?;
    let mut target = Others::read(theirs, to, &expected).await?;
    let source = Unlike::of(expected.missing(&source, ours, &target.seen)?);
    target.keep_what_has_its_place(&source);
    report.count(&expected.counts, &target.counts);
    let target = Unlike::of(target.unlike);
    // An index that was never built on the source may be there or not.
    for ours in source.objects.iter().filter(|object| object.is_built()) {
        let (kind, name) = (ours.kind.to_string(), ours.name.clone());
        if let Some(theirs) = target.find(ours) {
            report.differ(Difference::Object {
                kind,
                name,
                source: ours.in_words(),
                target: theirs.in_words(),
            });
        } else if source.parent(ours).is_none_or(|one| target.has(one)) {
            report.differ(Difference::MissingObject { kind, name });
        }
    }
    for theirs in target.objects.iter().filter(|object| !source.has(object)) {
        if target.parent(theirs).is_none_or(|one| source.has(one)) {
            let (kind, name) = (theirs.kind.to_string(), theirs.name.clone());
            report.differ(Difference::ExtraObject { kind, name });
        }
    }
    Ok(())
}

/// What is compared of an object, as 128 bits.
type Print = (u64, u64);

/// What the target should have.
struct Expected {
    hashes: [RandomState; 2],
    /// Each once, in order.
    prints: Vec<Print>,
    counts: Counts,
}

impl Expected {
    fn of(source: &Inventory, wording: &Wording) -> Result<Self> {
        let mut expected = Self {
            hashes: [RandomState::new(), RandomState::new()],
            prints: Vec::new(),
            counts: Counts::new(),
        };
        for object in source.objects(wording) {
            let object = object?;
            expected.prints.push(expected.print(&object));
            count(&mut expected.counts, &object);
        }
        expected.prints.sort_unstable();
        expected.prints.dedup();
        Ok(expected)
    }

    fn print(&self, object: &Object) -> Print {
        let compared = (object.key(), &object.properties, &object.parties);
        let [one, other] = &self.hashes;
        (one.hash_one(compared), other.hash_one(compared))
    }

    /// Which of these an object is, if it is one.
    fn place(&self, object: &Object) -> Option<usize> {
        self.prints.binary_search(&self.print(object)).ok()
    }

    /// The source's objects that the target does not have alike.
    fn missing(&self, source: &Inventory, wording: &Wording, seen: &[bool]) -> Result<Vec<Object>> {
        if seen.iter().all(|seen| *seen) {
            return Ok(Vec::new());
        }
        let is_missing = |object: &Result<Object>| match object {
            Ok(object) => {
                let seen = self.place(object).and_then(|place| seen.get(place));
                seen != Some(&true)
            }
            Err(_) => true,
        };
        source.objects(wording).filter(is_missing).collect()
    }
}

fn count(counts: &mut Counts, object: &Object) {
    let built = u64::from(object.is_built());
    match counts.get_mut(&object.kind) {
        Some(count) => *count += built,
        None => drop(counts.insert(object.kind.clone(), built)),
    }
}

/// The target's objects, of which only those are kept that the source does not have alike.
struct Others {
    legend: Legend,
    unlike: Vec<Object>,
    /// Which of the source's there are.
    seen: Vec<bool>,
    /// Which identifiers there are, whether kept or not; not of a whole database, where nobody
    /// asks.
    addresses: Option<HashSet<Address>>,
    counts: Counts,
}

impl Others {
    async fn read(session: &mut Session<'_>, view: &View<'_>, expected: &Expected) -> Result<Self> {
        let sql = object::query(session.snapshot().version(), view);
        let begun = || {
            Ok(Self {
                legend: Legend::default(),
                unlike: Vec::new(),
                seen: vec![false; expected.prints.len()],
                addresses: (!view.chosen.is_of_all_relations()).then(HashSet::new),
                counts: Counts::new(),
            })
        };
        let add = |others: &mut Self, row| others.add(&row, view, expected);
        session.fold(&sql, begun, add).await
    }

    fn add(&mut self, row: &SimpleQueryRow, view: &View<'_>, expected: &Expected) -> Result<()> {
        let Some(object) = self.legend.read(row, &view.wording)? else {
            return Ok(());
        };
        if let Some(addresses) = &mut self.addresses {
            addresses.extend(object.address);
        }
        let place = expected.place(&object);
        match place.and_then(|place| self.seen.get_mut(place)) {
            Some(seen) => {
                *seen = true;
                count(&mut self.counts, &object);
            }
            None => self.unlike.push(object),
        }
        Ok(())
    }

    /// Of a part of the database, only comments on what is in this part, and those that the source
    /// has with other properties.
    fn keep_what_has_its_place(&mut self, source: &Unlike) {
        if let Some(addresses) = &self.addresses {
            self.unlike.retain(|object| {
                !object.is_comment() || source.has(object) || addresses.contains(&object.parent)
            });
        }
        for object in &self.unlike {
            count(&mut self.counts, object);
        }
    }
}

/// Objects of one side that the other side does not have alike.
struct Unlike {
    /// By kind and name, each once.
    objects: Vec<Object>,
    places: HashMap<Address, usize>,
}

impl Unlike {
    fn of(mut objects: Vec<Object>) -> Self {
        objects.sort_by(|one, other| one.key().cmp(&other.key()));
        objects.dedup_by(|later, earlier| later.key() == earlier.key());
        let places = objects.iter().zip(0..);
        let places = places.filter_map(|(object, place)| Some((object.address?, place)));
        Self {
            places: places.collect(),
            objects,
        }
    }

    /// The object of the same kind and name.
    fn find(&self, other: &Object) -> Option<&Object> {
        let found = self
            .objects
            .binary_search_by(|object| object.key().cmp(&other.key()));
        self.objects.get(found.ok()?)
    }

    fn has(&self, other: &Object) -> bool {
        self.find(other).is_some()
    }

    /// What an object of the same side belongs to, if that is one of these.
    fn parent(&self, object: &Object) -> Option<&Object> {
        self.objects.get(*self.places.get(&object.parent)?)
    }
}
