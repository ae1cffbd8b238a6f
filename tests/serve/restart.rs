//! The server and the processes of migrations are stopped and killed, in every state: what was
//! begun is finished.

use serde_json::{Value, json};

use crate::support::oracle::assert_migrated;
use crate::support::runtime_server::{RuntimeServer, job};
use crate::support::{Pair, fixture, pg};

/// Slow enough to be caught while it copies.
const SLOW: u64 = 300_000;

fn throttle(server: &RuntimeServer, name: &str) {
    let free = json!({"action": "throttle", "bytesPerSecond": null});
    server.act(name, &free).expect(200);
}

fn sub_state(migration: &Value) -> &str {
    let details = &migration["currentStatus"]["currentSubStateDetails"];
    details["currentSubState"].as_str().expect("a substate")
}

#[test]
fn a_killed_server_leaves_copies_running_and_finds_them_again() {
    let pair = Pair::start();
    for db in ["a", "b"] {
        fixture::pgbench(&pair.source, db, 1);
    }
    let mut server = RuntimeServer::start(&["--max-running", "1"]);
    server.create("runs", &job(&pair, &["a"], json!({"bytesPerSecond": SLOW})));
    server.wait("runs", "it copies", |one| sub_state(one) == "MigratingData");
    server.create("waits", &job(&pair, &["b"], json!({})));
    let later = json!({"startAt": "2999-01-01T00:00:00Z"});
    server.create("later", &job(&pair, &["b"], later));
    let run = server.run_dir("runs");
    let (pid, told) = (run.pid(), run.of("progress").len());
    server.end("KILL");
    run.wait("it goes on without the server", |run| {
        run.of("progress").len() > told + 2
    });

    server.start_again();
    assert_eq!(run.pid(), pid, "it is the same process");
    assert_eq!(
        sub_state(&server.get("later")),
        "WaitingForDataMigrationScheduling"
    );
    server.wait("runs", "it is found", |one| {
        sub_state(one) == "MigratingData"
    });
    throttle(&server, "runs");
    server.wait_for("runs", "Succeeded");
    assert_eq!(
        run.of("attempt").len(),
        2,
        "one to check and one to migrate"
    );
    server.wait_for("waits", "Succeeded");
    for db in ["a", "b"] {
        assert_migrated(&pair.source, db, &pair.target, db);
    }

    // What has ended is known as before.
    let ended = server.get("runs");
    server.end("KILL");
    server.start_again();
    assert_eq!(server.get("runs"), ended);
}

#[test]
fn what_ended_while_the_server_was_dead_has_ended() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let mut server = RuntimeServer::start(&[]);
    server.create("m", &job(&pair, &["a"], json!({})));
    let run = server.run_dir("m");
    run.wait("it has begun", |run| !run.of("begun").is_empty());
    server.end("KILL");
    run.wait("it ends", |run| {
        run.of("ended").len() == 2 && !run.is_locked()
    });
    server.start_again();
    let ended = server.wait_for("m", "Succeeded");
    assert_eq!(ended["verified"], true);
    assert_migrated(&pair.source, "a", &pair.target, "a");
}

#[test]
fn a_killed_process_is_replaced_and_goes_on() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 3);
    pair.target.create_db("a");
    pair.target.psql("a", "CREATE TABLE in_the_way (id int)");
    let server = RuntimeServer::start(&[]);
    let more = json!({"bytesPerSecond": 5 * SLOW, "overwrite": true});
    server.create("m", &job(&pair, &["a"], more));
    // At once, while it checks or begins; then while it copies.
    let run = server.run_dir("m");
    run.wait("a process", |run| run.is_locked());
    pg::signal(run.pid(), "KILL");
    for _ in 0..2 {
        let begun = run.of("planned").len();
        run.wait("it copies", |run| {
            run.of("planned").len() > begun && run.is_locked()
        });
        let moved = run.of("progress").len();
        run.wait("it moves", |run| run.of("progress").len() > moved + 1);
        pg::signal(run.pid(), "KILL");
    }
    let begun = run.of("planned").len();
    run.wait("it copies again", |run| run.of("planned").len() > begun);
    throttle(&server, "m");
    let ended = server.wait_for("m", "Succeeded");
    assert_eq!(ended["verified"], true);
    assert_migrated(&pair.source, "a", &pair.target, "a");
    let dropped = run.of("notice").into_iter().filter(|notice| {
        let message = notice["message"].as_str();
        message.is_some_and(|message| message.contains("dropping the target database"))
    });
    assert_eq!(dropped.count(), 1, "what it has begun is not dropped again");
}

#[test]
fn killed_together_at_any_moment_both_come_back() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let mut server = RuntimeServer::start(&[]);
    let more = json!({"bytesPerSecond": 10 * SLOW});
    server.create("m", &job(&pair, &["a"], more));
    let run = server.run_dir("m");
    for pause in [0, 150, 400, 900, 1500] {
        std::thread::sleep(std::time::Duration::from_millis(pause));
        server.end("KILL");
        if run.is_locked() {
            pg::signal(run.pid(), "KILL");
        }
        server.start_again();
    }
    server.wait_for("m", "Succeeded");
    assert_migrated(&pair.source, "a", &pair.target, "a");
}

#[test]
fn a_stopped_server_stops_its_processes_and_resumes_them() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let mut server = RuntimeServer::start(&[]);
    server.create("m", &job(&pair, &["a"], json!({"bytesPerSecond": SLOW})));
    server.wait("m", "it copies", |one| sub_state(one) == "MigratingData");
    let run = server.run_dir("m");
    server.end("TERM").expect(0);
    assert!(!run.is_locked(), "its process has ended");
    server.start_again();
    run.wait("it goes on", |run| {
        run.is_locked() && run.of("attempt").len() == 3
    });
    throttle(&server, "m");
    server.wait_for("m", "Succeeded");
    assert_migrated(&pair.source, "a", &pair.target, "a");
}

#[test]
fn a_server_that_detaches_stops_without_its_processes() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let mut server = RuntimeServer::start(&["--detach-on-stop"]);
    server.create("m", &job(&pair, &["a"], json!({"bytesPerSecond": SLOW})));
    server.wait("m", "it copies", |one| sub_state(one) == "MigratingData");
    let run = server.run_dir("m");
    let pid = run.pid();
    server.end("TERM").expect(0);
    assert_eq!(run.pid(), pid);
    server.start_again();
    throttle(&server, "m");
    server.wait_for("m", "Succeeded");
    assert_migrated(&pair.source, "a", &pair.target, "a");
}
