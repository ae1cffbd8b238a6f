use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use pghaul_stage::Result;
use serde::{Deserialize, Serialize, Serializer};
use tokio_postgres::SimpleQueryRow;

use super::name::plain;
use super::object::{self, DEFAULT_PRIVILEGES, INVALID};
use super::parties::{Directory, Parties, Wording};
use super::report::{Difference, Report};
use super::snapshot::{Session, maybe, number, text};
use super::view::View;

/// Catalog and identifier of an object.
type Address = (u32, u32);

/// Kind and name of an object.
type Name = (Arc<str>, Box<str>);

/// Objects of one side. There may be a million, so nothing is kept twice.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "Written<'_>")]
pub(super) struct Inventory {
    objects: BTreeMap<Arc<Name>, Object>,
    names: HashMap<Address, Arc<Name>>,
    kinds: BTreeSet<Arc<str>>,
    parties: Directory,
    /// How many were read.
    read: u32,
}

#[derive(Debug, Clone)]
struct Object {
    /// How many were read before it.
    number: u32,
    /// Its roles, by their number in the directory of its side.
    parties: u32,
    parent: Address,
    properties: Box<str>,
}

/// What the target's objects are set against: the source's, its parties in words by number, and
/// how those of the target are put in words.
struct Expected<'a> {
    inventory: &'a Inventory,
    words: Vec<String>,
    wording: &'a Wording,
}

/// The target's objects, of which only those are kept that the source does not have alike.
#[derive(Debug, Default)]
struct Others {
    inventory: Inventory,
    /// The parties in words, by number.
    words: Vec<String>,
    /// Which of the source's objects are there, by their numbers.
    seen: Vec<bool>,
    /// Which identifiers there are, whether kept or not.
    addresses: HashSet<Address>,
    counts: BTreeMap<String, u64>,
}

/// Sets the objects of both sides against each other: reports the numbers and the differences.
pub(super) async fn compare(
    source: Cow<'_, Inventory>,
    ours: &Wording,
    theirs: &mut Session<'_>,
    to: &View<'_>,
    report: &mut Report,
) -> Result<()> {
    let source = renamed(source, ours);
    let expected = Expected {
        inventory: &source,
        words: source.parties.words(ours),
        wording: &to.wording,
    };
    let target = read_others(theirs, to, &expected).await?;
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
                source: ours.in_words(&expected.words),
                target: theirs.in_words(&target.words),
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

/// The source's objects by the names that they have on the target. Default privileges are named
/// after their role, and are not there where no grants are compared.
fn renamed<'a>(mut source: Cow<'a, Inventory>, ours: &Wording) -> Cow<'a, Inventory> {
    let privileges = source.objects.iter();
    let privileges = privileges.filter(|(name, _)| *name.0 == *DEFAULT_PRIVILEGES);
    let changes: Vec<_> = privileges
        .filter_map(|(old, object)| {
            if !ours.grants {
                return Some((Arc::clone(old), None));
            }
            let role = source.parties.get(object.parties)?.holder.as_deref()?;
            let rest = old.1.strip_prefix(&default_privileges_of(role, ""))?;
            let new = default_privileges_of(ours.name(role), rest);
            (*new != *old.1).then(|| (Arc::clone(old), Some((Arc::clone(&old.0), new.into()))))
        })
        .collect();
    if !changes.is_empty() {
        let objects = &mut source.to_mut().objects;
        let changes: Vec<_> = changes
            .into_iter()
            .filter_map(|(old, new)| Some((objects.remove(&old)?, new?)))
            .map(|(object, new)| (Arc::new(new), object))
            .collect();
        objects.extend(changes);
    }
    source
}

fn default_privileges_of(role: &str, of_what: &str) -> String {
    format!("of {role} {of_what}")
}

