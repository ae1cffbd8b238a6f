//! The query that lists a database's objects.
//!
//! Each object comes as: its catalog and identifier, those of the object it belongs to, kind,
//! name, its properties in words, and its owner, grants and roles as JSON. Properties are structural: names, types, flags. Deparsed
//! expressions (view texts, checks, defaults, predicates) are left out, because PostgreSQL
//! deparses them differently after a dump and restore although they mean the same, and
//! differently again in another version.
//!
//! Not listed: what extensions own, the schema `pghaul`, subscriptions (they are never restored
//! running) and user mappings (most roles cannot see them).

use super::view::View;

/// The query for a server of this version.
pub(super) fn query(version: u32, view: &View<'_>) -> String {
    let arms = [
        schemas(view),
        relations(view),
        columns(version, view),
        defaults(),
        indexes(version),
        constraints(version, view),
        triggers(version),
        rules(),
        policies(),
        functions(version, view),
        types(view),
        others(view),
    ];
    let mut arms = Vec::from(arms);
    if view.chosen.is_of_everything() {
        arms.extend([extensions(view), event_triggers()]);
    }
    if view.comments {
        arms.push(comments());
    }
    if view.wording.grants {
        arms.push(default_privileges(view));
    }
    format!("{} {}", prelude(version, view), arms.join("\nUNION ALL "))
}

/// The user's schemas (`own`), what extensions own (`member`), and the user's relations (`rel`).
///
/// A partition whose parent is not selected is a table of its own (`orphan`).
fn prelude(version: u32, view: &View<'_>) -> String {
    let chosen = view.chosen;
    let partition = if version >= 100_000 {
        "c.relispartition"
    } else {
        "false"
    };
    let parent = if chosen.is_of_all_relations() {
        "true".to_owned()
    } else {
        format!(
            "EXISTS (SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
                      WHERE i.inhrelid = c.oid AND {})",
            chosen.relations("p")
        )
    };
    format!(
        "
WITH ns AS (
  SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_namespace n
   WHERE n.nspname NOT IN ('pghaul', 'information_schema') AND n.nspname !~ '^pg_'),
own AS (SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM ns n WHERE {schemas}),
member AS (SELECT d.classid, d.objid FROM pg_depend d WHERE d.deptype = 'e'),
rel AS (
  SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relowner, c.relacl, c.reloptions,
         c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.relispopulated,
         {partition} AND {parent} AS relispartition, {partition} AND NOT {parent} AS orphan,
         c.relpartbound, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN ns n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND c.relpersistence <> 't'
     AND CASE c.relkind WHEN 'S' THEN {sequences} ELSE {relations} END
     AND (1259, c.oid) NOT IN (SELECT m.classid::oid, m.objid FROM member m))",
        schemas = chosen.schemas("n.oid"),
        sequences = chosen.sequences("c"),
        relations = chosen.relations("c"),
    )
}

/// Owner and grants, see [`Parties`](super::parties::Parties).
pub(super) fn rights(view: &View<'_>, kind: char, acl: &str, owner: &str) -> String {
    if !view.wording.has_rights() {
        return "NULL".to_owned();
    }
    let acl = format!("coalesce({acl}, acldefault('{kind}', {owner}))");
    format!(
        "json_build_object('owner', pg_get_userbyid({owner}), 'grants', {})::text",
        grants(&acl, owner)
    )
}

/// Grants by the owner of something else, who is not compared here.
fn grants_within(acl: &str, holder: &str) -> String {
    format!(
        "CASE WHEN {acl} IS NOT NULL THEN
           json_build_object('holder', pg_get_userbyid({holder}), 'grants', {})::text END",
        grants(acl, holder)
    )
}

/// Grants to the owner are left out, since their default grew with the versions, and grantors too.
fn grants(acl: &str, owner: &str) -> String {
    format!(
        "(SELECT json_agg(json_build_array(x.privilege_type,
                   CASE x.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(x.grantee) END,
                   x.is_grantable))
            FROM aclexplode({acl}) x WHERE x.grantee <> {owner})"
    )
}

