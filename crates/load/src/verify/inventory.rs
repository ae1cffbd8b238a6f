//! The objects of one side: how each is called, and what it is like.

use std::collections::HashSet;
use std::fmt;
use std::io::BufReader;

use pghaul_stage::{Error, Kind, Packed, Packer, Result};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio_postgres::SimpleQueryRow;

use super::name::plain;
use super::object::{self, DEFAULT_PRIVILEGES, INVALID};
use super::parties::{Directory, Parties, Wording};
use super::snapshot::{Session, maybe, number, text};
use super::view::View;

/// Catalog and identifier of an object.
pub(super) type Address = (u32, u32);

/// Objects of one side. There may be a million, so they are kept compressed, and read one after the
/// other.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Inventory {
    legend: Legend,
    objects: Objects,
}

/// What the numbers in objects stand for.
#[derive(Debug, Clone, Default)]
pub(super) struct Legend {
    kinds: Vec<Box<str>>,
    parties: Directory,
    /// The parties in words, in the order of their numbers; made when they are asked for.
    words: Vec<String>,
}

/// An object by itself: the number of its kind, name, address, address of what it belongs to,
/// properties, and the number of its parties.
#[derive(Debug, Serialize, Deserialize)]
struct Entry(u32, String, Option<Address>, Address, String, u32);

/// An object in words, as it is compared.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: Box<str>,
    /// By which the target has it: roles in it have their names there.
    pub(super) name: String,
    pub(super) properties: String,
    /// Its roles.
    pub(super) parties: String,
    pub(super) address: Option<Address>,
    pub(super) parent: Address,
}

impl Object {
    /// What it is known by among those of its side.
    pub(super) fn key(&self) -> (&str, &str) {
        (&self.kind, &self.name)
    }

    /// Whether it is anything but an index that is invalid.
    pub(super) fn is_built(&self) -> bool {
        &*self.kind != "index" || !self.properties.split("; ").any(|word| word == INVALID)
    }

    /// Whether it is a comment.
    pub(super) fn is_comment(&self) -> bool {
        &*self.kind == COMMENT
    }

    /// Its properties and its parties.
    pub(super) fn in_words(&self) -> String {
        let all = [&*self.properties, &*self.parties];
        let all: Vec<&str> = all.into_iter().filter(|part| !part.is_empty()).collect();
        all.join("; ")
    }
}

const COMMENT: &str = "comment";

/// Reads the objects of the source.
pub(super) async fn read(session: &mut Session<'_>, view: &View<'_>) -> Result<Inventory> {
    let sql = object::query(session.snapshot().version(), view);
    let partial = !view.chosen.is_of_all_relations();
    let begun = || Reading::begin(partial);
    session.fold(&sql, begun, Reading::add).await?.finish()
}

/// Objects as they are read.
struct Reading {
    legend: Legend,
    objects: Packer,
    /// Of a part of the database, only comments on what is in this part.
    partial: Option<Partial>,
}

#[derive(Default)]
struct Partial {
    addresses: HashSet<Address>,
    comments: Vec<Entry>,
}

impl Reading {
    fn begin(partial: bool) -> Result<Self> {
        Ok(Self {
            legend: Legend::default(),
            objects: Packer::new()?,
            partial: partial.then(Partial::default),
        })
    }

    fn add(&mut self, row: SimpleQueryRow) -> Result<()> {
        let entry = self.legend.parse(&row)?;
        if let Some(partial) = &mut self.partial {
            partial.addresses.extend(entry.2);
            if self.legend.kind(entry.0) == COMMENT {
                partial.comments.push(entry);
                return Ok(());
            }
        }
        pack(&mut self.objects, &entry)
    }

    fn finish(mut self) -> Result<Inventory> {
        let partial = self.partial.unwrap_or_default();
        for comment in partial.comments {
            if partial.addresses.contains(&comment.3) {
                pack(&mut self.objects, &comment)?;
            }
        }
        Ok(Inventory {
            legend: self.legend,
            objects: Objects {
                packed: self.objects.finish()?,
                ..Objects::default()
            },
        })
    }
}

fn pack(objects: &mut Packer, entry: &Entry) -> Result<()> {
    serde_json::to_writer(objects, entry).map_err(unpackable)
}

fn unpackable(error: serde_json::Error) -> Error {
    Error::new(Kind::Permanent, "the list of objects cannot be kept").because(error)
}

impl Inventory {
    /// The objects in words, in no order. Where no grants are compared, there are no default
    /// privileges.
    pub(super) fn objects(&self, wording: &Wording) -> impl Iterator<Item = Result<Object>> {
        let mut legend = self.legend.clone();
        self.objects.iter().filter_map(move |entry| match entry {
            Ok(entry) => legend.in_words(entry, wording).map(Ok),
            Err(error) => Some(Err(unpackable(error))),
        })
    }
}

