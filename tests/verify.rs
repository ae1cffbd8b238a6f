//! `pghaul verify` and `pghaul cleanup`, end to end.

use crate::support::{Pair, fixture};

/// A migrated pgbench database on both sides.
fn migrated() -> Pair {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "d", 1);
    pair.source.psql(
        "d",
        "SELECT lo_from_bytea(4711, 'content'); CREATE SEQUENCE numbers",
    );
    pair.pghaul("d", &["migrate"]).run().expect(0);
    pair
}

#[test]
fn each_planted_difference_is_named_and_ends_with_three() {
    let pair = migrated();
    pair.pghaul("d", &["verify"]).run().expect(0);
    let plants = [
        (
            "UPDATE pgbench_accounts SET abalance = 1 WHERE aid = 77777",
            "77777",
        ),
        ("DELETE FROM pgbench_accounts WHERE aid = 500", "500"),
        (
            "INSERT INTO pgbench_history (tid) VALUES (1)",
            "pgbench_history",
        ),
        ("SELECT setval('numbers', 42)", "numbers"),
        ("SELECT lo_put(4711, 0, 'C')", "4711"),
        ("DROP TABLE pgbench_history", "pgbench_history"),
        (
            "ALTER TABLE pgbench_accounts DROP CONSTRAINT pgbench_accounts_bid_fkey",
            "bid_fkey",
        ),
    ];
    for (change, name) in plants {
        pair.target.psql("d", change);
        let output = pair.pghaul("d", &["verify"]).run().expect(3);
        let line = output
            .stdout
            .lines()
            .find(|line| line.starts_with("differs:"));
        assert!(line.is_some(), "{change}:\n{}", output.stdout);
        assert!(output.stdout.contains(name), "{change}:\n{}", output.stdout);
    }
}

#[test]
fn cleanup_lists_then_removes_then_finds_nothing() {
    let pair = migrated();
    let listed = pair.pghaul("d", &["cleanup", "--dry-run"]).run().expect(0);
    assert!(
        listed.stdout.contains("would remove target: schema pghaul"),
        "{}",
        listed.stdout
    );
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghaul'";
    assert_eq!(pair.target.psql("d", schemas), "1");

    pair.pghaul("d", &["cleanup"]).run().expect(0);
    assert_eq!(pair.target.psql("d", schemas), "0");
    let again = pair.pghaul("d", &["cleanup"]).run().expect(0);
    assert!(
        again.stdout.contains("nothing of pghaul's is left"),
        "{}",
        again.stdout
    );
    pair.pghaul("d", &["verify"]).run().expect(0);
}

#[test]
fn an_unfinished_migration_is_only_removed_by_force() {
    let pair = migrated();
    pair.target.psql(
        "d",
        "UPDATE pghaul.migration SET state = 'prepared', finished_at = NULL",
    );
    let refused = pair.pghaul("d", &["cleanup"]).run().expect(2);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    pair.pghaul("d", &["cleanup", "--force"]).run().expect(0);
}
