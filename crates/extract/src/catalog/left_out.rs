//! What selected objects refer to that is not selected: what cannot be carried over for it, and
//! what has to be there nevertheless.

use pghaul_stage::{Error, Home, LeftOut, Needed, Result, Side, TableId};
use pghaul_wire::{Chosen, Client};

use super::tables::{FROM, copied};
use crate::session::{field, rows};

/// The foreign keys and partitions whose other end is not selected.
///
/// # Errors
///
/// Kind input for a table that inherits from one that is not selected, because its columns
/// would not be the same without it.
pub(super) async fn read(client: &Client, version: u32, chosen: &Chosen) -> Result<Vec<LeftOut>> {
    let mut left_out = extensions(client, chosen).await?;
    if chosen.is_of_all_relations() {
        return Ok(left_out);
    }
    left_out.extend(foreign_keys(client, version, chosen).await?);
    left_out.extend(partitions(client, version, chosen).await?);
    Ok(left_out)
}

/// The extensions that are excluded by name, which needs no explanation.
async fn extensions(client: &Client, chosen: &Chosen) -> Result<Vec<LeftOut>> {
    let sql = format!(
        "SELECT e.extname FROM pg_catalog.pg_extension e WHERE NOT {} ORDER BY 1",
        chosen.extensions("e")
    );
    rows(client, "the extensions", &sql)
        .await?
        .iter()
        .map(|row| {
            Ok(LeftOut {
                kind: "EXTENSION".to_owned(),
                schema: String::new(),
                name: field(row, 0)?,
                oid: 0,
                object: String::new(),
                reason: String::new(),
            })
        })
        .collect()
}

/// Relations with rows of their own or in partitions.
fn tables(chosen: &Chosen) -> String {
    format!("({} OR {})", copied('r', chosen), copied('p', chosen))
}

async fn foreign_keys(client: &Client, version: u32, chosen: &Chosen) -> Result<Vec<LeftOut>> {
    // Those that a partition has from its parent go with the parent's.
    let own = if version >= 110_000 {
        "AND k.conparentid = 0"
    } else {
        ""
    };
    let sql = format!(
        "SELECT n.nspname, c.relname, k.conname, k.oid, rn.nspname, r.relname \
           FROM {FROM} JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f' \
           JOIN pg_catalog.pg_class r ON r.oid = k.confrelid \
           JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace \
          WHERE {} {own} AND NOT {} ORDER BY 1, 2, 3",
        tables(chosen),
        chosen.relations("r")
    );
    rows(client, "the foreign keys", &sql)
        .await?
        .iter()
        .map(|row| {
            let table = TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?);
            let other = TableId::new(field::<&str>(row, 4)?, field::<&str>(row, 5)?);
            let name: String = field(row, 2)?;
            Ok(LeftOut {
                object: format!("foreign key {name:?} of table {table}"),
                reason: format!("table {other} is not selected"),
                kind: "FK CONSTRAINT".to_owned(),
                schema: table.schema.to_string(),
                name,
                oid: field(row, 3)?,
            })
        })
        .collect()
}

async fn partitions(client: &Client, version: u32, chosen: &Chosen) -> Result<Vec<LeftOut>> {
    let partition = if version >= 100_000 {
        "c.relispartition"
    } else {
        "false"
    };
    let sql = format!(
        "SELECT n.nspname, c.relname, rn.nspname, r.relname, {partition}, \
                ARRAY(SELECT x.relname::pg_catalog.text FROM pg_catalog.pg_index ix \
                        JOIN pg_catalog.pg_inherits ii ON ii.inhrelid = ix.indexrelid \
                        JOIN pg_catalog.pg_class x ON x.oid = ix.indexrelid \
                       WHERE ix.indrelid = c.oid) \
           FROM {FROM} JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid \
           JOIN pg_catalog.pg_class r ON r.oid = i.inhparent \
           JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace \
          WHERE {} AND NOT {} ORDER BY 1, 2",
        tables(chosen),
        chosen.relations("r")
    );
    let mut left_out = Vec::new();
    for row in &rows(client, "the children of tables", &sql).await? {
        let child = TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?);
        let parent = TableId::new(field::<&str>(row, 2)?, field::<&str>(row, 3)?);
        if !field::<bool>(row, 4)? {
            return Err(Error::input(format!(
                "table {child} inherits from table {parent}, which is not selected"
            ))
            .at(Side::Source)
            .remedy("select both or neither"));
        }
        left_out.push(LeftOut {
            object: format!("table {child} as a partition of {parent}"),
            reason: "the parent is not selected; the partition becomes a table of its own"
                .to_owned(),
            kind: "TABLE ATTACH".to_owned(),
            schema: child.schema.to_string(),
            name: child.name.to_string(),
            oid: 0,
        });
        for index in field::<Vec<String>>(row, 5)? {
            left_out.push(LeftOut {
                object: format!("index {index:?} of table {child} as a part of its parent's"),
                reason: "the parent is not selected".to_owned(),
                kind: "INDEX ATTACH".to_owned(),
                schema: child.schema.to_string(),
                name: index,
                oid: 0,
            });
        }
    }
    Ok(left_out)
}

