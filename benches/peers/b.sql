-- Wide rows of mixed types: a fact table of 30 columns with five indexes, a foreign key, a check.
SELECT (1200000 * :scale)::int AS facts \gset
CREATE TYPE weather AS ENUM ('sun', 'cloud', 'rain', 'snow', 'fog');
CREATE TABLE station (
  id int PRIMARY KEY, code text NOT NULL UNIQUE, title varchar(60), opened date, properties jsonb);
INSERT INTO station
  SELECT i, 'S' || i, 'station ' || i, date '2019-03-01' + i % 1400,
    jsonb_build_object('no', i, 'lines', jsonb_build_array('u', 's', i % 9))
  FROM generate_series(1, 10000) AS i;
CREATE SEQUENCE fact_id;
CREATE TABLE fact (
  id bigint PRIMARY KEY DEFAULT nextval('fact_id'), station int NOT NULL,
  s smallint, i int, b bigint, f real, d double precision, price numeric(18,4), ratio numeric,
  short text, middle varchar(200), long text, fixed char(8),
  seen timestamptz NOT NULL, local timestamp, day date, clock time,
  tag uuid NOT NULL, body jsonb, raw json, bytes bytea, numbers int[], words text[],
  sky weather, valid boolean, address inet, span interval,
  rare text, rarer int, never timestamptz);
ALTER SEQUENCE fact_id OWNED BY fact.id;
INSERT INTO fact
  SELECT nextval('fact_id'), 1 + (g::bigint * 6151) % 10000, g % 31000, hashint4(g), g::bigint * 999983,
    (g % 900) / 11.0, random() * 1e8, (random() * 1e8)::numeric(18,4), g::numeric * 2.718281828459 / 9,
    'short ' || g % 1200, repeat(md5(g::text), 1 + g % 4),
    CASE WHEN g % 3 > 0 THEN repeat(md5((g + 1)::text) || ' and so on and on ', 2 + g % 8) END,
    lpad((g % 99999)::text, 8),
    timestamptz '2022-02-01 00:00+00' + g * interval '1.000321 s',
    timestamp '2022-02-01' + g % 900000 * interval '1 s', date '2001-01-01' + g % 8000,
    time '00:00:02' + g % 85000 * interval '1 s', md5('u' || g)::uuid,
    jsonb_build_object('id', g, 'name', 'n' || g % 900, 'v', round(random()::numeric, 5),
      'in', jsonb_build_object('a', g % 10, 'b', ARRAY[3, 4, g % 6])),
    json_build_object('x', g, 'y', 'xyz' || g % 88), decode(md5(g::text) || md5((g + 5)::text), 'hex'),
    ARRAY[g % 9, g % 99, g % 999],
    CASE WHEN g % 5 > 0 THEN ARRAY['w' || g % 10, 'a "quote"', 'com,ma'] END,
    (enum_range(NULL::weather))[1 + g % 5], g % 2 = 0,
    ('10.' || g % 256 || '.' || g / 256 % 256 || '.7')::inet, g % 1000 * interval '1 min',
    CASE WHEN g % 10 = 0 THEN 'x' END, CASE WHEN g % 20 = 0 THEN g END, NULL
  FROM generate_series(1, :facts) AS g;
CREATE INDEX ON fact (station);
CREATE INDEX ON fact (seen);
CREATE UNIQUE INDEX ON fact (tag);
CREATE INDEX ON fact (short, i);
ALTER TABLE fact ADD FOREIGN KEY (station) REFERENCES station, ADD CHECK (s >= 0);
VACUUM ANALYZE;
