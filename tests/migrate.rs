//! `pghaul migrate`, end to end: what arrives, and what is refused.

use crate::support::oracle::{assert_migrated, assert_same};
use crate::support::{Cluster, Pair, Way, both_ways, fixture};

/// Tables that movers get wrong, in one database.
const ODD_TABLES: &str = r#"
CREATE SCHEMA "Odd ""Schema""";
SET search_path = "Odd ""Schema""";
CREATE TABLE "Ta""ble with
newline 🐘" ("co""l" int PRIMARY KEY, "select" text);
INSERT INTO "Ta""ble with
newline 🐘" SELECT g, 'row ' || g FROM generate_series(1, 500) g;
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE empty (id int PRIMARY KEY);
CREATE TABLE keyless (a int, b text);
INSERT INTO keyless SELECT g % 3, 'same' FROM generate_series(1, 1000) g;
CREATE TABLE computed (double int GENERATED ALWAYS AS (42) STORED);
INSERT INTO computed DEFAULT VALUES; INSERT INTO computed DEFAULT VALUES;
CREATE TABLE gaps (a int, b int, c text, d int GENERATED ALWAYS AS (b * 2) STORED, e int);
ALTER TABLE gaps DROP COLUMN a; ALTER TABLE gaps DROP COLUMN c; ALTER TABLE gaps ADD f text;
INSERT INTO gaps (b, e, f) SELECT g, -g, 'f' FROM generate_series(1, 100) g;
CREATE TABLE parent (id int, note text);
CREATE TABLE child (extra int) INHERITS (parent);
CREATE TABLE other (more int) INHERITS (parent);
CREATE TABLE both_of_them () INHERITS (child, other);
INSERT INTO parent VALUES (1, 'parent'); INSERT INTO child VALUES (2, 'child', 1);
INSERT INTO both_of_them (id, note, extra, more) VALUES (3, 'grandchild', 2, 3);
CREATE TABLE measured (at date NOT NULL, place int NOT NULL, value float8) PARTITION BY RANGE (at);
CREATE TABLE measured_2023 PARTITION OF measured FOR VALUES FROM ('2023-01-01') TO ('2024-01-01')
  PARTITION BY HASH (place);
CREATE TABLE measured_2023_0 PARTITION OF measured_2023 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE measured_2023_1 PARTITION OF measured_2023 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE measured_rest PARTITION OF measured DEFAULT;
ALTER TABLE measured ADD PRIMARY KEY (at, place);
CREATE INDEX ON measured (value);
INSERT INTO measured SELECT date '2022-06-01' + g, g, g / 7.0 FROM generate_series(1, 900) g;
CREATE TABLE long_values (id int PRIMARY KEY, body text, raw bytea);
ALTER TABLE long_values ALTER body SET STORAGE EXTERNAL, ALTER raw SET STORAGE EXTERNAL;
INSERT INTO long_values SELECT g, repeat(md5(g::text), 4000), decode(repeat(md5(g::text), 4000), 'hex')
  FROM generate_series(1, 30) g;
"#;

both_ways!(a_database_with_every_kind_of_object);
fn a_database_with_every_kind_of_object(way: Way) {
    let mut pair = Pair::start();
    fixture::shop(&pair.source, "shop", 2);
    let mut haul = way.of("shop").encrypted();
    let output = haul.run(&mut pair, &["--verify"]).expect(0);
    assert!(
        output.stdout.contains("source and target are the same"),
        "{}",
        output.stdout
    );
    assert_migrated(&pair.source, "shop", &pair.target, "shop");
}

