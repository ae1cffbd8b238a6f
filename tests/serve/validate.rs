//! The checks of a migration whose source and target no process reaches together: agents at both
//! sides make them, in three processes with the server.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::oracle::assert_migrated;
use crate::support::runtime_server::RuntimeServer;
use crate::support::{Cluster, Output, Pair, Pghaul, fixture, pg};

/// Everything of a server that a migration would add to.
const SHARED: &str = "
    SELECT (SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database),
           (SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles)";

fn job(option: &str, databases: &[&str]) -> Value {
    json!({ "topology": "agents", "option": option, "databases": databases })
}

/// Code and severity of every finding.
type Codes = BTreeSet<(u64, String)>;

/// What a migration says of the checks: all messages.
fn messages(migration: &Value) -> Vec<Value> {
    let details = &migration["currentStatus"]["currentSubStateDetails"]["validationDetails"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let of_servers = list(&details["serverLevelValidationDetails"]);
    let of_databases = list(&details["dbLevelValidationDetails"]);
    let of_databases = of_databases.iter().flat_map(|one| list(&one["summary"]));
    let groups = of_servers.into_iter().chain(of_databases);
    groups.flat_map(|group| list(&group["messages"])).collect()
}

fn codes(migration: &Value) -> Codes {
    let messages = messages(migration).into_iter();
    let code = |one: &Value| Some((one["code"].as_u64()?, one["state"].as_str()?.to_owned()));
    messages.filter_map(|one| code(&one)).collect()
}

/// Without what is measured. One process measures nothing if anything has failed; a side does not
/// know of the other one's failures.
fn unmeasured(mut codes: Codes) -> Codes {
    codes.retain(|(code, _)| ![613_002, 613_301, 613_302].contains(code));
    codes
}

/// What one process finds that reaches both servers.
fn directly(source: &str, target: &str) -> Codes {
    let call = Pghaul::new(&["validate", "--output", "json"]);
    let output = call.source(source).target(target).run();
    let lines = output.stdout.lines();
    let findings = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let code = |one: &Value| Some((one["code"].as_u64()?, one["severity"].as_str()?.to_owned()));
    findings.filter_map(|one| code(&one)).collect()
}

/// An agent that encrypts: without a key, passwords of roles would stay behind, and be missed.
fn agent(server: &RuntimeServer, verb: &str, name: &str) -> Pghaul {
    let key = server.state().with_file_name("agents.key");
    std::fs::write(&key, "0f".repeat(32)).expect("a key");
    let key = key.to_str().expect("UTF-8");
    server.agent(verb, name, &["--encrypt-key-file", key])
}

/// Lets agents work on a migration until it has ended like this: it, and what they said.
#[track_caller]
fn ends(
    server: &RuntimeServer,
    (name, state): (&str, &str),
    source: &str,
    target: &str,
) -> (Value, [Output; 2]) {
    let extract = agent(server, "extract", name).source(source).spawn();
    let load = agent(server, "load", name).target(target).spawn();
    let ended = server.wait_for(name, state);
    (ended, [extract.wait(), load.wait()])
}

#[test]
fn agents_find_what_one_process_finds_that_reaches_both_servers() {
    let pair = Pair::start();
    fixture::shop(&pair.source, "shop", 1);
    pair.source.create_db("odd");
    // A warning of each side, and two for which both sides have to be known.
    pair.source.psql(
        "odd",
        "CREATE ROLE lacking; CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO lacking;
         CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)",
    );
    pair.target
        .psql("postgres", "CREATE ROLE maker LOGIN CREATEDB");
    let before = pair.target.psql("postgres", SHARED);
    let server = RuntimeServer::start(&[]);
    for (name, by) in [("shop", "postgres"), ("odd", "maker")] {
        let target = pair.target.dsn(name);
        let target = target.replace("postgres@", &format!("{by}@"));
        server.create(name, &job("validate", &[name]));
        let source = pair.source.dsn(name);
        let (ended, agents) = ends(&server, (name, "Succeeded"), &source, &target);
        for agent in agents {
            agent.expect(0);
        }
        assert_eq!(codes(&ended), directly(&source, &target), "{ended:#}");
        let details = &ended["currentStatus"]["currentSubStateDetails"]["validationDetails"];
        let end = &details["validationEndTimeInUtc"];
        assert!(end.is_string(), "{details:#}");
        // Rows would pass through this server, and that way is measured at either side.
        let relayed = messages(&ended).into_iter().filter(|one| {
            let text = one["message"].as_str().unwrap_or_default();
            text.contains("'s agent and the runtime server")
        });
        assert_eq!(relayed.count(), 4, "{details:#}");
    }
    let warned = codes(&server.get("odd"));
    let warnings = warned.iter().filter(|(_, severity)| severity == "Warning");
    let warnings: BTreeSet<u64> = warnings.map(|(code, _)| *code).collect();
    assert!(
        warnings.contains(&603_116) && warnings.contains(&613_105),
        "{warnings:?}"
    );
    assert_eq!(pair.target.psql("postgres", SHARED), before);
    // Nothing of them is under way any more, and who asks for work is told so.
    let late = server.agent("extract", "shop", &[]);
    late.source(&pair.source.dsn("shop")).run().expect(0);
}

