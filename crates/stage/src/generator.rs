//! A source that makes its rows up: to measure a link or a target without a server that reads.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};

use crate::rows::SIGNATURE;
use crate::{
    Batch, Batches, Catalog, Column, Database, Encoding, Error, Format, KeyRange, Lsn, Mark, Part,
    PartId, Payload, Plan, Range, Result, SequenceValue, Shape, Side, Slice, Source, Table,
    TableId, Tables, Type, Work,
};

/// Bytes of a batch, about: what one read of a socket brings.
const BATCH: usize = 256 << 10;

/// Bytes of a part, about: many enough for every lane, each worth its commit.
const PART: u64 = 64 << 20;

/// Bytes of a [`RowShape::Toast`] value, which random bytes let nobody compress.
const TOAST: usize = 8000;

/// What generated rows look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowShape {
    /// Three integers: the most rows to a megabyte.
    Narrow,
    /// Twelve columns of as many types, some of them NULL.
    Wide,
    /// A key and 8 kB of bytes that do not compress, as the TOAST table of a server holds them.
    Toast,
}

/// A table of rows that are computed, not stored: the same for the same shape and seed,
/// however they are cut into parts. They are valid binary COPY for [`RowShape::columns`]; the
/// first column is a unique key from 1.
///
/// ```
/// use pghaul_stage::{Generator, RowShape, Source};
/// use futures_util::FutureExt;
///
/// let source = Generator::new(RowShape::Narrow, 1_000_000).seed(7);
/// let plan = source.plan().now_or_never().expect("it never waits")?;
/// assert_eq!(plan.parts.iter().map(|part| part.rows).sum::<u64>(), 1_000_000);
/// # Ok::<(), pghaul_stage::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Generator {
    table: TableId,
    shape: RowShape,
    rows: u64,
    seed: u64,
    rows_per_part: u64,
}

impl RowShape {
    /// The columns by name and type, as `CREATE TABLE` wants them.
    pub fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            RowShape::Narrow => &[("id", "bigint"), ("a", "integer"), ("b", "integer")],
            RowShape::Wide => &[
                ("id", "bigint"),
                ("small", "smallint"),
                ("quantity", "integer"),
                ("ratio", "double precision"),
                ("flag", "boolean"),
                ("price", "numeric(12,4)"),
                ("code", "character varying(16)"),
                ("note", "text"),
                ("day", "date"),
                ("moment", "timestamp with time zone"),
                ("token", "uuid"),
                ("digest", "bytea"),
            ],
            RowShape::Toast => &[("id", "bigint"), ("body", "bytea")],
        }
    }

    /// How long a row is in binary COPY, on average.
    pub fn row_bytes(self) -> u64 {
        match self {
            RowShape::Narrow => 2 + 12 + 8 + 8,
            RowShape::Wide => 200,
            RowShape::Toast => 2 + 12 + 4 + TOAST as u64,
        }
    }

    /// Appends one row.
    fn row(self, id: u64, seed: u64, stream: &mut BytesMut) {
        let mut random = Random(seed ^ id.wrapping_mul(0xA076_1D64_78BD_642F));
        stream.put_i16(i16::try_from(self.columns().len()).unwrap_or(i16::MAX));
        field(stream, &id.to_be_bytes());
        match self {
            RowShape::Narrow => {
                field(stream, &random.bytes::<4>());
                field(stream, &random.bytes::<4>());
            }
            RowShape::Wide => random.wide(stream),
            RowShape::Toast => {
                stream.put_i32(i32::try_from(TOAST).unwrap_or(i32::MAX));
                for _ in 0..TOAST / 8 {
                    stream.put_u64(random.next());
                }
            }
        }
    }
}

/// The object identifier and the modifier of a type that a shape has.
///
/// Source: `pg_type.dat`.
fn known(name: &str) -> Option<(u32, i32)> {
    Some(match name {
        "boolean" => (16, -1),
        "bytea" => (17, -1),
        "bigint" => (20, -1),
        "smallint" => (21, -1),
        "integer" => (23, -1),
        "text" => (25, -1),
        "double precision" => (701, -1),
        "character varying(16)" => (1043, 16 + 4),
        "date" => (1082, -1),
        "timestamp with time zone" => (1184, -1),
        "numeric(12,4)" => (1700, (12 << 16 | 4) + 4),
        "uuid" => (2950, -1),
        _ => return None,
    })
}

impl Generator {
    /// So many rows of a shape, in the table `pghaul_bench.rows`, cut into parts of about 64 MB.
    pub fn new(shape: RowShape, rows: u64) -> Self {
        Self {
            table: TableId::new("pghaul_bench", "rows"),
            shape,
            rows,
            seed: 0,
            rows_per_part: (PART / shape.row_bytes()).max(1),
        }
    }

