-- One object of each kind that is committed on its own.
CREATE TABLE parent (id int PRIMARY KEY, name text UNIQUE);
CREATE TABLE child (id bigserial PRIMARY KEY, parent int REFERENCES parent, note text);
CREATE INDEX ON child (parent);
INSERT INTO parent SELECT i, 'parent ' || i FROM generate_series(1, 100) AS i;
INSERT INTO child (parent, note) SELECT 1 + i % 100, 'note ' || i FROM generate_series(1, 500) AS i;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touched BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION touch();
CREATE MATERIALIZED VIEW counted AS SELECT parent, count(*) FROM child GROUP BY parent;
COMMENT ON TABLE child IS 'of a parent';
GRANT SELECT ON child TO PUBLIC;
DO 'BEGIN PERFORM lo_from_bytea(4242, ''large''); END';
