//! `--run-dir`: what another program learns of a run, and what it can do with it.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::oracle::assert_migrated;
use crate::support::run_dir::RunDir;
use crate::support::{Pair, Pghaul, fixture};

/// The tables of a database without extensions, whose names are plain.
const TABLES: &str = "
SELECT n.nspname || '.' || c.relname FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY (n.nspname || '.' || c.relname) COLLATE \"C\"";

/// A run of `pghaul migrate` of these databases.
fn migrate(pair: &Pair, folder: &TempDir, databases: &str, more: &[&str]) -> Pghaul {
    let run_dir = folder.path().to_str().expect("paths here are UTF-8");
    let args = ["migrate", "--run-dir", run_dir, "--databases", databases];
    pair.pghaul("postgres", &[&args, more].concat())
}

fn folder() -> (TempDir, RunDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let run = RunDir::at(folder.path());
    (folder, run)
}

#[test]
fn events_tell_how_far_every_table_is_and_how_it_ended() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "shop", 1);
    let (folder, run) = folder();
    let output = migrate(&pair, &folder, "shop", &["--verify"])
        .run()
        .expect(0);
    assert_eq!(output.stdout, "", "all of it goes to the events");
    assert_migrated(&pair.source, "shop", &pair.target, "shop");

    let events = run.events();
    assert!(events.iter().all(|event| event["time"].is_string()));
    assert!(events.iter().all(|event| event["event"].is_string()));
    let chosen = &run.of("databases_chosen")[0]["databases"];
    assert_eq!(chosen, &json!(["shop"]));
    let last = events.last().expect("an event");
    assert_eq!(
        (&last["event"], &last["outcome"], &last["error"]),
        (&json!("ended"), &json!("done"), &json!(null))
    );
    assert_eq!(
        run.of("progress").last().expect("progress")["fraction"],
        1.0
    );

    // What was told last of each table.
    let mut tables = std::collections::BTreeMap::new();
    for event in run.of("tables") {
        for table in event["tables"].as_array().expect("a list") {
            let name = table["table"].as_str().expect("a name").to_owned();
            tables.insert(name, table.clone());
        }
    }
    let names: Vec<_> = tables.keys().map(String::as_str).collect();
    assert_eq!(names.join("\n"), pair.source.psql("shop", TABLES));
    assert!(
        tables.values().all(|table| table["state"] == "completed"),
        "{tables:?}"
    );
    assert!(!run.is_locked());
    assert!(!folder.path().join("control.sock").exists());
}

#[test]
fn a_run_of_several_databases_is_paused_throttled_and_resumed() {
    let pair = Pair::start();
    for db in ["a", "b"] {
        fixture::pgbench(&pair.source, db, 1);
    }
    let (folder, run) = folder();
    let flags = ["--rate-limit", "300kB", "--jobs", "2"];
    let running = migrate(&pair, &folder, "a,b", &flags).spawn();
    run.wait("it copies", |run| run.bytes() > 0);
    let ok = json!({ "ok": true });
    assert_eq!(run.tell(r#"{"action":"pause"}"#), ok);
    // Without a limit, it would be done at once if the pause did not hold.
    assert_eq!(
        run.tell(r#"{"action":"throttle","bytesPerSecond":null}"#),
        ok
    );
    let told = |run: &RunDir| run.of("progress").len();
    let before = told(&run);
    run.wait("what was under way has arrived", |run| {
        told(run) > before + 4
    });
    let (bytes, before) = (run.bytes(), told(&run));
    run.wait("more is told", |run| told(run) > before + 4);
    assert_eq!(run.bytes(), bytes, "nothing moves");
    assert!(run.tell(r#"{"action":"hurry"}"#)["error"].is_string());
    assert_eq!(run.tell(r#"{"action":"resume"}"#), ok);
    running.wait().expect(0);
    for db in ["a", "b"] {
        assert_migrated(&pair.source, db, &pair.target, db);
    }
    assert_eq!(run.of("ended")[0]["outcome"], "done");
    let actions: Vec<_> = run
        .of("control")
        .iter()
        .map(|one| one["action"].clone())
        .collect();
    assert_eq!(actions, ["pause", "throttle", "resume"]);
}

#[test]
fn all_databases_together_keep_the_limit() {
    let pair = Pair::start();
    for db in ["a", "b", "c"] {
        fixture::pgbench(&pair.source, db, 1);
    }
    let (folder, run) = folder();
    let began = std::time::Instant::now();
    migrate(&pair, &folder, "a,b,c", &["--rate-limit", "4MB"])
        .run()
        .expect(0);
    let least = run.bytes() as f64 / f64::from(4 << 20);
    assert!(
        began.elapsed() >= Duration::from_secs_f64(least),
        "{} bytes",
        run.bytes()
    );
}

#[test]
fn a_canceled_run_and_a_killed_one_are_gone_on_with() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 3);
    pair.target.create_db("a");
    pair.target.psql("a", "CREATE TABLE in_the_way (id int)");
    let (folder, run) = folder();
    let flags = [
        "--overwrite",
        "--rate-limit",
        "6MB",
        "--split-larger-than",
        "2MB",
    ];
    let begin = || migrate(&pair, &folder, "a", &flags).spawn();
    let parts = |run: &RunDir| run.of("part_done").len();

    let running = begin();
    run.wait("a part is durable", |run| parts(run) > 0);
    let other = migrate(&pair, &folder, "a", &flags).run().expect(2);
    assert!(other.stderr.contains("another process"), "{}", other.stderr);
    assert_eq!(run.tell(r#"{"action":"cancel"}"#), json!({ "ok": true }));
    running.wait().expect(1);
    assert_eq!(run.of("ended")[0]["outcome"], "canceled");

    let before = parts(&run);
    let running = begin();
    run.wait("another part is durable", |run| parts(run) > before);
    running.signal("KILL");
    running.wait();
    assert!(!run.is_locked());
    assert_eq!(run.of("ended").len(), 1);

    // The same call again: --overwrite drops nothing that this run has begun.
    let begun = run.of("planned").len();
    begin().wait().expect(0);
    assert_migrated(&pair.source, "a", &pair.target, "a");
    let planned = run.of("planned");
    assert!(
        planned[begun]["durable_parts"].as_u64() > Some(0),
        "{planned:?}"
    );
    let done: Vec<_> = run
        .of("part_done")
        .iter()
        .map(|one| one["part"].clone())
        .collect();
    let once: std::collections::BTreeSet<_> = done.iter().map(ToString::to_string).collect();
    assert_eq!(done.len(), once.len(), "no part is copied twice: {done:?}");
}

#[test]
fn validation_tells_what_it_found_and_ends() {
    let pair = Pair::start();
    pair.source.create_db("a");
    pair.target.create_db("a");
    pair.target.psql("a", "CREATE TABLE in_the_way (id int)");
    let (folder, run) = folder();
    let run_dir = folder.path().to_str().expect("paths here are UTF-8");
    let args = ["validate", "--run-dir", run_dir, "--databases", "a"];
    pair.pghaul("postgres", &args).run().expect(1);
    let found = run.of("finding");
    assert!(found.iter().all(|finding| finding["database"] == "a"));
    let failed = |finding: &&serde_json::Value| finding["severity"] == "Failed";
    let failed: Vec<_> = found
        .iter()
        .filter(failed)
        .map(|one| one["code"].clone())
        .collect();
    assert_eq!(failed, [603_101]);
    let ended = run.of("ended");
    assert_eq!(
        (&ended[0]["outcome"], &ended[0]["command"]),
        (&json!("invalid"), &json!("validate"))
    );
}
