//! The process is killed or asked to stop, anywhere: what it left can always be finished.

use std::env;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::gate::{self, Gate};
use super::{assert_converged, assert_says};
use crate::support::pghaul::Output;
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Cluster, Pair, Pghaul, Way, both_ways, fixture, oracle, pg};

/// SplitMix64: enough to choose moments, and the same on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A moment between now and `longest` from now.
    pub(super) fn moment(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).expect("a short time");
        Duration::from_micros(self.next() % micros.max(1))
    }
}

/// A number from the environment.
pub(super) fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

/// The seed of PGHAUL_SEED, or another one every time, which is printed.
pub(super) fn seed() -> u64 {
    let seed = number("PGHAUL_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |now| now.subsec_nanos().into())
    });
    println!("PGHAUL_SEED={seed}");
    seed
}

/// PGHAUL_KILLS says how many kills, PGHAUL_SEED replays a run.
/// Over a spool: `faults::spool::kill`.
#[test]
fn sigkill_anywhere_converges() {
    let kills = number("PGHAUL_KILLS").unwrap_or(20);
    let mut random = Random(seed());

    let source = Cluster::builder().conf("autovacuum_naptime", "1s").start();
    let target = Cluster::start();
    fixture::shop(&source, "shop", 1);
    let mut pgbench = pg::program("pgbench");
    pgbench.args(["--initialize", "--foreign-keys", "--quiet", "--scale=1"]);
    pg::run(pgbench.arg(source.dsn("shop"))).unwrap_or_else(|error| panic!("{error}"));
    let migrate = |db: &str, more: &[&str]| {
        let args = [&["migrate", "--split-larger-than", "2MB"], more].concat();
        Pghaul::new(&args)
            .source(&source.dsn("shop"))
            .target(&target.dsn(db))
    };

    let began = Instant::now();
    migrate("whole", &[]).run().expect(0);
    let whole = began.elapsed();
    oracle::assert_migrated(&source, "shop", &target, "whole");

    let mut killed = 0;
    while killed < kills {
        let db = format!("killed_{killed}");
        // Killed at first, then while it resumes, more and more rarely.
        let mut again = true;
        let mut more: &[&str] = &[];
        while again && killed < kills {
            let mut run = migrate(&db, more).spawn();
            let moment = random.moment(whole);
            thread::sleep(moment);
            if run.is_running() {
                run.signal("KILL");
                killed += 1;
                println!("{db}: kill {killed} after {moment:?} of {whole:?} with {more:?}");
            }
            run.wait();
            more = &["--resume"];
            again = random.next().is_multiple_of(2);
        }
        resume(|more| migrate(&db, more)).expect(0);
        oracle::assert_migrated(&source, "shop", &target, &db);
        Pghaul::new(&["verify"])
            .source(&source.dsn("shop"))
            .target(&target.dsn(&db))
            .run()
            .expect(0);
        target.psql("postgres", &format!("DROP DATABASE {db}"));
    }
}

/// Resumes, as an operator does who does not know how far it came. What a killed run had asked
/// of the server may come true in the same moment; then it is to be asked for again.
fn resume(migrate: impl Fn(&[&str]) -> Pghaul) -> Output {
    let output = migrate(&["--resume"]).run();
    if output.code == 2 {
        assert_says(&output, &["go on with --resume"]);
        return migrate(&["--resume"]).run();
    }
    output
}

/// The server goes on with CREATE DATABASE after the client that asked for it was killed.
/// It is a race of one process, which holds both ends.
#[test]
fn a_database_may_appear_late() {
    let pair = Pair::start();
    let db = "late";
    gate::database(&pair, db);
    let proxy = Proxy::start(&pair.source);
    proxy.arm("LOCK TABLE", Fault::Hold);
    let mut run = Pghaul::new(&["migrate", "--resume"])
        .source(&proxy.dsn(&pair.source, db))
        .target(&pair.target.dsn(db))
        .spawn();
    super::wait_until(&mut run, "the source was asked for locks", |_| {
        proxy.struck() == 1
    });
    pair.target.create_db(db);
    proxy.release();
    run.wait().expect(0);
    assert_converged(&pair, db);
}

