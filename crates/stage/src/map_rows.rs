//! A transform made of a function on rows.

use std::fmt;

use bytes::BytesMut;

use crate::{
    Batch, Catalog, Column, CopyItem, Encoding, Format, Part, Pass, Payload, Result, Row, Rows,
    Shape, Side, Table, Transform,
};

/// What is done to each row of one slice.
pub struct RowMap(Box<Function>);

type Function = dyn FnMut(&mut Row) -> Result<()> + Send;

impl RowMap {
    /// Made of a function, which is called for each row in order and may remember.
    pub fn new(map: impl FnMut(&mut Row) -> Result<()> + Send + 'static) -> Self {
        Self(Box::new(map))
    }
}

impl fmt::Debug for RowMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowMap")
    }
}

/// Changes rows one by one, table by table: masks a column on the way to a test database, for
/// example.
///
/// The function it is made of is asked once per slice whether and how rows of that table are to
/// change. Tables for which it answers `None` pass untouched and unparsed, and so do large
/// objects.
///
/// The columns of the table it is given are the fields of the rows that will come: of a row too
/// large for one COPY these are some of the columns, behind one without a name of type `tid`;
/// see [`Shape`]. So find a column by its name each time.
///
/// ```
/// use pghaul_stage::{MapRows, RowMap, Table};
///
/// let mask = MapRows::new(|table: &Table| {
///     let column = table.columns.iter().position(|column| &*column.name == "email")?;
///     Some(RowMap::new(move |row| row.set(column, Some(b"nobody@example.org"))))
/// });
/// # drop(mask);
/// ```
pub struct MapRows {
    choose: Box<Choice>,
}

type Choice = dyn Fn(&Table) -> Option<RowMap> + Send + Sync;

impl MapRows {
    /// A transform that asks `choose` what to do to a table's rows.
    pub fn new(choose: impl Fn(&Table) -> Option<RowMap> + Send + Sync + 'static) -> Self {
        Self {
            choose: Box::new(choose),
        }
    }
}

impl Transform for MapRows {
    fn output(&self, input: Format) -> Option<Format> {
        let Format::Copy = input;
        Some(Format::Copy)
    }

    fn open(&self, catalog: &Catalog, part: &Part) -> Result<Box<dyn Pass>> {
        let slices = part.slices().iter().map(|slice| {
            let table = catalog.tables.named(&slice.table)?;
            let (map, counts) = match &slice.shape {
                Shape::Whole | Shape::Small { .. } => ((self.choose)(table)?, true),
                Shape::Columns(some) => ((self.choose)(&only(table, &some.names))?, some.last),
            };
            Some(Change {
                encoding: slice.encoding,
                counts,
                map,
            })
        });
        Ok(Box::new(Mapping {
            slices: slices.collect(),
            at: 0,
            rows: None,
        }))
    }
}

impl fmt::Debug for MapRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapRows").finish_non_exhaustive()
    }
}

/// A table with only these columns, behind the field that tells rows apart.
fn only(table: &Table, names: &[String]) -> Table {
    let identity = Column {
        name: "".into(),
        type_name: "tid".into(),
    };
    let named = |name: &String| table.columns.iter().find(|column| *column.name == **name);
    let columns = names.iter().filter_map(named).cloned();
    Table {
        columns: std::iter::once(identity).chain(columns).collect(),
        ..table.clone()
    }
}

/// What is done to a slice.
struct Change {
    encoding: Encoding,
    /// Whether its rows count: of a row in several slices, only the last one does.
    counts: bool,
    map: RowMap,
}

struct Mapping {
    /// What to do to each slice of the part; `None` is nothing.
    slices: Vec<Option<Change>>,
    at: usize,
    /// The stream of the slice at hand, once it has begun.
    rows: Option<Rows>,
}

impl Pass for Mapping {
    fn apply(&mut self, mut batch: Batch) -> Result<Batch> {
        let at = usize::try_from(batch.slice).unwrap_or(usize::MAX);
        if at != self.at {
            self.finish()?;
            self.at = at;
        }
        let Some(Some(change)) = self.slices.get_mut(at) else {
            return Ok(batch);
        };
        let rows = self.rows.get_or_insert_with(|| Rows::new(change.encoding));
        let Payload::Copy(bytes) = &batch.payload;
        rows.push(bytes);
        let mut stream = BytesMut::with_capacity(bytes.len());
        batch.rows = 0;
        while let Some(item) = rows.next()? {
            match item {
                CopyItem::Header(bytes) | CopyItem::Trailer(bytes) => {
                    stream.extend_from_slice(&bytes);
                }
                CopyItem::Row(mut row) => {
                    (change.map.0)(&mut row).map_err(|error| error.at(Side::Link))?;
                    row.write(&mut stream);
                    batch.rows += u64::from(change.counts);
                }
            }
        }
        batch.payload = Payload::Copy(stream.freeze());
        Ok(batch)
    }

    fn finish(&mut self) -> Result<()> {
        self.rows.take().map_or(Ok(()), |rows| rows.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mark, PartId, Range, Slice, SomeColumns, TableId, Tables, Work};

    /// A row that comes a few columns at a time is masked all the same, and counted once.
    #[test]
    fn columns_of_large_rows_are_found_by_name() {
        let id = TableId::new("public", "t");
        let columns = ["id", "body", "email"].map(|name| Column {
            name: name.into(),
            type_name: "text".into(),
        });
        let catalog = Catalog {
            tables: Tables::from_iter([Table {
                id: id.clone(),
                columns: columns.into(),
                ..Table::default()
            }]),
            ..Catalog::default()
        };
        let slice = |names: [&str; 1], last| Slice {
            table: id.clone(),
            range: Range::All,
            encoding: Encoding::Text,
            shape: Shape::Columns(Box::new(SomeColumns {
                limit: 9,
                names: names.map(str::to_owned).to_vec(),
                last,
            })),
        };
        let part = Part {
            id: PartId(0),
            work: Work::Rows([slice(["body"], false), slice(["email"], true)].into()),
            rows: 1,
            bytes: 0,
        };
        let mask = MapRows::new(|table| {
            let at = table.columns.iter().position(|c| &*c.name == "email")?;
            Some(RowMap::new(move |row| row.set(at, Some(b"hidden"))))
        });
        let mut pass = mask.open(&catalog, &part).unwrap();
        let mut apply = |slice, text: &'static str, rows| {
            let batch = pass.apply(Batch {
                slice,
                payload: Payload::Copy(text.into()),
                rows,
                mark: Mark(u64::from(slice)),
            });
            let batch = batch.unwrap();
            let Payload::Copy(bytes) = batch.payload;
            (String::from_utf8(bytes.to_vec()).unwrap(), batch.rows)
        };
        assert_eq!(apply(0, "(0,1)\tlong", 0), ("(0,1)\tlong".to_owned(), 0));
        assert_eq!(apply(0, "er\n", 0), ("er\n".to_owned(), 0));
        assert_eq!(apply(1, "(0,1)\ta@b", 0), (String::new(), 0));
        assert_eq!(apply(1, ".c\n", 1), ("(0,1)\thidden\n".to_owned(), 1));
        pass.finish().unwrap();
    }
}
