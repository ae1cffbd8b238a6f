//! Names that would be something else where they are written down on the way.

use serde_json::{Value, json};

use crate::support::runtime_server::{RuntimeServer, job};
use crate::support::{Cluster, Pair};

/// Names of roles on the source, and on the target.
const RENAMED: [(&str, &str); 3] = [
    ("a=b", "c=d=e"),
    ("\"quoted\"", "\"also="),
    ("--help", "plain"),
];

fn source(cluster: &Cluster) {
    cluster.create_db("d");
    for (number, (role, _)) in RENAMED.iter().enumerate() {
        let role = role.replace('"', "\"\"");
        cluster.psql(
            "d",
            &format!(
                "CREATE ROLE \"{role}\"; CREATE TABLE t{number} (id int PRIMARY KEY);
                 ALTER TABLE t{number} OWNER TO \"{role}\""
            ),
        );
    }
}

fn map() -> Value {
    RENAMED.iter().map(|(old, new)| (*old, *new)).collect()
}

#[track_caller]
fn assert_renamed(target: &Cluster) {
    for (number, (_, role)) in RENAMED.iter().enumerate() {
        let owner = format!("SELECT tableowner FROM pg_tables WHERE tablename = 't{number}'");
        assert_eq!(target.psql("d", &owner), *role);
    }
}

#[test]
fn roles_whose_names_have_an_equals_sign_go_by_others() {
    let pair = Pair::start();
    source(&pair.source);
    let server = RuntimeServer::start(&[]);
    server.create("m", &job(&pair, &["d"], json!({ "roleMap": map() })));
    server.wait_for("m", "Succeeded");
    assert_renamed(&pair.target);
    pair.target.psql("postgres", "DROP DATABASE d");
    let job = json!({ "topology": "agents", "databases": ["d"], "roleMap": map() });
    server.create("a", &job);
    let (from, to) = (pair.source.dsn("d"), pair.target.dsn("d"));
    let extract = server.agent("extract", "a", &[]).source(&from).spawn();
    let load = server.agent("load", "a", &[]).target(&to).spawn();
    server.wait_for("a", "Succeeded");
    extract.wait().expect(0);
    load.wait().expect(0);
    assert_renamed(&pair.target);
}
