//! Who may use which route: what the server's own description says, by everybody.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::runtime_server::RuntimeServer;

const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

/// Routes that anybody may use.
const OPEN: [&str; 1] = ["/api/v1/login"];

#[test]
fn each_role_on_each_route() {
    let server = RuntimeServer::start(&[]);
    let mut bearers = BTreeMap::new();
    for role in ROLES {
        let wanted = json!({"name": role, "role": role, "expiresInSeconds": 600});
        let made = server
            .ask("POST", "/api/v1/tokens", Some(&wanted))
            .expect(201);
        let token = made["token"].as_str().expect("a token");
        bearers.insert(role, format!("Authorization: Bearer {token}\r\n"));
    }
    let document = server.ask("GET", "/api/v1/openapi.json", None).expect(200);
    let mut routes = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let path = path
                .replace("{id}", "00000000-0000-0000-0000-000000000000")
                .replace("{name}", "nobody")
                .replace("{database}", "none");
            if path.ends_with("/agents") || path.contains("/agents/") {
                // Who is an agent has no role.
                continue;
            }
            let method = method.to_uppercase();
            let declared = operation["security"].as_array().expect("a declaration");
            let needed = declared[0]["token"][0].as_str();
            assert_eq!(
                needed.is_none(),
                OPEN.contains(&path.as_str()),
                "{method} {path}"
            );
            let Some(needed) = needed else {
                continue;
            };
            for role in [None].into_iter().chain(ROLES.map(Some)) {
                let headers = role.map_or("", |role| bearers[role].as_str());
                let answer = server.send(&method, &path, headers, "");
                let rank = |role: &str| ROLES.iter().position(|one| *one == role);
                let told = format!(
                    "{method} {path} by {role:?}: {} {}",
                    answer.status, answer.text
                );
                match role {
                    None => assert_eq!(answer.status, 401, "{told}"),
                    Some(role) if rank(role) < rank(needed) => {
                        assert_eq!(answer.status, 403, "{told}")
                    }
                    Some(_) => assert!(
                        ![401, 403].contains(&answer.status) && answer.status < 500,
                        "{told}"
                    ),
                }
            }
            routes += 1;
        }
    }
    assert!(routes >= 22, "{routes}");
    // Of those that are not in the document.
    for (path, anybody, viewer) in [
        ("/healthz", 200, 200),
        ("/readyz", 200, 200),
        ("/", 200, 200),
        ("/assets/main.js", 200, 200),
        ("/metrics", 401, 200),
        ("/api/v1/openapi.json", 401, 200),
        ("/nothing", 404, 404),
    ] {
        assert_eq!(server.send("GET", path, "", "").status, anybody, "{path}");
        assert_eq!(
            server.send("GET", path, &bearers["viewer"], "").status,
            viewer,
            "{path}"
        );
    }
}

#[test]
fn who_did_what_is_in_the_audit_log() {
    let mut server = RuntimeServer::start(&["--max-running", "1"]);
    let job = json!({
        "option": "validate", "startAt": "2999-01-01T00:00:00Z",
        "source": {"host": "127.0.0.1", "port": 9, "user": "u", "password": "canary-of-source"},
        "target": {"host": "127.0.0.1", "port": 9, "user": "u"},
    });
    server.create("m", &job);
    server.act("m", &json!({"action": "pause"})).expect(200);
    server.act("m", &json!({"action": "cancel"})).expect(200);
    server.wait_for("m", "Canceled");
    assert_eq!(
        server.ask("DELETE", "/api/v1/migrations/m", None).status,
        204
    );
    assert_eq!(
        server.ask("DELETE", "/api/v1/migrations/m", None).status,
        404
    );
    server.end("KILL");
    server.start_again();
    let page = server.ask("GET", "/api/v1/audit", None).expect(200);
    let told: Vec<Value> = page["value"]
        .as_array()
        .expect("a list")
        .iter()
        .rev()
        .map(|row| json!([row["user"], row["action"], row["subject"], row["outcome"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!(["admin", "putMigration", "/migrations/m", "done"]),
            json!(["admin", "pauseMigration", "/migrations/m", "done"]),
            json!(["admin", "cancelMigration", "/migrations/m", "done"]),
            json!(["admin", "deleteMigration", "/migrations/m", "done"]),
            json!(["admin", "deleteMigration", "/migrations/m", "refused"]),
        ]
    );
    assert!(!page.to_string().contains("canary"));
}
