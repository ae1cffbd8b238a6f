//! Tables that hold rows, their columns and sizes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pghaul_stage::{Column, Result, Sharing, Table, TableId, Tables, one_of};
use pghaul_wire::{Chosen, Client};

use crate::session::{each, field, row, size};

/// The relations that [`copied`] is about.
pub(crate) const FROM: &str =
    "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

/// The condition for relations of a kind that belong to the migration: not the server's own,
/// not an extension's (which creates them again on the target) unless it is one for users' rows
/// that can be read, or a sequence that a column of such a table owns; not temporary, not ours, and
/// selected.
pub(crate) fn copied(relkind: char, chosen: &Chosen) -> String {
    let selected = match relkind {
        'S' => chosen.sequences("c"),
        _ => chosen.relations("c"),
    };
    // The extensions of a part of the database are made anew, without users' rows.
    let extensions = chosen.extensions("e");
    let whole = chosen.is_of_everything();
    format!(
        "c.relkind = '{relkind}' AND c.relpersistence <> 't' \
         AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pghaul') \
         AND (NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
                           WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                             AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e') \
              OR {whole} AND c.oid IN (SELECT unnest(e.extconfig) \
                                         FROM pg_catalog.pg_extension e WHERE {extensions} \
                                       UNION SELECT d.objid FROM pg_catalog.pg_depend d \
                                         JOIN pg_catalog.pg_extension e \
                                           ON d.refobjid = ANY (e.extconfig) AND {extensions} \
                                        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                                          AND d.refclassid = d.classid AND d.deptype IN ('a', 'i')) \
                 AND pg_catalog.has_table_privilege(c.oid, 'SELECT')) \
         AND {selected}"
    )
}

/// What planning needs to know of a table besides its catalog entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    /// The types of its columns, in the order of the columns.
    pub(crate) types: Arc<[u32]>,
    /// Whether its rows lie in numbered blocks as the heap access method lays them out.
    pub(crate) heap: bool,
    /// Whether a crash of its server empties it.
    pub(crate) unlogged: bool,
    /// Which of its rows are users', if it is an extension's.
    pub(crate) configuration: Option<Box<str>>,
    /// Whether its rows are to be copied.
    pub(crate) selected: bool,
}

/// All tables, and their facts in the same order.
pub(crate) async fn read(
    client: &Client,
    version: u32,
    chosen: &Chosen,
) -> Result<(Tables, Box<[Arc<Facts>]>)> {
    // Before 12 there were no access methods for tables, and `relam` is 0.
    let sql = format!(
        "SELECT c.oid, n.nspname, c.relname, c.relfilenode, c.reltuples::float8, c.relpages, \
                coalesce(pg_catalog.pg_relation_size(c.oid), 0), \
                coalesce(pg_catalog.pg_relation_size(nullif(c.reltoastrelid, 0)), 0), \
                EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid), \
                coalesce(am.amname = 'heap', true), \
                pg_catalog.current_setting('block_size')::int8, c.relpersistence = 'u', \
                (SELECT e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)] \
                   FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig) LIMIT 1), \
                {} \
           FROM {FROM} LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam \
          WHERE {}",
        chosen.rows("c"),
        copied('r', chosen)
    );
    let mut shared = Shared::default();
    let (mut tables, mut index) = (Vec::new(), HashMap::new());
    each(client, "the catalog of tables", &sql, |row| {
        let oid: u32 = field(row, 0)?;
        let heap = size(row, 6)?;
        index.insert(oid, tables.len());
        let schema = shared.sharing.name(field(row, 1)?);
        let table = Table {
            id: TableId::new(schema, field::<&str>(row, 2)?),
            oid,
            filenode: field(row, 3)?,
            columns: Arc::default(),
            generated: Box::default(),
            rows: estimate(
                field(row, 4)?,
                field(row, 5)?,
                heap / size(row, 10)?.max(1),
                heap,
            ),
            heap,
            toast: size(row, 7)?,
            child: field(row, 8)?,
        };
        let facts = Facts {
            types: Arc::default(),
            heap: field(row, 9)?,
            unlogged: field(row, 11)?,
            configuration: field::<Option<&str>>(row, 12)?.map(|clause| condition(clause).into()),
            selected: field(row, 13)?,
        };
        tables.push((table, facts));
        Ok(())
    })
    .await?;

    let generated = if version >= 120_000 {
        "a.attgenerated <> ''"
    } else {
        "false"
    };
    let sql = format!(
        "SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid, \
                {generated} \
           FROM {FROM} JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
          WHERE {} AND a.attnum > 0 AND NOT a.attisdropped \
          ORDER BY a.attrelid, a.attnum",
        copied('r', chosen)
    );
    let mut columns = Columns::default();
    each(client, "the catalog of columns", &sql, |row| {
        let table = index.get(&field::<u32>(row, 0)?).copied();
        if table != columns.table {
            std::mem::take(&mut columns).settle(&mut shared, &mut tables);
            columns.table = table;
        }
        if field(row, 4)? {
            columns.generated.push(field(row, 1)?);
            return Ok(());
        }
        columns.moved.push(Column {
            name: shared.sharing.name(field(row, 1)?),
            type_name: shared.sharing.name(field(row, 2)?),
        });
        columns.types.push(field(row, 3)?);
        Ok(())
    })
    .await?;
    columns.settle(&mut shared, &mut tables);
    tables.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
    let tables = tables.into_iter();
    let tables = tables.map(|(table, facts)| (table, shared.facts(facts)));
    let (tables, facts): (Vec<Table>, Vec<Arc<Facts>>) = tables.unzip();
    Ok((tables.into(), facts.into()))
}

