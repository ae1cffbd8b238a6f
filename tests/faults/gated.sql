-- A database whose migration a test can stop: the target's server waits inside a CHECK of a row
-- in the middle of a table, inside the build of an index, inside a refresh, as long as a file
-- exists in a folder: one for all databases, or one for this one. The tables of pgbench are there
-- already.
-- psql variable: folder.

CREATE SCHEMA gate;

SELECT format($format$
  CREATE FUNCTION gate.pass(value int, name text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
  BEGIN
    WHILE (pg_catalog.pg_stat_file(%1$L || '/' || name, true)).size IS NOT NULL
      OR (pg_catalog.pg_stat_file(
        %1$L || '/' || pg_catalog.current_database() || '.' || name, true)).size IS NOT NULL
    LOOP
      PERFORM pg_catalog.pg_sleep(0.02);
    END LOOP;
    RETURN value;
  END $$ $format$, :'folder')
\gexec

-- After pgbench_accounts the largest table, so that one lane comes to it second.
CREATE TABLE gate.big (
  id int PRIMARY KEY CHECK (CASE id WHEN 20000 THEN gate.pass(id, 'copy') ELSE id END = id),
  filler text NOT NULL
);
INSERT INTO gate.big SELECT i, repeat(md5(i::text), 3) FROM generate_series(1, 40000) AS i;
ALTER TABLE gate.big CLUSTER ON big_pkey;
ALTER TABLE pgbench_accounts CLUSTER ON pgbench_accounts_pkey;

CREATE TABLE gate.indexed (id int);
INSERT INTO gate.indexed SELECT generate_series(1, 100);
CREATE INDEX waiting ON gate.indexed (gate.pass(id, 'index'));
CREATE MATERIALIZED VIEW gate.seen AS SELECT gate.pass(id, 'refresh') AS id FROM gate.indexed;

CREATE UNLOGGED TABLE gate.unlogged (id bigserial PRIMARY KEY, note text);
INSERT INTO gate.unlogged (note) SELECT 'note ' || i FROM generate_series(1, 5000) AS i;

CREATE TABLE gate."Odd ""name""" ("the id" int GENERATED ALWAYS AS IDENTITY, "when" timestamptz);
INSERT INTO gate."Odd ""name""" ("when") SELECT 'epoch'::timestamptz + i * interval '1 day 1 second'
FROM generate_series(1, 1000) AS i;

SELECT lo_from_bytea(4200 + i, convert_to(repeat('large ' || i, 2000), 'UTF8'))
FROM generate_series(1, 5) AS i \g /dev/null

ANALYZE;