    /// The name of the table.
    #[must_use]
    pub fn table(mut self, table: TableId) -> Self {
        self.table = table;
        self
    }

    /// Another seed gives other values.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Cuts the table into parts of at most so many rows; at least one.
    #[must_use]
    pub fn rows_per_part(mut self, rows: u64) -> Self {
        self.rows_per_part = rows.max(1);
        self
    }

    /// The identifiers of a part, half-open.
    fn bounds(&self, part: &Part) -> Result<(u64, u64)> {
        let bounds = match part.slices() {
            [Slice { table, range, .. }] if *table == self.table => match range {
                Range::All => Some((1, self.rows + 1)),
                Range::Keys(keys) => {
                    let bound = |key: Option<i64>| key.and_then(|key| u64::try_from(key).ok());
                    let from = bound(keys.from).unwrap_or(1).max(1);
                    Some((
                        from,
                        bound(keys.to).unwrap_or(self.rows + 1).min(self.rows + 1),
                    ))
                }
                Range::Blocks { .. } | Range::Condition(_) => None,
            },
            _ => None,
        };
        bounds.ok_or_else(|| {
            Error::input("there is no such part")
                .at(Side::Source)
                .on(part.to_string())
        })
    }

    fn ranges(&self) -> Vec<(u64, Range)> {
        if self.rows <= self.rows_per_part {
            return vec![(self.rows, Range::All)];
        }
        let key = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
        let mut ranges = Vec::new();
        let mut first = 1;
        while first <= self.rows {
            let next = first.saturating_add(self.rows_per_part).min(self.rows + 1);
            ranges.push((
                next - first,
                Range::Keys(Box::new(KeyRange {
                    column: "id".to_owned(),
                    from: (first > 1).then(|| key(first)),
                    to: (next <= self.rows).then(|| key(next)),
                    nulls: first == 1,
                })),
            ));
            first = next;
        }
        ranges
    }
}

#[async_trait]
impl Source for Generator {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    async fn catalog(&self) -> Result<Catalog> {
        let columns = self.shape.columns().iter().map(|(name, type_name)| Column {
            name: (*name).into(),
            type_name: (*type_name).into(),
        });
        let table = Table {
            id: self.table.clone(),
            oid: 1,
            filenode: 0,
            columns: columns.collect(),
            generated: Box::default(),
            rows: self.rows,
            heap: self.rows * self.shape.row_bytes(),
            toast: 0,
            child: false,
        };
        let types = self.shape.columns().iter().filter_map(|(_, name)| {
            let (oid, modifier) = known(name)?;
            let kind = Type {
                oid,
                modifier,
                sent_as: oid,
            };
            Some(((*name).into(), kind))
        });
        Ok(Catalog {
            database: Database {
                encoding: "UTF8".to_owned(),
                ..Database::default()
            },
            types: types.collect(),
            tables: Tables::from_iter([table]),
            ..Catalog::default()
        })
    }

    async fn plan(&self) -> Result<Plan> {
        let parts = (0..).zip(self.ranges()).map(|(id, (rows, range))| Part {
            id: PartId(id),
            work: Work::Rows(Arc::from([Slice {
                table: self.table.clone(),
                range,
                encoding: Encoding::Binary,
                shape: Shape::Whole,
            }])),
            rows,
            bytes: rows * self.shape.row_bytes(),
        });
        Ok(Plan {
            start: Lsn::default(),
            visible: String::new(),
            parts: parts.collect(),
        })
    }

    async fn read(&self, part: &Part, format: Format) -> Result<Batches> {
        let Format::Copy = format;
        let (mut next, end) = self.bounds(part)?;
        let (shape, seed) = (self.shape, self.seed);
        let (mut mark, mut ended) = (0, false);
        Ok(stream::iter(std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let mut bytes = BytesMut::with_capacity(BATCH + TOAST * 2);
            if mark == 0 {
                bytes.put_slice(SIGNATURE);
                bytes.put_u64(0);
            }
            let first = next;
            while next < end && bytes.len() < BATCH {
                shape.row(next, seed, &mut bytes);
                next += 1;
            }
            if next >= end {
                bytes.put_i16(-1);
                ended = true;
            }
            mark += bytes.len() as u64;
            Some(Ok(Batch {
                slice: 0,
                payload: Payload::Copy(Bytes::from(bytes)),
                rows: next - first,
                mark: Mark(mark),
            }))
        }))
        .boxed())
    }

    async fn confirm(&self, _part: &Part, _durable: Mark) -> Result<()> {
        Ok(())
    }

    async fn sequences(&self) -> Result<Vec<SequenceValue>> {
        Ok(Vec::new())
    }
}

fn field(stream: &mut BytesMut, value: &[u8]) {
    stream.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
    stream.put_slice(value);
}

