//! Several databases below one place: what happens to one of them, and between them.

use std::fs;
use std::thread;

use serde_json::Value;

use super::{Spooled, random_rows};
use crate::faults::disk::SmallDisk;
use crate::faults::{assert_says, wait_until};
use crate::support::way::objects;
use crate::support::{Output, Pghaul};

/// Two databases, of which `one` is the larger and comes first.
fn two_databases(spooled: &Spooled) {
    random_rows(&spooled.source, "one");
    spooled.source.create_db("two");
    let rows = "CREATE TABLE quiet AS SELECT n AS id FROM generate_series(1, 20000) AS n";
    spooled.source.psql("two", rows);
}

/// `pghaul extract` of both.
fn extract(spooled: &Spooled, more: &[&str]) -> Pghaul {
    let both = [&["--databases", "two,one"], more].concat();
    spooled.extract("postgres", "both", &both)
}

fn load(spooled: &Spooled, more: &[&str]) -> Pghaul {
    spooled.load("postgres", "both", more)
}

fn assert_both_converged(spooled: &Spooled) {
    for db in ["one", "two"] {
        spooled.assert_converged(db, db);
    }
}

/// What the last line says of a database.
fn state(output: &Output, db: &str) -> String {
    let last = output.stdout.lines().last().expect("a line");
    let last: Value = serde_json::from_str(last).expect("JSON");
    let databases = last["databases"].as_array().expect("a list");
    let of = databases.iter().find(|one| one["database"] == db);
    let of = of.unwrap_or_else(|| panic!("no {db} in {last}"));
    of["state"].as_str().expect("a text").to_owned()
}

/// A load at the same time, over a disk that cannot hold what both databases have.
#[test]
fn a_load_follows_the_extraction_from_database_to_database() {
    let spooled = Spooled::start();
    random_rows(&spooled.source, "one");
    random_rows(&spooled.source, "two");
    fs::create_dir(spooled.folder("both")).expect("a folder");
    let disk = SmallDisk::mount(&spooled.folder("both"), "3m");
    let limit = ["--spool-limit", "1MB", "--split-larger-than", "1MB"];
    let mut extracting = extract(&spooled, &limit).spawn();
    wait_until(&mut extracting, "the databases are listed", |_| {
        spooled.folder("both/databases").exists()
    });
    // It waits for what is not there yet only because somebody extracts.
    let loaded = load(&spooled, &["--verify"]).run().expect(0);
    extracting.wait().expect(0);
    assert!(
        loaded.stdout.contains("2 of 2 databases are loaded"),
        "{}",
        loaded.stdout
    );
    assert_both_converged(&spooled);
    let left = objects(&spooled.folder("both"));
    let rows = left.iter().filter(|name| name.contains("/parts/"));
    assert_eq!(rows.count(), 0, "{left:?}");
    let garbage = spooled.spool("gc", "both", &["--dry-run"]).run().expect(0);
    assert!(garbage.stdout.starts_with("0 files"), "{}", garbage.stdout);
    drop(disk);
}

#[test]
fn killed_between_databases_each_half_goes_on() {
    let spooled = Spooled::start();
    two_databases(&spooled);
    thread::scope(|scope| {
        scope.spawn(|| {
            let lock = "BEGIN; LOCK TABLE quiet IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)";
            spooled
                .source
                .try_psql("two", lock)
                .expect_err("it is ended");
        });
        let sleeping = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE wait_event = 'PgSleep'";
        let mut run = extract(&spooled, &[]).spawn();
        wait_until(&mut run, "the second one waits for its lock", |_| {
            let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
            spooled.source.psql("two", waits) != "0"
        });
        run.signal("KILL");
        run.wait().expect(-9);
        assert_eq!(spooled.source.psql("postgres", sleeping), "t");
    });
    let listed = spooled.spool("ls", "both", &[]).run().expect(0);
    for words in ["database one: ", "database two: ", "not complete"] {
        assert!(listed.stdout.contains(words), "{words}: {}", listed.stdout);
    }
    let refused = spooled.spool("rm", "both", &[]).run().expect(2);
    assert_says(&refused, &["still needed", "--force"]);

    // What is there is loaded, and what is missing is said.
    let json = ["--output", "json"];
    let loaded = load(&spooled, &json).run().expect(1);
    assert_eq!(state(&loaded, "one"), "loaded");
    assert_eq!(state(&loaded, "two"), "failed");
    assert_says(&loaded, &["pghaul extract --resume"]);
    spooled.assert_converged("one", "one");

    let resume = ["--resume", "--output", "json"];
    let other = ["--resume", "--databases", "two"];
    let other = spooled.extract("postgres", "both", &other).run().expect(2);
    assert_says(
        &other,
        &["not the databases that the extraction began with"],
    );
    let extracted = spooled.extract("postgres", "both", &resume).run().expect(0);
    assert_eq!(state(&extracted, "one"), "complete before");
    assert_eq!(state(&extracted, "two"), "extracted");
    let loaded = load(&spooled, &resume).run().expect(0);
    assert_eq!(state(&loaded, "one"), "complete before");
    assert_eq!(state(&loaded, "two"), "loaded");
    assert_both_converged(&spooled);
    spooled.spool("rm", "both", &[]).run().expect(0);
    assert!(!spooled.folder("both").exists());
}

