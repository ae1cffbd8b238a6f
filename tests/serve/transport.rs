//! TLS, and where the server may connect.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

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

/// A file with a certificate of an agent and its key.
fn identity(authority: &Authority, name: &str) -> NamedTempFile {
    let issued = authority.issue(name, &[]);
    let mut both = NamedTempFile::new().expect("a file");
    for part in [&issued.cert, &issued.key] {
        both.write_all(&fs::read(part).expect("a file of it"))
            .expect("it is written");
    }
    both
}

#[test]
fn agents_check_the_server_and_show_certificates() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let [of_server, of_agents, of_others] = [0, 1, 2].map(|_| Authority::new());
    let [known, agents, unknown] = [&of_server, &of_agents, &of_others].map(Authority::root);
    let server = RuntimeServer::start_tls(&of_server, &["--tls-client-ca", text(&agents)]);
    server.create("m", &json!({ "topology": "agents", "databases": ["a"] }));
    let (own, stolen) = (identity(&of_agents, "agent"), identity(&of_others, "thief"));
    let (own, stolen) = (text(own.path()), text(stolen.path()));
    let (source, target) = (pair.source.dsn("a"), pair.target.dsn("a"));
    let token = server.agent_token("m", &json!({ "side": "source" }));
    let known = ["--ca-file", text(&known)];
    let shown = [&known[..], &["--client-cert", own]].concat();

    let named = format!("relay+{}/m", server.url().replace("127.0.0.1", "localhost"));
    let elsewhere = Pghaul::new(&[&["extract", "--spool", &named], &shown[..]].concat());
    let with = |args: &[&str], token: &str| server.agent_with("extract", "m", args, token);
    for (agent, words) in [
        // It does not know the server, or knows it by another name.
        (with(&["--client-cert", own], &token), "UnknownIssuer"),
        (
            with(&["--client-cert", own, "--ca-file", text(&unknown)], &token),
            "--ca-file",
        ),
        (elsewhere.env("PGHAUL_TOKEN", &token), "not valid for name"),
        // The server does not know it.
        (with(&known, &token), "--tls-client-ca"),
        // A certificate is no token.
        (
            with(&shown, "pghaul-agent.nobody"),
            "does not accept the token",
        ),
    ] {
        let refused = agent.source(&source).run().expect(1);
        assert!(
            refused.stderr.contains(words),
            "{words}: {}",
            refused.stderr
        );
    }
    with(&shown, "").source(&source).run().expect(2);
    // Who is cut off cannot tell why, and tries again.
    let stolen = [&known[..], &["--client-cert", stolen]].concat();
    let stranger = with(&stolen, &token).source(&source).spawn();
    server.wait("m", "a stranger is cut off", |_| {
        stranger.stderr().contains("cannot be reached") || stranger.stderr().contains("refused TLS")
    });
    drop(stranger);
    assert_eq!(server.agents(), Vec::<Value>::new(), "none of them came in");

    let extracting = with(&shown, &token).source(&source).spawn();
    let loading = server.agent("load", "m", &shown).target(&target).spawn();
    let ended = server.wait_for("m", "Succeeded");
    assert_eq!(ended["verified"], true, "{ended:#}");
    extracting.wait().expect(0);
    loading.wait().expect(0);
    assert_migrated(&pair.source, "a", &pair.target, "a");

    // Where the server asks for no certificate, none is needed.
    let open = RuntimeServer::start_tls(&of_server, &[]);
    open.create("m", &json!({ "topology": "agents", "databases": ["a"] }));
    let waiting = open.agent("extract", "m", &known).source(&source).spawn();
    open.wait("m", "an agent is let in", |_| !open.agents().is_empty());
    drop(waiting);
}
