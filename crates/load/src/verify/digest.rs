//! What a comparison has to know of the source, as a value that outlives the source's reach.
//!
//! A digest holds names, properties, counts and sums; no rows, and nothing that is sent to a server
//! as SQL other than quoted names. It is sealed with a hash, so that one that was cut or changed by
//! accident is refused. That is no protection against somebody who means it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use pghaul_stage::{Error, Observer, Result, Selection, SequenceValue, Side, TableId};
use pghaul_wire::Conninfo;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::checksum::{self, AT_ONCE, Outcome, Sum};
use super::image::{Image, Recipe};
use super::inventory::{self, Inventory};
use super::large_object::{self, Rights};
use super::origin::Origin;
use super::parties::{Parties, Wording};
use super::relation::{self, Recorded, Relation, Table, Tables};
use super::report::Report;
use super::sequence::{self, Values};
use super::snapshot::Snapshot;
use super::view::View;
use super::{Comparison, VerifyOptions};

/// The format of what is written. Another one is refused, because a digest cannot be completed
/// once its source is out of reach.
const FORMAT: u32 = 1;

/// What [`verify_digest`] has to know of a source, found out by [`digest`].
///
/// As JSON it is a few hundred bytes for each table, index and column.
#[derive(Debug, Clone)]
pub struct Digest(Content);

/// What is in a digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Content {
    /// How rows were hashed.
    recipe: Recipe,
    /// Under which patterns are resolved.
    search_path: String,
    /// Which part of the database it is of.
    selection: Selection,
    /// Whether it has owners and grants.
    privileges: bool,
    objects: Option<Inventory>,
    #[serde(with = "listed")]
    pub(super) sequences: Values,
    /// Whether it has tables and large objects, with sums of their rows.
    pub(super) has_rows: bool,
    #[serde(
        serialize_with = "listed::serialize",
        deserialize_with = "listed::tables"
    )]
    pub(super) tables: BTreeMap<TableId, Table>,
    pub(super) large_objects: Option<LargeObjects>,
}

/// What is recorded of large objects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LargeObjects {
    /// Identifiers, content and comments.
    pub(super) rows: Arc<Recorded>,
    /// Owners and grants.
    pub(super) rights: Vec<(Parties, Sum)>,
}

/// Reads of the database `source` what it takes to compare another database with it later.
///
/// Of `options`, `rows` has no meaning. Roles may be renamed, and owners and grants left out, when
/// it is compared; everything else that the selection says is settled here. With
/// `checksums: false` no rows are read.
///
/// # Errors
///
/// When the server cannot be reached or its catalog cannot be read. A table whose rows cannot be
/// read is part of the digest, and not compared later.
pub async fn digest(
    source: &Conninfo,
    options: VerifyOptions,
    observer: Arc<dyn Observer>,
) -> Result<Digest> {
    let start = super::begin(&*observer);
    let given = options.source_snapshot.as_deref();
    let mut snapshot = Snapshot::take(source, Side::Source, given).await?;
    snapshot.print_as_since(snapshot.version());
    let selection = &options.selection;
    let search_path = snapshot.search_path().await?;
    let chosen = snapshot.choose(selection, &search_path, false).await?;
    let view = View::of_source(&chosen, selection, options.privileges);
    let mut session = snapshot.session();
    let (image, recipe) = Image::lasting(&mut session, options.algorithm).await?;
    let objects = match selection.has_schema() {
        true => Some(inventory::read(&mut session, &view).await?),
        false => None,
    };
    let sequences = sequence::read(&mut session, &chosen).await?;
    let mut tables = BTreeMap::new();
    let mut large_objects = None;
    if options.checksums {
        tables = Tables::live(&snapshot, &chosen).collect().await?;
        let mut relations: Vec<Relation> = tables
            .iter()
            .map(|(id, table)| Relation::alone(id, table))
            .collect();
        if chosen.has_large_objects() {
            let sizes = [relation::large_objects_size(&mut session).await?; 2];
            let rights = [(); 2].map(|()| Rights::recorded(&view));
            relations.push(Relation::large_objects(sizes, rights, None));
        }
        let jobs = options.jobs.max(1);
        let mut recorded = Vec::with_capacity(relations.len());
        for some in relations.chunks(AT_ONCE) {
            let outcomes = checksum::run(&[&snapshot], &image, some, jobs, &*observer).await?;
            recorded.extend(outcomes.into_iter().map(Outcome::record).map(Arc::new));
        }
        let mut recorded = recorded.into_iter();
        for (table, recorded) in tables.values_mut().zip(&mut recorded) {
            table.recorded = Some(recorded);
        }
        if let Some(rows) = recorded.next() {
            let rights = match view.wording.has_rights() {
                true => large_object::rights(&mut session, &image, &view).await?,
                false => Vec::new(),
            };
            large_objects = Some(LargeObjects { rows, rights });
        }
    }
    super::end(&*observer, start.elapsed());
    Ok(Digest(Content {
        recipe,
        search_path,
        selection: options.selection,
        privileges: options.privileges,
        objects,
        sequences,
        has_rows: options.checksums,
        tables,
        large_objects,
    }))
}

