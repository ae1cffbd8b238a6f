//! What a migration leaves out is foreseen before anything begins, all of it: what `pghaul
//! validate` names is what the report names afterwards.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Cluster, Output, Pair, Pghaul, Way, both_ways};

/// Something of every kind that a target may lack. The roles with a name of RDS's are never
/// created; what the catalogs are told by hand is what another server could have.
const LOSSY: &str = r#"
CREATE ROLE rds_kept; CREATE ROLE rds_other; CREATE ROLE app LOGIN PASSWORD 'secret'; CREATE ROLE boss SUPERUSER REPLICATION;
CREATE ROLE tuned; CREATE ROLE reader LOGIN BYPASSRLS IN ROLE pg_read_all_data;
GRANT rds_kept TO app; GRANT pg_monitor TO app;
COMMENT ON ROLE app IS 'the application';
ALTER ROLE app SET log_statement = 'all'; ALTER ROLE app SET shop.motto = 'more';
ALTER ROLE tuned SET work_mem = '5MB';
ALTER ROLE tuned SET temp_tablespaces = 'away';
GRANT SET ON PARAMETER work_mem TO rds_kept; GRANT SET ON PARAMETER log_statement TO app;
CREATE SCHEMA s AUTHORIZATION app; CREATE EXTENSION hstore SCHEMA s; CREATE EXTENSION citext;
UPDATE pg_extension SET extversion = 'of our own' WHERE extname = 'hstore';
COMMENT ON EXTENSION citext IS 'changed';
CREATE TABLE s.t (id int PRIMARY KEY, word text); INSERT INTO s.t VALUES (1, 'a'), (2, 'b');
CREATE TABLE s.kept (id int); ALTER TABLE s.kept OWNER TO rds_kept;
CREATE TABLE s.apart (id int) TABLESPACE apart;
GRANT SELECT ON s.t TO rds_kept WITH GRANT OPTION; GRANT INSERT ON s.t TO app;
GRANT USAGE ON SCHEMA s TO rds_kept;
SET ROLE rds_kept; GRANT SELECT ON s.t TO tuned; RESET ROLE;
GRANT SELECT (id) ON s.t TO rds_kept;
GRANT EXECUTE ON FUNCTION pg_ls_dir(text) TO app; GRANT SELECT ON pg_authid TO rds_kept;
ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT SELECT ON TABLES TO rds_kept;
ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT INSERT ON TABLES TO tuned;
ALTER DEFAULT PRIVILEGES FOR ROLE rds_kept GRANT INSERT ON TABLES TO tuned;
ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON s.t TO rds_kept USING (true); CREATE POLICY q ON s.t TO app USING (true);
COMMENT ON POLICY p ON s.t IS 'of the service';
GRANT CONNECT ON DATABASE d TO rds_other; GRANT CREATE ON DATABASE d TO app;
ALTER DATABASE d SET log_statement = 'all'; ALTER DATABASE d SET shop.motto = 'less';
ALTER ROLE rds_kept IN DATABASE d SET work_mem = '6MB';
ALTER DATABASE d OWNER TO rds_kept; ALTER DATABASE d CONNECTION LIMIT 77; COMMENT ON DATABASE d IS 'the shop';
SELECT lo_from_bytea(11, 'a'), lo_from_bytea(12, 'b'), lo_from_bytea(13, 'c');
ALTER LARGE OBJECT 11 OWNER TO rds_kept; ALTER LARGE OBJECT 12 OWNER TO app;
GRANT SELECT ON LARGE OBJECT 12 TO rds_kept, tuned; GRANT SELECT ON LARGE OBJECT 11, 12, 13 TO reader;
CREATE FUNCTION s.trigger() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON ddl_command_start EXECUTE FUNCTION s.trigger();
COMMENT ON EVENT TRIGGER watch IS 'watches';
CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w;
CREATE USER MAPPING FOR app SERVER far OPTIONS (password 'tiger');
CREATE EXTENSION postgres_fdw; CREATE SERVER near FOREIGN DATA WRAPPER postgres_fdw;
CREATE USER MAPPING FOR rds_kept SERVER near OPTIONS (password 'tiger');
CREATE USER MAPPING FOR app SERVER near OPTIONS (password 'tiger');
CREATE OPERATOR CLASS s.plain FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =,
  OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int);
