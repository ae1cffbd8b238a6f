//! The objects of both sides, set against each other by kind and name.

use std::collections::{BTreeMap, HashMap};

use pghaul_stage::Result;

use super::name::plain;
use super::object::{self, INVALID};
use super::report::{Difference, Report};
use super::snapshot::{Session, maybe, number, text};
use super::view::View;

/// Kind and name of an object.
type Name = (String, String);

/// Every object of one side.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    objects: BTreeMap<Name, Object>,
}

#[derive(Debug)]
struct Object {
    parent: Option<Name>,
    properties: String,
}

/// Reads the objects of one side.
pub(super) async fn read(session: &mut Session<'_>, view: &View<'_>) -> Result<Inventory> {
    let sql = object::query(session.snapshot().version(), view);
    let rows = session.read(&sql).await?;
    let name = |row| -> Result<Name> { Ok((text(row, 4)?.to_owned(), plain(text(row, 5)?))) };
    let mut by_address: HashMap<(u32, u32), Name> = HashMap::new();
    for row in &rows {
        if maybe(row, 1)?.is_some() {
            by_address.insert((number(row, 0)?, number(row, 1)?), name(row)?);
        }
    }
    let mut objects = BTreeMap::new();
    let whole = view.chosen.is_of_all_relations();
    for row in &rows {
        // Of a part of the database, only comments on what is in this part.
        let about = (number(row, 2)?, number(row, 3)?);
        if !whole && text(row, 4)? == "comment" && !by_address.contains_key(&about) {
            continue;
        }
        let parent = by_address.get(&(number(row, 2)?, number(row, 3)?)).cloned();
        let properties = plain(maybe(row, 6)?.unwrap_or_default());
        objects.insert(name(row)?, Object { parent, properties });
    }
    Ok(Inventory { objects })
}

/// Reports the numbers and the differences.
pub(super) fn compare(source: &Inventory, target: &Inventory, report: &mut Report) {
    report.count(&source.counts(), &target.counts());
    // An index that was never built on the source may be there or not.
    let built = source
        .objects
        .iter()
        .filter(|(name, object)| is_built(name, object));
    for ((kind, name), ours) in built {
        let (kind, name) = (kind.clone(), name.clone());
        match target.objects.get(&(kind.clone(), name.clone())) {
            None if target.lacks_parent_of(ours) => {}
            None => report.differ(Difference::MissingObject { kind, name }),
            Some(theirs) if ours.properties != theirs.properties => {
                report.differ(Difference::Object {
                    kind,
                    name,
                    source: ours.properties.clone(),
                    target: theirs.properties.clone(),
                });
            }
            Some(_) => {}
        }
    }
    for ((kind, name), theirs) in &target.objects {
        let key = (kind.clone(), name.clone());
        if !source.objects.contains_key(&key) && !source.lacks_parent_of(theirs) {
            let (kind, name) = key;
            report.differ(Difference::ExtraObject { kind, name });
        }
    }
}

/// Whether an object is anything but an index that is invalid.
fn is_built((kind, _): &Name, object: &Object) -> bool {
    kind != "index" || !object.properties.split("; ").any(|word| word == INVALID)
}

impl Inventory {
    fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (name, object) in &self.objects {
            *counts.entry(name.0.clone()).or_default() += u64::from(is_built(name, object));
        }
        counts
    }

    fn lacks_parent_of(&self, object: &Object) -> bool {
        object
            .parent
            .as_ref()
            .is_some_and(|parent| !self.objects.contains_key(parent))
    }
}
