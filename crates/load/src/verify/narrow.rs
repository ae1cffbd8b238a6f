//! Finds the rows that differ in a table whose sums differ.
//!
//! Both sides sort their rows into buckets by a hash of the key and report the sums of each
//! bucket; of the buckets that differ, a few are then read row by row. Two passes over the table
//! find the rows whatever the key's type, collation or order, and for a table without a key the
//! row itself is the key.

use std::collections::{BTreeMap, BTreeSet};

use pghaul_stage::{Result, Side};

use super::checksum::Sum;
use super::image::Image;
use super::relation::{Column, Relation, Share};
use super::report::{RowDifference, RowState};
use super::snapshot::{Session, number, text};

/// Rows that a bucket should hold.
const BUCKET: u64 = 256;
/// Buckets whose sums fit a client's memory easily.
const MOST_BUCKETS: u64 = 1 << 16;
/// How many characters of a key are shown: more than an index page holds, unless compressed.
const SHOWN_KEY: usize = 8000;
/// How many characters of a row without a key are shown.
const SHOWN_ROW: usize = 200;

/// Rows that differ.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Some of them.
    pub(super) rows: Vec<RowDifference>,
    /// How many there are at least.
    pub(super) at_least: u64,
    /// Why none is named.
    pub(super) unnamed: Option<&'static str>,
}

/// What can be said of rows that differ when the source is not there to be asked for them.
pub(super) fn unnamed([source, target]: &[Sum; 2], limit: usize) -> Found {
    Found {
        rows: Vec::new(),
        at_least: source.rows.abs_diff(target.rows).max(1),
        unnamed: (limit > 0).then_some("the digest of the source has sums, and no rows"),
    }
}

/// Names up to `limit` rows; `rows` is about how many the table has.
pub(super) async fn find(
    [source, target]: [&mut Session<'_>; 2],
    image: &Image,
    relation: &Relation,
    wide: bool,
    rows: u64,
    limit: usize,
) -> Result<Found> {
    if limit == 0 {
        return Ok(Found {
            rows: Vec::new(),
            at_least: 1,
            unnamed: None,
        });
    }
    let buckets = (rows / BUCKET).next_power_of_two().min(MOST_BUCKETS);
    let query = Query::new(image, relation, wide, buckets);
    let (ours, theirs) = tokio::try_join!(query.sums(source), query.sums(target))?;
    let differing: Vec<u64> = ours
        .keys()
        .chain(theirs.keys())
        .copied()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|bucket| ours.get(bucket) != theirs.get(bucket))
        .collect();
    let (examined, rest) = differing.split_at(differing.len().min(limit));
    let (ours, theirs) =
        tokio::try_join!(query.rows(source, examined), query.rows(target, examined))?;
    let mut rows = differences(&ours, &theirs);
    let at_least = (rows.len() + rest.len()) as u64;
    rows.truncate(limit);
    Ok(Found {
        rows,
        at_least,
        unnamed: None,
    })
}

/// The rows behind a key, or the equal rows of a table without one: hash and how often.
#[derive(Debug, Default)]
struct Entry {
    shown: String,
    hashes: BTreeMap<[i64; 2], u64>,
}

fn differences(
    source: &BTreeMap<String, Entry>,
    target: &BTreeMap<String, Entry>,
) -> Vec<RowDifference> {
    let keys: BTreeSet<&String> = source.keys().chain(target.keys()).collect();
    keys.into_iter()
        .filter_map(|key| {
            let (ours, theirs) = (source.get(key), target.get(key));
            let count = |entry: Option<&Entry>| entry.map_or(0, |e| e.hashes.values().sum::<u64>());
            let state = match (count(ours), count(theirs)) {
                (ours, theirs) if theirs < ours => RowState::Missing,
                (ours, theirs) if theirs > ours => RowState::Extra,
                _ if ours?.hashes == theirs?.hashes => return None,
                _ => RowState::Differs,
            };
            Some(RowDifference {
                state,
                row: ours.or(theirs)?.shown.clone(),
            })
        })
        .collect()
}

/// The two queries, as far as both sides share them.
struct Query {
    keyed: bool,
    halves: [String; 2],
    bucket: String,
    /// What is read of the source, and of the target.
    rows: [String; 2],
}

impl Query {
    fn new(image: &Image, relation: &Relation, wide: bool, buckets: u64) -> Self {
        let row = image.row(&relation.columns, wide);
        let columns: Vec<Column> = relation
            .columns
            .iter()
            .filter(|column| relation.key.contains(&column.name))
            .cloned()
            .collect();
        let keyed = !columns.is_empty();
        let (key, shown, length) = if keyed {
            let shown = Image::text(&relation.key);
            (image.row(&columns, false), shown, SHOWN_KEY)
        } else if wide {
            (row.clone(), row.clone(), SHOWN_ROW)
        } else {
            let names: Vec<_> = relation.columns.iter().map(|c| c.name.clone()).collect();
            (row.clone(), Image::text(&names), SHOWN_ROW)
        };
        let [hash, _] = image.halves("r.key");
        let rows = |side: Side| {
            format!(
                "(SELECT {} AS image, {} AS key, {} AS shown FROM {} OFFSET 0) r",
                image.whole(&row),
                image.whole(&key),
                image.show(&format!("left({shown}, {length})")),
                relation.rows(Share::All, image, side)
            )
        };
        Self {
            keyed,
            halves: image.halves("r.image"),
            bucket: format!("({hash} & {})", buckets - 1),
            rows: [Side::Source, Side::Target].map(rows),
        }
    }

    /// What is read in this session.
    fn from(&self, session: &Session<'_>) -> &str {
        let [source, target] = &self.rows;
        match session.snapshot().side() {
            Side::Target => target,
            _ => source,
        }
    }

    /// The sums of each bucket that has rows.
    async fn sums(&self, session: &mut Session<'_>) -> Result<BTreeMap<u64, Sum>> {
        let Self {
            halves: [high, low],
            bucket,
            ..
        } = self;
        let rows = self.from(session);
        let sql =
            format!("SELECT {bucket}, count(*), sum({high}), sum({low}) FROM {rows} GROUP BY 1");
        let rows = session.read(&sql).await?;
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

    /// The rows of some buckets, by key.
    async fn rows(
        &self,
        session: &mut Session<'_>,
        buckets: &[u64],
    ) -> Result<BTreeMap<String, Entry>> {
        let Self {
            halves: [high, low],
            bucket,
            ..
        } = self;
        let rows = self.from(session);
        let list: Vec<String> = buckets.iter().map(u64::to_string).collect();
        let sql = format!(
            "SELECT {high}, {low}, r.shown FROM {rows} WHERE {bucket} = ANY ('{{{}}}')",
            list.join(",")
        );
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for row in &session.read(&sql).await? {
            let hash = [number(row, 0)?, number(row, 1)?];
            let shown = text(row, 2)?;
            let key = if self.keyed {
                shown.to_owned()
            } else {
                format!("{hash:?}")
            };
            let entry = entries.entry(key).or_default();
            shown.clone_into(&mut entry.shown);
            *entry.hashes.entry(hash).or_default() += 1;
        }
        Ok(entries)
    }
}
