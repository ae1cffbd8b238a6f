//! Passwords of a job: nothing that the server or its processes write, print or answer shows one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::runtime_server::{RuntimeServer, files, job};
use crate::support::{Pair, fixture};

/// Passwords that must be seen nowhere.
const CANARIES: [&str; 2] = ["canary-of-source", "canary-of-target"];

#[track_caller]
fn assert_clean(place: &str, bytes: &[u8]) {
    for secret in CANARIES {
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "{secret} is in {place}");
    }
}

#[test]
fn no_secret_anywhere() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    for (cluster, role, password) in [
        (&pair.source, "mover", CANARIES[0]),
        (&pair.target, "taker", CANARIES[1]),
    ] {
        let sql = format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{password}'");
        cluster.psql("postgres", &sql);
    }
    let mut server = RuntimeServer::start(&[]);
    let mut body = job(&pair, &["a"], json!({"bytesPerSecond": 500_000}));
    for (end, role, password) in [
        ("source", "mover", CANARIES[0]),
        ("target", "taker", CANARIES[1]),
    ] {
        body[end]["user"] = json!(role);
        body[end]["password"] = json!(password);
    }
    let created = server.create("m", &body);
    assert_clean("the answer to PUT", created.to_string().as_bytes());
    let run = server.run_dir("m");
    run.wait("it copies", |run| run.bytes() > 0);

    // While it runs: the command line of each of its processes, and all that it wrote.
    for process in fs::read_dir("/proc").expect("/proc").filter_map(Result::ok) {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert_clean("a command line", &line);
    }
    let look = |server: &RuntimeServer| {
        for (path, content) in files(&server.state()) {
            assert_clean(&path.display().to_string(), &content);
            let mode = fs::metadata(&path).map_or(0o600, |file| file.permissions().mode());
            assert_eq!(mode & 0o077, 0, "others may read {}", path.display());
        }
        for path in [
            "/api/v1/migrations?filter=all",
            "/api/v1/migrations/m",
            "/api/v1/migrations/m/events?limit=1000",
            "/api/v1/migrations/m/logs",
            "/metrics",
        ] {
            assert_clean(path, server.ask("GET", path, None).text.as_bytes());
        }
        assert_clean("what the server said", server.said().as_bytes());
    };
    look(&server);

    // Errors do not repeat what they refuse.
    let mut wrong = body.clone();
    wrong["source"]["password"] = json!({ "canary-of-source": CANARIES[1] });
    let path = "/api/v1/migrations/other";
    let refused = server.ask("PUT", path, Some(&wrong));
    assert_eq!(refused.status, 400);
    assert_clean("a refusal", refused.text.as_bytes());

    // The secrets are there all the same, under the key: a server that starts again has them.
    server.end("KILL");
    server.start_again();
    let free = json!({"action": "throttle", "bytesPerSecond": null});
    server.act("m", &free).expect(200);
    server.wait_for("m", "Succeeded");
    look(&server);
    server
        .ask("PUT", "/api/v1/migrations/m", Some(&body))
        .expect(200);
    let said = server.end("TERM").expect(0);
    assert_clean("what the server said", format!("{said:?}").as_bytes());

    // Without the key, nothing starts.
    fs::remove_file(server.state().join("key")).expect("the key is there");
    let state = server.state();
    let state = state.to_str().expect("paths here are UTF-8");
    let args = ["serve", "--state", state, "--listen", "127.0.0.1:0"];
    let refused = crate::support::Pghaul::new(&args).run().expect(2);
    assert!(refused.stderr.contains("key file"), "{}", refused.stderr);
}