impl Legend {
    /// The object in a row, in words.
    pub(super) fn read(
        &mut self,
        row: &SimpleQueryRow,
        wording: &Wording,
    ) -> Result<Option<Object>> {
        let entry = self.parse(row)?;
        Ok(self.in_words(entry, wording))
    }

    fn parse(&mut self, row: &SimpleQueryRow) -> Result<Entry> {
        let kind = text(row, 4)?;
        let known = self.kinds.iter().position(|known| **known == *kind);
        let kind = known.unwrap_or_else(|| {
            self.kinds.push(kind.into());
            self.kinds.len() - 1
        });
        let address = match maybe(row, 1)? {
            Some(_) => Some((number(row, 0)?, number(row, 1)?)),
            None => None,
        };
        Ok(Entry(
            // There are a few dozen.
            kind as u32,
            plain(text(row, 5)?),
            address,
            (number(row, 2)?, number(row, 3)?),
            plain(maybe(row, 6)?.unwrap_or_default()),
            self.parties.number(maybe(row, 7)?)?,
        ))
    }

    fn kind(&self, number: u32) -> &str {
        self.kinds.get(number as usize).map_or("", |kind| kind)
    }

    /// Default privileges are named after their role, and are not there where no grants are compared.
    fn in_words(&mut self, entry: Entry, wording: &Wording) -> Option<Object> {
        let Entry(kind, mut name, address, parent, properties, parties) = entry;
        let kind: Box<str> = self.kind(kind).into();
        if &*kind == DEFAULT_PRIVILEGES {
            if !wording.grants {
                return None;
            }
            let role = self.parties.get(parties);
            let role = role.and_then(|parties| parties.holder.as_deref());
            name = format!("of {} {name}", wording.name(role.unwrap_or_default()));
        }
        // Of a server that is still being asked, more may have come.
        let new = self.parties.all().iter().skip(self.words.len());
        self.words.extend(new.map(|parties| parties.words(wording)));
        let place = (parties as usize).checked_sub(1);
        let parties = place.and_then(|place| self.words.get(place)).cloned();
        Some(Object {
            kind,
            name,
            properties,
            parties: parties.unwrap_or_default(),
            address,
            parent,
        })
    }
}

/// Objects as JSON, one after the other, compressed.
#[derive(Debug, Clone, Default)]
struct Objects {
    packed: Packed,
    /// How many kinds and parties there must be, if the objects come from elsewhere.
    kinds: u32,
    parties: u32,
}

impl Objects {
    fn iter(&self) -> impl Iterator<Item = serde_json::Result<Entry>> {
        let json = BufReader::new(self.packed.read_from(0));
        serde_json::Deserializer::from_reader(json).into_iter()
    }
}

/// An inventory as it is recorded.
#[derive(Deserialize)]
struct Written {
    kinds: Vec<Box<str>>,
    parties: Vec<Parties>,
    objects: Objects,
}

impl Serialize for Inventory {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            kinds: &'a [Box<str>],
            parties: &'a [Parties],
            objects: &'a Objects,
        }
        let written = Written {
            kinds: &self.legend.kinds,
            parties: self.legend.parties.all(),
            objects: &self.objects,
        };
        written.serialize(serializer)
    }
}

impl Serialize for Objects {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for entry in self.iter() {
            list.serialize_element(&entry.map_err(S::Error::custom)?)?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Objects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_seq(Listed)
    }
}

/// Packs objects as they come.
struct Listed;

impl<'de> Visitor<'de> for Listed {
    type Value = Objects;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Objects, A::Error> {
        let mut packer = Packer::new().map_err(A::Error::custom)?;
        let mut objects = Objects::default();
        while let Some(entry) = list.next_element::<Entry>()? {
            objects.kinds = objects.kinds.max(entry.0.saturating_add(1));
            objects.parties = objects.parties.max(entry.5);
            pack(&mut packer, &entry).map_err(A::Error::custom)?;
        }
        objects.packed = packer.finish().map_err(A::Error::custom)?;
        Ok(objects)
    }
}

impl TryFrom<Written> for Inventory {
    type Error = &'static str;

    fn try_from(written: Written) -> std::result::Result<Self, Self::Error> {
        let Written {
            kinds,
            parties,
            objects,
        } = written;
        if kinds.len() < objects.kinds as usize {
            return Err("an object of no kind");
        }
        if parties.len() < objects.parties as usize {
            return Err("an object of roles that are not listed");
        }
        Ok(Inventory {
            legend: Legend {
                kinds,
                parties: Directory::of(parties),
                words: Vec::new(),
            },
            objects,
        })
    }
}
