//! Values of every type, bit for bit: what PostgreSQL's send functions give for each row of the
//! source, and its text, must be the same on the target.
//!
//! Values are partly random. A failing test names the seed; `PGHAUL_SEED` repeats it.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::oracle::assert_migrated;
use crate::support::{Cluster, Pair};

/// The seed of this run, from 0 to 1.
fn seed() -> String {
    std::env::var("PGHAUL_SEED").unwrap_or_else(|_| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        format!("0.{:06}", now.expect("after 1970").subsec_micros())
    })
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/values")
        .join(name)
}

/// Each row of each table, as hashes of its bits.
fn bits(cluster: &Cluster, db: &str, texts: bool) -> String {
    let script = std::fs::read_to_string(fixture("bits.sql")).expect("the script is there");
    let texts = u8::from(texts);
    cluster.psql(
        db,
        &format!("\\set skip pghaul\n\\set texts {texts}\n{script}"),
    )
}

/// Fails with the first rows that differ.
#[track_caller]
fn assert_same_bits(pair: &Pair, db: &str, what: &str) {
    let texts = pair.source.version() == pair.target.version();
    let (expected, found) = (bits(&pair.source, db, texts), bits(&pair.target, db, texts));
    let differing: Vec<_> = expected
        .lines()
        .zip(found.lines())
        .filter(|(expected, found)| expected != found)
        .take(10)
        .collect();
    assert!(expected == found, "{what}: {differing:#?}");
}

/// Every row of `pg_type` that a column can have, in the formats that can be chosen.
fn every_type(pair: &Pair, catalogs: bool) {
    let seed = seed();
    let catalogs = u8::from(catalogs).to_string();
    pair.source.create_db("d");
    pair.source.psql_file(
        "d",
        &fixture("types.sql"),
        &[("seed", &seed), ("catalogs", &catalogs)],
    );
    for format in ["auto", "text"] {
        let args = [
            "migrate",
            "--overwrite",
            "--verify",
            "--copy-format",
            format,
        ];
        pair.pghaul("d", &args).run().expect(0);
        assert_same_bits(pair, "d", &format!("seed {seed}, format {format}"));
    }
    pair.pghaul("d", &["verify"]).run().expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

#[test]
fn every_type_of_the_distributions_server() {
    every_type(&Pair::start(), true);
}

#[test]
fn every_type_of_the_newest_server() {
    every_type(&Pair::of_versions(18, 18), true);
}

#[test]
fn every_type_that_both_versions_have() {
    every_type(&Pair::of_versions(10, 18), false);
}