/// The owner of the schema public changed with PostgreSQL 15, so it is not compared.
fn schemas(view: &View<'_>) -> String {
    format!(
        "SELECT 2615 AS class, n.oid, 0 AS parent_class, 0::oid AS parent, 'schema' AS kind,
                quote_ident(n.nspname) AS name,
                NULL AS detail, CASE WHEN n.nspname <> 'public' THEN {} END AS parties
           FROM own n WHERE (2615, n.oid) NOT IN (SELECT m.classid::oid, m.objid FROM member m)",
        rights(view, 'n', "n.nspacl", "n.nspowner")
    )
}

fn relations(view: &View<'_>) -> String {
    let parents = view.chosen.relations("p");
    let rows = view.chosen.rows("c");
    let [table, sequence] = ['r', 's'].map(|kind| rights(view, kind, "c.relacl", "c.relowner"));
    format!(
        "SELECT 1259, c.oid, 0, 0,
                CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
                  WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                  WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence' END,
                c.name,
                concat_ws('; ',
                  CASE WHEN c.relpersistence = 'u' THEN 'unlogged' END,
                  CASE WHEN c.relrowsecurity THEN 'row security' END,
                  CASE WHEN c.relforcerowsecurity THEN 'forced row security' END,
                  CASE WHEN c.relkind IN ('r', 'p', 'm') AND c.relreplident <> 'd'
                    THEN 'replica identity ' || c.relreplident::text END,
                  CASE WHEN NOT c.relispopulated AND {rows} THEN 'not populated' END,
                  {options},
                  (SELECT 'partitioned by ' || p.partstrat::text || ' of ' || p.partnatts
                     FROM pg_partitioned_table p WHERE p.partrelid = c.oid),
                  (SELECT 'child of ' || string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
                     FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
                    WHERE i.inhrelid = c.oid AND {parents}),
                  CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END,
                  (SELECT format('%s start %s increment %s from %s to %s cache %s%s',
                            s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
                            s.seqcache, CASE WHEN s.seqcycle THEN ' cycle' END)
                     FROM pg_sequence s WHERE s.seqrelid = c.oid)),
                CASE c.relkind WHEN 'S' THEN {sequence} ELSE {table} END
           FROM rel c WHERE c.relkind <> 'c'",
        options = options("c.reloptions"),
    )
}

/// Their order means nothing, and a dump says a view's check option after the others.
fn options(column: &str) -> String {
    format!(
        "'options ' || (SELECT string_agg(o, ', ' ORDER BY o COLLATE \"C\") FROM unnest({column}) o)"
    )
}

/// Columns are named below their relation, see [`inventory`](super::inventory). Since PostgreSQL 17
/// partitions repeat the identity of their parents' columns.
fn columns(version: u32, view: &View<'_>) -> String {
    let generated = if version >= 120_000 {
        "CASE a.attgenerated WHEN 's' THEN 'generated stored' WHEN 'v' THEN 'generated virtual' END"
    } else {
        "NULL"
    };
    let grants = if view.wording.grants {
        grants_within("a.attacl", "c.relowner")
    } else {
        "NULL".to_owned()
    };
    format!(
        "SELECT 1259, NULL, 1259, c.oid, 'column', format('%s.%I', c.name, a.attname),
                concat_ws('; ', format_type(a.atttypid, a.atttypmod),
                  CASE WHEN a.attnotnull THEN 'not null' END,
                  CASE WHEN NOT c.relispartition THEN CASE a.attidentity
                    WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity by default' END END,
                  {generated},
                  CASE WHEN a.attcollation NOT IN (0, 100) AND a.attcollation <> t.typcollation
                    THEN 'collation ' || (SELECT quote_ident(l.collname) FROM pg_collation l
                                        WHERE l.oid = a.attcollation) END),
                {grants}
           FROM rel c JOIN pg_attribute a ON a.attrelid = c.oid
           JOIN pg_type t ON t.oid = a.atttypid
          WHERE c.relkind <> 'S' AND a.attnum > 0 AND NOT a.attisdropped"
    )
}

