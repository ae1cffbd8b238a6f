//! What a process meets that its predecessor, which was killed, still has under way on the target.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::oracle::assert_migrated;
use crate::support::runtime_server::{RuntimeServer, job};
use crate::support::{Cluster, Pair};

/// A process of a cluster that is held up until this is dropped.
struct Held(String);

impl Held {
    fn checkpointer(cluster: &Cluster) -> Self {
        let pid = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
        let held = Self(cluster.psql("postgres", pid));
        held.signal("STOP");
        held
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.0])
            .status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.signal("CONT");
    }
}

/// Somebody who runs this statement, in the background.
fn running(cluster: &Cluster, sql: &str) -> Child {
    let mut psql = cluster.client("psql", "postgres");
    let psql = psql.args(["-c", sql]).stdout(Stdio::null()).spawn();
    psql.expect("psql starts")
}

#[track_caller]
fn wait_for(cluster: &Cluster, sql: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while cluster.psql("postgres", sql) != "t" {
        assert!(Instant::now() < deadline, "{sql}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_database_that_is_still_being_created_is_waited_for() {
    let pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)",
    );
    let server = RuntimeServer::start(&[]);
    // Copying files, the server wants a checkpoint, for which it waits as long as this is held.
    let held = Held::checkpointer(&pair.target);
    let create = "CREATE DATABASE d TEMPLATE template0 STRATEGY file_copy";
    let mut predecessor = running(&pair.target, create);
    wait_for(
        &pair.target,
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^CREATE DATABASE' AND wait_event ~ 'Checkpoint'",
    );
    server.create("m", &job(&pair, &["d"], json!({})));
    wait_for(
        &pair.target,
        "SELECT count(*) = 2 FROM pg_stat_activity WHERE query ~ '^CREATE DATABASE'",
    );
    thread::sleep(Duration::from_secs(1));
    drop(held);
    let done = server.wait_for("m", "Succeeded");
    assert_eq!(done["verified"], true, "{done:#}");
    predecessor.wait().expect("psql ends");
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

#[test]
fn a_template_that_somebody_is_in_is_waited_for() {
    let pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql("d", "CREATE TABLE t (id int PRIMARY KEY)");
    let server = RuntimeServer::start(&[]);
    let open = "ALTER DATABASE template0 ALLOW_CONNECTIONS true";
    pair.target.psql("postgres", open);
    let mut psql = pair.target.client("psql", "template0");
    let psql = psql.args(["-c", "SELECT pg_sleep(600)"]).spawn();
    let mut inside = psql.expect("psql starts");
    let sleeps = "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'";
    wait_for(&pair.target, sleeps);
    server.create("m", &job(&pair, &["d"], json!({})));
    server.wait("m", "it is told so", |one| {
        one.to_string().contains("template0")
    });
    inside.kill().expect("psql is killed");
    inside.wait().expect("psql ends");
    let end =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'";
    pair.target.psql("postgres", end);
    server.wait_for("m", "Succeeded");
    assert_migrated(&pair.source, "d", &pair.target, "d");
}
