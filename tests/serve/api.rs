//! What can be asked of the server, and what it answers.

use serde_json::{Value, json};

use crate::support::oracle::assert_migrated;
use crate::support::runtime_server::{RuntimeServer, job};
use crate::support::{Pair, fixture};

#[test]
fn a_migration_is_created_watched_and_deleted() {
    let pair = Pair::start();
    fixture::shop(&pair.source, "shop", 1);
    let server = RuntimeServer::start(&[]);
    let body = job(&pair, &["shop"], json!({"tags": {"team": "blue"}}));
    let created = server.create("m1", &body);
    assert_eq!(created["currentStatus"]["state"], "InProgress");
    assert_eq!(created["source"]["password"], Value::Null);
    assert_eq!(created["migrationMode"], "Offline");
    assert_eq!(created["createdBy"], "admin");

    let done = server.wait_for("m1", "Succeeded");
    assert_migrated(&pair.source, "shop", &pair.target, "shop");
    assert_eq!(done["verified"], true);
    let details = &done["currentStatus"]["currentSubStateDetails"];
    assert_eq!(details["currentSubState"], "Completed");
    let shop = &details["dbDetails"]["shop"];
    assert_eq!(shop["migrationState"], "Succeeded");
    assert_eq!(shop["fraction"], 1.0);
    assert!(shop["rows"].as_u64() > Some(0), "{shop}");
    assert_eq!(shop["fullLoadQueuedTables"], 0);
    assert_eq!(shop["fullLoadErroredTables"], 0);
    let validation = &details["validationDetails"];
    assert_ne!(validation["status"], "Failed", "{validation}");
    let types: Vec<_> = validation["serverLevelValidationDetails"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|group| group["type"].clone())
        .collect();
    assert!(
        types.contains(&json!("AuthenticationAndConnectivityValidation")),
        "{types:?}"
    );

    // Tables, a page at a time, are those that were counted.
    let mut tables = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/migrations/m1/databases/shop/tables?limit=3&after={after}");
        let page = server.ask("GET", &path, None).expect(200);
        tables.extend(page["value"].as_array().expect("a list").clone());
        match page["next"].as_str() {
            Some(next) => after = crate::support::pg::percent_encode(next),
            None => break,
        }
    }
    assert_eq!(json!(tables.len()), shop["fullLoadCompletedTables"]);
    assert!(tables.iter().all(|table| table["state"] == "completed"));

    // Events, a page at a time, are the lines of the file.
    let lines = server.run_dir("m1").events();
    let mut events = Vec::new();
    let mut after = 0;
    loop {
        let path = format!("/api/v1/migrations/m1/events?limit=7&after={after}");
        let page = server.ask("GET", &path, None).expect(200);
        events.extend(page["value"].as_array().expect("a list").clone());
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(events.len(), lines.len());
    assert_eq!(events.last().expect("events")["event"], "ended");
    let middle = events[events.len() / 2]["id"].clone();
    let stream = server.ask("GET", "/api/v1/migrations/m1/events/stream", None);
    assert!(
        stream.kind.starts_with("text/event-stream"),
        "{}",
        stream.kind
    );
    assert_eq!(stream.text.matches("\ndata: ").count(), lines.len());
    let path = format!("/api/v1/migrations/m1/events/stream?after={middle}");
    let rest = server.ask("GET", &path, None);
    let left = lines.len() - lines.len() / 2 - 1;
    assert_eq!(rest.text.matches("\ndata: ").count(), left);
    server
        .ask("GET", "/api/v1/migrations/m1/events?after=1", None)
        .expect(400);

    let report = server.ask("GET", "/api/v1/migrations/m1/report", None);
    assert!(
        report.status == 200 && report.text.contains("shop"),
        "{report:?}"
    );
    server
        .ask("GET", "/api/v1/migrations/m1/validation", None)
        .expect(200);
    server
        .ask("GET", "/api/v1/migrations/m1/logs", None)
        .expect(200);

    // The same body again changes nothing; another one is refused.
    let path = "/api/v1/migrations/m1";
    server.ask("PUT", path, Some(&body)).expect(200);
    let mut other = body.clone();
    other["source"]["password"] = json!("another");
    server.ask("PUT", path, Some(&other)).expect(409);
    let list = |filter: &str| {
        let path = format!("/api/v1/migrations{filter}");
        let list = server.ask("GET", &path, None).expect(200);
        list["value"].as_array().expect("a list").len()
    };
    assert_eq!((list(""), list("?filter=all")), (0, 1));
    server.act("m1", &json!({"action": "cancel"})).expect(409);
    let runs = server.state().join("runs");
    assert_eq!(std::fs::read_dir(&runs).expect("runs").count(), 1);
    assert_eq!(server.ask("DELETE", path, None).status, 204);
    server.ask("GET", path, None).expect(404);
    assert_eq!(std::fs::read_dir(&runs).expect("runs").count(), 0);
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let pair = Pair::start();
    let server = RuntimeServer::start(&[]);
    let put = |name: &str, more: Value| {
        let body = job(&pair, &["a"], more);
        server.ask("PUT", &format!("/api/v1/migrations/{name}"), Some(&body))
    };
    for (name, more, word) in [
        ("m", json!({"mode": "online"}), "online"),
        ("m", json!({"hurry": true}), "hurry"),
        (
            "m",
            json!({"source": {"host": "h", "user": "u", "sslMode": "maybe"}}),
            "sslMode",
        ),
        ("m", json!({"jobs": 0}), "jobs"),
        ("m", json!({"target": null}), "target"),
        ("-m", json!({}), "name"),
    ] {
        let answer = put(name, more);
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(answer.kind, "application/problem+json");
        assert!(answer.text.contains(word), "{word}: {}", answer.text);
    }
    let problem = server.send("GET", "/api/v1/migrations", "", "");
    assert_eq!(
        (problem.status, problem.kind.as_str()),
        (401, "application/problem+json")
    );
    let wrong = "Authorization: Bearer 0123\r\n";
    assert_eq!(
        server.send("GET", "/api/v1/migrations", wrong, "").status,
        401
    );
    for health in ["/healthz", "/readyz"] {
        assert_eq!(server.send("GET", health, "", "").status, 200, "{health}");
    }
    assert_eq!(server.send("GET", "/metrics", "", "").status, 401);
    server.ask("GET", "/nothing", None).expect(404);
    server.ask("POST", "/api/v1/migrations/m", None).expect(405);
    server
        .ask("GET", "/api/v1/migrations?filter=some", None)
        .expect(400);
    server
        .ask("GET", "/api/v1/migrations?color=red", None)
        .expect(400);
    server
        .ask(
            "PATCH",
            "/api/v1/migrations/m",
            Some(&json!({"action": "cancel"})),
        )
        .expect(404);

    let ask = |name: &str| {
        let body = json!({ "name": name });
        server
            .ask("POST", "/api/v1/check-name-availability", Some(&body))
            .expect(200)
    };
    assert_eq!(ask("m")["nameAvailable"], true);
    assert_eq!(ask("a b")["reason"], "Invalid");
    // It waits for ever, and so can be looked at.
    let later = json!({"startAt": "2999-01-01T00:00:00Z"});
    assert_eq!(put("later", later).status, 201);
    assert_eq!(ask("later")["reason"], "AlreadyExists");
    let waits = server.get("later");
    let details = &waits["currentStatus"]["currentSubStateDetails"];
    assert_eq!(
        details["currentSubState"],
        "WaitingForDataMigrationScheduling"
    );
    let cutover = server.act("later", &json!({"action": "cutover"}));
    assert!(
        cutover.status == 409 && cutover.text.contains("online"),
        "{}",
        cutover.text
    );
    server
        .act("later", &json!({"action": "throttle", "bytesPerSecond": 0}))
        .expect(400);
    server
        .ask("DELETE", "/api/v1/migrations/later", None)
        .expect(409);
    server
        .act("later", &json!({"action": "cancel"}))
        .expect(200);
    server.wait_for("later", "Canceled");
    assert_eq!(
        server
            .ask("DELETE", "/api/v1/migrations/later", None)
            .status,
        204
    );

    let host = server.ask("GET", "/api/v1/host", None).expect(200);
    assert!(host["memoryBytes"].as_u64() > Some(0), "{host}");
    let document = server.ask("GET", "/api/v1/openapi.json", None).expect(200);
    assert!(document["paths"]["/api/v1/migrations/{name}"]["put"].is_object());
}

