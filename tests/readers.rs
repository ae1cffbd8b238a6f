//! Programs that know nothing of pghaul read the files of a spool: numbers as numbers, times as
//! times, text as text.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{Pair, installed, pg};

/// Rows of every type that has a native column.
const ROWS: &str = "
CREATE TABLE goods (
    id bigint, small smallint, middle int, price numeric(12, 2), share double precision,
    short real, name text, code varchar(8), kind char(3), fine boolean, day date,
    moment timestamp, at timestamptz, clock time, data jsonb, plain json, tag uuid, bytes bytea,
    numbers int[], words text[]);
INSERT INTO goods
SELECT n, -n, n * 1000003, n * 12345.67, n / 7.0 + 0.5, n / 4.0 + 0.125, 'name ' || n || ' é 🐘', 'c' || n,
       'x', n % 2 = 0, date '2024-02-28' + n, timestamp '1999-12-31 23:59:59.987654' + n * interval '1 h',
       timestamptz '2038-01-19 03:14:07.000001+02' + n * interval '1 day', time '12:34:56.789012',
       jsonb_build_object('n', n, 'list', jsonb_build_array(n, null, 'x')), '{\"a\": 1}',
       ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, decode('00ff10', 'hex'),
       ARRAY[n, NULL, n + 1], ARRAY['a', 'b ' || n]
FROM generate_series(1, 40) AS n;
INSERT INTO goods (id) VALUES (0)";

/// The rows as PostgreSQL prints them, in the forms of `read.py`.
const EXPECTED: &str = "
SELECT row_to_json(r) FROM (
    SELECT id, small, middle, CASE WHEN price IS NOT NULL THEN
               json_build_object('decimal', price::text) END AS price, share, short, name, code,
           kind, fine, day, to_char(moment, 'YYYY-MM-DD\"T\"HH24:MI:SS.US') AS moment,
           to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || '+00:00' AS at, clock,
           data::text, plain::text, tag, CASE WHEN bytes IS NOT NULL THEN
               json_build_object('bytes', encode(bytes, 'base64')) END AS bytes, numbers, words
    FROM goods) AS r ORDER BY id";

const READERS: [&str; 4] = ["pyarrow", "duckdb", "polars", "datafusion"];

/// The files of the only table of a spool.
fn files(spool: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for part in std::fs::read_dir(format!("{spool}/parts")).expect("parts") {
        let part = part.expect("a part").path();
        for file in std::fs::read_dir(part).expect("files") {
            found.push(file.expect("a file").path());
        }
    }
    found
}

/// The rows as a program reads them, by their identifiers.
fn read(reader: &str, files: &[PathBuf]) -> Vec<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/readers/read.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(reader).args(files);
    python.env("PYTHONPATH", installed("readers", "scripts/readers"));
    let printed = pg::run(&mut python).unwrap_or_else(|error| panic!("{reader}: {error}"));
    let lines = printed.lines();
    let mut rows: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    rows.sort_by_key(|row| row["id"].as_i64());
    rows
}

#[test]
fn other_programs_read_the_files_of_a_spool() {
    let pair = Pair::start();
    pair.source.create_db("goods");
    pair.source.psql("goods", ROWS);
    let printed = pair.source.psql("goods", EXPECTED);
    let lines = printed.lines();
    let expected: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(expected.len(), 41);
    let folder = tempfile::tempdir().expect("a folder");
    let spool = folder.path().to_str().expect("paths here are UTF-8");
    let extract = pair.pghaul("goods", &["extract", "--spool", spool]);
    extract.run().expect(0);
    let files = files(spool);
    assert!(!files.is_empty());
    for reader in READERS {
        let read = read(reader, &files);
        assert_eq!(read.len(), expected.len(), "{reader}");
        for (read, expected) in read.iter().zip(&expected) {
            assert_eq!(read, expected, "{reader}");
        }
    }
}
