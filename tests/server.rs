//! What belongs to the server and not to one database: tablespaces, roles, versions of collations.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::oracle::assert_migrated;
use crate::support::{Cluster, Output, Pair, Way, both_ways, pg};

/// A folder for a tablespace, within the cluster's own, which is removed with it.
fn folder(cluster: &Cluster, name: &str) -> PathBuf {
    let folder = cluster.socket_dir().join(name);
    fs::create_dir(&folder).expect("a folder");
    if pg::is_root() {
        let mut command = Command::new("chown");
        pg::run(command.arg("postgres:").arg(&folder)).unwrap_or_else(|error| panic!("{error}"));
    }
    folder
}

pub(crate) fn tablespaces(cluster: &Cluster, names: &[&str]) {
    for name in names {
        let location = folder(cluster, &name.replace(' ', "_"));
        let location = location.display();
        cluster.psql(
            "postgres",
            &format!("CREATE TABLESPACE \"{name}\" LOCATION '{location}'"),
        );
    }
}

/// The tablespace of everything that has one, the database included.
const PLACES: &str = "
SELECT c.relname, t.spcname FROM pg_class AS c JOIN pg_tablespace AS t ON t.oid = c.reltablespace
WHERE c.relnamespace = 'public'::regnamespace
UNION ALL SELECT 'database', t.spcname FROM pg_database AS d JOIN pg_tablespace AS t ON t.oid = d.dattablespace
WHERE d.datname = current_database() ORDER BY 1";

const PLACED: &str = "
CREATE TABLE plain (id int PRIMARY KEY USING INDEX TABLESPACE quick, n int, filler text) TABLESPACE \"Slow one\";
CREATE INDEX plain_n ON plain (n) TABLESPACE quick;
CREATE INDEX plain_home ON plain (filler);
ALTER TABLE plain ADD CONSTRAINT plain_once EXCLUDE (id WITH =) USING INDEX TABLESPACE \"Slow one\";
CREATE TABLE large (id int PRIMARY KEY USING INDEX TABLESPACE quick, filler text);
CREATE TABLE parent (id int, at date) PARTITION BY RANGE (at) TABLESPACE quick;
CREATE TABLE parent_1 PARTITION OF parent FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parent_2 PARTITION OF parent DEFAULT TABLESPACE \"Slow one\";
CREATE INDEX parent_id ON parent (id) TABLESPACE \"Slow one\";
CREATE MATERIALIZED VIEW seen TABLESPACE quick AS SELECT count(*) FROM plain;
INSERT INTO plain SELECT i, i, 'row ' || i FROM generate_series(1, 100) i;
INSERT INTO large SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i;
INSERT INTO parent SELECT i, date '2024-06-01' + i FROM generate_series(1, 400) i;
REFRESH MATERIALIZED VIEW seen;";

/// Tablespaces by setting.
const SETTINGS: &str = "
CREATE ROLE placed; ALTER ROLE placed SET default_tablespace = 'Slow one';
ALTER DATABASE d SET temp_tablespaces = 'Slow one', quick";

/// What is set.
const SET: &str = "SELECT unnest(setconfig) FROM pg_db_role_setting ORDER BY 1";