fn defaults() -> String {
    "SELECT 2604, d.oid, 1259, c.oid, 'default', format('of %s.%I', c.name, a.attname), NULL, NULL
       FROM rel c JOIN pg_attrdef d ON d.adrelid = c.oid
       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.adnum"
        .to_owned()
}

/// The word for an index that failed to be built. One of a partitioned table is the sum of others.
pub(super) const INVALID: &str = "invalid";

fn indexes(version: u32) -> String {
    // The server forgets to say so when the last partition joins with its index.
    let complete =
        "NOT EXISTS (SELECT FROM pg_inherits t WHERE t.inhparent = c.oid AND NOT EXISTS (
        SELECT FROM pg_inherits p JOIN pg_index j ON j.indexrelid = p.inhrelid
         WHERE p.inhparent = i.indexrelid AND j.indrelid = t.inhrelid AND j.indisvalid))";
    let nulls = if version >= 150_000 {
        "CASE WHEN i.indnullsnotdistinct THEN 'nulls not distinct' END"
    } else {
        "NULL"
    };
    let keys = if version >= 110_000 {
        "i.indnkeyatts"
    } else {
        "i.indnatts"
    };
    format!(
        "SELECT 1259, x.oid, 1259, c.oid, 'index', format('%I.%I', n.nspname, x.relname),
                concat_ws('; ', 'on ' || c.name,
                  CASE WHEN i.indisunique THEN 'unique' END, {nulls},
                  m.amname || ' (' || (
                    SELECT string_agg(coalesce(quote_ident(a.attname), 'expression')
                             || CASE WHEN k.n > {keys} THEN ' included'
                                  ELSE coalesce(' ' || o.opcname, '')
                                    || CASE WHEN i.indoption[k.n - 1] & 1 = 1 THEN ' desc' ELSE '' END
                                    || CASE WHEN i.indoption[k.n - 1] & 2 = 2 THEN ' nulls first' ELSE '' END
                                END, ', ' ORDER BY k.n)
                      FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
                      LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                      LEFT JOIN pg_opclass o ON o.oid = i.indclass[k.n - 1]) || ')',
                  CASE WHEN i.indpred IS NOT NULL THEN 'partial' END,
                  CASE WHEN i.indisvalid AND i.indisready OR c.relkind = 'p' AND {complete} THEN 'valid'
                    WHEN c.relkind = 'p' THEN 'incomplete' ELSE '{INVALID}' END,
                  CASE WHEN i.indisclustered THEN 'clustered' END,
                  CASE WHEN i.indisreplident THEN 'replica identity' END,
                  {options}), NULL
           FROM rel c JOIN pg_index i ON i.indrelid = c.oid
           JOIN pg_class x ON x.oid = i.indexrelid
           JOIN pg_namespace n ON n.oid = x.relnamespace
           JOIN pg_am m ON m.oid = x.relam",
        options = options("x.reloptions"),
    )
}

