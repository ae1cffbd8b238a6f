-- Every attribute of every object, as the system catalogs hold it: one line per row of a catalog,
-- with names in place of identifiers. Written for two servers of one major version, 14 or newer,
-- which is when PostgreSQL began to say which columns refer to which catalogs.
--
-- Left out are expressions, which name objects by identifier and which pg_dump prints; privileges,
-- which facts.sql reads; and what is the server's own affair: numbers of columns, storage, counts,
-- hints that nobody clears, versions of columns, operators that were only
-- named by others, versions and encodings of collations, dimensions that nobody checks, who created an
-- extension, which no statement changes, and what pg_dump says of keys and NOT NULL alone: whether
-- they could be, or are, inherited.

SET search_path = '';
SET quote_all_identifiers = off;

SELECT coalesce(json_object_agg(format('%s.%s', r.fktable, r.fkcols[cardinality(r.fkcols)]),
  json_build_array(r.pktable, r.is_array, r.fkcols[1], cardinality(r.fkcols))), '{}') AS refers
FROM pg_get_catalog_foreign_keys() AS r \gset

WITH catalog (name, identity, condition) AS (VALUES
  ('pg_aggregate', 'pg_proc.aggfnoid', 'true'),
  ('pg_am', 'pg_am.oid', 'true'),
  ('pg_amop', 'pg_amop.oid', 'true'),
  ('pg_amproc', 'pg_amproc.oid', 'true'),
  ('pg_attrdef', 'pg_attrdef.oid', 'true'),
  ('pg_attribute', 'pg_class.attrelid', $$attnum > 0 AND NOT attisdropped
     AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = attrelid AND c.relkind NOT IN ('i', 'I', 't'))$$),
  ('pg_cast', 'pg_cast.oid', 'true'),
  ('pg_class', 'pg_class.oid', $$relkind <> 't'$$),
  ('pg_collation', 'pg_collation.oid', 'true'),
  ('pg_constraint', 'pg_constraint.oid', 'true'),
  ('pg_conversion', 'pg_conversion.oid', 'true'),
  ('pg_event_trigger', 'pg_event_trigger.oid', 'true'),
  ('pg_extension', 'pg_extension.oid', 'true'),
  ('pg_foreign_data_wrapper', 'pg_foreign_data_wrapper.oid', 'true'),
  ('pg_foreign_server', 'pg_foreign_server.oid', 'true'),
  ('pg_foreign_table', 'pg_class.ftrelid', 'true'),
  ('pg_index', 'pg_class.indexrelid', $$indrelid::regclass::text !~ '^pg_toast'$$),
  ('pg_inherits', 'pg_class.inhrelid', 'true'),
  ('pg_language', 'pg_language.oid', 'true'),
  ('pg_namespace', 'pg_namespace.oid', $$nspname !~ '^pg_'$$),
  ('pg_opclass', 'pg_opclass.oid', 'true'),
  ('pg_operator', 'pg_operator.oid', 'oprcode <> 0'),
  ('pg_opfamily', 'pg_opfamily.oid', 'true'),
  ('pg_partitioned_table', 'pg_class.partrelid', 'true'),
  ('pg_policy', 'pg_policy.oid', 'true'),
  ('pg_proc', 'pg_proc.oid', 'true'),
  ('pg_publication', 'pg_publication.oid', 'true'),
  ('pg_publication_namespace', 'pg_publication_namespace.oid', 'true'),
  ('pg_publication_rel', 'pg_publication_rel.oid', 'true'),
  ('pg_range', 'pg_type.rngtypid', 'true'),
  ('pg_rewrite', 'pg_rewrite.oid', 'true'),
  ('pg_sequence', 'pg_class.seqrelid', 'true'),
  ('pg_statistic_ext', 'pg_statistic_ext.oid', 'true'),
  ('pg_transform', 'pg_transform.oid', 'true'),
  ('pg_trigger', 'pg_trigger.oid', 'NOT tgisinternal'),
  ('pg_ts_config', 'pg_ts_config.oid', 'true'),
  ('pg_ts_dict', 'pg_ts_dict.oid', 'true'),
  ('pg_ts_parser', 'pg_ts_parser.oid', 'true'),
  ('pg_ts_template', 'pg_ts_template.oid', 'true'),
  ('pg_type', 'pg_type.oid', 'true'),
  ('pg_user_mapping', 'pg_user_mapping.oid', 'true')),