both_ways!(pgbench_with_foreign_keys_cut_into_parts);
fn pgbench_with_foreign_keys_cut_into_parts(way: Way) {
    let mut pair = Pair::start();
    fixture::pgbench(&pair.source, "bench", 3);
    let args = [
        "--jobs",
        "3",
        "--split-larger-than",
        "8MB",
        "--output",
        "json",
    ];
    let mut haul = way.of("bench").storing(&["--spool-encoding", "copy"]);
    let output = haul.run(&mut pair, &args).expect(0);
    let parts = output.stdout.lines().filter(|line| {
        line.contains(r#""event":"part_done""#) && line.contains("public.pgbench_accounts blocks")
    });
    assert!(
        parts.count() > 2,
        "the large table was not cut:\n{}",
        output.stdout
    );
    assert_migrated(&pair.source, "bench", &pair.target, "bench");
}

both_ways!(odd_tables_in_every_copy_format);
fn odd_tables_in_every_copy_format(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("odd");
    pair.source.psql("odd", ODD_TABLES);
    for format in ["auto", "text", "binary"] {
        let args = ["--overwrite", "--copy-format", format];
        way.migrate(&mut pair, "odd", &args).expect(0);
        assert_migrated(&pair.source, "odd", &pair.target, "odd");
    }
}

both_ways!(large_objects_with_owner_grants_and_comment);
fn large_objects_with_owner_grants_and_comment(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("lob");
    pair.source.psql(
        "lob",
        "CREATE ROLE lob_owner; CREATE ROLE lob_reader;
         SELECT lo_from_bytea(0, decode(repeat(md5(g::text), 1 + g * 20), 'hex'))
           FROM generate_series(1, 200) g;
         SELECT lo_create(77777);
         SELECT lo_put(lo_create(88888), 100000, 'sparse');
         ALTER LARGE OBJECT 88888 OWNER TO lob_owner;
         GRANT SELECT ON LARGE OBJECT 88888 TO lob_reader;
         COMMENT ON LARGE OBJECT 77777 IS 'it''s empty';",
    );
    way.migrate(&mut pair, "lob", &["--verify"]).expect(0);
    assert_migrated(&pair.source, "lob", &pair.target, "lob");
}

both_ways!(into_a_database_that_exists_and_is_empty);
fn into_a_database_that_exists_and_is_empty(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE t AS SELECT g FROM generate_series(1, 10) g",
    );
    pair.target.create_db("d");
    way.migrate(&mut pair, "d", &[]).expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

both_ways!(a_target_with_objects_is_refused_and_left_alone);
fn a_target_with_objects_is_refused_and_left_alone(way: Way) {
    let mut pair = Pair::start();
    for cluster in [&pair.source, &pair.target] {
        cluster.create_db("d");
        cluster.psql("d", "CREATE TABLE precious AS SELECT 1 AS n");
    }
    pair.source.psql("d", "UPDATE precious SET n = 2");
    let refused = way.migrate(&mut pair, "d", &[]).expect(2);
    assert!(refused.stderr.contains("precious"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--overwrite"), "{}", refused.stderr);
    assert_eq!(pair.target.psql("d", "SELECT n FROM precious"), "1");

    let overwritten = way.migrate(&mut pair, "d", &["--overwrite"]).expect(0);
    assert!(
        overwritten.stderr.contains("dropping the target database"),
        "{}",
        overwritten.stderr
    );
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

both_ways!(a_second_migration_into_the_same_database_is_refused);
fn a_second_migration_into_the_same_database_is_refused(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    let mut haul = way.of("d");
    haul.run(&mut pair, &[]).expect(0);
    let refused = way.migrate(&mut pair, "d", &[]).expect(2);
    assert!(
        refused.stderr.contains("it holds the migration"),
        "{}",
        refused.stderr
    );
    let complete = haul.run(&mut pair, &["--resume"]).expect(0);
    let told = match way {
        Way::Channel => "already complete",
        Way::Spool => "loaded already",
    };
    assert!(complete.stderr.contains(told), "{}", complete.stderr);
}

/// Over a spool, no process knows both ends.
#[test]
fn the_source_cannot_be_its_own_target() {
    let cluster = Cluster::start();
    cluster.create_db("d");
    let dsn = cluster.dsn("d");
    let call = crate::support::Pghaul::new(&["migrate", "--overwrite"])
        .source(&dsn)
        .target(&dsn);
    let refused = call.run().expect(2);
    assert!(
        refused.stderr.contains("the same database"),
        "{}",
        refused.stderr
    );
    assert!(cluster.databases().contains(&"d".to_owned()));
}

both_ways!(database_properties_and_another_name);
fn database_properties_and_another_name(way: Way) {
    let mut pair = Pair::start();
    pair.source.psql(
        "postgres",
        "CREATE DATABASE german TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'
         CONNECTION LIMIT 17",
    );
    pair.source.psql(
        "german",
        "COMMENT ON DATABASE german IS 'Grüße';
         CREATE ROLE teller; REVOKE CONNECT ON DATABASE german FROM PUBLIC;
         GRANT CREATE, CONNECT ON DATABASE german TO teller WITH GRANT OPTION;
         ALTER DATABASE german SET search_path = public, \"weird, one\";
         ALTER ROLE teller IN DATABASE german SET statement_timeout = '7s';
         ALTER DATABASE german IS_TEMPLATE true;
         CREATE TABLE wörter (w text); INSERT INTO wörter VALUES ('Straße'), ('façade');",
    );
    let mut haul = way.of("german").target(&pair.target.dsn("deutsch"));
    haul.run(&mut pair, &[]).expect(0);
    assert_same(&pair.source, "german", &pair.target, "deutsch");
    let encoding =
        "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'deutsch'";
    assert_eq!(pair.target.psql("postgres", encoding), "LATIN1");
    // A template is overwritten as any other database is.
    haul.run(&mut pair, &["--overwrite"]).expect(0);
    assert_same(&pair.source, "german", &pair.target, "deutsch");
}

both_ways!(a_binary_format_that_cannot_work_is_refused_by_name);
fn a_binary_format_that_cannot_work_is_refused_by_name(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql("d", "CREATE TABLE rights (item aclitem)");
    let mut haul = way.of("d");
    let refused = haul.run(&mut pair, &["--copy-format", "binary"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("rights"), "{}", refused.stderr);
    haul.run(&mut pair, &["--resume"]).expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

both_ways!(json_output_is_one_object_a_line);
fn json_output_is_one_object_a_line(way: Way) {
    let mut pair = Pair::start();
    fixture::pgbench(&pair.source, "bench", 1);
    let args = ["--verify", "--output", "json"];
    let output = way.migrate(&mut pair, "bench", &args).expect(0);
    let lines: Vec<serde_json::Value> = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let summary = lines
        .iter()
        .find(|line| line["event"] == "summary")
        .expect("a summary");
    let accounts = summary["tables"].as_array().expect("tables").iter();
    let rows: u64 = accounts
        .filter(|table| table["table"]["name"] == "pgbench_accounts")
        .filter_map(|table| table["rows"].as_u64())
        .sum();
    let expected = pair
        .source
        .psql("bench", "SELECT count(*) FROM pgbench_accounts");
    assert_eq!(rows.to_string(), expected);
    let comparison = lines
        .iter()
        .find(|line| line["event"] == "comparison")
        .expect("a comparison");
    assert_eq!(comparison["match"], true);
}