/// The columns of one table, as they are read.
#[derive(Default)]
struct Columns {
    /// Which table, by its place among all.
    table: Option<usize>,
    moved: Vec<Column>,
    generated: Vec<String>,
    types: Vec<u32>,
}

impl Columns {
    /// Gives its columns to the table.
    fn settle(self, shared: &mut Shared, tables: &mut [(Table, Facts)]) {
        if let Some((table, facts)) = self.table.and_then(|at| tables.get_mut(at)) {
            table.columns = shared.sharing.columns(&self.moved);
            table.generated = self.generated.into();
            facts.types = one_of(&mut shared.types, &self.types);
        }
    }
}

/// What many tables have alike, of which there is one copy.
#[derive(Default)]
struct Shared {
    sharing: Sharing,
    types: HashSet<Arc<[u32]>>,
    facts: HashSet<Arc<Facts>>,
}

impl Shared {
    fn facts(&mut self, facts: Facts) -> Arc<Facts> {
        if let Some(known) = self.facts.get(&facts) {
            return Arc::clone(known);
        }
        let facts = Arc::new(facts);
        self.facts.insert(Arc::clone(&facts));
        facts
    }
}

/// The condition of a clause as an extension gives it: `WHERE …`, or nothing for all rows.
pub(super) fn condition(clause: &str) -> String {
    let clause = clause.trim();
    match clause.split_at_checked(5) {
        Some((word, condition)) if word.eq_ignore_ascii_case("where") => {
            condition.trim().to_owned()
        }
        _ => "true".to_owned(),
    }
}

/// Bytes of a block.
pub(crate) async fn block_size(client: &Client) -> Result<u64> {
    let sql = "SELECT pg_catalog.current_setting('block_size')::int8";
    size(&row(client, "the block size", sql).await?, 0)
}

/// Rows by the density that the last VACUUM or ANALYZE found; without one, at a hundred bytes
/// a row, so that progress has something to count against.
fn estimate(tuples: f64, pages: i32, blocks: u64, heap: u64) -> u64 {
    if tuples > 0.0 && pages > 0 {
        (tuples / f64::from(pages) * blocks as f64).round() as u64
    } else {
        heap / 100
    }
}

#[cfg(test)]
mod tests {
    use super::estimate;

    #[test]
    fn rows_follow_the_table_as_it_grows() {
        assert_eq!(estimate(1000.0, 10, 10, 81_920), 1000);
        assert_eq!(estimate(1000.0, 10, 20, 163_840), 2000);
        assert_eq!(estimate(-1.0, 0, 10, 81_920), 819);
        assert_eq!(estimate(0.0, 0, 0, 0), 0);
    }
}
