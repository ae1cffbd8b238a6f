//! Agents at both sides: they dial the server, and nobody dials them.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::oracle::assert_migrated;
use crate::support::pghaul::Running;
use crate::support::runtime_server::{RuntimeServer, files};
use crate::support::{Cluster, Pair, Pghaul, fixture, pg};

/// Slow enough to be caught while it copies.
const SLOW: u64 = 400_000;

/// Cuts pgbench's 13 MB of rows into a dozen parts.
const SPLIT: [&str; 4] = ["--split-larger-than", "1MB", "--jobs", "2"];

fn job(databases: &[&str], more: Value) -> Value {
    let mut job = json!({ "topology": "agents", "databases": databases });
    for (key, value) in more.as_object().expect("an object") {
        job[key] = value.clone();
    }
    job
}

fn sub_state(migration: &Value) -> &str {
    let details = &migration["currentStatus"]["currentSubStateDetails"];
    details["currentSubState"].as_str().expect("a substate")
}

/// The objects of all spools whose names have this in them.
fn objects(server: &RuntimeServer, part: &str) -> Vec<PathBuf> {
    let spool = server.state().join("spool");
    let all = files(&spool).into_iter().map(|(path, _)| path);
    all.filter(|path| path.to_string_lossy().contains(part))
        .collect()
}

fn loaded(target: &Cluster, db: &str) -> u32 {
    let count = "SELECT count(*) FROM pghaul.progress WHERE finished_at IS NOT NULL";
    let count = target.try_psql(db, count).unwrap_or_default();
    count.parse().unwrap_or(0)
}