/// Constraints that a partition has from its parent go with the parent's; `NOT NULL`, which is
/// a constraint since PostgreSQL 18, is a property of the column here.
fn constraints(version: u32, view: &View<'_>) -> String {
    let own = if version >= 110_000 {
        "AND (k.conparentid = 0 OR c.orphan AND k.contype IN ('p', 'u', 'x'))"
    } else {
        ""
    };
    // A foreign key to a table that is not selected is left out.
    let references = if view.chosen.is_of_all_relations() {
        String::new()
    } else {
        format!(
            "AND (k.contype <> 'f' OR EXISTS (SELECT FROM pg_class f WHERE f.oid = k.confrelid AND {}))",
            view.chosen.relations("f")
        )
    };
    format!(
        "SELECT 2606, k.oid, CASE WHEN k.conrelid <> 0 THEN 1259 ELSE 1247 END,
                CASE WHEN k.conrelid <> 0 THEN k.conrelid ELSE k.contypid END,
                CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique constraint'
                  WHEN 'f' THEN 'foreign key' WHEN 'x' THEN 'exclusion constraint'
                  ELSE 'check constraint' END,
                format('%I on %s', k.conname, coalesce(c.name, k.contypid::regtype::text)),
                concat_ws('; ',
                  (SELECT 'of ' || string_agg(quote_ident(a.attname), ', ' ORDER BY p.n)
                     FROM unnest(k.conkey) WITH ORDINALITY p(attnum, n)
                     JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.attnum
                    WHERE k.contype <> 'c'),
                  CASE WHEN k.contype = 'f' THEN 'references ' || k.confrelid::regclass::text
                    || ' (' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY p.n)
                                  FROM unnest(k.confkey) WITH ORDINALITY p(attnum, n)
                                  JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = p.attnum)
                    || ') ' || concat(k.confmatchtype, k.confupdtype, k.confdeltype) END,
                  CASE WHEN k.condeferrable THEN 'deferrable' END,
                  CASE WHEN k.condeferred THEN 'deferred' END,
                  CASE WHEN k.connoinherit AND k.contype = 'c' THEN 'not inherited' END,
                  CASE WHEN NOT k.convalidated THEN 'not validated' END), NULL
           FROM pg_constraint k LEFT JOIN rel c ON c.oid = k.conrelid
          WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') {own} {references}
            AND (c.oid IS NOT NULL
                 OR k.conrelid = 0 AND k.connamespace IN (SELECT n.oid FROM own n)
                    AND (1247, k.contypid) NOT IN (SELECT m.classid::oid, m.objid FROM member m))"
    )
}

fn triggers(version: u32) -> String {
    let own = if version >= 130_000 {
        "AND t.tgparentid = 0"
    } else {
        ""
    };
    format!(
        "SELECT 2620, t.oid, 1259, c.oid, 'trigger', format('%I on %s', t.tgname, c.name),
                concat_ws('; ', {}, 'calls ' || t.tgfoid::regproc::text, 'type ' || t.tgtype,
                  CASE WHEN t.tgconstraint <> 0 THEN 'constraint' END,
                  CASE WHEN t.tgdeferrable THEN 'deferrable' END,
                  CASE WHEN t.tginitdeferred THEN 'deferred' END,
                  CASE WHEN t.tgqual IS NOT NULL THEN 'conditional' END,
                  CASE WHEN t.tgnargs > 0 THEN 'arguments ' || encode(t.tgargs, 'escape') END), NULL
           FROM rel c JOIN pg_trigger t ON t.tgrelid = c.oid
          WHERE NOT t.tgisinternal {own}",
        enabled("t.tgenabled")
    )
}

fn enabled(column: &str) -> String {
    format!(
        "CASE {column} WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled'
           WHEN 'R' THEN 'enabled on replicas' ELSE 'always enabled' END"
    )
}

fn rules() -> String {
    format!(
        "SELECT 2618, r.oid, 1259, c.oid, 'rule', format('%I on %s', r.rulename, c.name),
                concat_ws('; ', {}, 'event ' || r.ev_type::text,
                  CASE WHEN r.is_instead THEN 'instead' END), NULL
           FROM rel c JOIN pg_rewrite r ON r.ev_class = c.oid WHERE r.rulename <> '_RETURN'",
        enabled("r.ev_enabled")
    )
}

fn policies() -> String {
    "SELECT 3256, p.oid, 1259, c.oid, 'policy', format('%I on %s', p.polname, c.name),
            concat_ws('; ', 'for ' || p.polcmd::text,
              CASE WHEN NOT p.polpermissive THEN 'restrictive' END),
            (SELECT json_build_object('roles', json_agg(CASE r WHEN 0 THEN NULL
                      ELSE pg_get_userbyid(r) END))::text FROM unnest(p.polroles) r)
       FROM rel c JOIN pg_policy p ON p.polrelid = c.oid"
        .to_owned()
}