#[test]
fn what_fails_at_either_side_ends_the_migration_before_anything_is_written() {
    let pair = Pair::start();
    pair.source.psql("postgres", "CREATE ROLE plain LOGIN");
    for (db, sql) in [
        ("closed", "CREATE TABLE closed (id int)"),
        ("full", "CREATE TABLE t (id int)"),
        (
            "both",
            "CREATE EXTENSION hstore; UPDATE pg_extension SET extname = 'elsewhere'
               WHERE extname = 'hstore'",
        ),
    ] {
        pair.source.create_db(db);
        pair.source.psql(db, sql);
    }
    pair.target.create_db("full");
    pair.target.psql("full", "CREATE TABLE precious (id int)");
    let before = pair.target.psql("postgres", SHARED);
    let server = RuntimeServer::start(&[]);
    let by_plain = pair.source.dsn("closed").replace("postgres@", "plain@");
    for (option, db, source, code, object) in [
        ("validate", "closed", by_plain, 603_110, "public.closed"),
        (
            "validateAndMigrate",
            "full",
            pair.source.dsn("full"),
            603_101,
            "precious",
        ),
        (
            "validateAndMigrate",
            "both",
            pair.source.dsn("both"),
            603_405,
            "elsewhere",
        ),
    ] {
        server.create(db, &job(option, &[db]));
        let target = pair.target.dsn(db);
        let (ended, agents) = ends(&server, (db, "ValidationFailed"), &source, &target);
        let found = messages(&ended);
        let failed = found
            .iter()
            .find(|one| one["code"] == code && one["state"] == "Failed");
        let failed = failed.unwrap_or_else(|| panic!("{code} does not fail: {ended:#}"));
        assert!(failed["objects"].to_string().contains(object), "{failed}");
        assert!(!failed["remedy"].is_null(), "{failed}");
        // One side that fails keeps the other one from nothing.
        for side in [603_400, 603_112] {
            assert!(found.iter().any(|one| one["code"] == side), "{ended:#}");
        }
        let both = directly(&source, &target);
        assert_eq!(unmeasured(codes(&ended)), both, "{ended:#}");
        if option == "validateAndMigrate" {
            for agent in agents {
                agent.expect(1);
            }
        }
    }
    assert_eq!(pair.target.psql("postgres", SHARED), before);
    let there =
        "SELECT string_agg(relname, ',') FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(pair.target.psql("full", there), "precious");
}

#[test]
fn a_source_that_is_not_there_is_a_finding_and_the_target_is_checked_all_the_same() {
    let pair = Pair::start();
    let mut gone = Cluster::start();
    let nowhere = gone.dsn("a");
    gone.stop();
    let server = RuntimeServer::start(&[]);
    server.create("m", &job("validate", &["a"]));
    let target = pair.target.dsn("a");
    let (ended, _) = ends(&server, ("m", "ValidationFailed"), &nowhere, &target);
    let both = directly(&nowhere, &target);
    assert_eq!(unmeasured(codes(&ended)), both, "{ended:#}");
}