CREATE INDEX of_plain ON s.t (id s.plain);
CREATE TYPE s.span AS RANGE (SUBTYPE = int); CREATE CAST (int4range AS s.span) WITHOUT FUNCTION;
CREATE PUBLICATION everything FOR ALL TABLES; CREATE PUBLICATION of_s FOR TABLES IN SCHEMA s;
CREATE SUBSCRIPTION listens CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false);
CREATE FUNCTION s.leakproof() RETURNS int LEAKPROOF LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION s.logs() RETURNS trigger LANGUAGE plpgsql SET log_statement = 'all' AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER logs AFTER INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.logs();
CREATE FUNCTION s.boasts() RETURNS int LANGUAGE sql SET shop.motto = 'most' AS 'SELECT 1';
CREATE FUNCTION s.plain() RETURNS int LANGUAGE sql SET role = 'app' SET work_mem = '5MB' AS 'SELECT 1';
CREATE FUNCTION s.truth(bigint) RETURNS bool LANGUAGE sql AS 'SELECT $1 <> 0';
CREATE CAST (bigint AS bool) WITH FUNCTION s.truth(bigint); CREATE CAST (varchar AS int) WITH INOUT AS ASSIGNMENT;
COMMENT ON CAST (varchar AS int) IS 'in and out'; CREATE CAST (citext AS json) WITH INOUT;
CREATE TYPE s.mood AS ENUM ('so'); CREATE CAST (s.mood AS varchar) WITH INOUT; CREATE CAST (citext AS s.mood) WITH INOUT;
CREATE AGGREGATE s.moving(numeric) (SFUNC = numeric_add, STYPE = numeric, MSFUNC = numeric_avg_accum,
  MINVFUNC = numeric_accum_inv, MSTYPE = internal, MFINALFUNC = numeric_sum);
CREATE INDEX broken ON s.t (word);
"#;

/// What no statement does on a server that lacks what these are about.
const BY_HAND: &str = r#"
SET allow_system_table_mods = on;
UPDATE pg_db_role_setting SET setconfig = setconfig || '{work_mem=lots}'
 WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = 'd') AND setrole = 0;
UPDATE pg_db_role_setting SET setconfig = '{work_mem=lots,nothing=1}' || setconfig[2:]
 WHERE setrole = 'tuned'::regrole;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 's.broken'::regclass;
INSERT INTO pg_seclabel VALUES ('s.t'::regclass, 'pg_class'::regclass, 0, 'nobody', 'secret'),
  ('s.trigger'::regproc, 'pg_proc'::regclass, 0, 'nobody', 'secret');
INSERT INTO pg_shseclabel VALUES ('app'::regrole, 'pg_authid'::regclass, 'nobody', 'secret');
"#;

/// A source that will lose something of every kind.
fn lossy() -> Pair {
    let pair = Pair::start();
    crate::server::tablespaces(&pair.source, &["away", "apart"]);
    let create = "CREATE DATABASE d TEMPLATE template0 TABLESPACE away";
    pair.source.psql("postgres", create);
    pair.source.psql("d", LOSSY);
    pair.source.psql("d", BY_HAND);
    pair.target
        .psql("postgres", "CREATE ROLE admin LOGIN CREATEROLE CREATEDB");
    pair
}

fn lines(output: &Output) -> Vec<Value> {
    let lines = output.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON: {line}")))
        .collect()
}

fn texts(list: &Value) -> BTreeSet<String> {
    let list = list.as_array().expect("a list").iter();
    list.map(|one| match (&one["object"], &one["reason"]) {
        (Value::String(object), Value::String(reason)) => format!("{object}: {reason}"),
        _ => one.as_str().expect("a text").to_owned(),
    })
    .collect()
}

fn by(cluster: &Cluster, role: &str) -> String {
    cluster.dsn("d").replace("postgres@", &format!("{role}@"))
}

/// `pghaul validate` as these roles of both sides, which are in reach.
fn validate(pair: &Pair, [reader, loader]: [&str; 2], flags: &[&str]) -> Pghaul {
    pair.pghaul("d", &[&["validate"], flags].concat())
        .source(&by(&pair.source, reader))
        .target(&by(&pair.target, loader))
}

