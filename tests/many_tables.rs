//! Thousands of small tables: few commits, little memory, and no step whose cost grows faster than
//! their number.

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::oracle::assert_migrated;
use crate::support::pghaul::Running;
use crate::support::{Cluster, Pair, Way, fixture};

/// Memory of pghaul itself, besides what it keeps of each table. Pages of the program's file are not
/// counted: they are shared, can be dropped at any time, and are many in a debugging build.
const BASE: u64 = 2 << 20;

/// What it may keep of a table: its name, where its columns are, what is to be done with it, and what
/// is compared of it. With so few tables, more than half of it is what does not depend on them. Neither
/// the statements nor the names of indexes, columns and constraints have room in this unless they are
/// compressed.
const PER_TABLE: u64 = 3 << 10;

/// And what rows take that are on the way into columns of a file, or out of them.
const COLUMNS: u64 = 16 << 20;

/// Migrates this many tables; returns the commits on the target.
fn migrate(way: Way, tables: u32) -> i64 {
    // Each table, index and sequence takes a lock until the snapshot ends.
    let server = || {
        let locks = (tables / 20).max(64).to_string();
        Cluster::builder()
            .conf("max_locks_per_transaction", &locks)
            .start()
    };
    let mut pair = Pair {
        source: server(),
        target: server(),
    };
    fixture::many_tables(&pair.source, "many", tables);
    let before = commits(&pair.target);
    let patience = Duration::from_secs(120 + u64::from(tables) / 20);
    let mut haul = way.of("many").timeout(patience);
    let mut most = BASE + PER_TABLE * u64::from(tables);
    if way == Way::Spool {
        most += COLUMNS;
        let mut extraction = haul.start_extract(&pair, &[]);
        assert_modest(&mut extraction, most);
        extraction.wait().expect(0);
    }
    let mut running = match way {
        Way::Channel => haul.start(&mut pair, &["--verify"]),
        Way::Spool => haul.start_load(&mut pair, &["--verify"]),
    };
    assert_modest(&mut running, most);
    haul.finish(&mut pair, running).expect(0);
    let commits = commits(&pair.target) - before;
    assert_migrated(&pair.source, "many", &pair.target, "many");
    commits
}

/// Fails if a process takes more memory than that before it ends.
#[track_caller]
fn assert_modest(running: &mut Running, most: u64) {
    let mut peak = 0;
    let begun = Instant::now();
    while running.is_running() && begun.elapsed() < Duration::from_secs(3600) {
        peak = peak.max(memory(running.pid()).unwrap_or(0));
        thread::sleep(Duration::from_millis(20));
    }
    assert!(
        peak > 0 && peak < most,
        "{peak} bytes of memory, more than {most}"
    );
}

mod thousands_of_tables_take_few_commits_and_little_memory {
    use super::{Way, migrate};

    #[test]
    fn channel() {
        let commits = migrate(Way::Channel, 5000);
        assert!(commits < 1500, "{commits} commits for 5,000 tables");
    }

    #[test]
    fn spool() {
        let commits = migrate(Way::Spool, 2000);
        assert!(commits < 600, "{commits} commits for 2,000 tables");
    }
}

#[test]
#[ignore = "many minutes: PGHAUL_TABLES=100000 cargo nextest run --run-ignored only many_tables"]
fn a_hundred_thousand_tables() {
    let tables = env::var("PGHAUL_TABLES").map_or(20_000, |n| n.parse().expect("a number"));
    migrate(Way::Channel, tables);
}

/// Memory that this process has now, or had when it had the most, whichever is more; without pages
/// of files.
fn memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kilobytes << 10)
    };
    let peak = bytes("VmHWM:")?.saturating_sub(bytes("RssFile:")?);
    Some(peak.max(bytes("RssAnon:")?))
}

/// Transactions committed on a server so far.
fn commits(cluster: &Cluster) -> i64 {
    // Sessions report when they end, or a second later.
    thread::sleep(Duration::from_millis(1200));
    let sql = "SELECT sum(xact_commit) FROM pg_stat_database";
    cluster.psql("postgres", sql).parse().expect("a number")
}