/// The schemas of tables that were selected without them.
pub(super) async fn homes(client: &Client, chosen: &Chosen) -> Result<Vec<Home>> {
    if !chosen.is_of_tables() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT DISTINCT n.nspname::pg_catalog.text, \
                pg_catalog.pg_get_userbyid(n.nspowner)::pg_catalog.text \
           FROM {FROM} WHERE ({} OR {}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') ORDER BY 1",
        chosen.relations("c"),
        chosen.sequences("c")
    );
    rows(client, "the schemas of tables", &sql)
        .await?
        .iter()
        .map(|row| {
            Ok(Home {
                name: field(row, 0)?,
                owner: field(row, 1)?,
            })
        })
        .collect()
}

/// The extensions of which the selected relations use something, and those of selected schemas'
/// functions and types. Their own extensions come with a whole database only.
pub(crate) async fn needed(client: &Client, chosen: &Chosen) -> Result<Vec<Needed>> {
    if chosen.is_of_everything() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "WITH relation AS (SELECT c.oid FROM {FROM} WHERE {relations} \
                           UNION SELECT i.indexrelid FROM pg_catalog.pg_index i \
                             JOIN pg_catalog.pg_class c ON c.oid = i.indrelid WHERE {relations}), \
              object(class, oid) AS ( \
                SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid FROM relation r \
                UNION ALL SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, a.oid \
                  FROM pg_catalog.pg_attrdef a JOIN relation r ON r.oid = a.adrelid \
                UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid \
                  FROM pg_catalog.pg_constraint k JOIN relation r ON r.oid = k.conrelid \
                UNION ALL SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, t.oid \
                  FROM pg_catalog.pg_trigger t JOIN relation r ON r.oid = t.tgrelid \
                UNION ALL SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, w.oid \
                  FROM pg_catalog.pg_rewrite w JOIN relation r ON r.oid = w.ev_class \
                UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid \
                  FROM pg_catalog.pg_proc p WHERE {functions} \
                UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid \
                  FROM pg_catalog.pg_type t WHERE {types}) \
         SELECT DISTINCT e.extname::pg_catalog.text, n.nspname::pg_catalog.text \
           FROM object o JOIN pg_catalog.pg_depend d ON d.classid = o.class AND d.objid = o.oid \
           LEFT JOIN pg_catalog.pg_type y ON d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass \
                                         AND y.oid = d.refobjid \
           JOIN pg_catalog.pg_depend m ON m.deptype = 'e' AND m.classid = d.refclassid \
                AND m.objid IN (d.refobjid, y.typelem) \
           JOIN pg_catalog.pg_extension e ON e.oid = m.refobjid \
           JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
          WHERE e.extname <> 'plpgsql' AND {extensions} ORDER BY 1",
        relations = chosen.relations("c"),
        functions = chosen.schemas("p.pronamespace"),
        types = chosen.schemas("t.typnamespace"),
        extensions = chosen.extensions("e"),
    );
    rows(client, "the extensions of tables", &sql)
        .await?
        .iter()
        .map(|row| {
            Ok(Needed {
                name: field(row, 0)?,
                schema: field(row, 1)?,
            })
        })
        .collect()
}
