-- Every fact about this database that a migration must keep and pg_dump's text does not show:
-- one line per fact, names and values as JSON so that no name can break a line.
-- The variable "skip" names a schema to leave out; "oldest" is the older of both servers' major
-- versions and "newest" the newer.

SET search_path = '';
SET quote_all_identifiers = off;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET IntervalStyle = 'postgres';
SET extra_float_digits = 3;
SET bytea_output = 'hex';
SET lc_monetary = 'C';
SET row_security = off;
SET statement_timeout = 0;

-- Rows of tables (partitions and inheritance children each for themselves) and of populated
-- materialized views: their number, and the sums of both halves of each row's MD5. Sums do not
-- depend on the order, and unlike XOR they notice a pair of equal rows. Columns go by name,
-- because dump and restore may reorder those of an inheritance child. Floating-point numbers go
-- in binary, because PostgreSQL 12 changed how they print; within other types only fifteen digits
-- count if that change lies between both servers, as it does for "char" and PostgreSQL 16.
SELECT :oldest < 12 AND :newest >= 12 AS floats_differ \gset
\if :floats_differ
SET extra_float_digits = 0;
\endif
SELECT format(
  $$SELECT %L || count(*) || ' rows, '
      || coalesce(sum(('x' || left(hash, 16))::bit(64)::bigint::numeric), 0) || ' '
      || coalesce(sum(('x' || right(hash, 16))::bit(64)::bigint::numeric), 0)
    FROM (SELECT md5(ROW(%s)::text) AS hash FROM ONLY %I.%I AS t) AS hashes$$,
  format('rows of %s: ', json_build_array(n.nspname, c.relname)),
  (SELECT string_agg(format(
      CASE WHEN s.proname IN ('float4send', 'float8send', 'point_send', 'lseg_send', 'path_send',
          'box_send', 'poly_send', 'line_send', 'circle_send', 'charsend')
        THEN t.typsend::text || '(t.%I)' ELSE 't.%I' END, a.attname), ', ' ORDER BY a.attname)
   FROM pg_attribute AS a
   JOIN pg_type AS t ON t.oid = a.atttypid
   LEFT JOIN pg_type AS e ON t.typsend = 'pg_catalog.array_send'::regproc AND e.oid = t.typelem AND e.oid < 16384
   LEFT JOIN pg_proc AS s ON s.oid = coalesce(e.typsend, t.typsend)
   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  n.nspname, c.relname)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', :'skip')
\gexec

SELECT format('materialized view %s populated: %s',
  json_build_array(n.nspname, c.relname), c.relispopulated)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND n.nspname <> :'skip';

-- Sequences: where they stand.
SELECT format('SELECT %L || json_build_array(last_value, is_called) FROM %I.%I',
  format('sequence %s: ', json_build_array(n.nspname, c.relname)), n.nspname, c.relname)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname <> :'skip'
\gexec

-- Large objects.
SELECT format('large object %s: %s', l.oid, json_build_array(
  md5(lo_get(l.oid)), pg_get_userbyid(l.lomowner),
  ARRAY(SELECT acl::text FROM unnest(l.lomacl) AS acl ORDER BY 1),
  obj_description(l.oid, 'pg_largeobject')))
FROM pg_largeobject_metadata AS l;

-- Indexes: usable, and in their roles.
SELECT format('index %s: %s', json_build_array(n.nspname, c.relname), json_build_array(
  i.indisvalid, i.indisready, i.indislive, i.indisclustered, i.indisreplident, i.indimmediate))
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> :'skip';

-- Constraints: checked or not yet. NOT NULL is one since PostgreSQL 18, and the names of those
-- that come with another one have changed.
SELECT format('constraint %s: %s',
  json_build_array(n.nspname, coalesce(r.relname, t.typname), c.conname),
  json_build_array(c.contype, c.convalidated, c.condeferrable, c.condeferred))
FROM pg_constraint AS c
JOIN pg_namespace AS n ON n.oid = c.connamespace
LEFT JOIN pg_class AS r ON r.oid = c.conrelid LEFT JOIN pg_type AS t ON t.oid = c.contypid
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', :'skip')
  AND (c.contype <> 'n' OR :oldest >= 18)
  AND (:oldest = :newest OR coalesce(to_jsonb(c)->>'conparentid', '0') = '0');

-- Triggers, internal ones by number: fired or not, on which side of replication. How many internal
-- ones a foreign key or a partition has changed with almost every version.
SELECT format('triggers %s: %s', json_build_array(n.nspname, c.relname),
  json_agg(json_build_array(CASE WHEN NOT t.tgisinternal THEN t.tgname END, t.tgenabled)
    ORDER BY t.tgisinternal, CASE WHEN NOT t.tgisinternal THEN t.tgname END, t.tgenabled))
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname <> :'skip'
  AND (:oldest = :newest OR NOT t.tgisinternal AND NOT c.relispartition)
GROUP BY n.nspname, c.relname;

-- Keys whose triggers somebody has disabled or bound to one side of replication.
SELECT format('triggers of key %s on %s: %s', k.conname, t.tgrelid::regclass, json_agg(DISTINCT t.tgenabled))
FROM pg_trigger AS t JOIN pg_constraint AS k ON k.oid = t.tgconstraint
WHERE t.tgisinternal AND t.tgenabled <> 'O' AND k.contype <> 't'
GROUP BY k.conname, t.tgrelid;

SELECT format('event trigger %s: %s', to_json(evtname), json_build_array(evtevent, evtenabled))
FROM pg_event_trigger;

-- Subscriptions: off, and without a slot to drop.
SELECT format('subscription %s: %s', to_json(subname), json_build_array(subenabled, subslotname))
FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());

