//! The COPY statements that read slices and large objects.

use pghaul_stage::{Range, Shape, Slice, Table};
use pghaul_wire::quote::ident;

use crate::large::Weights;

/// Bytes fetched at a time from a large object that has to be opened.
const OBJECT_CHUNK: u32 = 1024 * 1024;

/// The columns of a table in parentheses, as a list for COPY; nothing if it has none, because
/// SQL knows no empty list, and without one COPY takes all that are not generated.
fn column_list(table: &Table) -> String {
    if table.columns.is_empty() {
        String::new()
    } else {
        format!(" ({})", columns(table))
    }
}

fn columns(table: &Table) -> String {
    table
        .columns
        .iter()
        .map(|column| ident(&column.name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A table's name for SQL.
pub(crate) fn name(table: &Table) -> String {
    format!("{}.{}", ident(&table.id.schema), ident(&table.id.name))
}

/// Reads one slice of a table.
///
/// `COPY table` and `FROM ONLY` both leave out the rows of tables that inherit from it: those
/// have parts of their own.
pub(crate) fn slice(table: &Table, slice: &Slice, weights: &Weights) -> String {
    let range = condition(&slice.range);
    let list = columns(table);
    let (list, condition) = match &slice.shape {
        Shape::Whole => (list, range),
        Shape::Small { limit } => {
            let small = format!("NOT {}", weights.large(*limit));
            (list, both(range, Some(small)))
        }
        Shape::Columns(some) => {
            let names: Vec<String> = some.names.iter().map(|name| ident(name)).collect();
            let large = weights.large(some.limit);
            (
                format!("ctid, {}", names.join(", ")),
                both(range, Some(large)),
            )
        }
    };
    let from = match condition {
        None => format!("{}{}", name(table), column_list(table)),
        Some(condition) => format!(
            "(SELECT {list} FROM ONLY {} WHERE {condition})",
            name(table)
        ),
    };
    format!("COPY {from} TO STDOUT (FORMAT {})", slice.encoding)
}

/// The condition that a range puts on rows, if it does.
pub(crate) fn condition(range: &Range) -> Option<String> {
    match range {
        Range::All => None,
        Range::Condition(condition) => Some(format!("({condition})")),
        Range::Blocks { from, to } => both(
            from.map(|block| format!("ctid >= '({block},0)'::pg_catalog.tid")),
            to.map(|block| format!("ctid < '({block},0)'::pg_catalog.tid")),
        ),
        Range::Keys(range) => {
            let column = ident(&range.column);
            let keys = both(
                range
                    .from
                    .map(|key| format!("{column} >= '{key}'::pg_catalog.int8")),
                range
                    .to
                    .map(|key| format!("{column} < '{key}'::pg_catalog.int8")),
            );
            match keys {
                Some(keys) if range.nulls => Some(format!("({keys} OR {column} IS NULL)")),
                Some(keys) => Some(keys),
                None if range.nulls => None,
                None => Some(format!("{column} IS NOT NULL")),
            }
        }
    }
}

fn both(from: Option<String>, to: Option<String>) -> Option<String> {
    match (from, to) {
        (Some(from), Some(to)) => Some(format!("{from} AND {to}")),
        (from, to) => from.or(to),
    }
}

/// Reads the metadata of large objects: oid, owner, ACL as text, comment.
pub(crate) fn object_metadata(from: Option<u32>, to: Option<u32>) -> String {
    format!(
        "COPY (SELECT m.oid, pg_catalog.pg_get_userbyid(m.lomowner)::text, m.lomacl::text[], \
                      pg_catalog.obj_description(m.oid, 'pg_largeobject') \
                 FROM pg_catalog.pg_largeobject_metadata m{}) TO STDOUT (FORMAT binary)",
        objects("m.oid", from, to)
    )
}

/// Reads the content of large objects: oid, offset in bytes, data.
///
/// Their pages as they lie on disk, where they can be read; otherwise each object is opened,
/// which also works for an ordinary role that owns it.
pub(crate) fn object_pages(
    from: Option<u32>,
    to: Option<u32>,
    readable: bool,
    block_size: u64,
) -> String {
    if readable {
        // LOBLKSIZE is a quarter of a block.
        format!(
            "COPY (SELECT loid, pageno::pg_catalog.int8 * {}, data \
                     FROM pg_catalog.pg_largeobject{} ORDER BY loid, pageno) \
             TO STDOUT (FORMAT binary)",
            block_size / 4,
            objects("loid", from, to)
        )
    } else {
        // 262144 is INV_READ, 2 is SEEK_END; OFFSET 0 keeps each object from being opened twice.
        format!(
            "COPY (SELECT m.oid, o.at, pg_catalog.lo_get(m.oid, o.at, {OBJECT_CHUNK}) \
                     FROM (SELECT m.oid, pg_catalog.lo_lseek64( \
                                    pg_catalog.lo_open(m.oid, 262144), 0, 2) AS size \
                             FROM pg_catalog.pg_largeobject_metadata m{} OFFSET 0) m \
                    CROSS JOIN LATERAL pg_catalog.generate_series( \
                                 0::pg_catalog.int8, m.size - 1, {OBJECT_CHUNK}) o(at)) \
             TO STDOUT (FORMAT binary)",
            objects("m.oid", from, to)
        )
    }
}

/// The WHERE clause for a range of object identifiers.
pub(crate) fn objects(column: &str, from: Option<u32>, to: Option<u32>) -> String {
    both(
        from.map(|oid| format!("{column} >= '{oid}'::pg_catalog.oid")),
        to.map(|oid| format!("{column} < '{oid}'::pg_catalog.oid")),
    )
    .map_or_else(String::new, |condition| format!(" WHERE {condition}"))
}

#[cfg(test)]
mod tests {
    use pghaul_stage::{Column, Encoding, KeyRange, SomeColumns, TableId};

    use super::*;
    use crate::catalog::Facts;
    use crate::portable::Types;

    fn read(table: &Table, encoding: Encoding, shape: Shape) -> String {
        let facts = Facts {
            types: vec![0; table.columns.len()].into(),
            heap: true,
            unlogged: false,
            configuration: None,
            selected: true,
        };
        let wanted = Slice {
            table: table.id.clone(),
            range: Range::All,
            encoding,
            shape,
        };
        slice(
            table,
            &wanted,
            &Weights::new(table, &facts, &Types::default()),
        )
    }

    fn table(columns: &[&str]) -> Table {
        Table {
            id: TableId::new("pub\"lic", "Tab le"),
            oid: 1,
            filenode: 1,
            columns: columns
                .iter()
                .map(|name| Column {
                    name: (*name).into(),
                    type_name: "integer".into(),
                })
                .collect(),
            generated: Box::default(),
            rows: 0,
            heap: 0,
            toast: 0,
            child: false,
        }
    }

    #[test]
    fn a_whole_table_names_its_columns() {
        assert_eq!(
            read(&table(&["a", "B"]), Encoding::Binary, Shape::Whole),
            r#"COPY "pub""lic"."Tab le" ("a", "B") TO STDOUT (FORMAT binary)"#
        );
        assert_eq!(
            read(&table(&[]), Encoding::Text, Shape::Whole),
            r#"COPY "pub""lic"."Tab le" TO STDOUT (FORMAT text)"#
        );
    }

    #[test]
    fn rows_are_small_or_large() {
        let weight = "(coalesce(16::int8 * pg_column_size(\"a\"), 0)::int8) >= 99";
        let small = Shape::Small { limit: 99 };
        let columns = Shape::Columns(Box::new(SomeColumns {
            limit: 99,
            names: vec!["a".into()],
            last: true,
        }));
        let table = table(&["a"]);
        assert_eq!(
            read(&table, Encoding::Text, small),
            format!(
                r#"COPY (SELECT "a" FROM ONLY "pub""lic"."Tab le" WHERE NOT {weight}) TO STDOUT (FORMAT text)"#
            )
        );
        assert_eq!(
            read(&table, Encoding::Binary, columns),
            format!(
                r#"COPY (SELECT ctid, "a" FROM ONLY "pub""lic"."Tab le" WHERE {weight}) TO STDOUT (FORMAT binary)"#
            )
        );
    }

    #[test]
    fn ranges_become_conditions() {
        let blocks = |from, to| condition(&Range::Blocks { from, to });
        assert_eq!(blocks(None, None), None);
        assert_eq!(
            blocks(Some(7), None).as_deref(),
            Some("ctid >= '(7,0)'::pg_catalog.tid")
        );
        let keys = |from, to, nulls| {
            condition(&Range::Keys(Box::new(KeyRange {
                column: "k\"".into(),
                from,
                to,
                nulls,
            })))
            .unwrap_or_default()
        };
        assert_eq!(
            keys(Some(i64::MIN), Some(-1), false),
            "\"k\"\"\" >= '-9223372036854775808'::pg_catalog.int8 \
             AND \"k\"\"\" < '-1'::pg_catalog.int8"
        );
        assert_eq!(
            keys(None, Some(0), true),
            "(\"k\"\"\" < '0'::pg_catalog.int8 OR \"k\"\"\" IS NULL)"
        );
        assert_eq!(keys(None, None, true), "");
        assert_eq!(keys(None, None, false), "\"k\"\"\" IS NOT NULL");
    }
}
