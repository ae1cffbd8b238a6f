//! The objects of both sides by kind and name, and what differs between them.

use std::borrow::Cow;
use std::cell::LazyCell;
use std::collections::{BTreeMap, HashSet};
use std::mem;

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

/// Objects of one side. There may be a million, so nothing is kept twice, and they lie close
/// together.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "Written<'_>")]
pub(super) struct Inventory {
    /// Once [sorted](Inventory::sort), by kind and name, each once.
    objects: Vec<Object>,
    /// Once sorted, in order.
    kinds: Vec<Box<str>>,
    parties: Directory,
}

#[derive(Debug, Clone)]
struct Object {
    /// The number of its kind.
    kind: u32,
    /// Its roles, by their number in the directory of its side.
    parties: u32,
    address: Option<Address>,
    parent: Address,
    /// How long its name is.
    name: u32,
    /// Its name, and its properties right behind it.
    text: Box<str>,
}

/// Objects by their address.
struct Addresses(Vec<(Address, usize)>);

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
    /// Which of the source's objects are there, by their places.
    seen: Vec<bool>,
    /// Which identifiers there are, whether kept or not; not of a whole database, where nobody
    /// asks.
    addresses: Option<HashSet<Address>>,
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
    let parents = LazyCell::new(|| Addresses::of(&source));
    // An index that was never built on the source may be there or not.
    let built = source.objects.iter().enumerate();
    let built = built.filter(|(_, object)| source.is_built(object));
    for (at, ours) in built {
        if !target.has(at) {
            let parent = parents.get(ours.parent);
            if parent.is_none_or(|parent| target.has(parent)) {
                let (kind, name) = source.owned(ours);
                report.differ(Difference::MissingObject { kind, name });
            }
        } else if let Some(theirs) = target.inventory.find(source.kind(ours), ours.name()) {
            let (kind, name) = source.owned(ours);
            report.differ(Difference::Object {
                kind,
                name,
                source: ours.in_words(&expected.words),
                target: theirs.in_words(&target.words),
            });
        }
    }
    let parents = LazyCell::new(|| Addresses::of(&target.inventory));
    let lacks = |theirs: &Object| {
        let kind = target.inventory.kind(theirs);
        source.find(kind, theirs.name()).is_none()
    };
    for theirs in &target.inventory.objects {
        let parent = || target.inventory.objects.get(parents.get(theirs.parent)?);
        if lacks(theirs) && !parent().is_some_and(lacks) {
            let (kind, name) = target.inventory.owned(theirs);
            report.differ(Difference::ExtraObject { kind, name });
        }
    }
    Ok(())
}

/// The source's objects by the names that they have on the target. Default privileges are named
/// after their role, and are not there where no grants are compared.
fn renamed<'a>(mut source: Cow<'a, Inventory>, ours: &Wording) -> Cow<'a, Inventory> {
    let privileges = source.objects.iter().enumerate();
    let privileges = privileges.filter(|(_, object)| source.kind(object) == DEFAULT_PRIVILEGES);
    let changes: Vec<(usize, Option<Object>)> = privileges
        .filter_map(|(at, object)| {
            if !ours.grants {
                return Some((at, None));
            }
            let role = source.parties.get(object.parties)?.holder.as_deref()?;
            let rest = object
                .name()
                .strip_prefix(&default_privileges_of(role, ""))?;
            let new = default_privileges_of(ours.name(role), rest);
            let differs = new != object.name();
            differs.then(|| (at, Some(object.by_name(&new))))
        })
        .collect();
    if !changes.is_empty() {
        let inventory = source.to_mut();
        for (at, _) in changes.iter().rev() {
            inventory.objects.remove(*at);
        }
        let new = changes.into_iter().filter_map(|(_, new)| new);
        inventory.objects.extend(new);
        inventory.sort();
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
        let object = inventory.parse(&row)?;
        inventory.objects.push(object);
        Ok(())
    };
    let mut inventory = session.fold(&sql, Inventory::default, add).await?;
    inventory.sort();
    // Of a part of the database, only comments on what is in this part.
    if !view.chosen.is_of_all_relations() {
        let parents = Addresses::of(&inventory);
        let Inventory { objects, kinds, .. } = &mut inventory;
        objects.retain(|object| !is_comment(kinds, object) || parents.get(object.parent).is_some());
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
        seen: vec![false; source.objects.len()],
        addresses: (!view.chosen.is_of_all_relations()).then(HashSet::new),
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
    inventory.sort();
    let Inventory { objects, kinds, .. } = inventory;
    let lacks = |object: &Object| source.find(kind(kinds, object), object.name()).is_none();
    if let Some(addresses) = addresses {
        objects.retain(|object| {
            !is_comment(kinds, object) || !lacks(object) || addresses.contains(&object.parent)
        });
    }
    for object in &*objects {
        if lacks(object) {
            count(counts, kind(kinds, object), object);
        }
    }
    Ok(others)
}

