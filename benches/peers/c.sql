-- Many small tables: 2,000 of 100 rows, each with a primary key and one more index.
SELECT format($$
  CREATE TABLE small_%1$s (id int PRIMARY KEY, kind int, name text, amount numeric(12,2), at timestamptz DEFAULT now());
  INSERT INTO small_%1$s SELECT i, i %% 10, 'row ' || i, i * 1.5, timestamptz '2022-01-01 00:00+00' + i * interval '1 h'
    FROM generate_series(1, 100) AS i;
  CREATE INDEX small_%1$s_kind ON small_%1$s (kind)$$, t)
FROM generate_series(1, (2000 * :scale)::int) AS t \gexec
VACUUM ANALYZE;