/// Compares the database `target`, which should be at rest, with a digest of another one.
///
/// As [`verify`](super::verify), but rows that differ are counted and not named. Of `options`,
/// the selection is either empty, which means that of the digest, or says the same; its names of
/// roles and whether owners and grants are compared may be others. `algorithm` and
/// `source_snapshot` have no meaning.
///
/// # Errors
///
/// When the server cannot be reached, its catalog cannot be read, or it cannot compute the digest's
/// sums: it is of an older version, or its machine hashes otherwise. Kind input for another
/// selection than that of the digest.
pub async fn verify_digest(
    digest: &Digest,
    target: &Conninfo,
    options: VerifyOptions,
    observer: Arc<dyn Observer>,
) -> Result<Report> {
    let content = &digest.0;
    let start = super::begin(&*observer);
    let options = VerifyOptions {
        selection: content.selected(&options.selection)?,
        privileges: options.privileges && content.privileges,
        ..options
    };
    let selection = &options.selection;
    let mut target = Snapshot::take(target, Side::Target, None).await?;
    target.print_as_since(content.recipe.version());
    let chosen = target.choose(selection, &content.search_path, true).await?;
    let mut session = target.session();
    let comparison = Comparison {
        origin: Origin::Recorded(content),
        ours: Wording::of_source(selection, options.privileges),
        view: View::of_target(&chosen, selection, options.privileges),
        image: Image::recorded(&content.recipe, &mut session).await?,
        target: session,
    };
    comparison.run(&options, start, &*observer).await
}

impl Digest {
    /// Reads a digest from JSON, which is never in memory as a whole.
    ///
    /// # Errors
    ///
    /// Kind input if it is none, of a format that this version does not know, or was changed; or if
    /// it cannot be read.
    pub fn read(json: impl io::Read) -> Result<Digest> {
        serde_json::from_reader(io::BufReader::new(json)).map_err(|error| {
            Error::input(format!("the digest cannot be read: {error}"))
                .remedy("record it again, and hand on the whole file as it was written")
        })
    }

    /// What of the source could not be read, and will not be compared, with the reason.
    pub fn unread(&self) -> impl Iterator<Item = (String, &str)> {
        let tables = self.0.tables.iter();
        let tables = tables.map(|(id, table)| (format!("table {id}"), table.recorded.as_deref()));
        let large_objects = self.0.large_objects.iter();
        let large_objects =
            large_objects.map(|found| ("large objects".to_owned(), Some(&*found.rows)));
        tables
            .chain(large_objects)
            .filter_map(|(of, recorded)| match recorded {
                Some(Recorded::Failed(reason)) => Some((of, reason.as_str())),
                _ => None,
            })
    }

    /// How many tables it has sums of, and how many rows these have together.
    pub fn counts(&self) -> (usize, u64) {
        let sums = self.0.tables.values();
        let sums = sums.filter_map(|table| match table.recorded.as_deref() {
            Some(Recorded::Sum { sum, .. }) => Some(sum.rows),
            _ => None,
        });
        sums.fold((0, 0), |(tables, rows), more| {
            (tables + 1, rows.saturating_add(more))
        })
    }