#[test]
fn damage_in_one_of_several_is_named_and_repaired() {
    let spooled = Spooled::start();
    two_databases(&spooled);
    extract(&spooled, &[]).run().expect(0);
    let parts = spooled.folder("both/database/000002/parts");
    let file = objects(&parts).pop().expect("a file of rows");
    let mut content = fs::read(parts.join(&file)).expect("the file is there");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(parts.join(&file), content).expect("the file can be written");
    let checked = spooled.spool("check", "both", &[]).run().expect(1);
    let of_two = checked.stdout.split("database two: ").nth(1);
    let of_two = of_two.unwrap_or_else(|| panic!("{}", checked.stdout));
    assert!(of_two.contains(&file), "{}", checked.stdout);
    assert_eq!(checked.stdout.matches("damaged: ").count(), 1);
    let loaded = load(&spooled, &["--output", "json"]).run().expect(1);
    assert_eq!(state(&loaded, "one"), "loaded");
    assert_eq!(state(&loaded, "two"), "failed");
    let repair = spooled.spool("repair", "both", &[]);
    let repaired = repair.source(&spooled.source.dsn("postgres")).run();
    let repaired = repaired.expect(0);
    assert!(repaired.stdout.contains("1 parts"), "{}", repaired.stdout);
    load(&spooled, &["--resume"]).run().expect(0);
    assert_both_converged(&spooled);
}

#[test]
fn several_databases_are_compared_and_nothing_tells_their_names() {
    let spooled = Spooled::start();
    two_databases(&spooled);
    let key = spooled.key("key", 7);
    let sealed = ["--encrypt-key-file", key.as_str()];
    extract(&spooled, &sealed).run().expect(0);
    for name in objects(&spooled.folder("both")) {
        let content = fs::read(spooled.folder("both").join(&name)).expect("an object");
        let shows = content.windows(5).any(|bytes| bytes == b"\"two\"");
        assert!(!shows && !name.contains("two"), "{name}");
    }
    let refused = load(&spooled, &[]).run().expect(2);
    assert_says(&refused, &["encrypted", "--encrypt-key-file"]);
    load(&spooled, &[&sealed[..], &["--keep"]].concat())
        .run()
        .expect(0);
    assert_both_converged(&spooled);

    let url = spooled.url("both");
    let verify = || {
        let args = ["verify", "--spool", &url, "--output", "json"];
        Pghaul::new(&[&args[..], &sealed].concat()).target(&spooled.target.dsn("postgres"))
    };
    let same = verify().run().expect(0);
    assert_eq!(state(&same, "two"), "same");
    spooled.target.psql("two", "DELETE FROM quiet WHERE id = 7");
    let differs = verify().run().expect(3);
    assert_eq!(state(&differs, "one"), "same");
    assert_eq!(state(&differs, "two"), "differs");
}

#[test]
fn what_several_databases_do_not_do_is_refused() {
    let spooled = Spooled::start();
    two_databases(&spooled);
    extract(&spooled, &[]).run().expect(0);
    let again = extract(&spooled, &[]).run().expect(2);
    assert_says(&again, &["already"]);
    for half in [
        spooled.extract("postgres", "both", &["--help-others"]),
        load(&spooled, &["--help-others"]),
    ] {
        assert_says(
            &half.run().expect(2),
            &["one database only", "pghaul spool ls"],
        );
    }
    spooled.extract("one", "single", &[]).run().expect(0);
    let list = ["--resume", "--databases", "one,two"];
    let refused = spooled.extract("postgres", "single", &list).run().expect(2);
    assert_says(&refused, &["the spool of one database"]);
    let missing = ["--databases", "three"];
    let refused = spooled.extract("postgres", "new", &missing).run().expect(2);
    assert_says(&refused, &["no database \"three\""]);
    assert!(!spooled.folder("new").exists());

    // Each is a spool like any other.
    spooled
        .load("alone", "both/database/000002", &["--keep"])
        .run()
        .expect(0);
    spooled.assert_converged("two", "alone");
}
