//! From every major version to the same and every newer one: `scripts/servers` installs them.
//!
//! The pairs that hold most of the differences run always; the others are ignored tests, and run
//! when `PGHAUL_MATRIX=all scripts/test versions` is asked for.

use crate::support::oracle::assert_migrated;
use crate::support::pg;
use crate::support::tls::Authority;
use crate::support::{Cluster, Pair, Pghaul, Way, both_ways, fixture};

/// Migrates all that the source's version knows, and compares it three times: as pghaul sees it with
/// both sides in reach, by what it recorded of the source, and as PostgreSQL's own programs do.
/// Whoever extracts does not know the target's version.
fn migrates(way: Way, source: u32, target: u32) {
    let mut pair = Pair::of_versions(source, target);
    fixture::ages(&pair.source, "ages");
    let mut haul = way.of("ages").encrypted();
    let output = haul.run(&mut pair, &["--verify"]).expect(0);
    assert!(
        output.stdout.contains("source and target are the same"),
        "{}",
        output.stdout
    );
    if way == Way::Channel {
        assert_recorded(&pair);
    }
    assert_migrated(&pair.source, "ages", &pair.target, "ages");
}

/// A digest of any version is that of what arrived in a newer one, and of nothing else.
fn assert_recorded(pair: &Pair) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let name = file.path().to_str().expect("paths here are UTF-8");
    let record = Pghaul::new(&["verify", "--record", name]);
    record.source(&pair.source.dsn("ages")).run().expect(0);
    let verify = || {
        let verify = Pghaul::new(&["verify", "--digest", name]);
        verify.target(&pair.target.dsn("ages")).run()
    };
    let output = verify().expect(0);
    assert!(
        output.stdout.contains("source and target are the same"),
        "{}",
        output.stdout
    );
    // One row differs in nothing but the case of its letters.
    let change = "UPDATE ages.departments SET name = upper(name) WHERE id = 1";
    let back = "UPDATE ages.departments SET name = initcap(name) WHERE id = 1";
    pair.target.psql("ages", change);
    let output = verify().expect(3);
    let line = "differs: table ages.departments: at least 1 of its rows differ";
    assert!(output.stdout.contains(line), "{}", output.stdout);
    pair.target.psql("ages", back);
    verify().expect(0);
}

/// What a newer server can compute, an older one may not.
#[test]
fn a_digest_is_not_compared_with_an_older_version() {
    let pair = Pair::of_versions(18, 17);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let name = file.path().to_str().expect("paths here are UTF-8");
    let record = Pghaul::new(&["verify", "--record", name]);
    record.source(&pair.source.dsn("postgres")).run().expect(0);
    let verify = Pghaul::new(&["verify", "--digest", name]);
    let refused = verify.target(&pair.target.dsn("postgres")).run().expect(2);
    let reason = "the target is PostgreSQL 17, and the digest of PostgreSQL 18";
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);
}

