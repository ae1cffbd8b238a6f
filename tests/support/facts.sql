-- Every fact about this database that a migration must keep and pg_dump's text does not show:
-- one line per fact, names and values as JSON so that no name can break a line.
-- The variable "skip" names a schema to leave out; "oldest" is the older of both servers' major
-- versions and "newest" the newer.

SET search_path = '';
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

-- Before PostgreSQL 16 memberships were inherited as the member said, could always be assumed, and
-- who had granted them did not matter.
SELECT format('membership of %s in %s: %s',
  to_json(pg_get_userbyid(m.member)), to_json(pg_get_userbyid(m.roleid)), jsonb_build_object(
    'admin', m.admin_option,
    'inherit', coalesce(j->>'inherit_option', u.rolinherit::text),
    'set', coalesce(j->>'set_option', 'true'),
    'grantor', CASE WHEN :oldest >= 16 THEN pg_get_userbyid(m.grantor) END))
FROM pg_auth_members AS m JOIN pg_authid AS u ON u.oid = m.member, to_jsonb(m) AS j
WHERE u.rolname !~ '^pg_';

-- Who may set which parameter; PostgreSQL knows this since version 15.
SELECT :oldest >= 15 AS parameters \gset
\if :parameters
SELECT format('parameter %s: %s', to_json(parname),
  (SELECT json_agg(acl::text ORDER BY acl::text) FROM unnest(paracl) AS acl))
FROM pg_parameter_acl;
\endif

SELECT format('extension %s: %s', to_json(extname), extversion) FROM pg_extension
WHERE :oldest = :newest;

SELECT format('setting of %s: %s', json_build_array(
  CASE WHEN s.setdatabase = 0 THEN 'every database' ELSE 'this database' END,
  CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END), to_json(setting))
FROM pg_db_role_setting AS s, unnest(s.setconfig) AS setting
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()));