#[track_caller]
fn wait_until(what: &str, agents: &mut [&mut Running], mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !happened() {
        for agent in agents.iter_mut() {
            let running = agent.is_running();
            assert!(running, "{what}: {}{}", agent.stdout(), agent.stderr());
        }
        assert!(Instant::now() < deadline, "not within two minutes: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn both_sides_dial_the_server_and_everything_arrives() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let odd = "o/d \"d\" ü.x";
    pair.source.create_db(odd);
    pair.source.psql(odd, "CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t SELECT i, repeat('x', i % 50) FROM generate_series(1, 500) i; CREATE SEQUENCE s; SELECT setval('s', 4711)");
    let server = RuntimeServer::start(&[]);
    // Nobody said which databases: the agent of the source asks its server.
    server.create("m", &job(&[], json!({ "roles": false })));
    let begun = server.wait("m", "it waits for agents", |one| {
        one["startedAt"].is_string()
    });
    assert_eq!(sub_state(&begun), "PerformingPreRequisiteSteps");
    let target = pair.target.dsn("postgres");
    let load = server.agent("load", "m", &[]).target(&target).spawn();
    wait_until("the loader waits", &mut [], || {
        server
            .agents()
            .iter()
            .any(|agent| agent["state"] == "waiting" && agent["side"] == "target")
    });
    let source = pair.source.dsn("postgres");
    let extract = server.agent("extract", "m", &SPLIT).source(&source).spawn();
    let done = server.wait_for("m", "Succeeded");
    extract.wait().expect(0);
    load.wait().expect(0);
    assert_eq!(done["verified"], true, "{done:#}");
    let databases = &done["currentStatus"]["currentSubStateDetails"]["dbDetails"];
    for db in ["a", odd, "postgres"] {
        let details = &databases[db];
        assert_eq!(details["migrationState"], "Succeeded", "{db}: {details:#}");
        assert_eq!(details["fraction"], 1.0, "{db}: {details:#}");
        assert_migrated(&pair.source, db, &pair.target, db);
    }
    assert_eq!(
        databases["a"]["fullLoadCompletedTables"], 4,
        "{databases:#}"
    );
    let rows = pair.source.psql("a", "SELECT sum(n) FROM (SELECT count(*) n FROM pgbench_accounts UNION ALL SELECT count(*) FROM pgbench_branches UNION ALL SELECT count(*) FROM pgbench_tellers UNION ALL SELECT count(*) FROM pgbench_history) c");
    assert_eq!(databases["a"]["rows"].to_string(), rows);
    for agent in server.agents() {
        assert_eq!(agent["state"], "done", "{agent:#}");
        assert_eq!(agent["migration"], "m");
    }
    // Files of rows are removed as they are loaded, and everything else with the migration.
    assert_eq!(objects(&server, "/parts/"), Vec::<PathBuf>::new());
    assert!(!objects(&server, "/manifest/").is_empty());
    server
        .ask("DELETE", "/api/v1/migrations/m", None)
        .expect(204);
    assert_eq!(objects(&server, "/"), Vec::<PathBuf>::new());
    assert!(server.agents().is_empty());
}

#[test]
fn agents_and_the_server_are_killed_and_others_go_on() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let mut server = RuntimeServer::start(&[]);
    server.create("m", &job(&["a"], json!({ "bytesPerSecond": SLOW })));
    let (source, target) = (pair.source.dsn("a"), pair.target.dsn("a"));
    let extract =
        |server: &RuntimeServer| server.agent("extract", "m", &SPLIT).source(&source).spawn();
    let load = |server: &RuntimeServer| {
        server
            .agent("load", "m", &["--jobs", "2"])
            .target(&target)
            .spawn()
    };
    let (mut extracting, mut loading) = (extract(&server), load(&server));
    wait_until(
        "a part is loaded",
        &mut [&mut extracting, &mut loading],
        || loaded(&pair.target, "a") > 0,
    );
    assert_eq!(sub_state(&server.get("m")), "MigratingData");

    // The server alone: both agents find it again.
    server.end("KILL");
    thread::sleep(Duration::from_secs(2));
    server.start_again();
    let before = loaded(&pair.target, "a");
    wait_until(
        "another part is loaded",
        &mut [&mut extracting, &mut loading],
        || loaded(&pair.target, "a") > before,
    );

    // Both agents: what takes their places goes on once they are taken for lost.
    let sealed = objects(&server, "/manifest/").len();
    extracting.signal("KILL");
    loading.signal("KILL");
    let (mut extracting, mut loading) = (extract(&server), load(&server));
    wait_until(
        "another part is sealed",
        &mut [&mut extracting, &mut loading],
        || objects(&server, "/manifest/").len() > sealed,
    );
    let before = loaded(&pair.target, "a");
    wait_until(
        "yet another part is loaded",
        &mut [&mut extracting, &mut loading],
        || loaded(&pair.target, "a") > before,
    );
    let lost = server
        .agents()
        .into_iter()
        .filter(|agent| agent["state"] == "lost");
    assert_eq!(lost.count(), 2);

    let free = json!({ "action": "throttle", "bytesPerSecond": null });
    server.act("m", &free).expect(200);
    let done = server.wait_for("m", "Succeeded");
    assert_eq!(done["verified"], true, "{done:#}");
    extracting.wait().expect(0);
    loading.wait().expect(0);
    assert_migrated(&pair.source, "a", &pair.target, "a");
}

/// One that was taken for dead, and is not, does nothing any more.
#[test]
fn an_agent_that_was_silent_for_too_long_is_fenced_off() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let server = RuntimeServer::start(&[]);
    // With checks, it would wait for an agent of the target.
    let slow = json!({ "option": "migrate", "bytesPerSecond": SLOW });
    server.create("m", &job(&["a"], slow));
    let (source, target) = (pair.source.dsn("a"), pair.target.dsn("a"));
    let extract = || server.agent("extract", "m", &SPLIT).source(&source).spawn();
    let mut silent = extract();
    wait_until("a part is sealed", &mut [&mut silent], || {
        !objects(&server, "/manifest/").is_empty()
    });
    // The process of its database, too: what it writes would be a sign of life.
    let children = pg::children(silent.pid());
    assert!(!children.is_empty(), "it works");
    silent.signal("STOP");
    children.iter().for_each(|child| pg::signal(*child, "STOP"));
    let mut next = extract();
    wait_until("the next one has the seat", &mut [&mut next], || {
        let agents = server.agents();
        agents.iter().any(|agent| agent["state"] == "lost")
            && agents.iter().any(|agent| agent["state"] == "working")
    });
    children.iter().for_each(|child| pg::signal(*child, "CONT"));
    silent.signal("CONT");
    let fenced = silent.wait().expect(1);
    assert!(
        fenced.stderr.contains("to another one"),
        "{}",
        fenced.stderr
    );
    let free = json!({ "action": "throttle", "bytesPerSecond": null });
    server.act("m", &free).expect(200);
    let loading = server.agent("load", "m", &[]).target(&target).spawn();
    server.wait_for("m", "Succeeded");
    next.wait().expect(0);
    loading.wait().expect(0);
    assert_migrated(&pair.source, "a", &pair.target, "a");
}

