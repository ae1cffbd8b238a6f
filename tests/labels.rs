//! Security labels: with a provider on both sides, on the source alone, and with one that refuses.

use std::fs::OpenOptions;
use std::io::Write;

use serde_json::Value;

use crate::server::tablespaces;
use crate::support::cluster::Builder;
use crate::support::oracle::assert_migrated;
use crate::support::{Cluster, Output, Pair, Way, both_ways, label_provider};

/// Something of every kind that can have a label.
const OBJECTS: &str = r#"
CREATE ROLE "new one"; CREATE SCHEMA s AUTHORIZATION "new one";
CREATE TYPE s.composite AS (x int, "y z" text); CREATE TYPE s.mood AS ENUM ('good', 'bad');
CREATE TYPE s.span AS RANGE (SUBTYPE = int); CREATE DOMAIN s.age AS int CHECK (VALUE > 0);
CREATE TABLE s.t (a int PRIMARY KEY, "b c" text); INSERT INTO s.t VALUES (1, 'one');
CREATE TABLE s.placed (a int) TABLESPACE place; CREATE TABLE s.other (a int) TABLESPACE alike;
CREATE TABLE s.parted (a int) PARTITION BY RANGE (a);
CREATE TABLE s.part PARTITION OF s.parted DEFAULT;
CREATE VIEW s.v AS SELECT a FROM s.t; CREATE MATERIALIZED VIEW s.m AS SELECT a FROM s.t;
CREATE SEQUENCE s.q;
CREATE FUNCTION s.f(a int DEFAULT 1, OUT b int) LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE s.p(a int) LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE s.total(int) (SFUNC = int4pl, STYPE = int);
CREATE AGGREGATE s.many(*) (SFUNC = int8inc, STYPE = bigint, INITCOND = '0');
CREATE FUNCTION s.nth() RETURNS bigint LANGUAGE internal WINDOW AS 'window_row_number';
CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w;
CREATE FOREIGN TABLE s.away (a int) SERVER far;
CREATE FUNCTION s.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watches ON ddl_command_start EXECUTE FUNCTION s.watch();
CREATE FUNCTION s.call() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE LANGUAGE own HANDLER s.call;
SELECT lo_from_bytea(4711, 'large');
CREATE PUBLICATION pub FOR TABLE s.t;
CREATE SUBSCRIPTION sub CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);
CREATE EXTENSION bloom SCHEMA s;
"#;

/// What has a label that the target is to have.
const LABELLED: [&str; 37] = [
    "DATABASE d",
    "ROLE \"new one\"",
    "SCHEMA s",
    "SCHEMA public",
    "TABLE s.t",
    "COLUMN s.t.a",
    "COLUMN s.t.\"b c\"",
    "TABLE s.parted",
    "TABLE s.part",
    "COLUMN s.part.a",
    "VIEW s.v",
    "COLUMN s.v.a",
    "MATERIALIZED VIEW s.m",
    "COLUMN s.m.a",
    "SEQUENCE s.q",
    "FUNCTION s.f(int)",
    "FUNCTION s.nth()",
    "FUNCTION s.blhandler(internal)",
    "FUNCTION s.span(int, int)",
    "PROCEDURE s.p(int)",
    "AGGREGATE s.total(int)",
    "AGGREGATE s.many(*)",
    "DOMAIN s.age",
    "TYPE s.composite",
    "COLUMN s.composite.\"y z\"",
    "TYPE s.mood",
    "TYPE s.span",
    "TYPE s.span_multirange",
    "TYPE s._mood",
    "TYPE s.t",
    "FOREIGN TABLE s.away",
    "COLUMN s.away.a",
    "EVENT TRIGGER watches",
    "LANGUAGE own",
    "LARGE OBJECT 4711",
    "PUBLICATION pub",
    "SUBSCRIPTION sub",
];

/// What the target has of its own, where labels stay as they are.
const SHARED: [&str; 3] = ["ROLE postgres", "ROLE standing", "TABLESPACE place"];

/// What comes with every database, where labels stay as they are.
const BUILT_IN: [&str; 4] = [
    "LANGUAGE plpgsql",
    "FUNCTION pg_catalog.now()",
    "AGGREGATE pg_catalog.count(*)",
    "ROLE pg_monitor",
];

