//! `pghaul migration` as a client of a server that is started anew, of one that shows a certificate,
//! and its exit codes.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::support::oracle::assert_migrated;
use crate::support::runtime_server::{RuntimeServer, job};
use crate::support::tls::Authority;
use crate::support::{Pair, Pghaul, fixture};

fn at(server: &RuntimeServer, args: &[&str]) -> Pghaul {
    Pghaul::new(args)
        .env("PGHAUL_SERVER", server.url())
        .env("PGHAUL_TOKEN", server.admin_token())
}

#[test]
fn who_watches_goes_on_when_the_server_is_started_anew() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "d", 1);
    let mut server = RuntimeServer::start(&[]);
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("job.json");
    let slow = job(&pair, &["d"], json!({ "bytesPerSecond": 1_000_000 }));
    std::fs::write(&file, slow.to_string()).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let args = ["migration", "create", "-n", "m", "--job", file, "--watch"];
    let mut watching = at(&server, &args).spawn();
    // Its creation was answered, and it is under way.
    let begun =
        |watching: &mut crate::support::pghaul::Running| watching.stdout().contains("created at");
    while !begun(&mut watching) {
        assert!(watching.is_running(), "{}", watching.stderr());
        thread::sleep(Duration::from_millis(50));
    }
    server.wait("m", "rows are copied", |one| {
        one["currentStatus"]["currentSubStateDetails"]["currentSubState"] == "MigratingData"
    });
    server.end("KILL");
    thread::sleep(Duration::from_secs(2));
    server.start_again();
    let free = json!({ "action": "throttle", "bytesPerSecond": null });
    server.act("m", &free).expect(200);
    let watched = watching.wait().expect(0);
    for part in ["Succeeded", "are the same"] {
        assert!(watched.stdout.contains(part), "{part}: {}", watched.stdout);
    }
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

#[test]
fn a_difference_is_exit_code_3() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "d", 1);
    let server = RuntimeServer::start(&[]);
    server.create(
        "m",
        &job(&pair, &["d"], json!({ "bytesPerSecond": 1_000_000 })),
    );
    // Nobody should write to the target meanwhile; here somebody does.
    let change = "WITH changed AS (UPDATE pgbench_branches SET bbalance = bbalance + 1 RETURNING 1)
                  SELECT count(*) FROM changed";
    let deadline = Instant::now() + Duration::from_secs(120);
    while pair.target.try_psql("d", change).as_deref() != Ok("1") {
        assert!(Instant::now() < deadline, "{:#}", server.get("m"));
        thread::sleep(Duration::from_millis(50));
    }
    let free = json!({ "action": "throttle", "bytesPerSecond": null });
    server.act("m", &free).expect(200);
    let watched = at(&server, &["migration", "show", "m", "--watch"])
        .run()
        .expect(3);
    assert!(watched.stdout.contains("differ"), "{}", watched.stdout);
}

#[test]
fn a_certificate_is_vouched_for_by_a_file() {
    let authority = Authority::new();
    let certificate = authority.issue("one", &["IP:127.0.0.1"]);
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let (cert, key) = (text(&certificate.cert), text(&certificate.key));
    let server = RuntimeServer::start(&["--tls-cert", &cert, "--tls-key", &key]);
    let url = format!("https://{}", server.address());
    let list = |more: &[&str]| {
        let args = [&["migration", "list", "--server", &url], more].concat();
        let call = Pghaul::new(&args);
        call.env("PGHAUL_TOKEN", server.admin_token()).run()
    };
    list(&["--ca-file", &text(&authority.root())]).expect(0);
    // Neither this host nor somebody else's authority vouches for it.
    list(&[]).expect(1);
    list(&["--ca-file", &text(&Authority::new().root())]).expect(1);
}

#[test]
fn a_spool_that_a_server_keeps_is_looked_at_and_not_changed() {
    let pair = Pair::start();
    pair.source.create_db("d");
    let server = RuntimeServer::start(&[]);
    let job = json!({ "topology": "agents", "databases": ["d"] });
    server.create("m", &job);
    let token = server.agent_token("m", &json!({ "side": "source" }));
    let spool = format!("relay+http://{}/m/d", server.address());
    let source = pair.source.dsn("d");
    for (verb, remedy) in [
        ("gc", "migration delete"),
        ("rm", "migration delete"),
        ("repair", "create the migration again"),
    ] {
        let call = Pghaul::new(&["spool", verb, "--spool", &spool]);
        let call = call.env("PGHAUL_TOKEN", &token).source(&source);
        let refused = call.run().expect(2).stderr;
        assert!(refused.contains("looks after the spools"), "{refused}");
        assert!(refused.contains(remedy), "{refused}");
    }
}
