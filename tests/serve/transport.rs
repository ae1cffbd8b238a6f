//! TLS, and where the server may connect.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::oracle::assert_migrated;
use crate::support::runtime_server::{RuntimeServer, job};
use crate::support::tls::Authority;
use crate::support::{Pair, Pghaul, fixture};

/// What curl gives for an address: the status, or why there is none.
fn curl(args: &[&str]) -> Result<String, i32> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "30", "--output", "/dev/null"]);
    command.args(["--write-out", "%{http_code} %{http_version}"]);
    let output = command.args(args).output().expect("curl is there");
    match output.status.code() {
        Some(0) => Ok(String::from_utf8(output.stdout).expect("text")),
        code => Err(code.expect("it ended by itself")),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths here are UTF-8")
}

#[test]
fn tls_is_served_and_renewed() {
    let authority = Authority::new();
    let issued = authority.issue("one", &["IP:127.0.0.1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let [cert, key] = ["cert", "key"].map(|name| folder.path().join(name));
    fs::copy(&issued.cert, &cert).expect("a copy");
    fs::copy(&issued.key, &key).expect("a copy");
    let root = authority.root();
    let server = RuntimeServer::start(&[
        "--tls-cert",
        text(&cert),
        "--tls-key",
        text(&key),
        "--tls-client-ca",
        text(&root),
    ]);
    let url = format!("https://{}/healthz", server.address());
    let known = ["--cacert", text(&root), &url];
    assert_eq!(curl(&known).as_deref(), Ok("200 2"));
    assert_eq!(
        curl(&["--http1.1", "--cacert", text(&root), &url]).as_deref(),
        Ok("200 1.1")
    );
    // 60: the certificate is of nobody who is trusted; 35: not even TLS 1.2.
    assert_eq!(curl(&[&url]), Err(60));
    assert_eq!(
        curl(&["--tls-max", "1.1", "--cacert", text(&root), &url]),
        Err(35)
    );
    let plain = url.replace("https", "http");
    assert!(curl(&[&plain]).is_err());

    // A certificate for another name: who checks it refuses it from then on.
    let other = authority.issue("two", &["DNS:other.example"]);
    fs::copy(&other.cert, &cert).expect("a copy");
    fs::copy(&other.key, &key).expect("a copy");
    server.signal("HUP");
    let deadline = Instant::now() + Duration::from_secs(60);
    while curl(&known) != Err(60) {
        assert!(
            Instant::now() < deadline,
            "the old certificate is still served"
        );
        thread::sleep(Duration::from_millis(100));
    }
    // What is broken is not taken.
    fs::write(&cert, "no certificate").expect("a file");
    server.signal("HUP");
    let said = "the certificate stays the old one";
    while !server.said().contains(said) {
        assert!(Instant::now() < deadline, "{}", server.said());
        thread::sleep(Duration::from_millis(100));
    }
    let resolve = format!(
        "other.example:{}:127.0.0.1",
        server.address().split(':').next_back().expect("a port")
    );
    let named = url.replace("127.0.0.1", "other.example");
    assert_eq!(
        curl(&["--resolve", &resolve, "--cacert", text(&root), &named]).as_deref(),
        Ok("200 2")
    );
    // By a name that it does not have, it tells of nothing but its health.
    let named = named.replace("healthz", "");
    assert_eq!(
        curl(&["--resolve", &resolve, "--cacert", text(&root), &named]).as_deref(),
        Ok("421 2")
    );
}

#[test]
fn wrong_flags_are_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("s");
    let authority = Authority::new();
    let [one, two] = ["one", "two"].map(|name| authority.issue(name, &["IP:127.0.0.1"]));
    for (flags, word) in [
        (&["--listen", "0.0.0.0:0"][..], "TLS"),
        (&["--listen", "[::]:0"], "TLS"),
        (&["--allow-host", "10.0.0.0/99"], "10.0.0.0/99"),
        (&["--allowed-host", "http://x"], "http://x"),
        (
            &["--tls-cert", text(&one.cert), "--tls-key", text(&two.key)],
            "key",
        ),
        (&["--tls-cert", text(&one.cert)], "--tls-key"),
        (
            &["--tls-cert", text(&one.cert), "--tls-key", "/nowhere"],
            "/nowhere",
        ),
    ] {
        let mut args = vec!["serve", "--state", text(&state)];
        if !flags.contains(&"--listen") {
            args.extend(["--listen", "127.0.0.1:0"]);
        }
        args.extend(flags);
        let refused = Pghaul::new(&args).run().expect(2);
        assert!(
            refused.stderr.contains(word),
            "{flags:?}: {}",
            refused.stderr
        );
        assert!(!state.exists(), "{flags:?}");
    }
    let weak = Pghaul::new(&["serve", "--state", text(&state), "--listen", "127.0.0.1:0"]);
    let weak = weak
        .env("PGHAUL_ADMIN_PASSWORD", "short-one")
        .run()
        .expect(2);
    assert!(
        weak.stderr.contains("PGHAUL_ADMIN_PASSWORD"),
        "{}",
        weak.stderr
    );
    assert!(!weak.stderr.contains("short-one"), "{}", weak.stderr);
}

#[test]
fn a_job_connects_where_the_server_may_and_nowhere_else() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let refusing =
        RuntimeServer::start(&["--allow-host", "10.0.0.0/8", "--allow-host", "*.example"]);
    let refused = refusing.ask(
        "PUT",
        "/api/v1/migrations/m",
        Some(&job(&pair, &["a"], json!({}))),
    );
    assert_eq!(refused.status, 400, "{}", refused.text);
    let keys = [0, 1].map(|at| refused.json()["errors"][at]["key"].clone());
    assert_eq!(keys, [json!("source.host"), json!("target.host")]);

    // By the name of this host, which has several addresses: all of them are allowed and used.
    let server = RuntimeServer::start(&["--allow-host", "localhost"]);
    let mut body = job(&pair, &["a"], json!({}));
    body["source"]["host"] = json!("localhost");
    body["target"]["host"] = json!("localhost");
    server.create("m", &body);
    server.wait_for("m", "Succeeded");
    assert_migrated(&pair.source, "a", &pair.target, "a");

    // The process itself looks again: a server that allows less starts what an earlier one took.
    let dsn = format!(
        "host=localhost port={} user=postgres dbname=a",
        pair.source.port()
    );
    let process = Pghaul::new(&["validate"])
        .source(&dsn)
        .target(&dsn)
        .env("PGHAUL_ALLOW_HOST", "10.0.0.0/8");
    let refused = process.run().expect(2);
    assert!(
        refused.stderr.contains("may not connect"),
        "{}",
        refused.stderr
    );
}