/// All labels of a database and of what its server shares.
const LABELS: &str = "SELECT i.type, i.identity, s.provider, s.label FROM (
      SELECT classoid, objoid, objsubid, provider, label FROM pg_seclabel
      UNION ALL SELECT classoid, objoid, 0, provider, label FROM pg_shseclabel) AS s,
    pg_identify_object(s.classoid, s.objoid, s.objsubid) AS i ORDER BY 1, 2";

/// The statement that labels an object.
fn statement(object: &str) -> String {
    format!("SECURITY LABEL FOR pghaul ON {object} IS $label$it's {object} \\ \n$label$")
}

fn provided() -> Builder {
    Cluster::builder()
        .version(label_provider::VERSION)
        .conf("shared_preload_libraries", &label_provider::library())
}

/// What both servers have: a role, and tablespaces of which one has the same label on both.
fn prepared(source: Builder, target: Builder) -> Pair {
    let pair = Pair {
        source: source.start(),
        target: target.start(),
    };
    pair.source.create_db("d");
    for cluster in [&pair.source, &pair.target] {
        tablespaces(cluster, &["place", "alike"]);
        cluster.psql("postgres", "CREATE ROLE standing");
    }
    pair.source.psql("d", OBJECTS);
    for object in LABELLED.iter().chain(&SHARED).chain(&BUILT_IN) {
        pair.source.psql("d", &statement(object));
    }
    pair.source.psql("d", &statement("TABLESPACE alike"));
    pair
}

/// What a migration said that the target lacks.
fn omissions(output: &Output) -> Vec<Value> {
    let lines = output.stdout.lines();
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let summary = lines.find(|line| line["event"] == "summary");
    let summary = summary.expect("a summary");
    summary["omissions"].as_array().expect("a list").clone()
}

/// What would make up for it.
fn remedies(omissions: &[Value]) -> Vec<&str> {
    let remedies = omissions.iter().map(|one| one["remedy"].as_str());
    remedies
        .map(|remedy| remedy.unwrap_or_else(|| panic!("no remedy: {omissions:#?}")))
        .collect()
}

both_ways!(labels_arrive_where_their_provider_is);
fn labels_arrive_where_their_provider_is(way: Way) {
    let mut pair = prepared(provided(), provided());
    pair.target.psql("postgres", &statement("TABLESPACE alike"));
    pair.target.psql(
        "postgres",
        "SECURITY LABEL FOR pghaul ON ROLE standing IS 'its own'",
    );
    pair.pghaul("d", &["validate", "--strict"]).run().expect(1);
    let output = way.migrate(&mut pair, "d", &["--output", "json", "--verify"]);
    let omissions = omissions(&output.expect(0));
    let expected = pair.source.psql("d", LABELS);
    assert_eq!(omissions.len(), SHARED.len() + 1, "{omissions:#?}");

    // All others are there already.
    let count = pair
        .target
        .psql("d", &format!("SELECT count(*) FROM ({LABELS}) AS l"));
    let owned = 1; // The target's own role has a label of its own.
    assert_eq!(count, (LABELLED.len() + 1 + owned).to_string());

    for remedy in remedies(&omissions) {
        pair.target.psql("d", remedy);
    }
    assert_eq!(pair.target.psql("d", LABELS), expected);
    assert_migrated(&pair.source, "d", &pair.target, "d");
    // Nothing is left to say of what the server has.
    let unsubscribe = "ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub";
    pair.target.psql("d", unsubscribe);
    pair.target.psql("postgres", "DROP DATABASE d");
    let output = way.migrate(&mut pair, "d", &["--output", "json"]).expect(0);
    assert_eq!(self::omissions(&output).len(), 1, "{output:?}");
}