#[test]
fn agents_that_are_killed_while_they_check_are_replaced_and_the_migration_follows() {
    let pair = Pair::start();
    fixture::shop(&pair.source, "shop", 1);
    let mut server = RuntimeServer::start(&[]);
    server.create("m", &job("validateAndMigrate", &["shop"]));
    let (source, target) = (pair.source.dsn("shop"), pair.target.dsn("shop"));
    let extracting = agent(&server, "extract", "m").source(&source).spawn();
    server.wait("m", "the source is checked", |one| {
        messages(one).iter().any(|found| found["code"] == 603_400)
    });
    extracting.signal("KILL");
    server.end("KILL");
    server.start_again();
    let (ended, agents) = ends(&server, ("m", "Succeeded"), &source, &target);
    for agent in agents {
        agent.expect(0);
    }
    assert_eq!(ended["verified"], true, "{ended:#}");
    assert_migrated(&pair.source, "shop", &pair.target, "shop");
    // What was found is told once, whoever found it how often.
    let found = messages(&ended);
    for (number, one) in found.iter().enumerate() {
        assert!(!found[..number].contains(one), "{one}");
    }
}

/// The first four cells of each row of a page: code, side, check and outcome.
fn outcomes(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter(|line| line.starts_with("<tr><td>6"));
    let cells = rows.filter_map(|row| row.match_indices("</td>").nth(3).map(|(at, _)| &row[..at]));
    cells.map(str::to_owned).collect()
}

#[test]
fn what_was_found_is_a_page_that_runs_nothing() {
    let pair = Pair::start();
    let odd = "<img src=x onerror=alert(1)>";
    pair.source.create_db(odd);
    pair.source
        .psql(odd, "CREATE TABLE \"<script>alert(2)</script>\" (id int)");
    pair.source.psql("postgres", "CREATE ROLE plain LOGIN");
    let server = RuntimeServer::start(&[]);
    server.create("m", &job("validate", &[odd]));
    let path = "/api/v1/migrations/m/validation.html";
    assert_eq!(
        server.ask("GET", path, None).status,
        404,
        "nothing is checked yet"
    );
    let source = pair.source.dsn(odd).replace("postgres@", "plain@");
    let target = pair.target.dsn(odd);
    ends(&server, ("m", "ValidationFailed"), &source, &target);
    let page = server.ask("GET", path, None);
    assert_eq!(
        (page.status, page.kind.as_str()),
        (200, "text/html; charset=utf-8")
    );
    for markup in ["<img", "<script"] {
        assert!(!page.text.contains(markup), "{}", page.text);
    }
    assert!(page.text.contains("&lt;img src=x onerror=alert(1)&gt;"));
    assert!(
        page.text.contains("&lt;script&gt;alert(2)"),
        "{}",
        page.text
    );
    // A browser takes no style but the page's own, and nothing else at all.
    let style = page.text.split_once("<style>").expect("a style").1;
    let style = style.split_once("</style>").expect("its end").0;
    let hash = "import base64, hashlib, sys
print(base64.b64encode(hashlib.sha256(sys.stdin.buffer.read()).digest()).decode(), end='')";
    let mut python = std::process::Command::new("python3");
    let hash = pg::run_with_input(python.args(["-c", hash]), style).expect("a hash");
    let policy = format!("content-security-policy: default-src 'none'; style-src 'sha256-{hash}';");
    assert!(page.head.contains(&policy), "{}", page.head);
    assert!(!page.text.contains(" style="), "{}", page.text);
    // It is the page that a process writes that reaches both servers.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.html");
    let name = file.to_str().expect("UTF-8");
    let call = Pghaul::new(&["validate", "--html", name]);
    call.source(&source).target(&target).run().expect(1);
    let written = outcomes(&std::fs::read_to_string(file).expect("a page"));
    let shown = outcomes(&page.text);
    assert!(written.len() > 30, "{written:?}");
    let lacking: Vec<_> = written.difference(&shown).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
    // Whoever may look at the migration may read it, and nobody else.
    let nobody = server.send("GET", path, "", "");
    assert_eq!(nobody.status, 401, "{}", nobody.text);
}
