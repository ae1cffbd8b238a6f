//! What pg_dump passes over although a statement can make it: comments on what comes with another
//! object or with every database, the right to create in the schema `public` that older servers give
//! to everybody, triggers of keys that are not in force, what users added to operator families of the
//! server or of extensions; options of extensions' dictionaries; and some security labels.

use pghaul_stage::{Result, Selection, Supplement};
use pghaul_wire::quote::literal;
use pghaul_wire::{Chosen, Client};

use super::security_labels;
use super::tables::FROM;
use crate::session::{field, rows};

/// Those of selected objects.
pub(super) async fn read(
    client: &Client,
    version: u32,
    selection: &Selection,
    chosen: &Chosen,
) -> Result<Vec<Supplement>> {
    let mut supplements = Vec::new();
    if !selection.no_comments {
        supplements.append(&mut comments(client, version, chosen).await?);
        if chosen.is_of_everything() {
            supplements.append(&mut language_comment(client).await?);
        }
    }
    if !selection.no_acl && chosen.is_of_everything() {
        supplements.append(&mut public_schema(client).await?);
    }
    supplements.append(&mut key_triggers(client, chosen).await?);
    if chosen.is_of_everything() {
        supplements.append(&mut family_members(client, chosen).await?);
        supplements.append(&mut dictionaries(client, chosen).await?);
    }
    supplements.append(&mut security_labels::supplements(client, chosen).await?);
    Ok(supplements)
}

/// The comment on the extension that comes with every database, if it is not the one it comes with.
async fn language_comment(client: &Client) -> Result<Vec<Supplement>> {
    let sql = "SELECT d.comment FROM pg_catalog.pg_extension e, \
               pg_catalog.obj_description(e.oid, 'pg_extension') AS d (comment) \
               WHERE e.extname = 'plpgsql' \
                 AND d.comment IS DISTINCT FROM 'PL/pgSQL procedural language'";
    rows(client, "the comments", sql)
        .await?
        .iter()
        .map(|row| {
            let comment: Option<&str> = field(row, 0)?;
            let comment = comment.map_or("NULL".to_owned(), literal);
            Ok(Supplement {
                subject: "comment on extension plpgsql".to_owned(),
                sql: format!("COMMENT ON EXTENSION plpgsql IS {comment};"),
                superuser: true,
                until: None,
                provider: None,
                early: false,
            })
        })
        .collect()
}

/// A pg_dump of PostgreSQL 15 or newer expects that nobody may create in `public` unless it says so;
/// in a new database of an older server everybody may.
async fn public_schema(client: &Client) -> Result<Vec<Supplement>> {
    let sql = "SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public' AND NOT EXISTS \
                 (SELECT FROM pg_catalog.aclexplode(coalesce(n.nspacl, \
                    pg_catalog.acldefault('n', n.nspowner))) x \
                   WHERE x.grantee = 0 AND x.privilege_type = 'CREATE')";
    let rows = rows(client, "the privileges on the schema public", sql).await?;
    let supplement = |_| Supplement {
        subject: "who may create in schema public".to_owned(),
        sql: "REVOKE CREATE ON SCHEMA public FROM PUBLIC;".to_owned(),
        // The schema is the server's first role's there.
        superuser: true,
        until: Some(150_000),
        provider: None,
        early: false,
    };
    Ok(rows.iter().map(supplement).collect())
}

/// Relations of users, without extensions' own.
fn own(chosen: &Chosen) -> String {
    format!(
        "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pghaul') \
         AND c.relpersistence <> 't' AND {} AND {}",
        chosen.relations("c"),
        no_member("pg_class", "c.oid")
    )
}

fn no_member(catalog: &str, oid: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_catalog.pg_depend e \
           WHERE e.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass \
             AND e.objid = {oid} AND e.deptype = 'e')"
    )
}

