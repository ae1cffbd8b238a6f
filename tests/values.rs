//! Values of every type, and random schemas with random rows, bit for bit: what PostgreSQL's send
//! functions give for each row of the source, and its text, must be the same on the target.
//!
//! A failing test names its seed; `PGHAUL_SEED` repeats it. `PGHAUL_CASES` is how many random
//! schemas each test migrates, for as long as `PGHAUL_MINUTES` last.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::oracle::assert_migrated;
use crate::support::{Cluster, Pair, Way, both_ways};

/// A seed from 0 to 1: that of `PGHAUL_SEED`, or a new one.
fn seed() -> String {
    std::env::var("PGHAUL_SEED").unwrap_or_else(|_| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        format!("0.{:06}", now.expect("after 1970").subsec_micros())
    })
}

/// A number from the environment.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number in the environment"))
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
fn every_type(way: Way, mut pair: Pair, catalogs: bool) {
    let seed = seed();
    let catalogs = u8::from(catalogs).to_string();
    pair.source.create_db("d");
    pair.source.psql_file(
        "d",
        &fixture("types.sql"),
        &[("seed", &seed), ("catalogs", &catalogs)],
    );
    // Rows in text are stored as they are, which other tests show.
    let formats: &[&str] = match way {
        Way::Channel => &["auto", "text"],
        Way::Spool => &["auto"],
    };
    for format in formats {
        let args = ["--overwrite", "--verify", "--copy-format", format];
        way.migrate(&mut pair, "d", &args).expect(0);
        assert_same_bits(&pair, "d", &format!("seed {seed}, format {format}"));
    }
    pair.pghaul("d", &["verify"]).run().expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

both_ways!(every_type_of_the_distributions_server);
fn every_type_of_the_distributions_server(way: Way) {
    every_type(way, Pair::start(), true);
}

both_ways!(every_type_of_the_newest_server);
fn every_type_of_the_newest_server(way: Way) {
    every_type(way, Pair::of_versions(18, 18), true);
}

both_ways!(every_type_that_both_versions_have);
fn every_type_that_both_versions_have(way: Way) {
    every_type(way, Pair::of_versions(10, 18), false);
}

/// Random schemas with random rows, whole and in parts, in binary and text.
fn random_schemas(way: Way, mut pair: Pair) {
    let cases = number("PGHAUL_CASES").unwrap_or(2);
    let limit = Duration::from_secs(60 * number("PGHAUL_MINUTES").unwrap_or(2));
    let start = Instant::now();
    for case in 0..cases {
        if start.elapsed() > limit {
            break;
        }
        let (db, seed) = (format!("d{case}"), seed());
        let what = format!("PGHAUL_SEED={seed}, case {case}");
        println!("{what}");
        pair.source.create_db(&db);
        pair.source
            .psql_file(&db, &fixture("random.sql"), &[("seed", &seed)]);
        let format = ["auto", "text"][usize::from(case % 2 == 1)];
        let args = ["--verify", "--jobs", "3", "--copy-format", format];
        let split = ["--split-larger-than", "20kB"];
        let args = [&args[..], &split[..]].concat();
        // In either encoding, as the seed says.
        let mut haul = way.of(&db);
        if seed.ends_with(['1', '3', '5', '7', '9']) {
            haul = haul.storing(&["--spool-encoding", "copy"]);
        }
        haul.run(&mut pair, &args).expect(0);
        assert_same_bits(&pair, &db, &what);
        assert_migrated(&pair.source, &db, &pair.target, &db);
        for cluster in [&pair.source, &pair.target] {
            cluster.psql("postgres", &format!("DROP DATABASE {db}"));
        }
    }
}

both_ways!(random_schemas_of_the_distributions_server);
fn random_schemas_of_the_distributions_server(way: Way) {
    random_schemas(way, Pair::start());
}

both_ways!(random_schemas_of_an_old_server_on_the_newest);
fn random_schemas_of_an_old_server_on_the_newest(way: Way) {
    random_schemas(way, Pair::of_versions(12, 18));
}
