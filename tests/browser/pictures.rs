//! A server at work, with migrations in each state: what docs/dashboard.md shows. Its pages are
//! opened in any case; pictures of them are taken when `PGHAUL_PICTURES` names a folder.

use serde_json::{Value, json};

use super::{Case, user};
use crate::support::pghaul::Running;
use crate::support::runtime_server::{RuntimeServer, job};
use crate::support::{Pair, fixture};

/// Tables of different sizes, about 60 MB of rows together.
const WAREHOUSE: &str = "
CREATE SCHEMA sales;
DO $$
DECLARE
  kind record;
BEGIN
  FOR kind IN SELECT * FROM (VALUES
    ('order_lines', 150000), ('orders', 90000), ('invoices', 50000), ('payments', 45000),
    ('customers', 30000), ('shipments', 25000), ('prices', 15000), ('stock', 9000),
    ('products', 6000), ('returns', 4000), ('suppliers', 600), ('carriers', 40)
  ) AS kinds (name, rows) LOOP
    EXECUTE format('CREATE TABLE sales.%I (
      id bigint PRIMARY KEY, placed timestamptz NOT NULL, note text NOT NULL)', kind.name);
    EXECUTE format('INSERT INTO sales.%I
      SELECT i, timestamptz ''2026-01-01'' + i * interval ''1 minute'', repeat(md5(i::text), 4)
      FROM generate_series(1, %s) i', kind.name, kind.rows);
    EXECUTE format('CREATE INDEX ON sales.%I (placed)', kind.name);
  END LOOP;
END $$;
ANALYZE";

/// The migrations, and how they are called in the list.
fn states() -> Value {
    json!({
        "shop": "Succeeded",
        "crm": "Validation failed",
        "rehearsal": "Canceled",
        "warehouse": "In progress",
        "archive": "Paused",
        "branch": "In progress",
        "billing": "Queued",
        "reports": "Scheduled",
    })
}

#[test]
fn a_server_at_work_can_be_seen_on_every_page() {
    let pair = Pair::start();
    databases(&pair);
    let server = RuntimeServer::start(&["--max-running", "3"]);
    for (name, role) in [("olga", "operator"), ("vera", "viewer")] {
        user(&server, name, role);
    }
    let [nightly, grafana] = [("nightly", "operator"), ("grafana", "viewer")]
        .map(|(name, role)| token(&server, name, role));
    let _agents = migrations(&server, &pair, &nightly);
    let refused = server.send("DELETE", "/api/v1/migrations/shop", &grafana, "");
    assert_eq!(refused.status, 403, "{}", refused.text);

    let mut case = Case::new("pictures", &server, &pair)
        .with("states", states())
        .with("copying", json!("warehouse"))
        .with("invalid", json!("crm"))
        .with("done", json!("shop"))
        .with("canceled", json!("rehearsal"))
        .with("chosen", json!(["crm", "shop"]));
    if let Ok(folder) = std::env::var("PGHAUL_PICTURES") {
        let state = server.state();
        let names = json!([[
            state.to_str().expect("paths here are UTF-8"),
            "/var/lib/pghaul"
        ]]);
        case = case.with("pictures", json!(folder)).with("names", names);
    }
    case.run();
}

/// The header by which a program with this role is known.
fn token(server: &RuntimeServer, name: &str, role: &str) -> String {
    let wanted = json!({ "name": name, "role": role, "expiresInSeconds": 2_592_000 });
    let made = server
        .ask("POST", "/api/v1/tokens", Some(&wanted))
        .expect(201);
    let token = made["token"].as_str().expect("a token");
    format!("Authorization: Bearer {token}\r\n")
}

fn databases(pair: &Pair) {
    fixture::shop(&pair.source, "shop", 1);
    pair.source.create_db("warehouse");
    pair.source.psql("warehouse", WAREHOUSE);
    for (copy, of) in [
        ("rehearsal", "shop"),
        ("crm", "shop"),
        ("archive", "warehouse"),
        ("branch", "warehouse"),
        ("billing", "shop"),
        ("reports", "shop"),
    ] {
        let sql = format!("CREATE DATABASE {copy} TEMPLATE {of}");
        pair.source.psql("postgres", &sql);
    }
    // What is in the way of one of them.
    pair.target.create_db("crm");
    let table = "CREATE TABLE leads (id int); INSERT INTO leads VALUES (1)";
    pair.target.psql("crm", table);
}

/// Brings migrations to each state; the agents of one of them.
fn migrations(server: &RuntimeServer, pair: &Pair, nightly: &str) -> Vec<Running> {
    let create = |name: &str, more: Value| server.create(name, &job(pair, &[name], more));
    create("shop", json!({ "tags": { "team": "web" } }));
    server.wait_for("shop", "Succeeded");
    create("crm", json!({}));
    server.wait_for("crm", "ValidationFailed");
    create("rehearsal", json!({ "bytesPerSecond": 50_000 }));
    server.wait("rehearsal", "it copies", is_copying);
    let cancel = json!({ "action": "cancel" });
    server.act("rehearsal", &cancel).expect(200);
    server.wait_for("rehearsal", "Canceled");
    create("archive", json!({ "bytesPerSecond": 3_000_000 }));
    server.wait("archive", "it copies", is_copying);
    let pause = json!({ "action": "pause" });
    server.act("archive", &pause).expect(200);

    let agents = json!({
        "topology": "agents", "databases": ["branch"], "bytesPerSecond": 500_000,
    });
    server.create("branch", &agents);
    let split = ["--split-larger-than", "2MB"];
    let source = pair.source.dsn("branch");
    let target = pair.target.dsn("branch");
    let agents = vec![
        server
            .agent("extract", "branch", &split)
            .source(&source)
            .spawn(),
        server.agent("load", "branch", &[]).target(&target).spawn(),
        server.agent("load", "branch", &[]).target(&target).spawn(),
    ];
    server.wait("branch", "it copies", is_copying);
    create(
        "warehouse",
        json!({ "jobs": 3, "bytesPerSecond": 3_000_000 }),
    );
    create("billing", json!({}));
    let tomorrow = chrono::Utc::now() + chrono::TimeDelta::days(1);
    let reports = job(
        pair,
        &["reports"],
        json!({ "startAt": tomorrow.to_rfc3339() }),
    );
    let path = "/api/v1/migrations/reports";
    let created = server.send("PUT", path, nightly, &reports.to_string());
    created.expect(201);
    agents
}

fn is_copying(migration: &Value) -> bool {
    let details = &migration["currentStatus"]["currentSubStateDetails"];
    details["currentSubState"] == "MigratingData"
}