fn functions(version: u32, view: &View<'_>) -> String {
    let kind = if version >= 110_000 {
        "CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure'
           WHEN 'w' THEN 'window function' ELSE 'function' END"
    } else {
        "CASE WHEN p.proisagg THEN 'aggregate' WHEN p.proiswindow THEN 'window function'
           ELSE 'function' END"
    };
    format!(
        "SELECT 1255, p.oid, 0, 0, {kind},
                format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)),
                concat_ws('; ', 'arguments ' || array_to_string(p.proargnames, ', '),
                  'modes ' || array_to_string(p.proargmodes, ''), 'returns ' || pg_get_function_result(p.oid),
                  'language ' || l.lanname, 'volatility ' || p.provolatile::text,
                  'parallel ' || p.proparallel::text,
                  CASE WHEN p.prosecdef THEN 'security definer' END,
                  CASE WHEN p.proisstrict THEN 'strict' END,
                  CASE WHEN p.proleakproof THEN 'leakproof' END,
                  'set ' || array_to_string(p.proconfig, ', '),
                  'body of ' || length(p.prosrc) || ' characters, hash '
                    || hashtext(p.prosrc COLLATE \"C\")), {}
           FROM pg_proc p JOIN own n ON n.oid = p.pronamespace
           JOIN pg_language l ON l.oid = p.prolang
          WHERE (1255, p.oid) NOT IN (SELECT m.classid::oid, m.objid FROM member m)
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 1255 AND d.objid = p.oid
                                                      AND d.deptype = 'i')",
        rights(view, 'f', "p.proacl", "p.proowner")
    )
}

