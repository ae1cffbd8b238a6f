-- TOAST: 200,000 rows of about 8 kB that do not compress, half text, half bytea.
CREATE EXTENSION pgcrypto;
CREATE TABLE document (id bigint PRIMARY KEY, kind int, body text, scan bytea);
INSERT INTO document
  SELECT g, g % 10,
    CASE g % 2 WHEN 0 THEN (SELECT string_agg(encode(gen_random_bytes(768), 'base64'), '')
                            FROM generate_series(1, 8) WHERE g > 0) END,
    CASE g % 2 WHEN 1 THEN (SELECT string_agg(gen_random_bytes(1024), ''::bytea)
                            FROM generate_series(1, 8) WHERE g > 0) END
  FROM generate_series(1, (200000 * :scale)::int) AS g;
CREATE INDEX ON document (kind);
VACUUM ANALYZE;
