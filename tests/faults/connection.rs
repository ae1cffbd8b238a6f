//! Connections are cut, slow, silent, or lose one reply.

use std::time::{Duration, Instant};

use super::gate;
use super::{assert_converged, assert_says, wait_until};
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Pair, Pghaul, Way, both_ways, oracle};

/// The command tag that ends the answer to COMMIT.
const COMMITTED: &[u8] = b"COMMIT\0";

both_ways!(commit_reply_lost);
/// The server has committed and the client does not know: each part is there exactly once.
fn commit_reply_lost(way: Way) {
    let mut pair = Pair::start();
    let db = "unknown";
    gate::database(&pair, db);
    let proxy = Proxy::start(&pair.target);
    // A statement of the copy comes first, so that these are commits of parts.
    let mut haul = way.of(db).target(&proxy.dsn(&pair.target, db));
    let closed = gate::Gate::close(&pair, gate::COPY);
    let mut run = haul.start(&mut pair, &["--jobs", "1"]);
    gate::wait_mid_copy(&mut run, &pair.target, db);
    for _ in 0..2 {
        proxy.arm("COMMIT", Fault::LoseReply(COMMITTED));
    }
    closed.open();
    haul.finish(&mut pair, run).expect(0);
    assert_eq!(proxy.struck(), 2, "replies lost");
    assert_converged(&pair, db);
}

/// As above for every commit of a migration in turn, schema and indexes included.
/// The target does not know where rows come from, so once is enough.
#[test]
fn each_commit_reply_lost_in_turn() {
    let pair = Pair::start();
    let proxy = Proxy::start(&pair.target);
    let source = "commits";
    pair.source.create_db(source);
    pair.source.psql(source, include_str!("few.sql"));
    for passing in 0.. {
        let db = format!("commit_{passing}");
        let migrate = |args: &[&str]| {
            Pghaul::new(args)
                .source(&pair.source.dsn(source))
                .target(&proxy.dsn(&pair.target, &db))
        };
        proxy.arm_after(passing, "COMMIT", Fault::LoseReply(COMMITTED));
        let output = migrate(&["migrate", "--jobs", "1"]).run();
        if output.code != 0 {
            output.expect(1);
            migrate(&["migrate", "--resume"]).run().expect(0);
        }
        oracle::assert_migrated(&pair.source, source, &pair.target, &db);
        pair.target.psql("postgres", &format!("DROP DATABASE {db}"));
        if proxy.struck() <= passing {
            assert!(passing > 3, "only {passing} commits were seen");
            return;
        }
    }
}

both_ways!(cut_connections_are_retried_under_the_same_snapshot);
fn cut_connections_are_retried_under_the_same_snapshot(way: Way) {
    let mut pair = Pair::start();
    let db = "cut";
    gate::database(&pair, db);
    let (source, target) = (Proxy::start(&pair.source), Proxy::start(&pair.target));
    // The lanes' statements; the holder's connection is not touched.
    source.arm("TO STDOUT", Fault::CutAfter(200_000));
    source.arm("TO STDOUT", Fault::CutAfter(0));
    target.arm("FROM STDIN", Fault::CutAfter(300_000));
    target.arm("FROM STDIN", Fault::CutAfter(0));
    let haul = way.of(db).source(&source.dsn(&pair.source, db));
    let mut haul = haul.target(&target.dsn(&pair.target, db));
    let output = haul.run(&mut pair, &["-v"]).expect(0);
    assert_eq!((source.struck(), target.struck()), (2, 2), "cuts");
    assert_says(&output, &["retrying"]);
    assert_converged(&pair, db);
}

/// A server process that is cut off while it sends rows waits for its client, and holds the
/// snapshot: the run that lost it ends it.
/// Whoever reads is the same over a spool.
#[test]
fn readers_that_were_cut_off_are_ended() {
    let pair = Pair::start();
    let db = "stray";
    pair.source.create_db(db);
    // More than the buffers between the server and the client take in.
    pair.source.psql(
        db,
        "CREATE TABLE wide (filler text);
         ALTER TABLE wide ALTER filler SET STORAGE EXTERNAL;
         INSERT INTO wide SELECT repeat(md5(i::text), 500) FROM generate_series(1, 3000) AS i",
    );
    let proxy = Proxy::start(&pair.source);
    // So slow that these buffers are full when the connection is cut.
    proxy.throttle(Some(1 << 20));
    proxy.arm("TO STDOUT", Fault::CutAfter(500_000));
    let mut run = Pghaul::new(&["migrate"])
        .source(&proxy.dsn(&pair.source, db))
        .target(&pair.target.dsn(db))
        .spawn();
    wait_until(&mut run, "the connection was cut", |_| proxy.struck() == 1);
    proxy.throttle(None);
    run.wait().expect(0);
    assert_converged(&pair, db);
}

/// Each end is the same over a spool; so it is below.
#[test]
fn slow_and_distant_servers_only_take_longer() {
    let pair = Pair::start();
    let db = "slow";
    gate::database(&pair, db);
    let (source, target) = (Proxy::start(&pair.source), Proxy::start(&pair.target));
    source.delay(Duration::from_millis(2));
    target.throttle(Some(8 << 20));
    Pghaul::new(&["migrate"])
        .source(&source.dsn(&pair.source, db))
        .target(&target.dsn(&pair.target, db))
        .run()
        .expect(0);
    assert_converged(&pair, db);
}

both_ways!(a_silent_server_is_given_up);
/// The peer accepts and then says nothing, for ever.
fn a_silent_server_is_given_up(way: Way) {
    let mut pair = Pair::start();
    let db = "silent";
    gate::database(&pair, db);
    let proxy = Proxy::start(&pair.source);
    proxy.silence(true);
    let began = Instant::now();
    let dsn = format!("{}?connect_timeout=2", proxy.dsn(&pair.source, db));
    let mut haul = way.of(db).source(&dsn);
    let output = haul.run(&mut pair, &[]).expect(1);
    assert_says(&output, &["source", "did not answer", "connect_timeout"]);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        pair.target.databases(),
        ["postgres"],
        "databases on the target"
    );
}