both_ways!(tablespaces_are_kept_mapped_or_said_to_be_missing);
fn tablespaces_are_kept_mapped_or_said_to_be_missing(way: Way) {
    let mut pair = Pair::start();
    tablespaces(&pair.source, &["quick", "Slow one", "home"]);
    pair.source.psql(
        "postgres",
        "CREATE DATABASE d TEMPLATE template0 TABLESPACE home",
    );
    pair.source.psql("d", PLACED);
    pair.source.psql("d", SETTINGS);
    let places = pair.source.psql("d", PLACES);

    // The target has none of them.
    let lacking = way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    for name in ["quick", "Slow one", "home"] {
        let line = |line: &str| line.contains("tablespace") && line.contains(&format!("{name:?}"));
        let told = lacking.stdout.lines().chain(lacking.stderr.lines());
        assert!(told.into_iter().any(line), "{name}: {lacking:?}");
    }
    let named = |output: &Output, name: &str| {
        let mut lines = output.stdout.lines().chain(output.stderr.lines());
        lines.any(|line| line.contains(name) && line.contains("no such tablespace"))
    };
    for setting in [
        "setting default_tablespace of role \"placed\"",
        "setting temp_tablespaces of the database",
    ] {
        assert!(named(&lacking, setting), "{setting}: {lacking:?}");
    }
    assert_eq!(pair.target.psql("d", SET), "");
    pair.target.psql("postgres", "DROP ROLE placed");
    assert_eq!(pair.target.psql("d", PLACES), "database|pg_default");

    // One is there under its name, the others under other names.
    tablespaces(&pair.target, &["quick", "Nine lives", "house"]);
    let map = [
        "--tablespace-map",
        "Slow one=Nine lives",
        "--tablespace-map",
        "home=house",
    ];
    let args = [&["--verify", "--overwrite"][..], &map].concat();
    way.migrate(&mut pair, "d", &args).expect(0);
    let expected = places
        .replace("Slow one", "Nine lives")
        .replace("home", "house");
    // The name of an index is no tablespace's.
    let expected = expected.replace("plain_house", "plain_home");
    assert_eq!(pair.target.psql("d", PLACES), expected);
    assert_eq!(
        pair.target.psql("d", SET),
        "default_tablespace=Nine lives\ntemp_tablespaces=\"Nine lives\", quick"
    );

    // A database that exists is not moved, which is said.
    pair.target.psql(
        "postgres",
        "DROP DATABASE d; CREATE DATABASE d TEMPLATE template0",
    );
    let args = [&["--verify"][..], &map].concat();
    let stayed = way.migrate(&mut pair, "d", &args).expect(0);
    let told = format!("{}{}", stayed.stdout, stayed.stderr);
    assert!(
        told.contains("ALTER DATABASE \"d\" SET TABLESPACE \"house\""),
        "{told}"
    );
    let expected = expected.replace("database|house", "database|pg_default");
    assert_eq!(pair.target.psql("d", PLACES), expected);

    // All under their own names: then even the oracle sees no difference.
    pair.target.psql("postgres", "DROP ROLE placed");
    tablespaces(&pair.target, &["Slow one", "home"]);
    way.migrate(&mut pair, "d", &["--verify", "--overwrite"])
        .expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

both_ways!(properties_of_tablespaces_are_named_where_they_differ);
/// They are a server's own, so that only what a tablespace is called decides.
fn properties_of_tablespaces_are_named_where_they_differ(way: Way) {
    let properties = "SELECT spcname, pg_get_userbyid(spcowner), spcacl, spcoptions,
        shobj_description(oid, 'pg_tablespace') FROM pg_tablespace WHERE spcname IN ('its own', 'same') ORDER BY 1";
    let mut pair = Pair::start();
    pair.source.create_db("d");
    for cluster in [&pair.source, &pair.target] {
        tablespaces(cluster, &["its own", "same", "unused"]);
        cluster.psql("postgres", "CREATE ROLE one; CREATE ROLE other");
        cluster.psql("postgres", "GRANT CREATE ON TABLESPACE same TO one");
    }
    pair.source.psql(
        "d",
        "CREATE TABLE t (n int) TABLESPACE \"its own\"; CREATE TABLE s (n int) TABLESPACE same;
         ALTER TABLESPACE \"its own\" OWNER TO one;
         SET ROLE one; GRANT CREATE ON TABLESPACE \"its own\" TO other WITH GRANT OPTION; RESET ROLE;
         SET ROLE other; GRANT CREATE ON TABLESPACE \"its own\" TO PUBLIC; RESET ROLE;
         COMMENT ON TABLESPACE \"its own\" IS 'it''s fast'; COMMENT ON TABLESPACE unused IS 'not of d'",
    );
    let set = "ALTER TABLESPACE \"its own\" SET (random_page_cost = 1.5, seq_page_cost = 0.5)";
    pair.source.psql("d", set);
    let reset = "ALTER TABLESPACE \"its own\" SET (effective_io_concurrency = 7)";
    pair.target.psql("postgres", reset);
    pair.pghaul("d", &["validate", "--strict"]).run().expect(1);
    let output = way.migrate(&mut pair, "d", &["--output", "json"]).expect(0);
    let lines = output.stdout.lines();
    let mut lines =
        lines.map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let summary = lines
        .find(|line| line["event"] == "summary")
        .expect("a summary");
    let omissions = summary["omissions"].as_array().expect("a list");
    assert_eq!(omissions.len(), 1, "{omissions:#?}");
    let object = "owner, privileges, options, comment of tablespace \"its own\"";
    assert_eq!(omissions[0]["object"], object);
    let remedy = omissions[0]["remedy"].as_str().expect("a statement");
    pair.target.psql("d", remedy);
    assert_eq!(
        pair.target.psql("d", properties),
        pair.source.psql("d", properties)
    );
    pair.target.psql("postgres", "DROP DATABASE d");
    pair.pghaul("d", &["validate", "--strict"]).run().expect(0);
}

#[test]
fn a_tablespace_map_that_cannot_be_followed_is_refused() {
    let pair = Pair::start();
    pair.source.create_db("d");
    for (map, reason) in [
        (
            "pg_default=nowhere",
            "the target has no tablespace \"nowhere\"",
        ),
        (
            "unused=pg_default",
            "nothing of the source database is in the tablespace \"unused\"",
        ),
        ("nonsense", "write two names with = between them"),
    ] {
        let args = ["migrate", "--skip-validation", "--tablespace-map", map];
        let refused = pair.pghaul("d", &args).run().expect(2);
        assert!(refused.stderr.contains(reason), "{map}: {}", refused.stderr);
    }
    assert_eq!(pair.target.databases(), ["postgres"]);
}

both_ways!(what_roles_lack_on_a_server_that_has_them_is_named);
/// Of a server, and so of every database on it: what is there already stays as it is.
fn what_roles_lack_on_a_server_that_has_them_is_named(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    let roles = "CREATE ROLE one; CREATE ROLE other LOGIN; CREATE ROLE \"th\"\"ird\";";
    pair.source.psql("d", roles);
    pair.target.psql("postgres", roles);
    pair.source.psql(
        "d",
        "GRANT one TO other WITH ADMIN OPTION; GRANT one TO \"th\"\"ird\"; GRANT pg_monitor TO one;
         ALTER ROLE ALL SET \"own.list\" = 'a, \"b\"'; ALTER ROLE ALL SET search_path = \"$user\", 'odd, name';
         ALTER ROLE other SET work_mem = '7MB'; COMMENT ON ROLE one IS 'said'",
    );
    pair.target.psql(
        "postgres",
        "GRANT one TO other; GRANT one TO \"th\"\"ird\"; ALTER ROLE ALL SET \"own.list\" = 'a, \"b\"'",
    );
    let strict = ["validate", "--strict"];
    pair.pghaul("d", &strict).run().expect(1);
    let output = way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    let told = format!("{}{}", output.stdout, output.stderr);
    let remedies = [
        "GRANT \"one\" TO \"other\" WITH ADMIN OPTION",
        "GRANT \"pg_monitor\" TO \"one\"",
        "ALTER ROLE ALL SET \"search_path\" TO '$user', 'odd, name'",
    ];
    for remedy in remedies {
        assert!(told.contains(remedy), "{remedy}: {told}");
    }
    for (expected, there) in [
        ("\"own.list\"", false),
        ("GRANT \"one\" TO \"th\"\"ird\"", false),
        (
            "role \"one\" exists on the target and is left as it is; it differs in comment",
            true,
        ),
        (
            "role \"other\" exists on the target and is left as it is; it differs in settings",
            true,
        ),
    ] {
        assert_eq!(told.contains(expected), there, "{expected}: {told}");
    }
    pair.target.psql(
        "postgres",
        &format!(
            "{}; ALTER ROLE other SET work_mem = '7MB'; COMMENT ON ROLE one IS 'said'",
            remedies.join(";")
        ),
    );
    assert_migrated(&pair.source, "d", &pair.target, "d");
    pair.target.psql("postgres", "DROP DATABASE d");
    pair.pghaul("d", &strict).run().expect(0);
}

/// Indexes are built by the target's libraries, so their version is what counts.
#[test]
fn collations_have_the_version_of_the_server_they_are_on() {
    let pair = Pair::of_versions(17, 17);
    pair.source.psql(
        "postgres",
        "CREATE DATABASE d TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de'",
    );
    pair.source.psql(
        "d",
        "CREATE COLLATION german (provider = icu, locale = 'de');
         CREATE TABLE t (w text PRIMARY KEY, g text COLLATE german UNIQUE);
         INSERT INTO t VALUES ('a', 'b');
         UPDATE pg_collation SET collversion = 'of old' WHERE collname = 'german';
         UPDATE pg_database SET datcollversion = 'of old' WHERE datname = 'd'",
    );
    pair.pghaul("d", &["migrate", "--verify"]).run().expect(0);
    let versions =
        "SELECT datcollversion = pg_database_collation_actual_version(oid) FROM pg_database
         WHERE datname = 'd'
         UNION ALL SELECT collversion = pg_collation_actual_version(oid) FROM pg_collation
         WHERE collname = 'german'";
    assert_eq!(pair.source.psql("d", versions), "f\nf");
    assert_eq!(pair.target.psql("d", versions), "t\nt");
    assert_migrated(&pair.source, "d", &pair.target, "d");
}