/// Comments on constraints that a table has from its parent or a constraint trigger has, on
/// triggers of partitions, on multirange types, and on functions that come with a range type, which
/// belong to the server's first role. Of constraints, pg_dump may say some: twice is no harm.
async fn comments(client: &Client, version: u32, chosen: &Chosen) -> Result<Vec<Supplement>> {
    let of_parent = |column: &str, since: u32| match version >= since {
        true => format!("{column} <> 0"),
        false => "false".to_owned(),
    };
    let sql = format!(
        "SELECT pg_catalog.format('CONSTRAINT %I ON %I.%I', k.conname, n.nspname, c.relname), \
                d.description, false \
           FROM {FROM} JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid \
           JOIN pg_catalog.pg_description d ON d.objoid = k.oid \
            AND d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass \
          WHERE {own} AND (k.contype = 't' OR k.contype IN ('c', 'n') AND NOT k.conislocal \
                           OR k.contype = 'f' AND {key}) \
         UNION ALL \
         SELECT pg_catalog.format('TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname), \
                d.description, false \
           FROM {FROM} JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid \
           JOIN pg_catalog.pg_description d ON d.objoid = t.oid \
            AND d.classoid = 'pg_catalog.pg_trigger'::pg_catalog.regclass \
          WHERE {own} AND {trigger} \
         UNION ALL \
         SELECT pg_catalog.format('TYPE %I.%I', n.nspname, t.typname), d.description, false \
           FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
           JOIN pg_catalog.pg_description d ON d.objoid = t.oid \
            AND d.classoid = 'pg_catalog.pg_type'::pg_catalog.regclass \
          WHERE t.typtype = 'm' AND t.oid >= 16384 AND {schemas} AND {type_of_user} \
         UNION ALL \
         SELECT 'FUNCTION ' || (pg_catalog.pg_identify_object( \
                  'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, 0)).identity, \
                d.description, true \
           FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
           JOIN pg_catalog.pg_description d ON d.objoid = p.oid \
            AND d.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
          WHERE p.oid >= 16384 AND {schemas} AND {function_of_user} \
            AND EXISTS (SELECT FROM pg_catalog.pg_depend i \
                         WHERE i.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
                           AND i.objid = p.oid AND i.deptype = 'i') \
          ORDER BY 1",
        own = own(chosen),
        key = of_parent("k.conparentid", 110_000),
        trigger = of_parent("t.tgparentid", 130_000),
        schemas = chosen.schemas("n.oid"),
        type_of_user = no_member("pg_type", "t.oid"),
        function_of_user = no_member("pg_proc", "p.oid"),
    );
    rows(client, "the comments", &sql)
        .await?
        .iter()
        .map(|row| {
            let (object, text): (&str, &str) = (field(row, 0)?, field(row, 1)?);
            Ok(Supplement {
                subject: format!("comment on {}", lower_kind(object)),
                sql: format!("COMMENT ON {object} IS {};", literal(text)),
                superuser: field(row, 2)?,
                until: None,
                provider: None,
                early: false,
            })
        })
        .collect()
}

/// Operators and functions that users added to operator families that come with the server or an
/// extension. What came with an operator class is dumped with it.
async fn family_members(client: &Client, chosen: &Chosen) -> Result<Vec<Supplement>> {
    // A member `o` of the family `f` is made of `p`.
    let added = |members: &str, catalog: &str, namespace: &str| {
        format!(
            "{schemas} AND {of_user} \
             AND (f.oid < 16384 AND o.oid >= 16384 OR p.oid >= 16384 AND NOT {family_of_user}) \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
                   WHERE d.classid = 'pg_catalog.{members}'::pg_catalog.regclass \
                     AND d.objid = o.oid \
                     AND d.refclassid = 'pg_catalog.pg_opclass'::pg_catalog.regclass)",
            schemas = chosen.schemas(&format!("p.{namespace}")),
            of_user = no_member(catalog, "p.oid"),
            family_of_user = no_member("pg_opfamily", "f.oid"),
        )
    };
    let sql = format!(
        "SELECT pg_catalog.format('%I.%I USING %I', n.nspname, f.opfname, m.amname), \
                pg_catalog.string_agg(a.member, ', ' ORDER BY a.member) \
           FROM (SELECT f.oid, pg_catalog.format('OPERATOR %s %s%s', o.amopstrategy, \
                          o.amopopr::pg_catalog.regoperator, \
                          ' FOR ORDER BY ' || (SELECT pg_catalog.format('%I.%I', sn.nspname, s.opfname) \
                             FROM pg_catalog.pg_opfamily s \
                             JOIN pg_catalog.pg_namespace sn ON sn.oid = s.opfnamespace \
                            WHERE s.oid = o.amopsortfamily)) \
                   FROM pg_catalog.pg_amop o JOIN pg_catalog.pg_opfamily f ON f.oid = o.amopfamily \
                   JOIN pg_catalog.pg_operator p ON p.oid = o.amopopr WHERE {operator} \
                  UNION ALL \
                 SELECT f.oid, pg_catalog.format('FUNCTION %s (%s, %s) %s', o.amprocnum, \
                          o.amproclefttype::pg_catalog.regtype, \
                          o.amprocrighttype::pg_catalog.regtype, \
                          o.amproc::pg_catalog.regprocedure) \
                   FROM pg_catalog.pg_amproc o JOIN pg_catalog.pg_opfamily f ON f.oid = o.amprocfamily \
                   JOIN pg_catalog.pg_proc p ON p.oid = o.amproc WHERE {function} \
                ) AS a (family, member) \
           JOIN pg_catalog.pg_opfamily f ON f.oid = a.family \
           JOIN pg_catalog.pg_namespace n ON n.oid = f.opfnamespace \
           JOIN pg_catalog.pg_am m ON m.oid = f.opfmethod \
          GROUP BY 1 ORDER BY 1",
        operator = added("pg_amop", "pg_operator", "oprnamespace"),
        function = added("pg_amproc", "pg_proc", "pronamespace"),
    );
    rows(client, "the operator families", &sql)
        .await?
        .iter()
        .map(|row| {
            let (family, members): (&str, &str) = (field(row, 0)?, field(row, 1)?);
            Ok(Supplement {
                subject: format!("what was added to operator family {family}"),
                sql: format!("ALTER OPERATOR FAMILY {family} ADD {members};"),
                superuser: true,
                until: None,
                provider: None,
                early: true,
            })
        })
        .collect()
}

/// Options of dictionaries that come with an extension, which its manual may ask users to change. What
/// the extension's own are nobody knows, so they are set only where the target has others.
async fn dictionaries(client: &Client, chosen: &Chosen) -> Result<Vec<Supplement>> {
    let sql = format!(
        "SELECT pg_catalog.format('%I.%I', n.nspname, d.dictname), d.dictinitoption, \
                pg_catalog.format('n.nspname = %L AND d.dictname = %L', n.nspname, d.dictname) \
           FROM pg_catalog.pg_ts_dict d \
           JOIN pg_catalog.pg_namespace n ON n.oid = d.dictnamespace \
           JOIN pg_catalog.pg_depend m ON m.objid = d.oid AND m.deptype = 'e' \
            AND m.classid = 'pg_catalog.pg_ts_dict'::pg_catalog.regclass \
           JOIN pg_catalog.pg_extension e ON e.oid = m.refobjid \
          WHERE d.dictinitoption IS NOT NULL AND {} ORDER BY 1",
        chosen.extensions("e")
    );
    rows(client, "the dictionaries", &sql)
        .await?
        .iter()
        .map(|row| {
            let (name, options): (&str, &str) = (field(row, 0)?, field(row, 1)?);
            let alter = format!("ALTER TEXT SEARCH DICTIONARY {name} ({options})");
            let body = format!(
                "BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_ts_dict d \
                   JOIN pg_catalog.pg_namespace n ON n.oid = d.dictnamespace \
                  WHERE {} AND d.dictinitoption IS DISTINCT FROM {}) \
                 THEN EXECUTE {}; END IF; END",
                field::<&str>(row, 2)?,
                literal(options),
                literal(&alter)
            );
            Ok(Supplement {
                subject: format!("options of text search dictionary {name}"),
                sql: format!("DO {};", literal(&body)),
                superuser: false,
                until: None,
                provider: None,
                early: true,
            })
        })
        .collect()
}

/// The words of an object with its kind as people write it.
fn lower_kind(object: &str) -> String {
    match object.split_once(' ') {
        Some((kind, name)) => format!("{} {name}", kind.to_lowercase()),
        None => object.to_owned(),
    }
}

/// Triggers by which keys are checked, where somebody has disabled them or made them those of one
/// side of a replication. They have names that nobody chose, so they are found by their key.
async fn key_triggers(client: &Client, chosen: &Chosen) -> Result<Vec<Supplement>> {
    let sql = format!(
        "SELECT k.conname, pg_catalog.format('%I.%I', kn.nspname, kc.relname), \
                pg_catalog.format('%I.%I', n.nspname, c.relname), \
                pg_catalog.array_agg(f.proname::pg_catalog.text ORDER BY f.proname), t.tgenabled::text \
           FROM {FROM} JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid \
           JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid \
           JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint \
           JOIN pg_catalog.pg_class kc ON kc.oid = k.conrelid \
           JOIN pg_catalog.pg_namespace kn ON kn.oid = kc.relnamespace \
          WHERE {} AND t.tgisinternal AND t.tgenabled <> 'O' AND k.contype <> 't' AND {} \
          GROUP BY 1, 2, 3, 5 ORDER BY 1, 2, 3, 5",
        own(chosen),
        chosen.relations("kc"),
    );
    rows(client, "the triggers of keys", &sql)
        .await?
        .iter()
        .map(|row| {
            let [key, of, table]: [&str; 3] = [field(row, 0)?, field(row, 1)?, field(row, 2)?];
            let functions: Vec<String> = field(row, 3)?;
            let state = match field::<&str>(row, 4)? {
                "D" => "DISABLE",
                "R" => "ENABLE REPLICA",
                _ => "ENABLE ALWAYS",
            };
            let functions: Vec<String> = functions.iter().map(|name| literal(name)).collect();
            let block = format!(
                "DECLARE
  made name;
BEGIN
  FOR made IN SELECT t.tgname FROM pg_catalog.pg_trigger AS t
    JOIN pg_catalog.pg_constraint AS k ON k.oid = t.tgconstraint
    JOIN pg_catalog.pg_proc AS f ON f.oid = t.tgfoid
    WHERE k.conname = {} AND k.conrelid = {}::pg_catalog.regclass
      AND t.tgrelid = {table}::pg_catalog.regclass AND t.tgisinternal AND f.proname IN ({})
  LOOP
    EXECUTE pg_catalog.format('ALTER TABLE ONLY %s {state} TRIGGER %I', {table}, made);
  END LOOP;
END",
                literal(key),
                literal(of),
                functions.join(", "),
                table = literal(table),
            );
            Ok(Supplement {
                subject: format!(
                    "state ({}) of triggers on {table} for constraint {key:?} of {of}",
                    state.to_lowercase()
                ),
                sql: format!("DO {};", literal(&block)),
                superuser: true,
                until: None,
                provider: None,
                early: false,
            })
        })
        .collect()
}
