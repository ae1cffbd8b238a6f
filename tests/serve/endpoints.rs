//! What a server says of one end before there is a migration.

use serde_json::{Value, json};

use crate::support::Pair;
use crate::support::runtime_server::{RuntimeServer, job};

fn severities(answer: &Value) -> Vec<(u64, String)> {
    let checks = answer["checks"].as_array().expect("checks");
    let one = |check: &Value| {
        let state = check["state"].as_str().expect("a state");
        (check["code"].as_u64().expect("a code"), state.to_owned())
    };
    checks.iter().map(one).collect()
}

#[test]
fn an_end_is_tried_and_its_databases_are_listed() {
    let pair = Pair::start();
    pair.source.create_db("shop");
    pair.source.psql(
        "postgres",
        "CREATE DATABASE closed ALLOW_CONNECTIONS false; CREATE DATABASE mould IS_TEMPLATE true",
    );
    let server = RuntimeServer::start(&[]);
    let end = job(&pair, &["shop"], json!({}))["source"].clone();
    let ask = |path: &str, end: &Value| server.ask("POST", path, Some(end));

    let tested = ask("/api/v1/test-connection", &end).expect(200);
    assert_ne!(tested["state"], "Failed", "{tested}");
    let version = pair.source.psql("postgres", "SHOW server_version");
    let number = version.split(' ').next().expect("a number");
    assert_eq!(tested["serverVersion"], number);
    let codes: Vec<u64> = severities(&tested).iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [603_000, 603_001, 603_100, 613_000]);

    let listed = ask("/api/v1/source-databases", &end).expect(200);
    let sizes = "SELECT json_agg(json_build_object('name', datname,
                        'bytes', pg_database_size(oid)) ORDER BY datname)
                   FROM pg_database WHERE datallowconn AND NOT datistemplate";
    let sizes: Value = serde_json::from_str(&pair.source.psql("postgres", sizes)).expect("JSON");
    assert_eq!(listed["value"], sizes);

    // A password that is wrong is a finding of the test, and a refusal of the list.
    let mut stranger = end.clone();
    stranger["password"] = json!("wrong");
    let failed = ask("/api/v1/test-connection", &stranger).expect(200);
    assert_eq!(failed["state"], "Failed", "{failed}");
    assert_eq!(
        severities(&failed).last(),
        Some(&(603_100, "Failed".to_owned()))
    );
    let refused = ask("/api/v1/source-databases", &stranger).expect(422);
    assert!(!refused.to_string().contains("wrong"), "{refused}");

    // Where the server may not connect, it does not.
    let mut metadata = end.clone();
    metadata["host"] = json!("169.254.169.254");
    for path in ["/api/v1/test-connection", "/api/v1/source-databases"] {
        ask(path, &metadata).expect(422);
        ask(path, &json!({"host": 7})).expect(400);
    }
}
