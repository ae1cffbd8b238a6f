//! The tables of one side with their columns and keys, one after the other in the order of their names.

use std::collections::{BTreeMap, HashSet, VecDeque, btree_map};

use pghaul_stage::{Result, Sharing, TableId, one_of};
use pghaul_wire::{Chosen, quote};
use serde::de::DeserializeOwned;
use tokio_postgres::SimpleQueryRow;

use super::super::extension_table::{self, CLAUSE, holds_users_rows};
use super::super::snapshot::{Cursor, Snapshot, maybe, number, text, unexpected};
use super::{Alike, Size, Table, UNQUOTED};

/// How many are read at once.
const AT_ONCE: usize = 1000;

/// The tables of one side, in the order of [`TableId`].
#[derive(Debug)]
pub(in crate::verify) enum Tables<'a> {
    /// Of a server.
    Live(Box<Reading<'a>>),
    /// What was recorded of one.
    Recorded(btree_map::Iter<'a, TableId, Table>),
}

/// The tables of a server.
#[derive(Debug)]
pub(in crate::verify) struct Reading<'a> {
    cursor: Cursor<'a>,
    /// Whether this server reads a range of blocks without reading the others.
    cuttable: bool,
    read: VecDeque<(TableId, Table)>,
    /// Whether there are no others.
    ended: bool,
    last: Option<TableId>,
    names: Sharing,
    alike: Alike,
}

impl<'a> Tables<'a> {
    /// Those of a server that are chosen.
    pub(in crate::verify) fn live(snapshot: &'a Snapshot, chosen: &Chosen) -> Self {
        Tables::Live(Box::new(Reading {
            cursor: Cursor::new(snapshot, query(snapshot, chosen)),
            // Range scans by ctid came with PostgreSQL 14.
            cuttable: snapshot.version() >= 140_000,
            read: VecDeque::new(),
            ended: false,
            last: None,
            names: Sharing::default(),
            alike: Alike::default(),
        }))
    }

    /// The next one.
    pub(in crate::verify) async fn next(&mut self) -> Result<Option<(TableId, Table)>> {
        match self {
            Tables::Live(reading) => reading.next().await,
            Tables::Recorded(tables) => {
                let next = tables.next();
                Ok(next.map(|(id, table)| (id.clone(), table.clone())))
            }
        }
    }

    /// All of them, by name.
    pub(in crate::verify) async fn collect(mut self) -> Result<BTreeMap<TableId, Table>> {
        let mut tables = BTreeMap::new();
        while let Some((id, table)) = self.next().await? {
            tables.insert(id, table);
        }
        Ok(tables)
    }
}

impl Reading<'_> {
    async fn next(&mut self) -> Result<Option<(TableId, Table)>> {
        if self.read.is_empty() && !self.ended {
            let rows = self.cursor.fetch(AT_ONCE).await?;
            self.ended = rows.len() < AT_ONCE;
            for row in rows {
                let table = self.table(&row)?;
                self.read.push_back(table);
            }
        }
        Ok(self.read.pop_front())
    }

    fn table(&mut self, row: &SimpleQueryRow) -> Result<(TableId, Table)> {
        let id = TableId::new(self.names.name(text(row, 0)?), text(row, 1)?);
        // Out of order, a table would not meet its partner, and its rows would not be compared.
        if self.last.as_ref().is_some_and(|last| *last >= id) {
            return Err(unexpected("tables that are not in order"));
        }
        self.last = Some(id.clone());
        let mut key: Vec<String> = list(row, 4)?;
        // An index can have a column twice.
        let mut names = HashSet::new();
        key.retain(|name| names.insert(name.clone()));
        let table = Table {
            columns: one_of(&mut self.alike.columns, &list(row, 5)?),
            condition: maybe(row, 6)?
                .and_then(extension_table::condition)
                .map(String::into_boxed_str),
            of_extension: maybe(row, 6)?.is_some(),
            key: one_of(&mut self.alike.keys, &key),
            size: Size {
                units: number(row, 2)?,
                bytes: number(row, 3)?,
                cuttable: self.cuttable,
            },
            recorded: None,
        };
        Ok((id, table))
    }
}