both_ways!(labels_without_a_provider_are_named_with_their_statements);
fn labels_without_a_provider_are_named_with_their_statements(way: Way) {
    let without = Cluster::builder().version(label_provider::VERSION);
    let mut pair = prepared(provided(), without);
    pair.pghaul("d", &["validate", "--strict"]).run().expect(1);
    let output = way.migrate(&mut pair, "d", &["--output", "json", "--verify"]);
    let omissions = omissions(&output.expect(0));
    assert_eq!(pair.target.psql("d", LABELS), "");
    assert_migrated(&pair.source, "d", &pair.target, "d");

    // Each is named by itself, but those of columns, and of what comes with every database; and
    // the statements are what it takes once the provider is there.
    let expected = pair.source.psql("d", LABELS);
    let columns = LABELLED.iter().filter(|one| one.starts_with("COLUMN"));
    // pg_dump passes over that of a composite type, which stands alone.
    let together = columns.count() - 1;
    assert_eq!(
        omissions.len(),
        LABELLED.len() - together + SHARED.len() + 2,
        "{omissions:#?}"
    );
    pair.target.stop();
    let settings = pair.target.socket_dir().join("data/postgresql.conf");
    let mut settings = OpenOptions::new()
        .append(true)
        .open(settings)
        .expect("a file");
    let library = label_provider::library();
    writeln!(settings, "shared_preload_libraries = '{library}'").expect("a line is written");
    pair.target.start_again();
    for remedy in remedies(&omissions) {
        pair.target.psql("d", remedy);
    }
    assert_eq!(pair.target.psql("d", LABELS), expected);
}

both_ways!(labels_that_the_provider_refuses_are_named);
fn labels_that_the_provider_refuses_are_named(way: Way) {
    let refuses = provided().conf("pghaul_label.refused", "refused");
    let mut pair = Pair {
        source: provided().start(),
        target: refuses.start(),
    };
    pair.source.create_db("d");
    let objects = [
        "DATABASE d",
        "ROLE labelled",
        "TABLE t",
        "LARGE OBJECT 4711",
    ];
    pair.source.psql(
        "d",
        "CREATE ROLE labelled; CREATE TABLE t (a int); SELECT lo_from_bytea(4711, '')",
    );
    for object in objects {
        let statement = format!("SECURITY LABEL FOR pghaul ON {object} IS 'refused'");
        pair.source.psql("d", &statement);
    }
    let output = way.migrate(&mut pair, "d", &["--output", "json"]).expect(0);
    let omissions = omissions(&output);
    assert_eq!(omissions.len(), objects.len(), "{omissions:#?}");
    for omission in &omissions {
        assert_eq!(omission["reason"], "this label is refused");
    }
    for remedy in remedies(&omissions) {
        assert!(remedy.ends_with("IS 'refused';"), "{remedy}");
    }
}

both_ways!(labels_whose_provider_is_gone_are_named);
/// They are written as a provider would have left them.
fn labels_whose_provider_is_gone_are_named(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE t (a int, b int); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE ROLE labelled; SELECT lo_from_bytea(4711, '');
         SET allow_system_table_mods = on;
         INSERT INTO pg_seclabel (objoid, classoid, objsubid, provider, label) VALUES
           ('t'::regclass, 'pg_class'::regclass, 0, 'selinux', 'it''s t'),
           ('t'::regclass, 'pg_class'::regclass, 1, 'selinux', 'a'),
           ('f'::regproc, 'pg_proc'::regclass, 0, 'selinux', 'f'),
           (4711, 'pg_largeobject'::regclass, 0, 'selinux', 'large');
         INSERT INTO pg_shseclabel (objoid, classoid, provider, label)
           SELECT oid, 'pg_database'::regclass, 'selinux', 'd' FROM pg_database WHERE datname = 'd'
           UNION ALL SELECT 'labelled'::regrole, 'pg_authid'::regclass, 'selinux', 'r'",
    );
    pair.pghaul("d", &["validate", "--strict"]).run().expect(1);
    let output = way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    for expected in [
        "SECURITY LABEL FOR selinux ON TABLE public.t IS 'it''s t';",
        "SECURITY LABEL FOR selinux ON COLUMN public.t.a IS 'a';",
        "SECURITY LABEL FOR selinux ON FUNCTION public.f() IS 'f';",
        "SECURITY LABEL FOR \"selinux\" ON LARGE OBJECT 4711 IS 'large';",
        "SECURITY LABEL FOR \"selinux\" ON DATABASE \"d\" IS 'd';",
        "SECURITY LABEL FOR \"selinux\" ON ROLE \"labelled\" IS 'r';",
    ] {
        let told = output.stdout.contains(expected);
        assert!(told, "{expected}: {}\n{}", output.stdout, output.stderr);
    }
}
