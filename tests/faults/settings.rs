//! Servers whose databases and roles are set up to break a careless client.

use super::{assert_converged, gate};
use crate::support::proxy::Proxy;
use crate::support::{Cluster, Pair, Pghaul, Way, both_ways, oracle};

/// What a database or a role may have set; values as in SQL.
const HOSTILE: &[(&str, &str)] = &[
    ("statement_timeout", "'1s'"),
    ("idle_in_transaction_session_timeout", "'1s'"),
    ("idle_session_timeout", "'1s'"),
    ("lock_timeout", "'10ms'"),
    ("bytea_output", "'escape'"),
    ("DateStyle", "'SQL, DMY'"),
    ("IntervalStyle", "'sql_standard'"),
    ("TimeZone", "'Asia/Kathmandu'"),
    ("extra_float_digits", "-15"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "'serializable'"),
    ("default_transaction_deferrable", "on"),
    ("search_path", "odd, public"),
    ("row_security", "on"),
    ("standard_conforming_strings", "off"),
    ("backslash_quote", "off"),
    ("escape_string_warning", "off"),
    ("quote_all_identifiers", "on"),
    ("synchronize_seqscans", "on"),
    ("array_nulls", "off"),
    ("transform_null_equals", "on"),
    ("xmlbinary", "'hex'"),
    ("xmloption", "'document'"),
    ("default_toast_compression", "'pglz'"),
    ("gin_fuzzy_search_limit", "1"),
    ("check_function_bodies", "on"),
    ("plpgsql.extra_errors", "'all'"),
    ("client_min_messages", "'error'"),
    ("synchronous_commit", "off"),
    ("enable_seqscan", "off"),
    ("work_mem", "'64kB'"),
    ("maintenance_work_mem", "'1MB'"),
    ("temp_file_limit", "'10GB'"),
];

/// Values and definitions that come out wrong under one of these settings.
const SENSITIVE: &str = r#"
CREATE SCHEMA odd;
CREATE TABLE odd.values (
  id int PRIMARY KEY, f4 real, f8 double precision, at timestamptz, day date, span interval,
  bytes bytea, list text[], doc xml,
  text text DEFAULT E'a\\b''c' CHECK (text <> E'\\'), money numeric(10,2)
);
COMMENT ON TABLE odd.values IS E'back\\slash and ''quote''';
INSERT INTO odd.values
SELECT i, random()::real, random() * 1e-300, 'epoch'::timestamptz + i * interval '11 hours 1 us',
  '2000-01-02'::date + i, i * interval '1 year -1 day 3 hours', decode(md5(i::text), 'hex') || '\\x5c27'::bytea,
  ARRAY['NULL', 'null', NULL, i::text, E'\\'], xmlparse(content 'some <b>mixed</b> text'),
  E'Łódź \\ ' || i, i / 7.0
FROM generate_series(1, 2000) AS i;
CREATE FUNCTION odd.slashed(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1 || E'\\' $$;
CREATE INDEX slashed ON odd.values (odd.slashed(text)) WHERE text <> E'\\\\';
CREATE VIEW odd.seen AS SELECT id, text || E'\\n' AS line FROM odd.values WHERE doc IS NOT NULL;
"#;

/// Sets all of it for a database, or for a role in a database.
fn set(cluster: &Cluster, whom: &str) {
    for (name, value) in HOSTILE {
        cluster.psql("postgres", &format!("ALTER {whom} SET {name} = {value}"));
    }
}

both_ways!(hostile_gucs_of_the_databases);
/// As settings of the databases: they are migrated as well.
fn hostile_gucs_of_the_databases(way: Way) {
    let mut pair = Pair::start();
    let db = "hostile";
    gate::database(&pair, db);
    pair.source.psql(db, SENSITIVE);
    pair.target.create_db(db);
    set(&pair.source, &format!("DATABASE {db}"));
    set(&pair.target, &format!("DATABASE {db}"));
    // The copy of the accounts alone takes longer than the timeouts.
    let (source, target) = (Proxy::start(&pair.source), Proxy::start(&pair.target));
    source.throttle(Some(4 << 20));
    let haul = way.of(db).source(&source.dsn(&pair.source, db));
    let mut haul = haul.target(&target.dsn(&pair.target, db));
    haul.run(&mut pair, &[]).expect(0);
    assert_converged(&pair, db);
}

both_ways!(hostile_gucs_of_the_roles);
/// As settings of the roles that pghaul uses, with an encoding that cannot hold the data.
fn hostile_gucs_of_the_roles(way: Way) {
    let mut pair = Pair::start();
    let db = "hostile";
    gate::database(&pair, db);
    pair.source.psql(db, SENSITIVE);
    for (cluster, role) in [(&pair.source, "mover"), (&pair.target, "taker")] {
        let create = format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'moves'");
        cluster.psql("postgres", &create);
        set(cluster, &format!("ROLE {role}"));
        let encoding = format!("ALTER ROLE {role} SET client_encoding = 'LATIN1'");
        cluster.psql("postgres", &encoding);
    }
    let source = Proxy::start(&pair.source);
    source.throttle(Some(4 << 20));
    let dsn = source.dsn(&pair.source, db);
    let (_, address) = dsn.split_once('@').expect("a user in the URI");
    let source = format!("postgresql://mover:moves@{address}");
    let target = pair.target.dsn(db).replace("postgres@", "taker@");
    // The source's role has a password, which comes along.
    let mut haul = way.of(db).encrypted().source(&source).target(&target);
    haul.run(&mut pair, &["--copy-format", "text"]).expect(0);
    let verify = Pghaul::new(&["verify"]).source(&source).target(&target);
    verify.run().expect(0);
    // The target's own role is none of the source's.
    pair.target.psql("postgres", "ALTER ROLE taker RESET ALL");
    oracle::assert_migrated(&pair.source, db, &pair.target, db);
}
