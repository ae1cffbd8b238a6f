-- One narrow table: 20 million rows, a primary key and two more indexes.
SELECT (20000000 * :scale)::bigint AS rows \gset
CREATE TABLE reading (id int8 NOT NULL, sensor int8 NOT NULL, value float8, at timestamptz);
INSERT INTO reading
  SELECT g, g * 2654435761 % 1000000007, random() * 1e6, timestamptz '2020-01-01 00:00+00' + g * interval '1 s'
  FROM generate_series(1::bigint, :rows) AS g;
ALTER TABLE reading ADD PRIMARY KEY (id);
CREATE INDEX ON reading (sensor);
CREATE INDEX ON reading (at);
VACUUM ANALYZE;
