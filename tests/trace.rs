//! `pghaul migrate --trace`: the timeline names everything, nests, and is valid JSON however the
//! run ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::proxy::Proxy;
use crate::support::{Pair, fixture};

/// A span on a thread, in nanoseconds.
struct Span {
    thread: u64,
    category: String,
    name: String,
    from: i64,
    to: i64,
    args: Value,
}

fn parse(file: &Path) -> Vec<Span> {
    let text = fs::read_to_string(file).expect("a trace");
    let events: Vec<Value> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    let number = |event: &Value, name: &str| {
        let value = event[name].as_f64().unwrap_or_else(|| panic!("{event}"));
        (value * 1000.0).round() as i64
    };
    let spans = events.iter().filter(|event| event["ph"] == "X");
    spans
        .map(|event| {
            let from = number(event, "ts");
            Span {
                thread: event["tid"].as_u64().expect("a thread"),
                category: event["cat"].as_str().expect("a category").to_owned(),
                name: event["name"].as_str().expect("a name").to_owned(),
                from,
                to: from + number(event, "dur"),
                args: event["args"].clone(),
            }
        })
        .collect()
}

/// On each thread, two spans are apart or one is within the other.
fn assert_nested(spans: &[Span]) {
    let mut threads: BTreeMap<u64, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        threads.entry(span.thread).or_default().push(span);
    }
    for spans in threads.values_mut() {
        spans.sort_by_key(|span| (span.from, -span.to));
        let mut open: Vec<&Span> = Vec::new();
        for span in spans.iter() {
            open.retain(|outer| outer.to > span.from);
            for outer in &open {
                assert!(
                    span.to <= outer.to,
                    "{} {} crosses the end of {} {}",
                    span.category,
                    span.name,
                    outer.category,
                    outer.name
                );
            }
            if span.category == "wait" {
                let inside = open
                    .iter()
                    .any(|outer| ["part", "read"].contains(&&*outer.category));
                assert!(inside, "{} is in no part", span.name);
            }
            open.push(span);
        }
    }
}

/// The run's span, which holds all others.
fn assert_covered(spans: &[Span]) {
    let run = spans
        .iter()
        .find(|span| span.category == "run")
        .expect("a run");
    for span in spans {
        assert!(run.from <= span.from && span.to <= run.to, "{}", span.name);
    }
}

fn names<'s>(spans: &'s [Span], category: &str) -> Vec<&'s str> {
    let of = spans.iter().filter(|span| span.category == category);
    let mut names: Vec<&str> = of.map(|span| &*span.name).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_trace_names_every_part_and_step_and_its_spans_nest() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "bench", 2);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    let args = [
        "migrate",
        "--trace",
        path,
        "--jobs",
        "3",
        "--split-larger-than",
        "3MB",
        "--output",
    ];
    let output = pair
        .pghaul("bench", &[&args[..], &["json"]].concat())
        .run()
        .expect(0);

    let spans = parse(file.path());
    assert_nested(&spans);
    assert_covered(&spans);
    let mut done: Vec<String> = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|event| event["event"] == "part_done")
        .map(|event| event["subject"].as_str().expect("a name").to_owned())
        .collect();
    done.sort();
    assert!(done.len() > 8, "{done:?}");
    assert_eq!(names(&spans, "part"), done);
    assert_eq!(names(&spans, "read"), done);
    let tables = pair.source.psql(
        "bench",
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
    );
    let traced: std::collections::BTreeSet<String> = spans
        .iter()
        .filter(|span| span.category == "part")
        .flat_map(|span| span.args["tables"].as_array().expect("tables"))
        .map(ToString::to_string)
        .collect();
    assert_eq!(traced.len().to_string(), tables);
    let lanes: std::collections::BTreeSet<u64> = spans
        .iter()
        .filter(|span| span.category == "part")
        .map(|span| span.thread)
        .collect();
    assert!(lanes.len() <= 3, "{lanes:?}");

    let steps = names(&spans, "step").join("\n");
    let indexes = pair.source.psql(
        "bench",
        "SELECT indexrelid::regclass FROM pg_index WHERE indrelid::regclass::text LIKE 'pgbench%'",
    );
    for index in indexes.lines() {
        assert!(steps.contains(index), "{index} is not in\n{steps}");
    }
    for step in ["catalog", "pre-data", "analyze"] {
        assert!(steps.contains(step), "{step} is not in\n{steps}");
    }
}

/// Starts a migration that is slow because of its target, and waits until the trace says so.
fn slow(end: impl FnOnce(crate::support::pghaul::Running)) -> Vec<Span> {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "bench", 1);
    let proxy = Proxy::start(&pair.target);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trace.json");
    let args = [
        "migrate",
        "--jobs",
        "2",
        "--trace",
        file.to_str().expect("UTF-8"),
    ];
    let call = pair.pghaul("bench", &args);
    let dsn = format!("{}?sslmode=disable", proxy.dsn(&pair.target, "bench"));
    let mut running = call.target(&dsn).spawn();
    let deadline = Instant::now() + Duration::from_secs(60);
    let text = || fs::read_to_string(&file).unwrap_or_default();
    while !text().contains("lane 1, writing") {
        assert!(
            Instant::now() < deadline,
            "no part begins: {}",
            running.stderr()
        );
        assert!(running.is_running(), "it ended: {}", running.stderr());
        thread::sleep(Duration::from_millis(1));
        proxy.throttle(Some(300_000));
    }
    while !text().contains("waiting for target") {
        assert!(Instant::now() < deadline, "nobody waits: {}", text());
        assert!(running.is_running(), "it ended: {}", running.stderr());
        thread::sleep(Duration::from_millis(20));
    }
    end(running);
    parse(&file)
}

#[test]
fn an_interrupted_run_leaves_a_whole_trace() {
    let spans = slow(|running| {
        running.signal("INT");
        running.wait().expect(1);
    });
    assert_nested(&spans);
    assert_covered(&spans);
    let unfinished = |span: &&Span| span.args["unfinished"] == true;
    assert!(
        spans.iter().any(|span| unfinished(&span)),
        "nothing was under way"
    );
}

#[test]
fn a_killed_run_leaves_what_it_had_written() {
    let spans = slow(|running| {
        running.signal("KILL");
        running.wait().expect(-9);
    });
    assert_nested(&spans);
    assert!(names(&spans, "wait").contains(&"waiting for target"));
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_starts() {
    let pair = Pair::start();
    pair.source.create_db("d");
    let args = ["migrate", "--trace", "/nowhere/trace.json"];
    let refused = pair.pghaul("d", &args).run().expect(2);
    assert!(
        refused.stderr.contains("/nowhere/trace.json"),
        "{}",
        refused.stderr
    );
    assert!(!pair.target.databases().contains(&"d".to_owned()));
}
