//! What has rows to compare: tables, and the large objects taken together as one.

mod pair;
mod tables;

use std::collections::HashSet;
use std::sync::Arc;

use pghaul_stage::{Result, Side, TableId, one_of};
use pghaul_wire::quote;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::checksum::Sum;
use super::image::Image;
use super::large_object::{self, Rights};
use super::snapshot::{Session, number, one};

pub(super) use pair::Pairs;
pub(super) use tables::Tables;

/// Bytes that one query should read at most, where a table can be cut.
const PIECE: u64 = 128 << 20;

/// Rows that exist on both sides under the same name.
#[derive(Debug)]
pub(super) struct Relation {
    /// Which table; `None` for the large objects.
    pub(super) table: Option<TableId>,
    /// Its columns in the source's order.
    pub(super) columns: Arc<[Column]>,
    /// The columns that identify a row; empty if none do.
    pub(super) key: Arc<[String]>,
    /// Which of the rows are users', if the table is an extension's.
    condition: Option<Box<str>>,
    /// What of large objects is compared besides content, as either side has it.
    rights: Option<Box<[Rights; 2]>>,
    sizes: [Size; 2],
    /// What is known of the source's rows, if the source is not there to be asked.
    pub(super) recorded: Option<Arc<Recorded>>,
}

/// What was found out about the source's rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Recorded {
    /// Their sum.
    Sum {
        #[serde(flatten)]
        sum: Sum,
        /// Whether it took the image for rows that are too long.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        wide: bool,
    },
    /// Why they could not be read.
    Failed(String),
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: String,
    /// For types whose text depends on the version: their binary form, or the names that they are
    /// without quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) portable: Option<Form>,
    /// Whether its values can be long.
    pub(super) varlena: bool,
    /// Its value as bytes, for types whose text is much longer than the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<Form>,
    /// Whether these bytes are the same in every version.
    pub(super) steady: bool,
}

/// Another form of a column's value: an expression with `%s` in place of the column. One of a closed
/// list, because what was recorded is no source of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Form(&'static str);

/// Names of objects without the quotes that some versions need.
const UNQUOTED: &str = r#"translate(%s::text, '"\', '')"#;

impl Form {
    const ALL: [Form; 15] = [
        Form("%s"),
        Form("bit_send(%s)"),
        Form("varbit_send(%s)"),
        Form("array_send(%s)"),
        Form("float4send(%s)"),
        Form("float8send(%s)"),
        Form("charsend(%s)"),
        Form("point_send(%s)"),
        Form("lseg_send(%s)"),
        Form("path_send(%s)"),
        Form("box_send(%s)"),
        Form("poly_send(%s)"),
        Form("line_send(%s)"),
        Form("circle_send(%s)"),
        Form(UNQUOTED),
    ];

    /// The form of this expression.
    pub(super) fn known(expression: &str) -> Option<Form> {
        Self::ALL.into_iter().find(|form| form.0 == expression)
    }

    /// The expression for the column `name`, which is quoted.
    pub(super) fn of(self, name: &str) -> String {
        let (before, after) = self.0.split_once("%s").unwrap_or_default();
        format!("{before}{name}{after}")
    }
}

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let expression = String::deserialize(deserializer)?;
        Form::known(&expression)
            .ok_or_else(|| de::Error::custom("a form of values that pghaul does not know"))
    }
}

/// How much there is to read on one side.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    /// What it can be cut into: blocks of a table, or large objects.
    units: u64,
    /// Bytes, TOAST included.
    bytes: u64,
    /// Whether the server reads a range of units without reading the others.
    cuttable: bool,
}

/// A share of a relation's rows on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// All rows.
    All,
    /// Blocks of the heap from the first to before the second, or to the end.
    Blocks(u64, Option<u64>),
    /// Large objects whose identifier leaves this remainder.
    Remainder(u64, u64),
}

/// A table as one side has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Table {
    columns: Arc<[Column]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    condition: Option<Box<str>>,
    of_extension: bool,
    key: Arc<[String]>,
    #[serde(skip)]
    size: Size,
    /// What is known of its rows, if it was recorded with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) recorded: Option<Arc<Recorded>>,
}