-- The database itself, apart from its name. The locale's provider came with PostgreSQL 15, its
-- locale and rules have changed their names since.
SELECT format('database: %s', jsonb_build_object(
  'encoding', pg_encoding_to_char(d.encoding),
  'datcollate', d.datcollate, 'datctype', d.datctype,
  'provider', coalesce(j->>'datlocprovider', 'c'),
  'locale', coalesce(j->>'datlocale', j->>'daticulocale'),
  'rules', j->>'daticurules',
  'datistemplate', d.datistemplate, 'datallowconn', d.datallowconn, 'datconnlimit', d.datconnlimit,
  'datdba', pg_get_userbyid(d.datdba),
  'dattablespace', (SELECT spcname FROM pg_tablespace AS s WHERE s.oid = d.dattablespace),
  'datacl', ARRAY(SELECT acl::text FROM unnest(d.datacl) AS acl ORDER BY 1),
  'comment', shobj_description(d.oid, 'pg_database')))
FROM pg_database AS d, to_jsonb(d) AS j WHERE d.datname = current_database();

-- Roles: what they may, their password's hash, their groups and their settings.
-- That of the first role, under which initdb made the server, is its own.
SELECT format('role %s: %s', to_json(rolname),
  to_jsonb(r) - 'oid' - CASE WHEN r.oid = 10 THEN 'rolpassword' ELSE '' END
  || jsonb_build_object('comment', shobj_description(r.oid, 'pg_authid')))
FROM pg_authid AS r WHERE rolname !~ '^pg_';

-- Before PostgreSQL 16 memberships were inherited as the member said and could always be assumed;
-- who had granted them did not matter, so that a newer server does not take it over.
SELECT format('membership of %s in %s: %s',
  to_json(pg_get_userbyid(m.member)), to_json(pg_get_userbyid(m.roleid)), jsonb_build_object(
    'admin', m.admin_option,
    'inherit', coalesce(j->>'inherit_option', u.rolinherit::text),
    'set', coalesce(j->>'set_option', 'true'),
    'grantor', CASE WHEN :oldest >= 16 OR :newest < 16 THEN pg_get_userbyid(m.grantor) END))
FROM pg_auth_members AS m JOIN pg_authid AS u ON u.oid = m.member, to_jsonb(m) AS j
WHERE u.rolname !~ '^pg_';

-- Who may set which parameter; PostgreSQL knows this since version 15.
SELECT :oldest >= 15 AS parameters \gset
\if :parameters
SELECT format('parameter %s: %s', to_json(parname),
  (SELECT json_agg(acl::text ORDER BY acl::text) FROM unnest(paracl) AS acl))
FROM pg_parameter_acl;
\endif

-- What everything is for. Members of extensions have the comments of their version. Which words
-- are quoted, and how a transform is named, differ from version to version.
SELECT format('comment on %s %s: %s', i.type,
  CASE WHEN :oldest = :newest THEN i.identity ELSE regexp_replace(i.identity, '"|pg_catalog[.]| on(?= language )', '', 'g') END,
  to_json(d.description))
FROM (SELECT * FROM pg_description WHERE classoid <> 'pg_subscription'::regclass
    OR objoid IN (SELECT oid FROM pg_subscription) OFFSET 0) AS d, -- that of a dropped one stays
  pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
WHERE (d.objoid >= 16384 OR d.classoid = 'pg_extension'::regclass OR i.identity = 'public')
  AND i.schema IS DISTINCT FROM :'skip' AND i.identity <> :'skip'
  AND (:oldest = :newest OR NOT EXISTS (SELECT FROM pg_depend AS m
    WHERE m.classid = d.classoid AND m.objid = d.objoid AND m.deptype = 'e'));

