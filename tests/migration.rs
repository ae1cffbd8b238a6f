//! `pghaul migration`: files in the service's form and in our own, in one process and through a
//! runtime server.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::oracle::assert_migrated;
use crate::support::{Cluster, Output, Pair, Pghaul, fixture};

/// A file in a folder that lives as long as the test.
fn file(folder: &TempDir, name: &str, content: &str) -> String {
    let path: PathBuf = folder.path().join(name);
    fs::write(&path, content).expect("a file");
    path.into_os_string()
        .into_string()
        .expect("paths here are UTF-8")
}

/// A file in the service's own form, with its capitals, that migrates these databases.
fn properties(pair: &Pair, databases: &[&str]) -> Value {
    let end = |cluster: &Cluster| format!("127.0.0.1:{}@postgres", cluster.port());
    json!({
        "properties": {
            "SourceDBServerResourceId": end(&pair.source),
            "TargetDBServerResourceId": end(&pair.target),
            "SourceType": "OnPremises",
            "SslMode": "Prefer",
            "SecretParameters": {
                "AdminCredentials": {
                    "SourceServerPassword": Cluster::PASSWORD,
                    "TargetServerPassword": Cluster::PASSWORD,
                },
            },
            "DBsToMigrate": databases,
            "OverwriteDBsInTarget": "false",
        },
    })
}

/// `pghaul migration create` with a file. PGHAUL_SOURCE and PGHAUL_TARGET are set and do not count.
fn create(pair: &Pair, flag: &str, file: &str) -> Pghaul {
    pair.pghaul("nowhere", &["migration", "create", flag, file])
}

/// Fails if the passwords of the clusters are in what was said.
fn assert_no_password(output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains(Cluster::PASSWORD), "{text}");
    }
}

#[test]
fn a_file_of_the_service_migrates_in_this_process() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "d", 1);
    fixture::pgbench(&pair.source, "not me", 1);
    let folder = TempDir::new().expect("a folder");
    let path = file(&folder, "p.json", &properties(&pair, &["d"]).to_string());
    let output = create(&pair, "--properties", &path).run().expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
    assert!(!pair.target.databases().contains(&"not me".to_owned()));
    assert_no_password(&output);
}

#[test]
fn to_validate_changes_nothing() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "d", 1);
    let before = pair.target.databases();
    let folder = TempDir::new().expect("a folder");
    let mut said = properties(&pair, &["d"]);
    said["properties"]["migrationOption"] = json!("Validate");
    let path = file(&folder, "p.json", &said.to_string());
    let output = create(&pair, "--properties", &path).run().expect(0);
    assert_eq!(pair.target.databases(), before);
    assert_no_password(&output);
}

#[test]
fn a_job_file_of_our_own_says_more() {
    let pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE kept AS SELECT 1 AS a; CREATE TABLE dropped AS SELECT 2 AS a",
    );
    let folder = TempDir::new().expect("a folder");
    let job = format!(
        "source: {{host: {}, port: {}, user: postgres}}\n\
         target:\n  host: 127.0.0.1\n  port: {}\n  user: postgres\n\
         databases: [d]\nselection:\n  excludeTables: [dropped]\nroles: false\n",
        pair.source.socket_dir().display(),
        pair.source.port(),
        pair.target.port(),
    );
    let path = file(&folder, "job.yaml", &job);
    let run = || create(&pair, "--job", &path);
    // The target's password is neither in the file nor in the environment.
    run().run().expect(1);
    let output = run().env("PGHAUL_TARGET_PASSWORD", Cluster::PASSWORD).run();
    assert_no_password(&output.expect(0));
    let tables = "SELECT string_agg(relname, ',') FROM pg_class \
                  WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    assert_eq!(pair.target.psql("d", tables), "kept");
}

#[test]
fn what_cannot_be_is_refused_by_name_and_without_a_trace() {
    let pair = Pair::start();
    let before = pair.target.databases();
    let folder = TempDir::new().expect("a folder");
    let id = "/subscriptions/0/resourceGroups/g/providers/p/flexibleServers/s";
    for (key, value, said) in [
        (
            "dbToMigrate",
            json!(["d"]),
            "dbToMigrate: this key is not known",
        ),
        ("migrationMode", json!("Online"), "migrationMode"),
        ("SourceDBServerResourceId", json!(id), "host:port@user"),
        ("migrationRuntimeResourceId", json!(id), "https://"),
        ("cancel", json!("True"), "cannot be cancelled"),
        ("sslMode", json!("Prefer"), "given twice"),
    ] {
        let mut wrong = properties(&pair, &["d"]);
        wrong["properties"][key] = value;
        let path = file(&folder, "p.json", &wrong.to_string());
        let output = create(&pair, "--properties", &path).run().expect(2);
        assert!(output.stderr.contains(said), "{key}:\n{}", output.stderr);
        assert_no_password(&output);
    }
    let path = file(
        &folder,
        "job.yaml",
        "source: {host: h, user: u, password: {hidden: x}}\n",
    );
    let output = create(&pair, "--job", &path).run().expect(2);
    assert!(
        output.stderr.contains("source.password"),
        "{}",
        output.stderr
    );
    assert!(!output.stderr.contains("hidden"), "{}", output.stderr);
    assert_eq!(pair.target.databases(), before);
}

#[test]
fn a_server_that_is_not_there_is_said_to_be_missing() {
    let folder = TempDir::new().expect("a folder");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = nobody.local_addr().expect("an address").port();
    drop(nobody);
    let address = format!("http://127.0.0.1:{port}");
    let output = Pghaul::new(&["migration", "list", "--server", &address])
        .run()
        .expect(1);
    assert!(
        output.stderr.contains("cannot be reached"),
        "{}",
        output.stderr
    );
    let output = Pghaul::new(&["migration", "list"]).run().expect(2);
    assert!(output.stderr.contains("PGHAUL_SERVER"), "{}", output.stderr);
    // Nothing is sent over a network in clear text, and no token goes where it can be read.
    let job = file(
        &folder,
        "j.yaml",
        "source: {host: h, user: u}\ntarget: {host: h, user: u}\n",
    );
    let far = [
        "migration",
        "create",
        "--job",
        &job,
        "--server",
        "http://192.0.2.1:1",
    ];
    let output = Pghaul::new(&far).run().expect(2);
    assert!(output.stderr.contains("encryption"), "{}", output.stderr);
}