    /// Lets the source's sequences stand at these values, because they are outside every snapshot
    /// and may have moved on. Sequences that the digest does not have are passed over.
    pub fn set_sequences<'a>(&mut self, values: impl IntoIterator<Item = &'a SequenceValue>) {
        for value in values {
            if let Some(known) = self.0.sequences.get_mut(&value.id) {
                *known = (value.last_value, value.is_called);
            }
        }
    }
}

impl Content {
    /// Its objects; none if it has none.
    pub(super) fn objects(&self) -> Cow<'_, Inventory> {
        match &self.objects {
            Some(objects) => Cow::Borrowed(objects),
            None => Cow::Owned(Inventory::default()),
        }
    }

    /// What is compared when this is asked for.
    fn selected(&self, asked: &Selection) -> Result<Selection> {
        let settled = |selection: &Selection| Selection {
            role_map: BTreeMap::new(),
            no_owner: false,
            no_acl: false,
            ..selection.clone()
        };
        let settled_here = settled(&self.selection);
        let asked_for = settled(asked);
        if asked_for != Selection::default() && asked_for != settled_here {
            return Err(Error::input("the digest is of another selection").remedy(
                "leave out the flags that select, or record the digest again with the same ones",
            ));
        }
        let role_map = match asked.role_map.is_empty() {
            true => &self.selection.role_map,
            false => &asked.role_map,
        };
        Ok(Selection {
            role_map: role_map.clone(),
            no_owner: self.selection.no_owner || asked.no_owner,
            no_acl: self.selection.no_acl || asked.no_acl,
            ..settled_here
        })
    }

    /// A hash of the whole (FNV-1a).
    fn seal(&self) -> serde_json::Result<String> {
        let mut seal = Seal(0xcbf2_9ce4_8422_2325);
        serde_json::to_writer(&mut seal, self)?;
        Ok(format!("{:016x}", seal.0))
    }
}

struct Seal(u64);

impl io::Write for Seal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A digest as it is written: the format first, so that another one is refused before its content
/// is looked at.
#[derive(Serialize, Deserialize)]
struct Sealed<C> {
    format: Format,
    seal: String,
    content: C,
}

#[derive(Serialize, Deserialize)]
#[serde(try_from = "u32")]
struct Format(u32);

impl TryFrom<u32> for Format {
    type Error = String;

    fn try_from(format: u32) -> std::result::Result<Self, String> {
        match format {
            FORMAT => Ok(Format(format)),
            other => Err(format!(
                "its format is {other}, and this pghaul knows format {FORMAT} only"
            )),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let sealed = Sealed {
            format: Format(FORMAT),
            seal: self.0.seal().map_err(serde::ser::Error::custom)?,
            content: &self.0,
        };
        sealed.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let sealed = Sealed::<Content>::deserialize(deserializer)?;
        if sealed.content.seal().map_err(de::Error::custom)? != sealed.seal {
            return Err(de::Error::custom("it was changed after it was written"));
        }
        Ok(Digest(sealed.content))
    }
}

/// Keys of JSON's objects are text, so what is by name is written as a list.
mod listed {
    use std::collections::BTreeMap;
    use std::fmt;

    use pghaul_stage::TableId;
    use serde::de::{SeqAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::relation::{Alike, Table};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        map: &BTreeMap<TableId, T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<TableId, T>, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }

    /// Tables, of which there may be many, share as they come what they have alike.
    pub(super) fn tables<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<TableId, Table>, D::Error> {
        deserializer.deserialize_seq(Tables)
    }

    struct Tables;

    impl<'de> Visitor<'de> for Tables {
        type Value = BTreeMap<TableId, Table>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of tables")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let (mut tables, mut alike) = (BTreeMap::new(), Alike::default());
            while let Some((id, table)) = list.next_element()? {
                tables.insert(id, alike.share(table));
            }
            Ok(tables)
        }
    }
}