/// A migration as these roles.
fn migrate(way: Way, pair: &mut Pair, [reader, loader]: [&str; 2], flags: &[&str]) -> Output {
    let haul = way.of("d").encrypted().source(&by(&pair.source, reader));
    let mut haul = haul.target(&by(&pair.target, loader));
    haul.run(pair, flags)
}

#[track_caller]
fn assert_foreseen(way: Way, pair: &mut Pair, roles: [&str; 2], kinds: &[&str]) {
    assert_foreseen_with(way, pair, roles, &[], kinds);
}

/// Fails unless what is foreseen with these flags is what is reported afterwards, these objects
/// are among it, and `--strict` begins nothing.
#[track_caller]
fn assert_foreseen_with(
    way: Way,
    pair: &mut Pair,
    roles: [&str; 2],
    flags: &[&str],
    kinds: &[&str],
) {
    let json = [&["--output", "json"], flags].concat();
    let output = validate(pair, roles, &json).run();
    let found = lines(&output);
    let found = found.iter().find(|one| one["code"] == 613_105);
    let found = found.unwrap_or_else(|| panic!("{output:?}"));
    let foreseen = texts(&found["objects"]);

    for args in [&["--strict"][..], &["--strict", "--skip-validation"]] {
        let before = pair.target.psql("postgres", STATE);
        let args = [args, flags].concat();
        migrate(way, pair, roles, &args).expect(1);
        assert_eq!(pair.target.psql("postgres", STATE), before, "{args:?}");
    }

    let output = migrate(way, pair, roles, &json).expect(0);
    let found = lines(&output);
    let summary = found.iter().find(|one| one["event"] == "summary");
    let summary = summary.unwrap_or_else(|| panic!("{output:?}"));
    let reported = texts(&summary["omissions"]);
    let unforeseen: Vec<_> = reported.difference(&foreseen).collect();
    let untrue: Vec<_> = foreseen.difference(&reported).collect();
    assert!(
        unforeseen.is_empty() && untrue.is_empty(),
        "unforeseen: {unforeseen:#?}\nuntrue: {untrue:#?}"
    );
    let plain = |one: &&String| one.contains("s.plain()") || one.contains("s.mood");
    assert_eq!(reported.iter().find(plain), None, "everybody creates that");
    for kind in kinds {
        let named = reported.iter().any(|one| one.starts_with(kind));
        assert!(named, "{kind}: {reported:#?}");
    }

    // Nor is anything dropped.
    let before = pair.target.psql("postgres", STATE);
    let again = ["--strict", "--overwrite", "--skip-validation"];
    let again = [&again[..], flags].concat();
    migrate(way, pair, roles, &again).expect(1);
    assert_eq!(pair.target.psql("postgres", STATE), before);
}

/// What a run that does not begin leaves alone.
const STATE: &str = "SELECT (SELECT string_agg(rolname, ',' ORDER BY 1) FROM pg_roles),
    (SELECT string_agg(oid || datname, ',' ORDER BY 1) FROM pg_database),
    (SELECT count(*) FROM pg_auth_members), (SELECT count(*) FROM pg_db_role_setting)";

/// What even a superuser leaves out.
const ALWAYS: [&str; 25] = [
    "SET on parameter work_mem for \"rds_kept\"",
    "default privileges for tables of role \"app\" for \"rds_kept\"",
    "default privileges for tables of role \"rds_kept\"",
    "default tablespace \"away\" of the database",
    "grantor \"rds_kept\" of privileges on TABLE t in schema s",
    "index s.broken",
    "membership of role \"app\" in \"rds_kept\"",
    "owner \"rds_kept\" of 1 objects",
    "owner \"rds_kept\" of the database",
    "ownership and privileges of role \"rds_kept\" on large objects",
    "policy s.t p",
    "privileges of \"rds_other\" on the database",
    "privileges on COLUMN t.id in schema s for \"rds_kept\"",
    "privileges on SCHEMA s for \"rds_kept\"",
    "privileges on TABLE pg_authid in schema pg_catalog",
    "privileges on TABLE t in schema s for \"rds_kept\"",
    "security label of role \"app\" for nobody",
    "security label s.TABLE t",
    "setting nothing of role \"tuned\"",
    "setting temp_tablespaces of role \"tuned\"",
    "setting work_mem of role \"rds_kept\" in the database",
    "setting work_mem of role \"tuned\"",
    "setting work_mem of the database",
    "tablespace \"apart\" of 1 objects",
    "version \"of our own\" of extension \"hstore\"",
];