-- Who may do what, by whom and whether to be handed on; what nobody has changed is the default.
-- Of what belongs to the server, only what was changed since it was made, if that is known. The
-- right to maintain came with PostgreSQL 17, multiranges with 14.
SELECT format('privileges on %s %s of %s: %s', i.type,
  CASE WHEN :oldest = :newest THEN i.identity ELSE replace(i.identity, '"', '') END, pg_get_userbyid(o.owner), (
    SELECT json_agg(json_build_array(pg_get_userbyid(nullif(x.grantee, 0)), x.privilege_type, x.is_grantable,
        pg_get_userbyid(x.grantor)) ORDER BY x.grantee <> 0, pg_get_userbyid(x.grantee), x.privilege_type,
        pg_get_userbyid(x.grantor), x.is_grantable)
    FROM aclexplode(coalesce(o.acl, acldefault(o.kind, o.owner))) AS x
    WHERE :oldest >= 17 OR :newest < 17 OR x.privilege_type <> 'MAINTAIN'))
FROM (
  SELECT 'pg_class'::regclass, oid, 0, relowner, relacl, (CASE relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char"
  FROM pg_class WHERE relkind NOT IN ('i', 'I', 't', 'c')
  UNION ALL SELECT 'pg_class'::regclass, c.oid, a.attnum, c.relowner, a.attacl, 'c'
  FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid WHERE a.attacl IS NOT NULL
  UNION ALL SELECT 'pg_proc'::regclass, p.oid, 0, p.proowner, p.proacl, 'f' FROM pg_proc AS p
  WHERE :oldest >= 14 OR NOT EXISTS (SELECT FROM pg_depend AS d JOIN pg_type AS t ON t.oid = d.refobjid
    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i' AND t.typtype = 'm')
    AND NOT EXISTS (SELECT FROM pg_type AS t WHERE t.oid = p.prorettype AND t.typtype = 'm')
  UNION ALL SELECT 'pg_type'::regclass, t.oid, 0, t.typowner, t.typacl, 'T' FROM pg_type AS t
  WHERE NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid)
    AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
    AND (:oldest >= 14 OR t.typtype <> 'm')
  UNION ALL SELECT 'pg_namespace'::regclass, oid, 0, nspowner, nspacl, 'n' FROM pg_namespace
  UNION ALL SELECT 'pg_language'::regclass, oid, 0, lanowner, lanacl, 'l' FROM pg_language
  UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, 0, fdwowner, fdwacl, 'F' FROM pg_foreign_data_wrapper
  UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 0, srvowner, srvacl, 'S' FROM pg_foreign_server
) AS o (class, oid, sub, owner, acl, kind)
LEFT JOIN pg_init_privs AS p ON p.classoid = o.class AND p.objoid = o.oid AND p.objsubid = o.sub,
  pg_identify_object(o.class, o.oid, o.sub) AS i
WHERE i.schema IS DISTINCT FROM :'skip' AND i.identity <> :'skip' AND coalesce(i.schema, '') !~ '^pg_(toast|temp)'
  AND i.identity !~ '^pg_(toast|temp)'
  AND CASE
    WHEN i.identity = 'public' THEN true
    WHEN 'information_schema' IN (i.schema, i.identity) THEN :oldest = :newest
    WHEN o.oid < 16384 OR :oldest <> :newest AND EXISTS (SELECT FROM pg_depend AS m
        WHERE m.classid = o.class AND m.objid = o.oid AND m.deptype = 'e')
      THEN ARRAY(SELECT a::text FROM unnest(o.acl) AS a ORDER BY 1)
        IS DISTINCT FROM ARRAY(SELECT a::text FROM unnest(p.initprivs) AS a ORDER BY 1)
    ELSE true
    END;

SELECT format('privileges by default: %s', json_build_array(pg_get_userbyid(d.defaclrole), n.nspname,
  d.defaclobjtype, ARRAY(SELECT json_build_array(pg_get_userbyid(nullif(x.grantee, 0)), x.privilege_type,
    x.is_grantable, pg_get_userbyid(x.grantor))::text FROM aclexplode(d.defaclacl) AS x
    WHERE :oldest >= 17 OR :newest < 17 OR x.privilege_type <> 'MAINTAIN' ORDER BY 1)))
FROM pg_default_acl AS d LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace;

-- What goes with an extension although it is no part of it, and which column each sequence serves.
SELECT CASE WHEN :oldest = :newest THEN line ELSE replace(line, '"', '') END
FROM (SELECT * FROM pg_depend WHERE deptype IN ('x', 'a', 'i') OFFSET 0) AS d,
  pg_identify_object(d.classid, d.objid, d.objsubid) AS i,
  pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) AS r,
  format('%s %s of %s %s: %s', i.type, i.identity, r.type, r.identity, d.deptype) AS line
WHERE d.deptype = 'x' OR i.type = 'sequence' AND d.refobjsubid > 0 AND i.schema <> :'skip';

SELECT format('setting of %s: %s', json_build_array(
  CASE WHEN s.setdatabase = 0 THEN 'every database' ELSE 'this database' END,
  CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END), to_json(setting))
FROM pg_db_role_setting AS s, unnest(s.setconfig) AS setting
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()));
