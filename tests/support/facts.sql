-- Every fact about this database that a migration must keep and pg_dump's text does not show:
-- one line per fact, names and values as JSON so that no name can break a line.
-- The variable "skip" names a schema to leave out.

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
-- because dump and restore may reorder those of an inheritance child.
SELECT format(
  $$SELECT %L || count(*) || ' rows, '
      || coalesce(sum(('x' || left(hash, 16))::bit(64)::bigint::numeric), 0) || ' '
      || coalesce(sum(('x' || right(hash, 16))::bit(64)::bigint::numeric), 0)
    FROM (SELECT md5(ROW(%s)::text) AS hash FROM ONLY %I.%I AS t) AS hashes$$,
  format('rows of %s: ', json_build_array(n.nspname, c.relname)),
  (SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY a.attname)
   FROM pg_attribute AS a
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

-- Constraints: checked or not yet.
SELECT format('constraint %s: %s',
  json_build_array(n.nspname, coalesce(r.relname, t.typname), c.conname),
  json_build_array(c.contype, c.convalidated, c.condeferrable, c.condeferred))
FROM pg_constraint AS c
JOIN pg_namespace AS n ON n.oid = c.connamespace
LEFT JOIN pg_class AS r ON r.oid = c.conrelid LEFT JOIN pg_type AS t ON t.oid = c.contypid
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', :'skip');

-- Triggers, internal ones by number: fired or not, on which side of replication.
SELECT format('triggers %s: %s', json_build_array(n.nspname, c.relname),
  json_agg(json_build_array(CASE WHEN NOT t.tgisinternal THEN t.tgname END, t.tgenabled)
    ORDER BY t.tgisinternal, CASE WHEN NOT t.tgisinternal THEN t.tgname END, t.tgenabled))
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname <> :'skip'
GROUP BY n.nspname, c.relname;

SELECT format('event trigger %s: %s', to_json(evtname), json_build_array(evtevent, evtenabled))
FROM pg_event_trigger;

-- The database itself, apart from its name.
SELECT format('database: %s', to_jsonb(d)
  - '{oid,datname,datfrozenxid,datminmxid,datlastsysoid,datcollversion,dathasloginevt}'::text[]
  || jsonb_build_object(
    'datdba', pg_get_userbyid(d.datdba),
    'dattablespace', (SELECT spcname FROM pg_tablespace AS s WHERE s.oid = d.dattablespace),
    'datacl', ARRAY(SELECT acl::text FROM unnest(d.datacl) AS acl ORDER BY 1),
    'comment', shobj_description(d.oid, 'pg_database')))
FROM pg_database AS d WHERE d.datname = current_database();

-- Roles: what they may, their password's hash, their groups and their settings.
SELECT format('role %s: %s', to_json(rolname), to_jsonb(r) - 'oid'
  || jsonb_build_object('comment', shobj_description(r.oid, 'pg_authid')))
FROM pg_authid AS r WHERE rolname !~ '^pg_';

SELECT format('membership of %s in %s: %s',
  to_json(pg_get_userbyid(m.member)), to_json(pg_get_userbyid(m.roleid)),
  to_jsonb(m) - '{oid,roleid,member,grantor}'::text[]
    || jsonb_build_object('grantor', pg_get_userbyid(m.grantor)))
FROM pg_auth_members AS m WHERE pg_get_userbyid(m.member) !~ '^pg_';

SELECT format('setting of %s: %s', json_build_array(
  CASE WHEN s.setdatabase = 0 THEN 'every database' ELSE 'this database' END,
  CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END), to_json(setting))
FROM pg_db_role_setting AS s, unnest(s.setconfig) AS setting
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()));