both_ways!(ctrl_c_stops_cleanly_and_says_how_to_go_on);
fn ctrl_c_stops_cleanly_and_says_how_to_go_on(way: Way) {
    let mut pair = Pair::start();
    for (db, at) in [("at_copy", gate::COPY), ("at_index", gate::INDEX)] {
        gate::database(&pair, db);
        let closed = Gate::close(&pair, at);
        let mut haul = way.of(db);
        let mut run = haul.start(&mut pair, &["--jobs", "1"]);
        gate::wait_at(&mut run, &pair.target, db);
        run.signal("INT");
        let output = haul.finish(&mut pair, run).expect(1);
        assert_says(&output, &["--resume"]);
        oracle::assert_no_leftovers(&pair.source, db);
        oracle::assert_no_leftovers(&pair.target, db);
        if at == gate::COPY {
            let half = pair.target.psql(db, "SELECT count(*) FROM gate.big");
            assert_eq!(half, "0", "rows of a half-done part");
        }
        closed.open();
        haul.run(&mut pair, &["--resume"]).expect(0);
        assert_converged(&pair, db);
    }
}

/// The first half leaves a spool that the next one goes on with.
#[test]
fn ctrl_c_stops_an_extraction_into_a_spool() {
    let mut pair = Pair::start();
    let db = "extracted";
    gate::database(&pair, db);
    let proxy = Proxy::start(&pair.source);
    proxy.throttle(Some(4 << 20));
    let mut haul = Way::Spool.of(db).source(&proxy.dsn(&pair.source, db));
    let flags = ["--jobs", "2", "--split-larger-than", "2MB"];
    let mut run = haul.start_extract(&pair, &flags);
    let sealed = haul.spool().join("manifest");
    super::wait_until(&mut run, "a part was sealed", |_| {
        std::fs::read_dir(&sealed).is_ok_and(|mut parts| parts.next().is_some())
    });
    run.signal("INT");
    let output = run.wait().expect(1);
    assert_says(&output, &["pghaul extract --resume"]);
    oracle::assert_no_leftovers(&pair.source, db);
    proxy.throttle(None);
    haul.run(&mut pair, &["--resume"]).expect(0);
    assert_converged(&pair, db);
}

/// Over a spool the source is stopped, so that no row can be read again.
#[test]
fn no_replay_when_done() {
    let pair = Pair {
        source: Cluster::builder().conf("log_statement", "all").start(),
        target: Cluster::start(),
    };
    let db = "done";
    gate::database(&pair, db);
    let tables = "ALL TABLES IN SCHEMA public, gate";
    pair.source.psql(
        db,
        &format!(
            "CREATE ROLE mover LOGIN;
             GRANT USAGE ON SCHEMA gate TO mover;
             GRANT SELECT ON {tables} TO mover;
             GRANT SELECT ON ALL SEQUENCES IN SCHEMA public, gate TO mover;
             SELECT format('GRANT SELECT ON LARGE OBJECT %s TO mover', oid)
             FROM pg_largeobject_metadata \\gexec"
        ),
    );
    let mover = pair.source.dsn(db).replace("postgres@", "mover@");
    let migrate = |args: &[&str]| {
        Pghaul::new(args)
            .source(&mover)
            .target(&pair.target.dsn(db))
    };

    for at in [gate::INDEX, gate::REFRESH] {
        let closed = Gate::close(&pair, at);
        let args = if at == gate::INDEX {
            ["migrate", "-v"]
        } else {
            ["migrate", "--resume"]
        };
        let mut run = migrate(&args).spawn();
        gate::wait_at(&mut run, &pair.target, db);
        gate::wait_mid_copy(&mut run, &pair.target, db);
        super::wait_until(&mut run, "no row was being copied", |_| {
            let copying = "SELECT count(*) FROM pg_stat_progress_copy";
            pair.target.psql(db, copying) == "0"
        });
        run.signal("KILL");
        run.wait().expect(-9);
        closed.open();
        // From here on, reading rows would be refused, and seen.
        pair.source
            .psql(db, &format!("REVOKE SELECT ON {tables} FROM mover"));
    }
    let seen = pair.source.log().len();
    migrate(&["migrate", "--resume"]).run().expect(0);
    let log = pair.source.log().split_off(seen);
    let copies: Vec<&str> = log.lines().filter(|line| line.contains("COPY ")).collect();
    assert!(
        copies.is_empty(),
        "rows were read again:\n{}",
        copies.join("\n")
    );

    pair.source
        .psql(db, &format!("GRANT SELECT ON {tables} TO mover"));
    assert_converged(&pair, db);
}
