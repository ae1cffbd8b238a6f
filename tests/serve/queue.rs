//! Many migrations, and what can be done with one that runs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::oracle::assert_migrated;
use crate::support::runtime_server::{RuntimeServer, is_active, job};
use crate::support::{Pair, fixture};

/// The bytes of a migration that were copied.
fn bytes(migration: &Value) -> u64 {
    let details = &migration["currentStatus"]["currentSubStateDetails"]["dbDetails"];
    let details = details.as_object().expect("an object").values();
    details.filter_map(|one| one["bytes"].as_u64()).sum()
}

#[test]
fn fifty_are_queued_and_eight_run() {
    let pair = Pair::start();
    pair.source.create_db("seed");
    pair.source.psql(
        "seed",
        "CREATE TABLE t (id int PRIMARY KEY, n text);
         INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 50) i",
    );
    let names: Vec<String> = (1..=50).map(|number| format!("db{number}")).collect();
    for name in &names {
        let sql = format!("CREATE DATABASE {name} TEMPLATE seed");
        pair.source.psql("postgres", &sql);
    }
    let server = RuntimeServer::start(&["--max-running", "8"]);
    for name in &names {
        let more = json!({"jobs": 1, "option": "migrate", "roles": false, "verify": false});
        server.create(name, &job(&pair, &[name], more));
    }
    let (mut most, mut waiting) = (0, 0);
    loop {
        most = most.max(server.children());
        let list = server.ask("GET", "/api/v1/migrations", None).expect(200);
        let list = list["value"].as_array().expect("a list").clone();
        let positions: Vec<u64> = list
            .iter()
            .filter_map(|one| one["queuePosition"].as_u64())
            .collect();
        let expected: Vec<u64> = (1..=positions.len() as u64).collect();
        assert_eq!(positions, expected, "in the order of their creation");
        waiting = waiting.max(positions.len());
        if list.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(most, 8);
    assert!(waiting > 8, "{waiting} waited");
    for name in &names {
        assert_eq!(server.get(name)["currentStatus"]["state"], "Succeeded");
        let rows = "SELECT count(*), sum(id), max(n) FROM t";
        assert_eq!(pair.target.psql(name, rows), pair.source.psql(name, rows));
    }
}

#[test]
fn one_that_runs_is_throttled_paused_resumed_and_canceled() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let server = RuntimeServer::start(&[]);
    server.create("m", &job(&pair, &["a"], json!({"bytesPerSecond": 300_000})));
    server.wait("m", "it copies", |migration| bytes(migration) > 0);
    let paused = server.act("m", &json!({"action": "pause"})).expect(200);
    assert_eq!(paused["paused"], true);
    let run = server.run_dir("m");
    run.wait("it was told", |run| !run.of("control").is_empty());
    let told = run.of("progress").len();
    run.wait("what was under way has arrived", |run| {
        run.of("progress").len() > told + 2
    });
    let (before, told) = (run.bytes(), run.of("progress").len());
    // Without a limit, it would be done at once if the pause did not hold.
    let free = server.act("m", &json!({"action": "throttle", "bytesPerSecond": null}));
    assert_eq!(free.expect(200)["bytesPerSecond"], Value::Null);
    run.wait("more is told", |run| run.of("progress").len() > told + 3);
    assert_eq!(run.bytes(), before, "nothing moves");
    let slow = server.act(
        "m",
        &json!({"action": "throttle", "bytesPerSecond": 100_000}),
    );
    slow.expect(200);
    server.act("m", &json!({"action": "resume"})).expect(200);
    run.wait("it moves", |run| run.bytes() > before);
    server.act("m", &json!({"action": "cancel"})).expect(200);
    let ended = server.wait("m", "its end", |migration| !is_active(migration));
    assert_eq!(ended["currentStatus"]["state"], "Canceled", "{ended:#}");
    let details = &ended["currentStatus"]["currentSubStateDetails"];
    assert_eq!(details["dbDetails"]["a"]["migrationState"], "Canceled");
    assert!(!run.is_locked());
}

#[test]
fn a_window_is_kept() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let server = RuntimeServer::start(&[]);
    let past = json!({"from": "2001-01-01T00:00:00Z", "to": "2001-01-02T00:00:00Z"});
    server.create("m", &job(&pair, &["a"], json!({ "window": past })));
    let waits = server.wait("m", "it waits", |migration| {
        migration["currentStatus"]["state"] == "WaitingForUserAction"
    });
    let details = &waits["currentStatus"]["currentSubStateDetails"];
    assert_eq!(details["currentSubState"], "WaitingForDataMigrationWindow");
    server.act("m", &json!({"action": "resume"})).expect(200);
    server.wait_for("m", "Succeeded");
    assert_migrated(&pair.source, "a", &pair.target, "a");
}
