//! The objects of both sides, set against each other by kind and name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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

/// Every object of one side. There may be a million, so nothing is kept twice.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    objects: BTreeMap<Arc<Name>, Object>,
    names: HashMap<Address, Arc<Name>>,
    kinds: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
struct Object {
    parent: Address,
    properties: Box<str>,
}

/// Reads the objects of one side.
pub(super) async fn read(session: &mut Session<'_>, view: &View<'_>) -> Result<Inventory> {
    let sql = object::query(session.snapshot().version(), view);
    let add = |inventory: &mut Inventory, row| inventory.add(&row);
    let mut inventory = session.fold(&sql, Inventory::default, add).await?;
    // Of a part of the database, only comments on what is in this part.
    if !view.chosen.is_of_all_relations() {
        let Inventory { objects, names, .. } = &mut inventory;
        objects.retain(|name, object| &*name.0 != "comment" || names.contains_key(&object.parent));
    }
    Ok(inventory)
}

/// Reports the numbers and the differences.
pub(super) fn compare(source: &Inventory, target: &Inventory, report: &mut Report) {
    report.count(&source.counts(), &target.counts());
    // An index that was never built on the source may be there or not.
    let built = source.objects.iter();
    let built = built.filter(|(name, object)| is_built(name, object));
    for (name, ours) in built {
        match target.objects.get(name) {
            None if target.lacks(source.parent(ours)) => {}
            None => {
                let (kind, name) = owned(name);
                report.differ(Difference::MissingObject { kind, name });
            }
            Some(theirs) if ours.properties != theirs.properties => {
                let (kind, name) = owned(name);
                report.differ(Difference::Object {
                    kind,
                    name,
                    source: ours.properties.to_string(),
                    target: theirs.properties.to_string(),
                });
            }
            Some(_) => {}
        }
    }
    for (name, theirs) in &target.objects {
        if !source.objects.contains_key(name) && !source.lacks(target.parent(theirs)) {
            let (kind, name) = owned(name);
            report.differ(Difference::ExtraObject { kind, name });
        }
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
    fn add(&mut self, row: &SimpleQueryRow) -> Result<()> {
        let kind = text(row, 4)?;
        let kind = match self.kinds.get(kind) {
            Some(known) => Arc::clone(known),
            None => {
                let kind = Arc::from(kind);
                self.kinds.insert(Arc::clone(&kind));
                kind
            }
        };
        let name = Arc::new((kind, plain(text(row, 5)?).into()));
        if maybe(row, 1)?.is_some() {
            let address = (number(row, 0)?, number(row, 1)?);
            self.names.insert(address, Arc::clone(&name));
        }
        let object = Object {
            parent: (number(row, 2)?, number(row, 3)?),
            properties: plain(maybe(row, 6)?.unwrap_or_default()).into(),
        };
        self.objects.insert(name, object);
        Ok(())
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (name, object) in &self.objects {
            *counts.entry(name.0.to_string()).or_default() += u64::from(is_built(name, object));
        }
        counts
    }

    /// What an object of this side belongs to.
    fn parent(&self, object: &Object) -> Option<&Arc<Name>> {
        self.names.get(&object.parent)
    }

    /// Whether this side is without an object of the other side.
    fn lacks(&self, name: Option<&Arc<Name>>) -> bool {
        name.is_some_and(|name| !self.objects.contains_key(name))
    }
}