/// Neither array types nor row types nor multiranges: they come with their base.
fn types(view: &View<'_>) -> String {
    format!(
        "SELECT 1247, t.oid, 0, 0,
                CASE t.typtype WHEN 'd' THEN 'domain' WHEN 'e' THEN 'enum' WHEN 'r' THEN 'range type'
                  WHEN 'c' THEN 'composite type' ELSE 'type' END,
                format('%I.%I', n.nspname, t.typname),
                concat_ws('; ',
                  CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
                  CASE WHEN t.typnotnull THEN 'not null' END,
                  (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
                     FROM pg_enum e WHERE e.enumtypid = t.oid),
                  (SELECT 'of ' || r.rngsubtype::regtype::text FROM pg_range r WHERE r.rngtypid = t.oid)),
                {}
           FROM pg_type t JOIN own n ON n.oid = t.typnamespace
          WHERE t.typtype <> 'm' AND t.typisdefined
            AND (t.typrelid = 0 OR EXISTS (SELECT FROM rel c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
            AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
            AND (1247, t.oid) NOT IN (SELECT m.classid::oid, m.objid FROM member m)",
        rights(view, 'T', "t.typacl", "t.typowner")
    )
}

/// By name only: the target may well have a newer version.
fn extensions(view: &View<'_>) -> String {
    format!(
        "SELECT 3079, e.oid, 0, 0, 'extension', quote_ident(e.extname), NULL, NULL
           FROM pg_extension e WHERE {}",
        view.chosen.extensions("e")
    )
}

fn event_triggers() -> String {
    format!(
        "SELECT 3466, e.oid, 0, 0, 'event trigger', quote_ident(e.evtname),
                concat_ws('; ', {}, e.evtevent, 'calls ' || e.evtfoid::regproc::text,
                  array_to_string(e.evttags, ', ')), NULL
           FROM pg_event_trigger e
          WHERE (3466, e.oid) NOT IN (SELECT m.classid::oid, m.objid FROM member m)",
        enabled("e.evtenabled")
    )
}

/// The rest by name, for which PostgreSQL knows how to say it. Identifiers below 16384 are the
/// server's own, and publications named `pghaul` are ours. A cast that belongs to its type, from a
/// range to its multirange, came with PostgreSQL 14. An operator that was only named by another one,
/// and never defined, is none.
fn others(view: &View<'_>) -> String {
    const CATALOGS: [&str; 18] = [
        "pg_am",
        "pg_cast",
        "pg_collation",
        "pg_conversion",
        "pg_foreign_data_wrapper",
        "pg_foreign_server",
        "pg_language",
        "pg_opclass",
        "pg_operator",
        "pg_opfamily",
        "pg_publication",
        "pg_publication_rel",
        "pg_statistic_ext",
        "pg_transform",
        "pg_ts_config",
        "pg_ts_dict",
        "pg_ts_parser",
        "pg_ts_template",
    ];
    let mut selected = match view.chosen.is_of_everything() {
        true => "(i.schema IS NULL OR i.schema IN (SELECT quote_ident(o.nspname) FROM own o))",
        false => "i.schema IN (SELECT quote_ident(o.nspname) FROM own o)",
    }
    .to_owned();
    if !view.chosen.is_of_all_relations() {
        selected += " AND o.class <> 'pg_publication_rel'::regclass";
    }
    let objects: Vec<String> = CATALOGS
        .iter()
        .map(|catalog| {
            let defined = match *catalog {
                "pg_operator" => " WHERE oprcode <> 0",
                _ => "",
            };
            format!("SELECT '{catalog}'::regclass AS class, oid FROM {catalog}{defined}")
        })
        .collect();
    format!(
        "SELECT o.class::oid::bigint, o.oid, 0, 0, i.type, {}, NULL, NULL
           FROM ({}) o CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) i
          WHERE o.oid >= 16384 AND {selected}
            AND i.identity !~ '(^| in publication )\"?pghaul([_\"-]|$)'
            AND (o.class::oid, o.oid) NOT IN (SELECT m.classid::oid, m.objid FROM member m)
            AND NOT EXISTS (SELECT FROM pg_depend d
                             WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'i'
                               AND o.class = 'pg_cast'::regclass)",
        identity("o.class", "o.oid"),
        objects.join(" UNION ALL "),
    )
}

/// Large objects' comments are compared with their content. Those of a subscription outlive it,
/// and older versions fail to say what they are on.
fn comments() -> String {
    format!(
        "SELECT 0, NULL, d.classoid::bigint, d.objoid, 'comment', 'on ' || i.type || ' ' || {},
            'length ' || length(d.description) || ', hash ' || hashtext(d.description COLLATE \"C\"), NULL
       FROM pg_description d
       CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i
      WHERE d.objoid >= 16384 AND d.classoid NOT IN (2613, 3079)
        AND (d.classoid <> 6100 OR d.objoid IN (SELECT s.subid FROM pg_stat_subscription s))
        AND (d.classoid, d.objoid) NOT IN (SELECT m.classid::oid, m.objid FROM member m)",
        identity("d.classoid", "d.objoid")
    )
}

/// What [`pg_identify_object`] calls an object (`i.identity`), in words of our own where it has
/// changed them between versions. Types that became keywords, such as `json`, lost their schema.
///
/// [`pg_identify_object`]: https://www.postgresql.org/docs/current/functions-info.html
fn identity(class: &str, oid: &str) -> String {
    format!(
        "CASE {class}::oid WHEN 'pg_transform'::regclass THEN
           (SELECT format('for %s language %I', format_type(f.trftype, NULL), l.lanname)
              FROM pg_transform f JOIN pg_language l ON l.oid = f.trflang WHERE f.oid = {oid})
         ELSE replace(i.identity, 'pg_catalog.', '') END"
    )
}

/// Named after the role too, see [`Parties`](super::parties::Parties).
fn default_privileges(view: &View<'_>) -> String {
    let everything = view.chosen.is_of_everything();
    format!(
        "SELECT 826, a.oid, 0, 0, '{DEFAULT_PRIVILEGES}',
                concat('for ', a.defaclobjtype, ' in ' || quote_ident(n.nspname)), NULL, {}
           FROM pg_default_acl a LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace
          WHERE CASE a.defaclnamespace WHEN 0 THEN {everything}
                  ELSE a.defaclnamespace IN (SELECT o.oid FROM own o) END",
        grants_within("a.defaclacl", "a.defaclrole")
    )
}

/// The kind of the default privileges of a role.
pub(super) const DEFAULT_PRIVILEGES: &str = "default privileges";
