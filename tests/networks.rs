//! Three networks: the source in one, the target in another, the store or the runtime server between
//! them, and no way from the source to the target or back.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::network::Network;
use crate::support::object_store::{Emulator, ObjectStore};
use crate::support::oracle::assert_migrated;
use crate::support::runtime_server::{RuntimeServer, end};
use crate::support::{Cluster, Pghaul, fixture};

const SOURCE: &str = "10.83.1.1";
const TARGET: &str = "10.83.2.1";

/// The store's addresses: the source's side, the target's side.
const STORE: [&str; 2] = ["10.83.1.2", "10.83.2.2"];

#[test]
fn each_side_reaches_its_database_and_the_spool_alone() {
    let [source_side, middle, target_side] = [Network::new(), Network::new(), Network::new()];
    source_side.connect(SOURCE, &middle, STORE[0]);
    target_side.connect(TARGET, &middle, STORE[1]);
    middle.assert_forwards_nothing();
    let mut source = Cluster::builder().network(&source_side).start();
    let target = Cluster::builder().network(&target_side).start();
    let store = ObjectStore::start_in(Emulator::Localbucket, &middle, STORE[0]);
    let port = store.address().1;

    // Each database and the store can be connected to, and the other side's database cannot.
    let refused = |from: &Network, to, port| from.try_connect(to, port).expect_err(to);
    source_side.try_connect(SOURCE, source.port()).unwrap();
    source_side.try_connect(STORE[0], port).unwrap();
    target_side.try_connect(TARGET, target.port()).unwrap();
    target_side.try_connect(STORE[1], port).unwrap();
    let reason = refused(&source_side, TARGET, target.port());
    assert!(reason.contains("unreachable"), "{reason}");
    let reason = refused(&target_side, SOURCE, source.port());
    assert!(reason.contains("unreachable"), "{reason}");
    // Nor would a route help, where nobody forwards.
    source_side.route("10.83.2.0/24", STORE[0]);
    target_side.route("10.83.1.0/24", STORE[1]);
    refused(&source_side, TARGET, target.port());
    refused(&target_side, SOURCE, source.port());

    fixture::pgbench(&source, "d", 1);
    source.psql("d", "CREATE SEQUENCE s; SELECT setval('s', 4711)");
    let source_dsn = source.dsn_at(SOURCE, "d");
    let target_dsn = target.dsn_at(TARGET, "d");
    let extract = |prefix| {
        let call = store.pghaul(&["extract"], prefix);
        call.network(&source_side).source(&source_dsn)
    };
    let on_target = |args: &[&str], prefix| -> Pghaul {
        let call = store.pghaul(args, prefix);
        let endpoint = format!("http://{}:{port}", STORE[1]);
        let call = call.env("AWS_ENDPOINT", endpoint).network(&target_side);
        call.target(&target_dsn)
    };

    // Both at the same time, the loader first.
    let load = on_target(&["load", "--wait", "60"], "together").spawn();
    let extract_too = extract("together").spawn();
    extract_too.wait().expect(0);
    load.wait().expect(0);
    on_target(&["verify"], "together").run().expect(0);
    assert_migrated(&source, "d", &target, "d");

    // One after the other, when the source is gone.
    target.psql("postgres", "DROP DATABASE d");
    extract("later").run().expect(0);
    source.stop_immediate();
    on_target(&["load"], "later").run().expect(0);
    on_target(&["verify"], "later").run().expect(0);
    source.start_again();
    assert_migrated(&source, "d", &target, "d");
}

/// Three networks: source, middle, target.
fn networks() -> [Network; 3] {
    let [source_side, middle, target_side] = [Network::new(), Network::new(), Network::new()];
    source_side.connect(SOURCE, &middle, STORE[0]);
    target_side.connect(TARGET, &middle, STORE[1]);
    middle.assert_forwards_nothing();
    [source_side, middle, target_side]
}