/// A list in JSON; NULL is an empty one.
fn list<T: DeserializeOwned>(row: &SimpleQueryRow, field: usize) -> Result<Vec<T>> {
    match maybe(row, field)? {
        Some(json) => serde_json::from_str(json).map_err(|_| unexpected("an unknown list")),
        None => Ok(Vec::new()),
    }
}

/// Which relations count as tables here: those with rows of their own.
const TABLES: &str = "c.relkind = 'r' AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pghaul', 'information_schema') AND n.nspname !~ '^pg_'";

/// The query for the tables of a server.
///
/// A key is the primary key, or a unique index without NULLs, predicates and expressions.
fn query(snapshot: &Snapshot, chosen: &Chosen) -> String {
    let key_columns = if snapshot.version() >= 110_000 {
        "i.indnkeyatts"
    } else {
        "i.indnatts"
    };
    // By the bytes that arrive here, whatever the server's encoding. It changes none that it does not
    // know.
    let order = |name| match snapshot.encoding() {
        "SQL_ASCII" => format!("{name}::text COLLATE \"C\""),
        _ => format!("convert_to({name}::text, 'UTF8')"),
    };
    format!(
        "SELECT n.nspname, c.relname,
                pg_relation_size(c.oid) / current_setting('block_size')::bigint,
                pg_table_size(c.oid), k.key, l.columns, {CLAUSE}
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          CROSS JOIN (SELECT array_agg(p.oid) AS fluid FROM pg_proc p
                       WHERE p.pronamespace = 'pg_catalog'::regnamespace
                         AND p.proname IN ('float4send', 'float8send', 'charsend', 'point_send',
                             'lseg_send', 'path_send', 'box_send', 'poly_send', 'line_send',
                             'circle_send')) f
           LEFT JOIN LATERAL (
             SELECT (SELECT json_agg(a.attname ORDER BY p.n)::text
                       FROM unnest(i.indkey::int2[]) WITH ORDINALITY p(attnum, n)
                       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.attnum
                      WHERE p.n <= {key_columns}) AS key
               FROM pg_index i
              WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
                AND i.indpred IS NULL AND i.indexprs IS NULL
                AND NOT EXISTS (SELECT FROM pg_attribute a
                                 WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
                                   AND NOT a.attnotnull)
              ORDER BY NOT i.indisprimary, i.indnatts, i.indexrelid LIMIT 1) k ON true
          CROSS JOIN LATERAL (
             SELECT json_agg(json_build_object(
                      'name', a.attname,
                      'varlena', t.typlen = -1,
                      'bytes', CASE
                        WHEN t.typsend = 'byteasend'::regproc THEN '%s'
                        WHEN t.typsend IN ('bit_send'::regproc, 'varbit_send'::regproc)
                        THEN t.typsend::text || '(%s)'
                        -- Of elements whose type is known by the same number everywhere.
                        WHEN t.typsend = 'array_send'::regproc AND t.typelem < 10000
                             AND (SELECT e.typtype = 'b' AND e.typsend::oid <> 0 AND e.typname !~ '^reg'
                                    FROM pg_type e WHERE e.oid = t.typelem)
                        THEN 'array_send(%s)' END,
                      'steady', t.typsend <> 'array_send'::regproc,
                      'portable', CASE
                        WHEN t.typsend::oid = ANY (f.fluid)
                          OR t.typsend = 'array_send'::regproc AND t.typelem < 16384
                             AND (SELECT e.typsend::oid FROM pg_type e WHERE e.oid = t.typelem)
                                 = ANY (f.fluid)
                        THEN t.typsend::text || '(%s)'
                        WHEN EXISTS (SELECT FROM pg_type r
                                      WHERE r.oid IN (t.oid, t.typelem) AND r.oid < 16384
                                        AND r.typname ~ '^reg')
                        THEN {unquoted} END) ORDER BY a.attnum)::text AS columns
               FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) l
          WHERE {TABLES} AND {} AND {} AND {}
          ORDER BY {}, {}",
        holds_users_rows(chosen),
        chosen.relations("c"),
        chosen.rows("c"),
        order("n.nspname"),
        order("c.relname"),
        unquoted = quote::literal(UNQUOTED),
    )
}
