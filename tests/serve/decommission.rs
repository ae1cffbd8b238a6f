//! The end of a server's use, where it takes long or a server is away.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::runtime_server::{RuntimeServer, job};
use crate::support::{Pair, Pghaul};

const PATH: &str = "/api/v1/decommission";

/// How many records of migrations a database has.
const LEDGERS: &str = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghaul'";

fn migrated(pair: &Pair) -> RuntimeServer {
    pair.source.create_db("d");
    pair.source.psql("d", "CREATE TABLE t (id int PRIMARY KEY)");
    let server = RuntimeServer::start(&[]);
    server.create("m", &job(pair, &["d"], json!({})));
    server.wait_for("m", "Succeeded");
    assert_eq!(pair.target.psql("d", LEDGERS), "1");
    server
}

fn progress(server: &RuntimeServer) -> Value {
    let path = format!("{PATH}/progress");
    server.ask("GET", &path, None).expect(200)
}

#[track_caller]
fn ended(server: &RuntimeServer) -> Value {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let now = progress(server);
        if now["state"] != "running" {
            return now;
        }
        assert!(Instant::now() < deadline, "{now:#}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn it_is_begun_once_and_watched() {
    let pair = Pair::start();
    let server = migrated(&pair);
    assert_eq!(progress(&server)["state"], "idle");
    // As long as somebody reads the record, it cannot be dropped.
    let mut psql = pair.target.client("psql", "d");
    let reading = "BEGIN; SELECT * FROM pghaul.progress; SELECT pg_sleep(600)";
    let psql = psql.args(["-c", reading]).stdout(Stdio::null()).spawn();
    let mut reader = psql.expect("psql starts");
    let sleeps =
        "SELECT pid FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND pid <> pg_backend_pid()";
    while pair.target.psql("postgres", sleeps).is_empty() {
        thread::sleep(Duration::from_millis(20));
    }
    let first = server.ask("POST", PATH, Some(&json!({}))).expect(202);
    assert_eq!(
        (&first["state"], &first["migrations"]),
        (&json!("running"), &json!(1))
    );
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while pair.target.psql("postgres", waits) == "0" {
        thread::sleep(Duration::from_millis(20));
    }
    let again = server.ask("POST", PATH, Some(&json!({}))).expect(202);
    assert_eq!(again["startedAt"], first["startedAt"], "it goes on");
    assert_eq!(progress(&server)["settled"], 0);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND pid <> pg_backend_pid()";
    pair.target.psql("postgres", end);
    reader.wait().expect("psql ends");
    let done = ended(&server);
    assert_eq!(
        (&done["state"], &done["settled"]),
        (&json!("done"), &json!(1)),
        "{done:#}"
    );
    let removed = done["result"]["removed"].to_string();
    assert!(removed.contains("schema pghaul"), "{removed}");
    assert_eq!(pair.target.psql("d", LEDGERS), "0");
    // Done once more, there is nothing to do.
    server.ask("POST", PATH, Some(&json!({}))).expect(202);
    assert_eq!(ended(&server)["result"]["removed"], json!([]));
}

#[test]
fn a_source_that_is_away_keeps_nobody_from_cleaning_the_target() {
    let mut pair = Pair::start();
    let server = migrated(&pair);
    pair.source.stop();
    let url = server.url();
    let call = |more: &[&str]| {
        let args = [&["decommission", "--server", &url], more].concat();
        Pghaul::new(&args)
            .env("PGHAUL_TOKEN", server.admin_token())
            .run()
    };
    let refused = call(&[]).expect(1);
    assert!(refused.stderr.contains("migration m"), "{}", refused.stderr);
    assert_eq!(pair.target.psql("d", LEDGERS), "1", "nothing is removed");
    let forced = call(&["--force"]).expect(0).stdout;
    let kept = "kept: what migration m left on its source";
    assert!(forced.contains(kept), "{forced}");
    assert!(forced.contains("removed: ledger of m"), "{forced}");
    assert_eq!(pair.target.psql("d", LEDGERS), "0");
    let list = server.ask("GET", "/api/v1/migrations?filter=all", None);
    assert_eq!(list.expect(200)["value"], json!([]));
}

/// What was removed before something could not be is told all the same.
#[test]
fn what_is_gone_is_told_although_it_fails() {
    let (pair, mut other) = (Pair::start(), Pair::start());
    let server = migrated(&pair);
    other.source.create_db("d");
    server.create("n", &job(&other, &["d"], json!({})));
    server.wait_for("n", "Succeeded");
    other.source.stop();
    let args = ["decommission", "--server", &server.url()];
    let call = Pghaul::new(&args).env("PGHAUL_TOKEN", server.admin_token());
    let failed = call.run().expect(1);
    assert!(failed.stderr.contains("migration n"), "{}", failed.stderr);
    let told = &failed.stdout;
    assert!(told.contains("removed: ledger of m"), "{told}");
    assert!(!told.contains("holds nothing"), "{told}");
    assert_eq!(pair.target.psql("d", LEDGERS), "0");
    assert_eq!(other.target.psql("d", LEDGERS), "1");
}