impl Relation {
    /// A table of one side by itself.
    pub(super) fn alone(id: &TableId, table: &Table) -> Self {
        Self {
            table: Some(id.clone()),
            columns: Arc::clone(&table.columns),
            key: Arc::clone(&table.key),
            condition: table.condition.clone(),
            rights: None,
            sizes: [table.size; 2],
            recorded: None,
        }
    }

    /// The large objects of both sides, of which those of the source may be recorded.
    pub(super) fn large_objects(
        sizes: [Size; 2],
        rights: [Rights; 2],
        recorded: Option<Arc<Recorded>>,
    ) -> Self {
        Self {
            table: None,
            columns: large_object::columns(&rights[0]).into(),
            key: ["oid".to_owned()].into(),
            condition: None,
            rights: Some(Box::new(rights)),
            sizes,
            recorded,
        }
    }

    /// How people call it.
    pub(super) fn name(&self) -> String {
        match &self.table {
            Some(table) => format!("table {table}"),
            None => "large objects".to_owned(),
        }
    }

    /// The rows of a share of one side, as what follows FROM, under the alias `t`.
    pub(super) fn rows(&self, share: Share, image: &Image, side: Side) -> String {
        let Some(table) = &self.table else {
            let none = Rights::default();
            let rights = self.rights.as_deref().map_or(&none, |[source, target]| {
                if side == Side::Target { target } else { source }
            });
            return large_object::rows(share, image, rights);
        };
        let from = format!(
            "ONLY {}.{} AS t",
            quote::ident(&table.schema),
            quote::ident(&table.name)
        );
        let place = match share {
            Share::Blocks(first, Some(end)) => {
                Some(format!("t.ctid >= '({first},0)' AND t.ctid < '({end},0)'"))
            }
            Share::Blocks(first, None) => Some(format!("t.ctid >= '({first},0)'")),
            Share::All | Share::Remainder(..) => None,
        };
        let condition = self.condition.as_ref().map(|one| format!("({one})"));
        let conditions: Vec<String> = place.into_iter().chain(condition).collect();
        match conditions.as_slice() {
            [] => from,
            conditions => format!("{from} WHERE {}", conditions.join(" AND ")),
        }
    }

    /// Cuts the rows of one side into shares that several sessions can read, with the bytes of
    /// each. The sides need not be cut alike, since sums add up.
    pub(super) fn shares(&self, side: usize) -> Vec<(Share, u64)> {
        let size = self.sizes.get(side).copied().unwrap_or_default();
        let pieces = size.bytes.div_ceil(PIECE).min(size.units);
        if pieces < 2 || !size.cuttable {
            return vec![(Share::All, size.bytes)];
        }
        let bytes = size.bytes / pieces;
        if self.table.is_none() {
            return (0..pieces)
                .map(|piece| (Share::Remainder(piece, pieces), bytes))
                .collect();
        }
        let step = size.units.div_ceil(pieces);
        (0..size.units.div_ceil(step))
            .map(|piece| {
                let end = (piece + 1) * step;
                let end = (end < size.units).then_some(end);
                (Share::Blocks(piece * step, end), bytes)
            })
            .collect()
    }
}

/// What many tables have alike, of which there is one copy.
#[derive(Debug, Default)]
pub(super) struct Alike {
    columns: HashSet<Arc<[Column]>>,
    keys: HashSet<Arc<[String]>>,
}

impl Alike {
    /// The table with what it shares with others.
    pub(super) fn share(&mut self, table: Table) -> Table {
        Table {
            columns: one_of(&mut self.columns, &table.columns),
            key: one_of(&mut self.keys, &table.key),
            ..table
        }
    }
}

pub(super) async fn large_objects_size(session: &mut Session<'_>) -> Result<Size> {
    let sql = "SELECT count(*), pg_table_size('pg_largeobject') FROM pg_largeobject_metadata";
    let rows = session.read(sql).await?;
    let row = one(&rows)?;
    Ok(Size {
        units: number(row, 0)?,
        bytes: number(row, 1)?,
        cuttable: true,
    })
}