/// The generator splitmix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            let random = self.next().to_be_bytes();
            for (to, from) in chunk.iter_mut().zip(random) {
                *to = from;
            }
        }
        bytes
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// All fields of [`RowShape::Wide`] but the first.
    fn wide(&mut self, stream: &mut BytesMut) {
        field(stream, &self.bytes::<2>());
        field(stream, &self.bytes::<4>());
        let ratio = self.below(1 << 40) as f64 / 1024.0;
        field(stream, &ratio.to_be_bytes());
        field(stream, &[u8::from(self.next() & 1 == 1)]);
        self.numeric(stream);
        self.text(stream, 8, 16);
        if self.below(4) == 0 {
            stream.put_i32(-1);
        } else {
            self.text(stream, 20, 80);
        }
        // Days and microseconds since 2000-01-01, up to 2027.
        let day = u32::try_from(self.below(10_000)).unwrap_or(0);
        field(stream, &day.to_be_bytes());
        let moment = self.below(864_000_000_000_000);
        field(stream, &moment.to_be_bytes());
        field(stream, &self.bytes::<16>());
        if self.below(10) == 0 {
            stream.put_i32(-1);
        } else {
            field(stream, &self.bytes::<16>());
        }
    }

    /// A `numeric(12,4)`: the integer part in one or two digits of base 10,000, the fraction in
    /// one. Source: PostgreSQL's src/backend/utils/adt/numeric.c, `numeric_recv`.
    fn numeric(&mut self, stream: &mut BytesMut) {
        let mut digit = |low: u64| {
            let digit = low + self.below(10_000 - low);
            i16::try_from(digit).unwrap_or(i16::MAX)
        };
        let (high, low, fraction) = (digit(1), digit(0), digit(0));
        let mut value = Vec::with_capacity(14);
        for number in [3, 1, 0, 4, high, low, fraction] {
            value.put_i16(number);
        }
        field(stream, &value);
    }

    /// Letters, at least `from` and at most `to`.
    fn text(&mut self, stream: &mut BytesMut, from: usize, to: usize) {
        let length = from + usize::try_from(self.below((to - from) as u64 + 1)).unwrap_or(0);
        stream.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
        let mut left = length;
        while left > 0 {
            let random = self.next().to_be_bytes();
            for byte in random.iter().take(left) {
                stream.put_u8(b'a' + byte % 26);
            }
            left = left.saturating_sub(random.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, TryStreamExt};

    use super::*;
    use crate::{CopyItem, Row, Rows, conformance};

    fn rows(source: &Generator) -> Vec<Row> {
        let plan = source.plan().now_or_never().unwrap().unwrap();
        let mut all = Vec::new();
        for part in &plan.parts {
            let batches = source.read(part, Format::Copy).now_or_never().unwrap();
            let batches: Vec<Batch> = batches
                .unwrap()
                .try_collect()
                .now_or_never()
                .unwrap()
                .unwrap();
            let mut rows = Rows::new(Encoding::Binary);
            for batch in batches {
                let Payload::Copy(bytes) = &batch.payload;
                rows.push(bytes);
                while let Some(item) = rows.next().unwrap() {
                    if let CopyItem::Row(row) = item {
                        all.push(row);
                    }
                }
            }
            rows.end().unwrap();
        }
        all
    }

    #[test]
    fn it_conforms_and_gives_the_rows_it_was_asked_for() {
        for shape in [RowShape::Narrow, RowShape::Wide, RowShape::Toast] {
            for (count, per_part) in [(0, 10), (1, 10), (10, 10), (101, 10)] {
                let source = Generator::new(shape, count).rows_per_part(per_part);
                conformance::source(&source).now_or_never().unwrap();
                let rows = rows(&source);
                assert_eq!(rows.len() as u64, count);
                for (row, id) in rows.iter().zip(1u64..) {
                    assert_eq!(row.len(), shape.columns().len());
                    assert_eq!(row.value(0).as_deref(), Some(&id.to_be_bytes()[..]));
                }
            }
        }
    }

    #[test]
    fn a_seed_decides_the_values_and_the_cutting_does_not() {
        let source = Generator::new(RowShape::Wide, 500).seed(3);
        let whole = rows(&source);
        assert_eq!(whole, rows(&source.clone().rows_per_part(7)));
        assert_ne!(whole, rows(&source.seed(4)));
    }

    #[test]
    fn the_average_length_is_about_right() {
        for shape in [RowShape::Narrow, RowShape::Wide, RowShape::Toast] {
            let mut stream = BytesMut::new();
            for id in 1..=1000 {
                shape.row(id, 0, &mut stream);
            }
            let average = stream.len() as f64 / 1000.0;
            let ratio = average / shape.row_bytes() as f64;
            assert!((0.9..1.1).contains(&ratio), "{shape:?}: {average}");
        }
    }
}