/// Reads the objects of the source.
pub(super) async fn read(session: &mut Session<'_>, view: &View<'_>) -> Result<Inventory> {
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
    expected: &Expected<'_>,
) -> Result<Others> {
    let source = expected.inventory;
    let sql = object::query(session.snapshot().version(), view);
    let begun = || Others {
        words: vec![String::new()],
        seen: vec![false; source.read as usize],
        ..Others::default()
    };
    let add = |others: &mut Others, row| others.add(&row, expected);
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
            parties: self.parties.number(maybe(row, 7)?)?,
            parent: (number(row, 2)?, number(row, 3)?),
            properties: plain(maybe(row, 6)?.unwrap_or_default()).into(),
        };
        self.read += 1;
        let mut name = plain(text(row, 5)?);
        if *kind == *DEFAULT_PRIVILEGES {
            let role = self.parties.get(object.parties);
            let role = role.and_then(|parties| parties.holder.as_deref());
            name = default_privileges_of(role.unwrap_or_default(), &name);
        }
        Ok(((kind, name.into()), address, object))
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
    fn add(&mut self, row: &SimpleQueryRow, expected: &Expected<'_>) -> Result<()> {
        let source = expected.inventory;
        let (name, address, object) = self.inventory.parse(row)?;
        let parties = self.inventory.parties.all().iter();
        let new = parties.skip(self.words.len() - 1);
        self.words
            .extend(new.map(|parties| parties.words(expected.wording)));
        self.addresses.extend(address);
        if let Some(same) = source.objects.get(&name) {
            count(&mut self.counts, &name, &object);
            if let Some(seen) = self.seen.get_mut(same.number as usize) {
                *seen = true;
            }
            if same.properties == object.properties
                && same.parties(&expected.words) == object.parties(&self.words)
            {
                return Ok(());
            }
        }
        self.inventory.add(name, address, object);
        Ok(())
    }

    /// Whether the target has this object of the source.
    fn has(&self, object: &Object) -> bool {
        self.seen
            .get(object.number as usize)
            .is_some_and(|seen| *seen)
    }
}

impl Object {
    /// Its parties, of all that its side has, in words.
    fn parties<'a>(&self, words: &'a [String]) -> &'a str {
        let words = words.get(self.parties as usize);
        words.map_or("", String::as_str)
    }

    /// Its properties and its parties.
    fn in_words(&self, words: &[String]) -> String {
        let all = [&*self.properties, self.parties(words)];
        let all: Vec<&str> = all.into_iter().filter(|part| !part.is_empty()).collect();
        all.join("; ")
    }
}

/// An inventory as it is recorded.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    kinds: Vec<Cow<'a, str>>,
    parties: Cow<'a, [Parties]>,
    objects: Vec<Entry<'a>>,
}

/// The number of its kind, name, address, address of what it belongs to, properties, and the
/// number of its parties.
#[derive(Serialize, Deserialize)]
struct Entry<'a>(
    u32,
    Cow<'a, str>,
    Option<Address>,
    Address,
    Cow<'a, str>,
    u32,
);

impl Serialize for Inventory {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let addresses: HashMap<&Arc<Name>, Address> = self
            .names
            .iter()
            .map(|(address, name)| (name, *address))
            .collect();
        let kinds: HashMap<&Arc<str>, u32> = self.kinds.iter().zip(0..).collect();
        let objects = self.objects.iter().map(|(name, object)| {
            Entry(
                kinds.get(&name.0).copied().unwrap_or_default(),
                Cow::Borrowed(&name.1),
                addresses.get(name).copied(),
                object.parent,
                Cow::Borrowed(&object.properties),
                object.parties,
            )
        });
        let written = Written {
            kinds: self
                .kinds
                .iter()
                .map(|kind| Cow::Borrowed(&**kind))
                .collect(),
            parties: Cow::Borrowed(self.parties.all()),
            objects: objects.collect(),
        };
        written.serialize(serializer)
    }
}

impl TryFrom<Written<'_>> for Inventory {
    type Error = &'static str;

    fn try_from(written: Written<'_>) -> std::result::Result<Self, Self::Error> {
        let kinds: Vec<Arc<str>> = written.kinds.into_iter().map(Arc::from).collect();
        let mut inventory = Inventory {
            parties: Directory::of(written.parties.into_owned()),
            ..Inventory::default()
        };
        for Entry(kind, name, address, parent, properties, parties) in written.objects {
            let kind = kinds.get(kind as usize).ok_or("an object of no kind")?;
            if parties > 0 && inventory.parties.get(parties).is_none() {
                return Err("an object of roles that are not listed");
            }
            let object = Object {
                number: inventory.read,
                parties,
                parent,
                properties: properties.into(),
            };
            inventory.read = inventory.read.checked_add(1).ok_or("too many objects")?;
            inventory.add((Arc::clone(kind), name.into()), address, object);
        }
        inventory.kinds = kinds.into_iter().collect();
        Ok(inventory)
    }
}