/// Two tests per pair of versions, one for each way.
macro_rules! pairs {
    ($(#[$attribute:meta])* $($name:ident: $source:literal => $target:literal),+ $(,)?) => {
        pairs!(@each [$(#[$attribute])*] $($name: $source => $target),+);
    };
    (@each $attributes:tt $($name:ident: $source:literal => $target:literal),+) => {
        $(pairs!(@one $attributes $name: $source => $target);)+
    };
    (@one [$($attribute:tt)*] $name:ident: $source:literal => $target:literal) => {
        mod $name {
            use crate::support::Way;

            #[test]
            $($attribute)*
            fn channel() {
                super::migrates(Way::Channel, $source, $target);
            }

            #[test]
            $($attribute)*
            fn spool() {
                super::migrates(Way::Spool, $source, $target);
            }
        }
    };
}

pairs! {
    from_10_to_11: 10 => 11,
    from_10_to_18: 10 => 18,
    from_11_to_12: 11 => 12,
    from_12_to_14: 12 => 14,
    from_13_to_16: 13 => 16,
    from_15_to_17: 15 => 17,
    from_17_to_18: 17 => 18,
    from_18_to_18: 18 => 18,
}

pairs! {
    #[ignore = "part of the whole matrix: PGHAUL_MATRIX=all scripts/test versions"]
    from_10_to_10: 10 => 10,
    from_10_to_12: 10 => 12,
    from_10_to_13: 10 => 13,
    from_10_to_14: 10 => 14,
    from_10_to_15: 10 => 15,
    from_10_to_16: 10 => 16,
    from_10_to_17: 10 => 17,
    from_11_to_11: 11 => 11,
    from_11_to_13: 11 => 13,
    from_11_to_14: 11 => 14,
    from_11_to_15: 11 => 15,
    from_11_to_16: 11 => 16,
    from_11_to_17: 11 => 17,
    from_11_to_18: 11 => 18,
    from_12_to_12: 12 => 12,
    from_12_to_13: 12 => 13,
    from_12_to_15: 12 => 15,
    from_12_to_16: 12 => 16,
    from_12_to_17: 12 => 17,
    from_12_to_18: 12 => 18,
    from_13_to_13: 13 => 13,
    from_13_to_14: 13 => 14,
    from_13_to_15: 13 => 15,
    from_13_to_17: 13 => 17,
    from_13_to_18: 13 => 18,
    from_14_to_14: 14 => 14,
    from_14_to_15: 14 => 15,
    from_14_to_16: 14 => 16,
    from_14_to_17: 14 => 17,
    from_14_to_18: 14 => 18,
    from_15_to_15: 15 => 15,
    from_15_to_16: 15 => 16,
    from_15_to_18: 15 => 18,
    from_16_to_16: 16 => 16,
    from_16_to_17: 16 => 17,
    from_16_to_18: 16 => 18,
    from_17_to_17: 17 => 17,
}

/// Where no materialized view is to be filled, a dump of the schema alone is asked for, which costs
/// the source less.
/// A dump is the same either way.
#[test]
fn a_dump_of_the_schema_alone_lacks_nothing_but_refreshes() {
    for version in [10, 15, 18] {
        let pair = Pair::of_versions(version, 18);
        fixture::ages(&pair.source, "ages");
        let sections = ["--section=pre-data", "--section=post-data"];
        let listed = |what: &[&str]| {
            let entries = entries(&pair.source, what);
            let refresh = |entry: &String| entry.contains(" MATERIALIZED VIEW DATA ");
            let (refreshes, others) = entries.into_iter().partition::<Vec<_>, _>(refresh);
            assert!(others.len() > 300, "{} entries", others.len());
            (refreshes.len(), others)
        };
        let (refreshes, others) = listed(&sections);
        assert!(refreshes > 1, "{refreshes} refreshes");
        assert_eq!(listed(&["--schema-only"]), (0, others), "{version}");
        pair.source.psql("ages", EMPTIED);
        assert_eq!(listed(&sections), listed(&["--schema-only"]), "{version}");
        pair.pghaul("ages", &["migrate", "--verify"])
            .run()
            .expect(0);
        assert_migrated(&pair.source, "ages", &pair.target, "ages");
    }
}

/// Empties every materialized view.
const EMPTIED: &str = "DO $$ DECLARE view regclass; BEGIN
      FOR view IN SELECT oid FROM pg_class WHERE relkind = 'm' LOOP
        EXECUTE format('REFRESH MATERIALIZED VIEW %s WITH NO DATA', view);
      END LOOP;
    END $$";

/// The entries of a dump of `ages`, in order, without the numbers that tell them apart.
fn entries(cluster: &Cluster, what: &[&str]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut dump = cluster.client("pg_dump", "ages");
    dump.args(["--format=custom", "-B"]).args(what);
    pg::run(dump.arg("--file").arg(file.path())).unwrap_or_else(|error| panic!("{error}"));
    let mut list = pg::program_in(&pg::newest_client(), "pg_restore");
    let list = pg::run(list.arg("--list").arg(file.path()));
    let list = list.unwrap_or_else(|error| panic!("{error}"));
    let entries = list.lines().filter_map(|line| line.split_once("; "));
    let entries = entries.filter(|(number, _)| !number.is_empty());
    entries.map(|(_, entry)| entry.to_owned()).collect()
}

both_ways!(an_older_target_is_refused_with_the_reason_and_left_alone);
fn an_older_target_is_refused_with_the_reason_and_left_alone(way: Way) {
    let mut pair = Pair::of_versions(18, 17);
    pair.source.create_db("d");
    let refused = way.migrate(&mut pair, "d", &[]).expect(2);
    let reason = "the target is PostgreSQL 17, older than the source's 18";
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    assert_eq!(pair.target.databases(), ["postgres"]);
}

both_ways!(large_tables_of_an_old_source_are_cut_by_key);
/// Before PostgreSQL 14 a range of blocks cannot be read without reading all others.
fn large_tables_of_an_old_source_are_cut_by_key(way: Way) {
    let mut pair = Pair::of_versions(10, 18);
    fixture::pgbench(&pair.source, "d", 3);
    let args = ["--verify", "--jobs", "3", "--split-larger-than", "8MB"];
    let args = [&args[..], &["--output", "json"]].concat();
    let output = way.migrate(&mut pair, "d", &args).expect(0);
    let parts = output.stdout.lines().filter(|line| {
        line.contains(r#""event":"part_done""#) && line.contains("public.pgbench_accounts aid")
    });
    assert!(
        parts.count() > 2,
        "the large table was not cut:\n{}",
        output.stdout
    );
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

both_ways!(constraints_of_large_tables_keep_what_is_new_in_them);
/// Constraints of large tables are made of an index that is built first, if they can be.
fn constraints_of_large_tables_keep_what_is_new_in_them(way: Way) {
    let mut pair = Pair::of_versions(18, 18);
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE EXTENSION btree_gist;
         CREATE TABLE plain (id int PRIMARY KEY, code int, UNIQUE NULLS NOT DISTINCT (code) INCLUDE (filler),
           filler text CONSTRAINT said NOT NULL);
         INSERT INTO plain SELECT n, nullif(n, 1), repeat('x', 100) FROM generate_series(1, 20000) n;
         CREATE TABLE temporal (id int, valid daterange, filler text,
           PRIMARY KEY (id, valid WITHOUT OVERLAPS));
         INSERT INTO temporal SELECT n, '[2024-01-01,)', repeat('x', 100) FROM generate_series(1, 20000) n;
         CREATE TABLE facts (id int, during daterange,
           FOREIGN KEY (id, PERIOD during) REFERENCES temporal (id, PERIOD valid));
         INSERT INTO facts SELECT n, '[2024-02-01,2024-03-01)' FROM generate_series(1, 20000) n;",
    );
    way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

/// What the planner knows of each column, as values that do not depend on the version.
const PLANNER: &str = "
SELECT schemaname, tablename, attname, inherited, null_frac, n_distinct, most_common_vals::text,
  most_common_freqs, histogram_bounds::text, correlation
FROM pg_stats WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'pghaul') ORDER BY 1, 2, 3, 4";

/// Tables that were analyzed on this server.
const ANALYZED: &str = "
SELECT relname FROM pg_stat_user_tables
WHERE schemaname <> 'pghaul' AND analyze_count > 0 ORDER BY relname";

both_ways!(planner_statistics_travel_to_a_server_that_takes_them);
fn planner_statistics_travel_to_a_server_that_takes_them(way: Way) {
    let mut pair = Pair::of_versions(13, 18);
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE known (id int PRIMARY KEY, kind text, n numeric);
         INSERT INTO known SELECT n, 'kind ' || n % 7, n % 100 FROM generate_series(1, 50000) n;
         CREATE INDEX ON known ((n * 2));
         CREATE TABLE parted (id int, at date) PARTITION BY RANGE (at);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
         CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
         INSERT INTO parted SELECT n, date '2024-06-01' + n FROM generate_series(1, 1000) n;
         CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent);
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2);
         CREATE MATERIALIZED VIEW seen AS SELECT kind, count(*) FROM known GROUP BY kind;
         ANALYZE;
         CREATE TABLE objects (a int, b int);
         INSERT INTO objects SELECT n % 10, n % 10 FROM generate_series(1, 1000) n;
         CREATE STATISTICS both_of_them ON a, b FROM objects;
         ANALYZE objects;
         CREATE TABLE unknown_yet WITH (autovacuum_enabled = off) AS SELECT generate_series(1, 1000) AS n;",
    );
    // Whoever extracts dumps them for a target that takes them.
    let mut haul = way.of("d").storing(&["--target-version", "18"]);
    haul.run(&mut pair, &["--verify"]).expect(0);
    let known = format!(
        "SELECT * FROM ({}) AS s WHERE tablename <> 'unknown_yet'",
        PLANNER.trim()
    );
    let expected = pair.source.psql("d", &known);
    assert!(expected.lines().count() > 10, "{expected}");
    assert_eq!(pair.target.psql("d", &known), expected);
    assert_eq!(pair.target.psql("d", ANALYZED), "objects\nunknown_yet");
    let objects = "SELECT count(*) FROM pg_stats_ext WHERE statistics_name = 'both_of_them'";
    assert_eq!(pair.target.psql("d", objects), "1");
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

both_ways!(exclusion_constraints_of_partitioned_tables);
/// PostgreSQL's own dump and restore loses the tie between partitions and their parent here.
fn exclusion_constraints_of_partitioned_tables(way: Way) {
    let mut pair = Pair::of_versions(17, 18);
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE EXTENSION btree_gist; CREATE SCHEMA \"it's. s\"; SET search_path = \"it's. s\", public;
         CREATE TABLE t (n int, d date, r int4range,
           CONSTRAINT \"the \"\"root\" EXCLUDE USING gist (d WITH =, r WITH &&) DEFERRABLE)
           PARTITION BY RANGE (d);
         CREATE TABLE a PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')
           PARTITION BY RANGE (d);
         CREATE TABLE a_rest PARTITION OF a DEFAULT;
         ALTER TABLE a_rest RENAME CONSTRAINT a_rest_d_r_excl TO \"its own name\";
         CREATE TABLE \"B b\" (n int, d date, r int4range,
           CONSTRAINT before EXCLUDE USING gist (d WITH =, r WITH &&) DEFERRABLE);
         ALTER TABLE t ATTACH PARTITION \"B b\" FOR VALUES FROM ('2025-01-01') TO (MAXVALUE);
         ALTER TABLE a_rest CLUSTER ON \"its own name\";
         COMMENT ON CONSTRAINT \"its own name\" ON a_rest IS 'renamed';
         INSERT INTO t SELECT n, date '2024-01-01' + n, int4range(n, n + 5) FROM generate_series(1, 500) n",
    );
    way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

both_ways!(temporal_keys_of_partitioned_tables);
/// It loses that of keys over time as well.
fn temporal_keys_of_partitioned_tables(way: Way) {
    let mut pair = Pair::of_versions(18, 18);
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE EXTENSION btree_gist; CREATE SCHEMA \"it's. s\"; SET search_path = \"it's. s\", public;
         CREATE TABLE stays (room int, during daterange, code int,
           CONSTRAINT \"a PRIMARY KEY (\" PRIMARY KEY (room, during WITHOUT OVERLAPS),
           CONSTRAINT by_code UNIQUE (room, code, during WITHOUT OVERLAPS) DEFERRABLE)
           PARTITION BY LIST (room);
         CREATE TABLE one PARTITION OF stays FOR VALUES IN (1);
         ALTER TABLE one RENAME CONSTRAINT one_pkey TO \"its own name\";
         CREATE TABLE others PARTITION OF stays DEFAULT PARTITION BY RANGE (room);
         CREATE TABLE further PARTITION OF others DEFAULT;
         COMMENT ON CONSTRAINT \"its own name\" ON one IS 'renamed';
         ALTER TABLE one CLUSTER ON \"its own name\";
         INSERT INTO stays SELECT n % 3, daterange(date '2024-01-01' + n, date '2024-01-02' + n), n
           FROM generate_series(1, 300) n;
         CREATE TABLE plain (a int, b int, PRIMARY KEY (a, b), UNIQUE (b, a)) PARTITION BY LIST (a);
         CREATE TABLE plain_rest PARTITION OF plain DEFAULT;
         CREATE TABLE meals (room int, during daterange, CONSTRAINT \"while there\"
           FOREIGN KEY (room, PERIOD during) REFERENCES stays (room, PERIOD during));
         INSERT INTO meals SELECT room, during FROM stays WHERE code < 50;",
    );
    way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

both_ways!(encodings_of_an_old_source);
fn encodings_of_an_old_source(way: Way) {
    let mut pair = Pair::of_versions(10, 18);
    for (db, encoding, row) in [
        ("latin", "LATIN1", "E'Stra\\337e fa\\347ade'"),
        ("japanese", "EUC_JP", "E'\\306\\374\\313\\334'"),
        ("bytes", "SQL_ASCII", "E'\\377\\376 not UTF-8'"),
    ] {
        pair.source.psql(
            "postgres",
            &format!(
                "CREATE DATABASE {db} TEMPLATE template0 ENCODING '{encoding}'
                 LC_COLLATE 'C' LC_CTYPE 'C'"
            ),
        );
        pair.source.psql(
            db,
            &format!(
                "SET client_encoding = '{encoding}'; CREATE TABLE t (w text);
                INSERT INTO t SELECT {row} FROM generate_series(1, 100)"
            ),
        );
        way.migrate(&mut pair, db, &["--verify"]).expect(0);
        assert_migrated(&pair.source, db, &pair.target, db);
    }
}

both_ways!(locale_providers);
fn locale_providers(way: Way) {
    for (source, target, options) in [
        (15, 16, "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk'"),
        (
            16,
            18,
            "LOCALE_PROVIDER icu ICU_LOCALE 'und' ICU_RULES '&V << w <<< W'",
        ),
        (17, 18, "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"),
        (
            18,
            18,
            "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST'",
        ),
    ] {
        let mut pair = Pair::of_versions(source, target);
        pair.source.psql(
            "postgres",
            &format!("CREATE DATABASE d TEMPLATE template0 {options}"),
        );
        pair.source.psql(
            "d",
            "CREATE TABLE t (w text PRIMARY KEY); INSERT INTO t VALUES ('Ä'), ('w'), ('V')",
        );
        way.migrate(&mut pair, "d", &["--verify"]).expect(0);
        assert_migrated(&pair.source, "d", &pair.target, "d");
    }
}

both_ways!(object_identifiers_of_rows_are_left_and_named);
/// PostgreSQL 12 abolished them; that a table's were left behind must be said.
fn object_identifiers_of_rows_are_left_and_named(way: Way) {
    let mut pair = Pair::of_versions(11, 18);
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE \"With\" (n int) WITH OIDS; INSERT INTO \"With\" SELECT generate_series(1, 10);
         CREATE TABLE without (n int)",
    );
    let output = way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    let told = |line: &str| line.contains("public.\"With\"") && line.contains("WITH OIDS");
    assert!(output.stderr.lines().any(told), "{}", output.stderr);
    assert!(
        !output.stderr.contains("public.without"),
        "{}",
        output.stderr
    );
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

both_ways!(postfix_operators_are_left_and_named);
/// PostgreSQL 14 abolished them, and what uses one cannot be there either.
fn postfix_operators_are_left_and_named(way: Way) {
    let mut pair = Pair::of_versions(13, 14);
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE OPERATOR !!! (PROCEDURE = factorial, LEFTARG = bigint);
         CREATE OPERATOR <<< (PROCEDURE = int4um, RIGHTARG = int);
         CREATE VIEW five AS SELECT 5::bigint OPERATOR(public.!!!) AS n",
    );
    let named = "operator public.!!!: postfix operators ended with PostgreSQL 13";
    let foreseen = pair.pghaul("d", &["validate"]).run().expect(0);
    assert!(foreseen.stdout.contains(named), "{}", foreseen.stdout);
    let output = way.migrate(&mut pair, "d", &[]).expect(0);
    for named in [named, "view public.five: it needs operator public.!!!"] {
        assert!(output.stderr.contains(named), "{named}: {}", output.stderr);
    }
    let there = "SELECT oprname FROM pg_operator WHERE oid >= 16384";
    assert_eq!(pair.target.psql("d", there), "<<<");
}

both_ways!(compression_that_the_target_was_built_without);
/// The distribution's server has LZ4, that of the other versions was built without.
fn compression_that_the_target_was_built_without(way: Way) {
    let (source, target) = (Cluster::start(), Cluster::builder().version(18).start());
    let mut pair = Pair { source, target };
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE packed (a text COMPRESSION lz4, b text COMPRESSION pglz);
         INSERT INTO packed SELECT repeat('a', 5000), repeat('b', 5000)",
    );
    let output = way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    let named = "compression of columns of table public.packed: the target's server was built \
                 without lz4";
    assert!(output.stderr.contains(named), "{}", output.stderr);
    let methods =
        "SELECT string_agg(format('%s %s', attname, attcompression), ', ' ORDER BY attname)
        FROM pg_attribute WHERE attrelid = 'packed'::regclass AND attnum > 0";
    assert_eq!(pair.target.psql("d", methods), "a , b p");
}

/// How either end is reached does not depend on the way.
#[test]
fn passwords_and_tls_of_an_old_server() {
    let authority = Authority::new();
    let certificate = authority.issue("server", &["DNS:localhost", "IP:127.0.0.1"]);
    for (kind, method) in [("md5", "md5"), ("scram-sha-256", "scram-sha-256")] {
        let source = Cluster::builder()
            .version(10)
            .tls(&certificate)
            .hba(&format!("hostssl all all 127.0.0.1/32 {method}"))
            .start();
        source.create_db("d");
        source.psql(
            "d",
            &format!(
                "SET password_encryption = '{kind}';
                ALTER ROLE postgres PASSWORD '{}'; CREATE TABLE t AS SELECT 1 AS n",
                Cluster::PASSWORD
            ),
        );
        let target = Cluster::builder().version(18).start();
        let root = pg::percent_encode(authority.root().to_str().expect("a path"));
        let dsn = format!(
            "{}?sslmode=verify-full&sslrootcert={root}",
            source.tcp_dsn("d")
        );
        // The newest programs were built without TLS.
        Pghaul::new(&["migrate", "--verify"])
            .env("PGHAUL_PG_BINDIR", pg::bindir())
            .source(&dsn)
            .target(&target.dsn("d"))
            .run()
            .expect(0);
        assert_migrated(&source, "d", &target, "d");
    }
}

both_ways!(what_a_server_notes_of_columns_stays_with_it);
/// Servers since 15.20 version columns among their options; a pg_dump that is older takes that for an
/// option, and a server that is older, as every one of PostgreSQL 13 is, refuses it.
fn what_a_server_notes_of_columns_stays_with_it(way: Way) {
    let mut pair = Pair::of_versions(13, 13);
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE t (a int, \"B, \"\"c\"\"\" text, c int) PARTITION BY RANGE (a);
         CREATE TABLE t_1 PARTITION OF t DEFAULT;
         CREATE MATERIALIZED VIEW m AS SELECT 1 AS a, 2 AS b;
         ALTER TABLE t ALTER c SET (n_distinct = 5, n_distinct_inherited = -0.5);
         INSERT INTO t VALUES (1, ' SET (pg_attver=1);', 2);
         SET allow_system_table_mods = on;
         UPDATE pg_attribute SET attoptions = array_prepend('pg_attver=22158952', attoptions)
          WHERE attrelid IN ('t'::regclass, 't_1'::regclass, 'm'::regclass) AND attnum > 0;",
    );
    way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
    let options = "SELECT attrelid::regclass, attname, attoptions FROM pg_attribute
        WHERE attoptions IS NOT NULL";
    let expected = "t|c|{n_distinct=5,n_distinct_inherited=-0.5}";
    assert_eq!(pair.target.psql("d", options), expected);
}
