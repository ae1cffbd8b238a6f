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

/// Two roles become one, and one gets the name that another had.
#[test]
fn roles_of_large_objects_are_compared_under_their_new_names() {
    let pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE ROLE a; CREATE ROLE b; CREATE ROLE c;
         SELECT lo_from_bytea(11, 'one'), lo_from_bytea(12, 'two');
         ALTER LARGE OBJECT 11 OWNER TO a; ALTER LARGE OBJECT 12 OWNER TO c;
         GRANT SELECT ON LARGE OBJECT 11 TO b, c; GRANT SELECT ON LARGE OBJECT 12 TO PUBLIC;
         CREATE TABLE t (); ALTER TABLE t OWNER TO a; GRANT SELECT ON t TO b, c",
    );
    let map = [
        "--role-map",
        "a=x",
        "--role-map",
        "b=x",
        "--role-map",
        "c=a",
    ];
    let migrate = [&["migrate", "--verify"], &map[..]].concat();
    pair.pghaul("d", &migrate).run().expect(0);
    let owners =
        "SELECT string_agg(lomowner::regrole::text, ',' ORDER BY oid) FROM pg_largeobject_metadata";
    assert_eq!(pair.target.psql("d", owners), "x,a");
    let verify = [&["verify"], &map[..]].concat();
    pair.pghaul("d", &verify).run().expect(0);
    for (change, back, named) in [
        (
            "ALTER LARGE OBJECT 11 OWNER TO a",
            "ALTER LARGE OBJECT 11 OWNER TO x; GRANT SELECT ON LARGE OBJECT 11 TO a",
            "(oid)=(11)",
        ),
        (
            "REVOKE SELECT ON LARGE OBJECT 11 FROM a",
            "GRANT SELECT ON LARGE OBJECT 11 TO a",
            "(oid)=(11)",
        ),
        (
            "GRANT UPDATE ON LARGE OBJECT 12 TO x",
            "REVOKE UPDATE ON LARGE OBJECT 12 FROM x",
            "(oid)=(12)",
        ),
        (
            "GRANT UPDATE ON t TO a",
            "REVOKE UPDATE ON t FROM a",
            "public.t",
        ),
    ] {
        pair.target.psql("d", change);
        let output = pair.pghaul("d", &verify).run().expect(3);
        assert!(output.stdout.contains(named), "{change}: {}", output.stdout);
        pair.target.psql("d", back);
        pair.pghaul("d", &verify).run().expect(0);
    }
    pair.pghaul("d", &["verify"]).run().expect(3);
}