/// And what whoever is none does.
const WITHOUT_SUPERUSER: [&str; 24] = [
    "BYPASSRLS of role \"reader\"",
    "SET on parameter log_statement for \"app\"",
    "SUPERUSER, REPLICATION of role \"boss\"",
    "aggregate s.moving(numeric)",
    "cast CAST (bigint AS boolean)",
    "cast CAST (character varying AS integer)",
    "cast CAST (int4range AS s.span)",
    "cast CAST (public.citext AS json)",
    "event trigger watch",
    "extension postgres_fdw",
    "foreign data wrapper w",
    "function s.boasts()",
    "function s.leakproof()",
    "function s.logs()",
    "index s.of_plain",
    "operator class s.plain",
    "options of USER MAPPING app SERVER far",
    "ownership and privileges of role \"postgres\" on large objects",
    "privileges on FUNCTION pg_ls_dir(text) in schema pg_catalog",
    "publication everything",
    "schema in publication of_s s",
    "setting shop.motto of role \"app\"",
    "subscription listens",
    "trigger s.t logs",
];

both_ways!(whatever_a_superuser_leaves_out_was_foreseen);
fn whatever_a_superuser_leaves_out_was_foreseen(way: Way) {
    let mut pair = lossy();
    let mapping = "user mapping USER MAPPING rds_kept SERVER near";
    let kinds = [&ALWAYS[..], &[mapping]].concat();
    assert_foreseen(way, &mut pair, ["postgres", "postgres"], &kinds);
}

both_ways!(whatever_an_administrator_leaves_out_was_foreseen);
fn whatever_an_administrator_leaves_out_was_foreseen(way: Way) {
    let mut pair = lossy();
    let kinds = [&ALWAYS[..], &WITHOUT_SUPERUSER].concat();
    assert_foreseen(way, &mut pair, ["reader", "admin"], &kinds);
}

both_ways!(whatever_a_guest_leaves_out_was_foreseen);
/// The target database is there, and somebody else's.
fn whatever_a_guest_leaves_out_was_foreseen(way: Way) {
    let mut pair = lossy();
    pair.target.create_db("d");
    pair.target.psql(
        "d",
        "GRANT CREATE ON DATABASE d TO admin; GRANT ALL ON SCHEMA public TO admin; ALTER ROLE admin NOCREATEDB;
         CREATE ROLE tuned",
    );
    pair.source.psql(
        "d",
        "GRANT CREATE ON SCHEMA public TO PUBLIC; COMMENT ON SCHEMA public IS 'for all'",
    );
    let own = [
        "comment of the database",
        "comment on SCHEMA public",
        "connection limit of the database",
        "privileges of the database",
        "privileges on SCHEMA public",
    ];
    let kinds = [&ALWAYS[..18], &WITHOUT_SUPERUSER, &own].concat();
    assert_foreseen(way, &mut pair, ["reader", "admin"], &kinds);
}

both_ways!(what_roles_of_other_names_lose_was_foreseen);
/// Roles that get other names, or are not created.
fn what_roles_of_other_names_lose_was_foreseen(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'secret'; CREATE ROLE b;
         CREATE TABLE t (id int); ALTER TABLE t OWNER TO old; GRANT SELECT ON t TO b;
         SELECT lo_from_bytea(11, 'a'); GRANT SELECT ON LARGE OBJECT 11 TO b;
         ALTER LARGE OBJECT 11 OWNER TO old",
    );
    let map = ["--role-map", "old=new"];
    let lost = ["password of role \"new\""];
    assert_foreseen_with(way, &mut pair, ["postgres", "postgres"], &map, &lost);
    for gone in ["DATABASE d", "ROLE new", "ROLE b"] {
        pair.target.psql("postgres", &format!("DROP {gone}"));
    }
    let lost = [
        "owner \"old\" of 1 objects",
        "privileges on TABLE t in schema public for \"b\"",
        "ownership and privileges of role \"b\" on large objects",
        "ownership and privileges of role \"old\" on large objects",
    ];
    assert_foreseen_with(
        way,
        &mut pair,
        ["postgres", "postgres"],
        &["--no-roles"],
        &lost,
    );
}