fn is_comment(kinds: &[Box<str>], object: &Object) -> bool {
    kind(kinds, object) == "comment"
}

/// The kind of an object, of all that its side has.
fn kind<'a>(kinds: &'a [Box<str>], object: &Object) -> &'a str {
    kinds.get(object.kind as usize).map_or("", |kind| kind)
}

fn count(counts: &mut BTreeMap<String, u64>, kind: &str, object: &Object) {
    let built = u64::from(is_built(kind, object));
    match counts.get_mut(kind) {
        Some(count) => *count += built,
        None => drop(counts.insert(kind.to_owned(), built)),
    }
}

/// Whether an object of this kind is anything but an index that is invalid.
fn is_built(kind: &str, object: &Object) -> bool {
    kind != "index" || !object.properties().split("; ").any(|word| word == INVALID)
}

impl Inventory {
    /// The object in a row. It is not kept.
    fn parse(&mut self, row: &SimpleQueryRow) -> Result<Object> {
        let kind = text(row, 4)?;
        let known = self.kinds.iter().position(|known| **known == *kind);
        let number_of_kind = known.unwrap_or_else(|| {
            self.kinds.push(kind.into());
            self.kinds.len() - 1
        });
        let address = match maybe(row, 1)? {
            Some(_) => Some((number(row, 0)?, number(row, 1)?)),
            None => None,
        };
        let parties = self.parties.number(maybe(row, 7)?)?;
        let mut name = plain(text(row, 5)?);
        if kind == DEFAULT_PRIVILEGES {
            let role = self.parties.get(parties);
            let role = role.and_then(|parties| parties.holder.as_deref());
            name = default_privileges_of(role.unwrap_or_default(), &name);
        }
        let properties = plain(maybe(row, 6)?.unwrap_or_default());
        Ok(Object {
            // There are a few dozen.
            kind: number_of_kind as u32,
            parties,
            address,
            parent: (number(row, 2)?, number(row, 3)?),
            ..Object::named(&name, &properties)
        })
    }

    /// Puts kinds and objects in order. Of those with one name the last one stays.
    fn sort(&mut self) {
        let mut kinds: Vec<(Box<str>, usize)> =
            mem::take(&mut self.kinds).into_iter().zip(0..).collect();
        kinds.sort_unstable();
        let mut places = vec![0; kinds.len()];
        for ((_, before), now) in kinds.iter().zip(0..) {
            if let Some(place) = places.get_mut(*before) {
                *place = now;
            }
        }
        for object in &mut self.objects {
            object.kind = places
                .get(object.kind as usize)
                .copied()
                .unwrap_or_default();
        }
        self.kinds = kinds.into_iter().map(|(kind, _)| kind).collect();
        self.objects
            .sort_by(|one, other| one.key().cmp(&other.key()));
        self.objects.dedup_by(|later, earlier| {
            let same = later.key() == earlier.key();
            if same {
                mem::swap(later, earlier);
            }
            same
        });
        self.objects.shrink_to_fit();
    }

    /// The object of this kind and name.
    fn find(&self, kind: &str, name: &str) -> Option<&Object> {
        self.objects.get(self.place(kind, name)?)
    }

    /// Where the object of this kind and name is.
    fn place(&self, kind: &str, name: &str) -> Option<usize> {
        let kind = self.kinds.binary_search_by(|known| (**known).cmp(kind));
        // There are a few dozen.
        let key = (kind.ok()? as u32, name);
        self.objects
            .binary_search_by(|object| object.key().cmp(&key))
            .ok()
    }

    fn kind(&self, object: &Object) -> &str {
        kind(&self.kinds, object)
    }

    /// Whether an object is anything but an index that is invalid.
    fn is_built(&self, object: &Object) -> bool {
        is_built(self.kind(object), object)
    }

    /// Kind and name of an object.
    fn owned(&self, object: &Object) -> (String, String) {
        (self.kind(object).to_owned(), object.name().to_owned())
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for object in &self.objects {
            count(&mut counts, self.kind(object), object);
        }
        counts
    }
}

