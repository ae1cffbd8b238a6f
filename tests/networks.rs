//! A spool between networks: the source in one, the target in another, the store between them, and
//! no way from the source to the target or back.

use crate::support::network::Network;
use crate::support::object_store::{Emulator, ObjectStore};
use crate::support::oracle::assert_migrated;
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