#[test]
fn the_server_between_them_reaches_both() {
    let [source_side, middle, target_side] = networks();
    let source = Cluster::builder().network(&source_side).start();
    let target = Cluster::builder().network(&target_side).start();
    source_side
        .try_connect(TARGET, target.port())
        .expect_err("no way");
    target_side
        .try_connect(SOURCE, source.port())
        .expect_err("no way");
    fixture::pgbench(&source, "d", 1);
    let server = RuntimeServer::start_in(&middle, &[]);
    let (mut from, mut to) = (end(&source), end(&target));
    from["host"] = json!(SOURCE);
    to["host"] = json!(TARGET);
    let job = json!({ "source": from, "target": to, "databases": ["d"] });
    server.create("m", &job);
    let done = server.wait_for("m", "Succeeded");
    assert_eq!(done["verified"], true, "{done:#}");
    assert_migrated(&source, "d", &target, "d");
}

#[test]
fn agents_dial_the_server_between_them_and_nobody_dials_in() {
    let [source_side, middle, target_side] = networks();
    // Each database can be reached from its own host alone.
    let here = |network: &Network| {
        let builder = Cluster::builder().network(network);
        builder.conf("listen_addresses", "127.0.0.1").start()
    };
    let (source, target) = (here(&source_side), here(&target_side));
    middle
        .try_connect(SOURCE, source.port())
        .expect_err("nobody listens there");
    middle
        .try_connect(TARGET, target.port())
        .expect_err("nobody listens there");
    fixture::pgbench(&source, "d", 1);
    let server = RuntimeServer::start_in(&middle, &[]);
    let (_, port) = server.address().rsplit_once(':').expect("a port");
    let job = json!({ "topology": "agents", "databases": ["d"], "bytesPerSecond": 400_000 });
    server.create("m", &job);
    let agent = |verb: &str, network: &Network, address: &str, flags: &[&str]| {
        let side = if verb == "extract" {
            "source"
        } else {
            "target"
        };
        let token = server.agent_token("m", &json!({ "side": side }));
        let spool = format!("relay+http://{address}:{port}/m");
        let args = [&[verb, "--spool", &spool], flags].concat();
        let call = Pghaul::new(&args)
            .env("PGHAUL_TOKEN", token)
            .network(network);
        call.timeout(Duration::from_secs(240))
    };
    let refused = agent("load", &target_side, STORE[1], &[]);
    let refused = refused.target(&target.tcp_dsn("d")).run().expect(2);
    assert!(
        refused.stderr.contains("--plain-http"),
        "{}",
        refused.stderr
    );
    let split = ["--plain-http", "--split-larger-than", "1MB", "--jobs", "2"];
    let extract = || {
        let call = agent("extract", &source_side, STORE[0], &split);
        call.source(&source.tcp_dsn("d")).spawn()
    };
    let load = || {
        let call = agent(
            "load",
            &target_side,
            STORE[1],
            &["--plain-http", "--jobs", "2"],
        );
        call.target(&target.tcp_dsn("d")).spawn()
    };
    let loaded = || {
        let count = "SELECT count(*) FROM pghaul.progress WHERE finished_at IS NOT NULL";
        let count = target.try_psql("d", count).unwrap_or_default();
        count.parse::<u32>().unwrap_or(0)
    };
    let wait_for_more = |than: u32| {
        let deadline = Instant::now() + Duration::from_secs(120);
        while loaded() <= than {
            assert!(
                Instant::now() < deadline,
                "nothing moves: {:#}",
                server.get("m")
            );
            thread::sleep(Duration::from_millis(50));
        }
    };
    let (first_extract, first_load) = (extract(), load());
    wait_for_more(0);
    first_extract.signal("KILL");
    first_load.signal("KILL");
    let (second_extract, second_load) = (extract(), load());
    wait_for_more(loaded());
    let free = json!({ "action": "throttle", "bytesPerSecond": null });
    server.act("m", &free).expect(200);
    let done = server.wait_for("m", "Succeeded");
    assert_eq!(done["verified"], true, "{done:#}");
    second_extract.wait().expect(0);
    second_load.wait().expect(0);
    assert_migrated(&source, "d", &target, "d");
}
