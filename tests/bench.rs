//! `pghaul bench`: it measures what it says, names a bottleneck that the test has planted, and
//! leaves nothing behind.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::pghaul::Running;
use crate::support::proxy::Proxy;
use crate::support::{Cluster, Output, Pair, Pghaul};

/// The one object that a benchmark prints.
fn result(output: &Output) -> Value {
    let line = output
        .stdout
        .lines()
        .last()
        .unwrap_or_else(|| panic!("{}", output.stderr));
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(value["event"], "bench");
    value
}

fn assert_clean(cluster: &Cluster) {
    let databases = cluster.databases();
    let left = databases.iter().filter(|name| name.contains("bench"));
    assert_eq!(left.count(), 0, "{databases:?}");
}

/// Without TLS, so that a proxy sees what passes.
fn through(proxy: &Proxy, cluster: &Cluster) -> String {
    format!("{}?sslmode=disable", proxy.dsn(cluster, "postgres"))
}

#[test]
fn a_spool_is_measured_in_both_directions_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().to_str().expect("UTF-8");
    let args = ["bench", "link", "--spool", place, "--size", "3MB"];
    let args = [&args[..], &["--jobs", "2", "--output", "json"]].concat();
    let output = Pghaul::new(&args).run().expect(0);
    let found: Vec<Value> = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let [into, out_of] = found.as_slice() else {
        panic!("{}", output.stdout);
    };
    assert_eq!(into["bench"], "link into a spool");
    assert_eq!(out_of["bench"], "link out of a spool");
    assert_eq!(into["rows"], (3 << 20) / 200);
    for measure in ["rows", "bytes"] {
        assert_eq!(into[measure], out_of[measure], "{measure}");
    }
    let stored = into["stored_bytes"].as_u64().expect("bytes");
    assert!((1 << 20..4 << 20).contains(&stored), "{stored}");
    let left = fs::read_dir(place).expect("a folder").count();
    assert_eq!(left, 0, "the spool is to be removed");
}

#[test]
fn a_link_is_measured_without_a_server_and_reported_in_html() {
    let folder = tempfile::tempdir().expect("a folder");
    let html = folder.path().join("report.html");
    let html = html.to_str().expect("UTF-8");
    let args = [
        "bench",
        "link",
        "--channel",
        "--shape",
        "narrow",
        "--size",
        "3MB",
    ];
    let args = [
        &args[..],
        &["--jobs", "2", "--html", html, "--output", "json"],
    ]
    .concat();
    let found = result(&Pghaul::new(&args).run().expect(0));
    assert_eq!(found["bench"], "link");
    // Each row has 30 bytes; header and trailer of every part come on top.
    assert_eq!(found["rows"], (3 << 20) / 30);
    let bytes = found["bytes"].as_u64().expect("bytes");
    assert!((3_140_000..3_150_000).contains(&bytes), "{bytes}");
    for side in ["read", "write"] {
        let batches = &found["batches"][side];
        assert!(batches["count"].as_u64() >= Some(12), "{batches}");
        assert!(batches["p50_seconds"].as_f64() <= batches["max_seconds"].as_f64());
    }
    let report = fs::read_to_string(html).expect("a report");
    assert!(
        report.starts_with("<!DOCTYPE html>") && report.contains("<svg"),
        "{report}"
    );
    assert!(report.contains(found["verdict"]["finding"].as_str().expect("a finding")));
    for outside in ["http", "src=", "href=", "<script", "url("] {
        assert!(!report.contains(outside), "{outside} in\n{report}");
    }
    let text = Pghaul::new(&args[..args.len() - 2]).run().expect(0).stdout;
    assert!(
        text.contains("verdict: ") && text.contains("waiting for"),
        "{text}"
    );
    // Which link?
    Pghaul::new(&["bench", "link"]).run().expect(2);
}