attribute AS (
  SELECT c.*, a.attname, a.attnum, :'refers'::json -> format('%s.%s', c.name, a.attname) AS reference
  FROM catalog AS c JOIN pg_attribute AS a ON a.attrelid = to_regclass('pg_catalog.' || c.name)
  WHERE a.attnum > 0 AND NOT a.attisdropped
    AND a.atttypid NOT IN ('pg_node_tree'::regtype, 'aclitem[]'::regtype)
    AND a.attname NOT IN ('oid', 'attnum', 'attcacheoff', 'attmissingval', 'atthasmissing', 'attndims',
      'collencoding', 'collversion', 'extowner', 'indcheckxmin', 'objsubid', 'relallfrozen', 'relallvisible',
      'relfilenode', 'relfrozenxid', 'relhasindex', 'relhasrules', 'relhassubclass', 'relhastriggers',
      'relminmxid', 'relnatts', 'relpages', 'relrewrite', 'reltoastrelid', 'reltuples')),
expression AS (
  SELECT *, CASE
    WHEN attname = 'connoinherit' THEN $$to_jsonb(r.connoinherit AND r.contype NOT IN ('p', 'u', 'x'))$$
    WHEN attname = 'conislocal' THEN $$to_jsonb(r.conislocal OR r.contype = 'n')$$
    WHEN attname ~ 'options$' THEN format(
      $$(SELECT jsonb_agg(o ORDER BY o) FROM unnest(r.%I) AS o WHERE o !~ '^pg_attver=')$$, attname)
    WHEN reference IS NULL THEN format('to_jsonb(r.%I)', attname)
    WHEN reference->>3 = '2' AND reference->>0 = 'pg_attribute' THEN format(
      '(SELECT jsonb_agg(a.attname ORDER BY u.n) FROM unnest(%s) WITH ORDINALITY AS u (attnum, n)
          LEFT JOIN pg_attribute AS a ON a.attrelid = r.%I AND a.attnum = u.attnum)',
      CASE WHEN reference->>1 = 'true' THEN format('r.%I::int2[]', attname) ELSE format('ARRAY[r.%I]', attname) END,
      reference->>2)
    WHEN reference->>1 = 'true' THEN format(
      '(SELECT jsonb_agg(%s) FROM unnest(r.%I::oid[]) WITH ORDINALITY AS u (oid, n)
          LEFT JOIN LATERAL pg_identify_object(%L::regclass, u.oid, 0) AS i ON true)',
      CASE attname WHEN 'polroles' THEN 'DISTINCT i.identity' ELSE 'i.identity ORDER BY u.n' END, attname, reference->>0)
    ELSE format('to_jsonb((pg_identify_object(%L::regclass, nullif(r.%I::oid, 0), 0)).identity)', reference->>0, attname)
    END AS expression
  FROM attribute)
SELECT format(
  $$SELECT format('%s %%s: %%s', i.identity, jsonb_build_object(%s)) FROM %s AS r,
      pg_identify_object(%L::regclass, r.%I::oid, 0) AS i
    WHERE r.%5$I::oid >= 16384 AND %s AND coalesce(i.schema, '') !~ '^pg_' AND i.schema IS DISTINCT FROM %L
      AND i.identity <> %7$L AND i.identity !~ %L$$,
  name, string_agg(format('%L, %s', attname, expression), ', ' ORDER BY attnum), name,
  split_part(identity, '.', 1), split_part(identity, '.', 2), condition, :'skip',
  CASE :'skip' WHEN '' THEN '^$' ELSE '(^| )' || :'skip' || '\.' END)
FROM expression GROUP BY name, identity, condition
\gexec

-- Options of what lies beside a table.
SELECT format('options of the large values of %s: %s', c.oid::regclass, t.reloptions)
FROM pg_class AS c JOIN pg_class AS t ON t.oid = c.reltoastrelid
WHERE c.oid >= 16384 AND t.reloptions IS NOT NULL;