#[test]
fn what_is_canceled_stops_on_both_sides() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let server = RuntimeServer::start(&[]);
    server.create("m", &job(&["a"], json!({ "bytesPerSecond": SLOW })));
    let (source, target) = (pair.source.dsn("a"), pair.target.dsn("a"));
    let mut extracting = server.agent("extract", "m", &SPLIT).source(&source).spawn();
    let mut loading = server.agent("load", "m", &[]).target(&target).spawn();
    wait_until(
        "a part is loaded",
        &mut [&mut extracting, &mut loading],
        || loaded(&pair.target, "a") > 0,
    );
    // Paused, no further part arrives.
    server.act("m", &json!({ "action": "pause" })).expect(200);
    let mut still = loaded(&pair.target, "a");
    let mut since = Instant::now();
    wait_until(
        "nothing moves",
        &mut [&mut extracting, &mut loading],
        || {
            let now = loaded(&pair.target, "a");
            if now != still {
                (still, since) = (now, Instant::now());
            }
            since.elapsed() > Duration::from_secs(8)
        },
    );
    server.act("m", &json!({ "action": "resume" })).expect(200);
    wait_until(
        "it moves again",
        &mut [&mut extracting, &mut loading],
        || loaded(&pair.target, "a") > still,
    );
    server.act("m", &json!({ "action": "cancel" })).expect(200);
    let canceled = server.wait_for("m", "Canceled");
    assert_eq!(sub_state(&canceled), "Completed");
    extracting.wait().expect(1);
    loading.wait().expect(1);
    // One that nobody works on is canceled too.
    server.create("idle", &job(&["a"], json!({})));
    server
        .act("idle", &json!({ "action": "cancel" }))
        .expect(200);
    server.wait_for("idle", "Canceled");
}

#[test]
fn who_has_the_wrong_token_is_told_so() {
    let pair = Pair::start();
    pair.source.create_db("a");
    let server = RuntimeServer::start(&[]);
    server.create("m", &job(&["a"], json!({})));
    server.create("other", &job(&["a"], json!({})));
    let source = pair.source.dsn("a");
    let brief = server.agent_token("m", &json!({ "side": "source", "expiresInSeconds": 1 }));
    let of_other = server.agent_token("other", &json!({ "side": "source" }));
    let of_target = server.agent_token("m", &json!({ "side": "target" }));
    thread::sleep(Duration::from_millis(2100));
    for token in [brief.as_str(), &of_target, "pghaul-agent.nobody", "hunter2"] {
        let agent = server.agent_with("extract", "m", &[], token);
        let refused = agent.source(&source).run().expect(1);
        assert!(
            refused.stderr.contains("does not accept the token"),
            "{}",
            refused.stderr
        );
        assert!(!format!("{refused:?}").contains(token.rsplit('.').next().expect("a part")));
    }
    // A token of another migration opens that one's spool and no other.
    for token in [&of_other, &brief] {
        let spool = format!("relay+http://{}/m/a", server.address());
        let look = Pghaul::new(&["spool", "ls", "--spool", &spool]);
        let refused = look.env("PGHAUL_TOKEN", token).run().expect(1);
        assert!(
            refused.stderr.contains("does not allow it"),
            "{}",
            refused.stderr
        );
    }
    let none = server
        .agent_with("extract", "m", &[], "")
        .source(&source)
        .run()
        .expect(2);
    assert!(none.stderr.contains("PGHAUL_TOKEN"), "{}", none.stderr);
    let said = server
        .agent("extract", "m", &["--table", "x"])
        .source(&source)
        .run()
        .expect(2);
    assert!(
        said.stderr
            .contains("what the migration of the server says"),
        "{}",
        said.stderr
    );
    // What is kept of tokens tells none of them.
    for (path, content) in files(&server.state()) {
        for token in [&brief, &of_other, &of_target] {
            let secret = token.rsplit('.').next().expect("a secret").as_bytes();
            let found = content.windows(secret.len()).any(|bytes| bytes == secret);
            assert!(!found, "{}", path.display());
        }
    }
    let nobody = server.ask(
        "POST",
        "/api/v1/migrations/none/tokens",
        Some(&json!({ "side": "source" })),
    );
    assert_eq!(nobody.status, 400, "{}", nobody.text);
    let unknown = server.send("POST", "/api/v1/agents", "", "{}");
    assert_eq!(unknown.status, 401, "{}", unknown.text);
}