#[test]
fn extract_and_load_leave_the_servers_as_they_were() {
    let pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE mine AS SELECT g, 'row ' || g AS t FROM generate_series(1, 5000) g;
         CREATE TABLE other AS SELECT 1 AS n;",
    );
    let before = (pair.source.databases(), pair.target.databases());
    let bench = |args: &[&str]| {
        let args = [&["bench"], args, &["--jobs", "2", "--output", "json"]].concat();
        result(&pair.pghaul("d", &args).run().expect(0))
    };
    let made = bench(&["extract", "--shape", "wide", "--size", "2MB"]);
    assert_eq!(made["rows"], (2 << 20) / 200);
    let mine = bench(&["extract", "--table", "public.mine"]);
    assert_eq!(
        mine["rows"].to_string(),
        pair.source.psql("d", "SELECT count(*) FROM mine")
    );
    // The target's database does not even exist.
    let load = bench(&["load", "--shape", "toast", "--size", "4MB"]);
    assert_eq!(load["rows"], (4 << 20) / 8018);
    for (found, server) in [(&made, "source"), (&load, "target")] {
        let cpu = &found["cpu_seconds"];
        assert!(
            cpu["pghaul"].is_number() && cpu[server].is_number(),
            "{cpu}"
        );
    }
    assert_eq!((pair.source.databases(), pair.target.databases()), before);
    let tables = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class
                   WHERE relkind = 'r' AND relnamespace NOT IN
                         ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)";
    assert_eq!(pair.source.psql("d", tables), "mine,other");

    let unknown = pair.pghaul("d", &["bench", "extract", "--table", "public.theirs"]);
    let unknown = unknown.run().expect(2);
    assert!(
        unknown.stderr.contains("public.theirs"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn migrate_names_the_planted_bottleneck() {
    let pair = Pair::start();
    let (source, target) = (Proxy::start(&pair.source), Proxy::start(&pair.target));
    pair.source.psql("postgres", "CREATE ROLE somebody");
    let bench = |extra: &[&str]| {
        let args = [
            "bench", "migrate", "--shape", "wide", "--size", "2MB", "--jobs", "2",
        ];
        let args = [&args[..], &["--output", "json"], extra].concat();
        let call = pair.pghaul("postgres", &args);
        let call = call.source(&through(&source, &pair.source));
        let output = call.target(&through(&target, &pair.target)).run().expect(0);
        let found = result(&output);
        assert_eq!(found["rows"], (2 << 20) / 200);
        assert_clean(&pair.source);
        assert_clean(&pair.target);
        found
    };
    let assert_named = |found: &Value, side: &str| {
        let verdict = &found["verdict"];
        assert_eq!(verdict["bottleneck"], side, "{found}");
        let finding = verdict["finding"].as_str().expect("a finding");
        assert!(finding.contains(side), "{finding}");
        assert!(found["waiting"][side].as_f64() > Some(0.5), "{found}");
    };
    let roles = "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles";
    let before = pair.target.psql("postgres", roles);
    target.throttle(Some(600_000));
    assert_named(&bench(&[]), "target");
    target.throttle(None);
    assert_named(&bench(&["--link-rate", "1MB"]), "link");
    source.throttle(Some(1_000_000));
    assert_named(&bench(&[]), "source");
    assert_eq!(pair.target.psql("postgres", roles), before);
}

/// Starts a benchmark that would take very long, and waits until its rows flow.
fn endless(pair: &Pair) -> Running {
    let args = [
        "bench",
        "migrate",
        "--size",
        "8MB",
        "--jobs",
        "2",
        "--link-rate",
        "10kB",
    ];
    let mut running = pair.pghaul("postgres", &args).spawn();
    let deadline = Instant::now() + Duration::from_secs(60);
    let copying = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'pghaul_bench_%'
                      AND query LIKE '%COPY%FROM STDIN%' AND query NOT LIKE '%pg_stat_activity%'";
    while pair.target.psql("postgres", copying) == "0" {
        assert!(
            Instant::now() < deadline,
            "no row flows: {}",
            running.stderr()
        );
        assert!(running.is_running(), "it ended: {}", running.stderr());
        thread::sleep(Duration::from_millis(20));
    }
    running
}

#[test]
fn an_interrupted_benchmark_cleans_up_and_a_killed_one_is_found() {
    let pair = Pair::start();
    let running = endless(&pair);
    running.signal("INT");
    let output = running.wait().expect(1);
    assert!(!output.stderr.contains("--resume"), "{}", output.stderr);
    assert_clean(&pair.source);
    assert_clean(&pair.target);

    let running = endless(&pair);
    running.signal("KILL");
    running.wait().expect(-9);
    // A database of that name which no benchmark made is nobody's business.
    pair.source.create_db("pghaul_bench_of_mine");
    let cleanup = |args: &[&str]| {
        let args = [&["cleanup"], args].concat();
        pair.pghaul("postgres", &args).run().expect(0).stdout
    };
    let found = cleanup(&["--dry-run"]);
    assert_eq!(found.matches("of a benchmark").count(), 2, "{found}");
    cleanup(&["--force"]);
    let left = |cluster: &Cluster| {
        let mut databases = cluster.databases();
        databases.retain(|name| name.starts_with("pghaul_bench"));
        databases
    };
    assert_eq!(left(&pair.source), ["pghaul_bench_of_mine"]);
    assert!(left(&pair.target).is_empty());
}