#[test]
fn a_check_that_fails_ends_it_before_anything_is_changed() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    pair.target.create_db("a");
    pair.target.psql("a", "CREATE TABLE in_the_way (id int)");
    let server = RuntimeServer::start(&[]);
    server.create("m", &job(&pair, &["a"], json!({})));
    let ended = server.wait_for("m", "ValidationFailed");
    let details = &ended["currentStatus"]["currentSubStateDetails"];
    assert_eq!(details["validationDetails"]["status"], "Failed");
    let of_database = &details["validationDetails"]["dbLevelValidationDetails"][0];
    assert_eq!(of_database["databaseName"], "a");
    assert!(of_database.to_string().contains("603101"), "{of_database}");
    assert_eq!(details["dbDetails"]["a"]["migrationState"], "Failed");
    assert_eq!(
        pair.target.psql("a", "SELECT count(*) FROM in_the_way"),
        "0"
    );

    // Only to check is not to migrate; and who says so, overwrites.
    server.create(
        "checks",
        &job(
            &pair,
            &["a"],
            json!({"option": "validate", "overwrite": true}),
        ),
    );
    let ended = server.wait_for("checks", "Succeeded");
    assert_eq!(ended["verified"], Value::Null);
    assert_eq!(
        pair.target.psql("a", "SELECT count(*) FROM in_the_way"),
        "0"
    );
    server.create("again", &job(&pair, &["a"], json!({"overwrite": true})));
    server.wait_for("again", "Succeeded");
    assert_migrated(&pair.source, "a", &pair.target, "a");
}

#[test]
fn a_server_that_cannot_be_reached_fails_with_its_error() {
    let mut pair = Pair::start();
    pair.source.create_db("a");
    let server = RuntimeServer::start(&[]);
    pair.source.stop();
    server.create("m", &job(&pair, &["a"], json!({})));
    let ended = server.wait_for("m", "Failed");
    let error = ended["currentStatus"]["error"]["message"].as_str();
    assert!(
        error.is_some_and(|error| error.contains("source")),
        "{ended:#}"
    );
}
