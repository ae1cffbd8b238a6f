//! `pghaul migration`: files in the service's form and in our own, in one process and through a
//! runtime server.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::oracle::assert_migrated;
use crate::support::runtime_server::{RuntimeServer, job};
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

/// `pghaul` as a client of a server.
fn at(server: &RuntimeServer, args: &[&str]) -> Pghaul {
    Pghaul::new(args)
        .env("PGHAUL_SERVER", server.url())
        .env("PGHAUL_TOKEN", server.admin_token())
}

#[test]
fn a_file_of_the_service_migrates_through_a_server() {
    let pair = Pair::start();
    fixture::shop(&pair.source, "shop", 1);
    let server = RuntimeServer::start(&[]);
    let folder = TempDir::new().expect("a folder");
    let mut said = properties(&pair, &["shop"]);
    said["properties"]["migrationRuntimeResourceId"] = json!(server.url());
    let path = file(&folder, "p.json", &said.to_string());
    let token = file(&folder, "token", &server.admin_token());
    // The file names the server, and a file has the token: nothing is in the environment.
    let create = |name: &str, more: &[&str]| {
        let args = [
            "migration",
            "create",
            "-n",
            name,
            "-b",
            &path,
            "--token-file",
            &token,
        ];
        Pghaul::new(&[&args[..], more].concat())
    };
    let output = create("m1", &["--watch"]).run().expect(0);
    assert_migrated(&pair.source, "shop", &pair.target, "shop");
    for part in [
        "created at http",
        "shop: copied ",
        "Succeeded",
        "are the same",
    ] {
        assert!(output.stdout.contains(part), "{part}:\n{}", output.stdout);
    }
    assert_no_password(&output);

    // The same again changes nothing; another one of that name is refused, and why is said.
    create("m1", &[]).run().expect(0);
    let other = create("m1", &["--migration-option", "Validate"])
        .run()
        .expect(2);
    assert!(
        other.stderr.contains("another migration"),
        "{}",
        other.stderr
    );
    assert!(
        other.stderr.contains("remedy: choose another name"),
        "{}",
        other.stderr
    );

    let list = |filter: &str| {
        let output = at(&server, &["migration", "list", "--filter", filter]).run();
        output.expect(0).stdout
    };
    assert!(list("Active").contains("no migration is active"));
    assert!(
        list("all")
            .lines()
            .any(|line| line.starts_with("m1 ") && line.contains("Succeeded"))
    );
    let show = |form: &str| {
        let output = at(&server, &["migration", "show", "m1", "--output", form]).run();
        output.expect(0).stdout
    };
    let shown: Value = serde_json::from_str(&show("json")).expect("JSON");
    assert_eq!(shown, server.get("m1"));
    assert!(
        show("yaml")
            .lines()
            .any(|line| line == "  state: Succeeded"),
        "{}",
        show("yaml")
    );
    let table = show("table");
    assert!(
        table
            .lines()
            .any(|line| line.starts_with("shop ") && line.contains("100 %")),
        "{table}"
    );

    let free = |name: &str| at(&server, &["migration", "check-name-availability", name]).run();
    free("m2").expect(0);
    assert!(free("m1").expect(1).stdout.contains("AlreadyExists"));
    assert!(free("no/name").expect(1).stdout.contains("Invalid"));

    at(&server, &["migration", "delete", "m1"]).run().expect(0);
    let gone = at(&server, &["migration", "show", "--name", "m1"])
        .run()
        .expect(2);
    assert!(gone.stderr.contains("no migration"), "{}", gone.stderr);
    let stranger = at(&server, &["migration", "list"])
        .env("PGHAUL_TOKEN", "wrong")
        .run()
        .expect(2);
    assert!(
        stranger.stderr.contains("PGHAUL_TOKEN") || stranger.stderr.contains("token"),
        "{}",
        stranger.stderr
    );
}

#[test]
fn a_migration_is_paused_resumed_and_canceled() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "d", 1);
    let server = RuntimeServer::start(&[]);
    let update = |more: &[&str]| at(&server, &[&["migration", "update", "m"], more].concat()).run();
    server.create("m", &job(&pair, &["d"], json!({"bytesPerSecond": 300_000})));
    server.wait("m", "it copies", |one| {
        one["currentStatus"]["currentSubStateDetails"]["currentSubState"] == "MigratingData"
    });
    let refused = update(&["--cutover"]).expect(2);
    assert!(refused.stderr.contains("cutover"), "{}", refused.stderr);
    let paused = update(&["--pause"]).expect(0);
    assert!(paused.stdout.contains("paused"), "{}", paused.stdout);
    assert_eq!(server.get("m")["paused"], true);
    update(&["--throttle", "64kB"]).expect(0);
    assert_eq!(server.get("m")["bytesPerSecond"], 65_536);
    update(&["--resume"]).expect(0);
    assert_eq!(server.get("m")["paused"], false);
    let refused = at(&server, &["migration", "delete", "m"]).run().expect(2);
    assert!(
        refused.stderr.contains("has not ended"),
        "{}",
        refused.stderr
    );
    let watch = update(&["--cancel", "--watch"]).expect(1);
    assert!(watch.stdout.contains("Canceled"), "{}", watch.stdout);
    update(&[]).expect(2);
    update(&["--pause", "--resume"]).expect(2);
}

#[test]
fn a_server_is_decommissioned_once_all_is_complete_and_verified() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "d", 1);
    fixture::pgbench(&pair.source, "e", 1);
    let server = RuntimeServer::start(&[]);
    let decommission = |more: &[&str]| at(&server, &[&["decommission"], more].concat()).run();
    let ledgers = |db: &str| {
        let sql = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghaul'";
        pair.target.psql(db, sql)
    };
    server.create("done", &job(&pair, &["d"], json!({})));
    server.wait_for("done", "Succeeded");
    server.create("unverified", &job(&pair, &["e"], json!({"verify": false})));
    server.wait_for("unverified", "Succeeded");

    let left = decommission(&["--dry-run"]).expect(1).stdout;
    for part in [
        "migration done: complete and verified",
        "migration unverified: in the way",
        "left: ledger of done: database d: target: schema pghaul",
        "left: run of done",
    ] {
        assert!(left.contains(part), "{part}:\n{left}");
    }
    let refused = decommission(&[]).expect(2);
    assert!(refused.stderr.contains("unverified"), "{}", refused.stderr);
    assert_eq!(
        [ledgers("d"), ledgers("e")],
        ["1", "1"],
        "nothing is removed"
    );

    let forced = decommission(&["--force"]).expect(0).stdout;
    assert!(forced.contains("LOST: migration unverified"), "{forced}");
    assert!(!forced.contains("LOST: migration done"), "{forced}");
    assert_eq!([ledgers("d"), ledgers("e")], ["0", "0"]);
    let list = at(&server, &["migration", "list", "--filter", "all"])
        .run()
        .expect(0);
    assert!(
        list.stdout.contains("there are no migrations"),
        "{}",
        list.stdout
    );
    let runs = fs::read_dir(server.state().join("runs")).expect("a folder");
    assert_eq!(runs.count(), 0, "no run is left");
    assert_migrated_rows(&pair, &["d", "e"]);
    decommission(&[]).expect(0);
}

/// The rows are where they were: only the record of the migration is gone.
fn assert_migrated_rows(pair: &Pair, databases: &[&str]) {
    for db in databases {
        let rows = "SELECT count(*), sum(hashtext(a::text)) FROM pgbench_accounts AS a";
        assert_eq!(pair.target.psql(db, rows), pair.source.psql(db, rows));
    }
}