impl Addresses {
    fn of(inventory: &Inventory) -> Self {
        let objects = inventory.objects.iter().zip(0..);
        let addresses = objects.filter_map(|(object, at)| Some((object.address?, at)));
        let mut addresses: Vec<(Address, usize)> = addresses.collect();
        addresses.sort_unstable();
        Self(addresses)
    }

    /// The place of the object with this address.
    fn get(&self, address: Address) -> Option<usize> {
        let found = self
            .0
            .binary_search_by_key(&address, |(address, _)| *address);
        self.0.get(found.ok()?).map(|(_, at)| *at)
    }
}

impl Others {
    fn add(&mut self, row: &SimpleQueryRow, expected: &Expected<'_>) -> Result<()> {
        let source = expected.inventory;
        let object = self.inventory.parse(row)?;
        let parties = self.inventory.parties.all().iter();
        let new = parties.skip(self.words.len() - 1);
        self.words
            .extend(new.map(|parties| parties.words(expected.wording)));
        if let Some(addresses) = &mut self.addresses {
            addresses.extend(object.address);
        }
        let kind = self.inventory.kind(&object);
        let place = source.place(kind, object.name());
        if let Some(same) = place.and_then(|place| source.objects.get(place)) {
            count(&mut self.counts, kind, &object);
            if let Some(seen) = place.and_then(|place| self.seen.get_mut(place)) {
                *seen = true;
            }
            if same.properties() == object.properties()
                && same.parties(&expected.words) == object.parties(&self.words)
            {
                return Ok(());
            }
        }
        self.inventory.objects.push(object);
        Ok(())
    }

    /// Whether the target has the source's object at this place.
    fn has(&self, place: usize) -> bool {
        self.seen.get(place).is_some_and(|seen| *seen)
    }
}

impl Object {
    /// An object of the first kind, without roles, that belongs to nothing.
    fn named(name: &str, properties: &str) -> Self {
        Self {
            kind: 0,
            parties: 0,
            address: None,
            parent: (0, 0),
            // PostgreSQL's names are of 63 bytes, or some of these joined.
            name: name.len() as u32,
            text: [name, properties].concat().into(),
        }
    }

    /// The same with another name.
    fn by_name(&self, name: &str) -> Self {
        Self {
            kind: self.kind,
            parties: self.parties,
            address: self.address,
            parent: self.parent,
            ..Self::named(name, self.properties())
        }
    }

    fn name(&self) -> &str {
        self.text.get(..self.name as usize).unwrap_or_default()
    }

    fn properties(&self) -> &str {
        self.text.get(self.name as usize..).unwrap_or_default()
    }

    /// What it is known by among those of its side.
    fn key(&self) -> (u32, &str) {
        (self.kind, self.name())
    }

    /// Its parties, of all that its side has, in words.
    fn parties<'a>(&self, words: &'a [String]) -> &'a str {
        let words = words.get(self.parties as usize);
        words.map_or("", String::as_str)
    }

    /// Its properties and its parties.
    fn in_words(&self, words: &[String]) -> String {
        let all = [self.properties(), self.parties(words)];
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
        let objects = self.objects.iter().map(|object| {
            Entry(
                object.kind,
                Cow::Borrowed(object.name()),
                object.address,
                object.parent,
                Cow::Borrowed(object.properties()),
                object.parties,
            )
        });
        let kinds = self.kinds.iter().map(|kind| Cow::Borrowed(&**kind));
        let written = Written {
            kinds: kinds.collect(),
            parties: Cow::Borrowed(self.parties.all()),
            objects: objects.collect(),
        };
        written.serialize(serializer)
    }
}

impl TryFrom<Written<'_>> for Inventory {
    type Error = &'static str;

    fn try_from(written: Written<'_>) -> std::result::Result<Self, Self::Error> {
        let mut inventory = Inventory {
            objects: Vec::with_capacity(written.objects.len()),
            kinds: written.kinds.into_iter().map(Box::from).collect(),
            parties: Directory::of(written.parties.into_owned()),
        };
        for Entry(kind, name, address, parent, properties, parties) in written.objects {
            if inventory.kinds.get(kind as usize).is_none() {
                return Err("an object of no kind");
            }
            if parties > 0 && inventory.parties.get(parties).is_none() {
                return Err("an object of roles that are not listed");
            }
            if u32::try_from(name.len()).is_err() {
                return Err("an object whose name is too long");
            }
            inventory.objects.push(Object {
                kind,
                parties,
                address,
                parent,
                ..Object::named(&name, &properties)
            });
        }
        inventory.sort();
        Ok(inventory)
    }
}
