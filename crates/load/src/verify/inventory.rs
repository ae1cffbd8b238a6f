//! The objects of both sides, set against each other by kind and name.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use pghaul_stage::Result;
use tokio_postgres::SimpleQueryRow;

use super::name::plain;
use super::object::{self, INVALID};
use super::report::{Difference, Report};
use super::snapshot::{Session, maybe, number, text};
use super::view::View;

/// Catalog and identifier of an object.
type Address = (u32, u32);

/// Kind and name of an object.
type Name = (Arc<str>, Box<str>);

/// Objects of one side. There may be a million, so nothing is kept twice.
#[derive(Debug, Default)]
struct Inventory {
    objects: BTreeMap<Arc<Name>, Object>,
    names: HashMap<Address, Arc<Name>>,
    kinds: BTreeSet<Arc<str>>,
    /// How many were read.
    read: usize,
}

#[derive(Debug)]
struct Object {
    /// How many were read before it.
    number: usize,
    parent: Address,
    properties: Box<str>,
}

/// The target's objects, of which only those are kept that the source does not have alike.
#[derive(Debug, Default)]
struct Others {
    inventory: Inventory,
    /// Which of the source's objects are there, by their numbers.
    seen: Vec<bool>,
    /// Which identifiers there are, whether kept or not.
    addresses: HashSet<Address>,
    counts: BTreeMap<String, u64>,
}

/// Sets the objects of both sides against each other: reports the numbers and the differences.
pub(super) async fn compare(
    [ours, theirs]: &mut [Session<'_>; 2],
    [from, to]: &[View<'_>; 2],
    report: &mut Report,
) -> Result<()> {
    let source = read(ours, from).await?;
    let target = read_others(theirs, to, &source).await?;
    report.count(&source.counts(), &target.counts);
    // An index that was never built on the source may be there or not.
    let built = source.objects.iter();
    let built = built.filter(|(name, object)| is_built(name, object));
    for (name, ours) in built {
        if !target.has(ours) {
            let parent = source
                .parent(ours)
                .and_then(|name| source.objects.get(name));
            if parent.is_none_or(|parent| target.has(parent)) {
                let (kind, name) = owned(name);
                report.differ(Difference::MissingObject { kind, name });
            }
        } else if let Some(theirs) = target.inventory.objects.get(name) {
            let (kind, name) = owned(name);
            report.differ(Difference::Object {
                kind,
                name,
                source: ours.properties.to_string(),
                target: theirs.properties.to_string(),
            });
        }
    }
    for (name, theirs) in &target.inventory.objects {
        let parent = target.inventory.parent(theirs);
        let lacks = |name: &Arc<Name>| !source.objects.contains_key(name);
        if lacks(name) && !parent.is_some_and(lacks) {
            let (kind, name) = owned(name);
            report.differ(Difference::ExtraObject { kind, name });
        }
    }
    Ok(())
}

/// Reads the objects of the source.
async fn read(session: &mut Session<'_>, view: &View<'_>) -> Result<Inventory> {
    let sql = object::query(session.snapshot().version(), view);
    let add = |inventory: &mut Inventory, row| {
        let (name, address, object) = inventory.parse(&row)?;
        inventory.add(name, address, object);
        Ok(())
    };
    let mut inventory = session.fold(&sql, Inventory::default, add).await?;
    // Of a part of the database, only comments on what is in this part.
    if !view.chosen.is_of_all_relations() {
        let Inventory { objects, names, .. } = &mut inventory;
        objects.retain(|name, object| !is_comment(name) || names.contains_key(&object.parent));
    }
    Ok(inventory)
}

/// Reads the objects of the target.
async fn read_others(
    session: &mut Session<'_>,
    view: &View<'_>,
    source: &Inventory,
) -> Result<Others> {
    let sql = object::query(session.snapshot().version(), view);
    let begun = || Others {
        seen: vec![false; source.read],
        ..Others::default()
    };
    let add = |others: &mut Others, row| others.add(&row, source);
    let mut others = session.fold(&sql, begun, add).await?;
    let Others {
        inventory,
        addresses,
        counts,
        ..
    } = &mut others;
    if !view.chosen.is_of_all_relations() {
        inventory.objects.retain(|name, object| {
            !is_comment(name)
                || source.objects.contains_key(name)
                || addresses.contains(&object.parent)
        });
    }
    for (name, object) in &inventory.objects {
        if !source.objects.contains_key(name) {
            count(counts, name, object);
        }
    }
    Ok(others)
}

fn is_comment(name: &Name) -> bool {
    *name.0 == *"comment"
}

fn count(counts: &mut BTreeMap<String, u64>, name: &Name, object: &Object) {
    let built = u64::from(is_built(name, object));
    match counts.get_mut(&*name.0) {
        Some(count) => *count += built,
        None => drop(counts.insert(name.0.to_string(), built)),
    }
}

/// Whether an object is anything but an index that is invalid.
fn is_built(name: &Name, object: &Object) -> bool {
    *name.0 != *"index" || !object.properties.split("; ").any(|word| word == INVALID)
}

fn owned(name: &Name) -> (String, String) {
    (name.0.to_string(), name.1.to_string())
}

impl Inventory {
    fn parse(&mut self, row: &SimpleQueryRow) -> Result<(Name, Option<Address>, Object)> {
        let kind = text(row, 4)?;
        let kind = match self.kinds.get(kind) {
            Some(known) => Arc::clone(known),
            None => {
                let kind = Arc::from(kind);
                self.kinds.insert(Arc::clone(&kind));
                kind
            }
        };
        let address = match maybe(row, 1)? {
            Some(_) => Some((number(row, 0)?, number(row, 1)?)),
            None => None,
        };
        let object = Object {
            number: self.read,
            parent: (number(row, 2)?, number(row, 3)?),
            properties: plain(maybe(row, 6)?.unwrap_or_default()).into(),
        };
        self.read += 1;
        Ok(((kind, plain(text(row, 5)?).into()), address, object))
    }

    fn add(&mut self, name: Name, address: Option<Address>, object: Object) {
        let name = Arc::new(name);
        if let Some(address) = address {
            self.names.insert(address, Arc::clone(&name));
        }
        self.objects.insert(name, object);
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (name, object) in &self.objects {
            count(&mut counts, name, object);
        }
        counts
    }

    /// What an object of this side belongs to.
    fn parent(&self, object: &Object) -> Option<&Arc<Name>> {
        self.names.get(&object.parent)
    }
}

impl Others {
    fn add(&mut self, row: &SimpleQueryRow, source: &Inventory) -> Result<()> {
        let (name, address, object) = self.inventory.parse(row)?;
        self.addresses.extend(address);
        if let Some(same) = source.objects.get(&name) {
            count(&mut self.counts, &name, &object);
            if let Some(seen) = self.seen.get_mut(same.number) {
                *seen = true;
            }
            if same.properties == object.properties {
                return Ok(());
            }
        }
        self.inventory.add(name, address, object);
        Ok(())
    }

    /// Whether the target has this object of the source.
    fn has(&self, object: &Object) -> bool {
        self.seen.get(object.number).is_some_and(|seen| *seen)
    }
}
