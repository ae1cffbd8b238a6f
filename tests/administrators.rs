//! Administrators of a target who are no superusers: memberships of their own, roles that they may
//! not act for, owners who may less than on the source. What is named is made up for by a superuser.

use serde_json::Value;

use crate::managed::{by, omissions};
use crate::support::way::Haul;
use crate::support::{Cluster, Pair, Pghaul, Way, both_ways};

/// An administrator as a service makes it.
const ADMIN: &str = "CREATE ROLE admin LOGIN CREATEROLE CREATEDB";

/// Memberships apart from those of the server's own roles, with who granted them.
const MEMBERSHIPS: &str =
    "SELECT m.roleid::regrole::text, m.member::regrole::text, m.grantor::regrole::text,
        m.admin_option, m.inherit_option, m.set_option
    FROM pg_auth_members AS m WHERE m.member::regrole::text !~ '^pg_' ORDER BY 1, 2, 3";

/// A pair of servers that know the options of memberships.
fn pair() -> Pair {
    let of_16 = || Cluster::builder().version(16).start();
    let pair = Pair {
        source: of_16(),
        target: of_16(),
    };
    pair.source.create_db("d");
    pair.target.psql("postgres", ADMIN);
    pair
}

/// The migration by the target's administrator.
fn haul(way: Way, pair: &Pair) -> Haul {
    way.of("d").target(&by(&pair.target.dsn("d"), "admin"))
}

fn cleanup(pair: &Pair, role: &str) -> Pghaul {
    let cleanup = pair.pghaul("d", &["cleanup"]);
    cleanup.target(&by(&pair.target.dsn("d"), role))
}

/// Migrates, and fails unless what is left out was foreseen, but for what begins with one of
/// `late`.
#[track_caller]
fn foreseen(way: Way, pair: &mut Pair, late: &[&str]) -> Vec<Value> {
    let validate = pair.pghaul("d", &["validate", "--output", "json"]);
    let validate = validate.target(&by(&pair.target.dsn("d"), "admin"));
    let validate = validate.run().expect(0).stdout;
    let lines = validate.lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let found = lines.into_iter().find(|line| line["code"] == 613_105);
    let found = found.expect("a finding");
    let mut foreseen: Vec<&str> = Vec::new();
    for one in found["objects"].as_array().into_iter().flatten() {
        foreseen.push(one.as_str().expect("a text"));
    }
    let output = haul(way, pair).run(pair, &["--output", "json"]).expect(0);
    let omissions = omissions(&output);
    let mut reported: Vec<String> = Vec::new();
    for one in &omissions {
        let [object, reason] = ["object", "reason"].map(|key| one[key].as_str().expect("a text"));
        if !late.iter().any(|late| object.starts_with(late)) {
            reported.push(format!("{object}: {reason}"));
        }
    }
    reported.sort();
    foreseen.sort_unstable();
    assert_eq!(reported, foreseen);
    omissions
}

/// Has a superuser run what makes up for each omission, each by itself.
#[track_caller]
fn make_up(pair: &Pair, omissions: &[Value]) {
    for omission in omissions {
        let remedy = omission["remedy"].as_str();
        let remedy = remedy.unwrap_or_else(|| panic!("no remedy: {omission}"));
        pair.target.psql("d", remedy);
    }
}

/// Fails unless a query says the same on both sides.
#[track_caller]
fn assert_alike(pair: &Pair, query: &str) {
    let [source, target] = [&pair.source, &pair.target].map(|one| one.psql("d", query));
    assert_eq!(target, source, "{query}");
}

both_ways!(the_administrator_keeps_the_memberships_of_the_source);
/// Both servers have an administrator of the same name, who may create roles. The target's has to
/// act for the source's roles meanwhile, whatever the source's may.
fn the_administrator_keeps_the_memberships_of_the_source(way: Way) {
    let mut pair = pair();
    pair.source.psql("postgres", ADMIN);
    pair.source.psql(
        "d",
        "ALTER DATABASE d OWNER TO admin; SET ROLE admin;
         CREATE ROLE one; CREATE ROLE two; CREATE ROLE three; CREATE ROLE app LOGIN;
         GRANT one TO admin WITH INHERIT TRUE, SET TRUE; GRANT app TO admin;
         GRANT two TO admin WITH INHERIT FALSE, SET TRUE;
         GRANT one TO app WITH ADMIN TRUE; GRANT two TO app WITH INHERIT TRUE, SET FALSE;
         ALTER ROLE app SET role = 'one';
         RESET ROLE;
         CREATE SCHEMA s AUTHORIZATION two; CREATE TABLE s.t AS SELECT 1 AS id;
         ALTER TABLE s.t OWNER TO two; CREATE TABLE s.u (id int); ALTER TABLE s.u OWNER TO three",
    );
    haul(way, &pair)
        .run(&mut pair, &["--strict", "--verify"])
        .expect(0);
    cleanup(&pair, "admin").run().expect(0);
    assert_alike(&pair, MEMBERSHIPS);
    assert_alike(&pair, "SELECT setconfig FROM pg_db_role_setting");
}

both_ways!(what_the_administrator_had_before_stays);
/// Memberships that stood are the same after the cleanup.
fn what_the_administrator_had_before_stays(way: Way) {
    let mut pair = pair();
    let roles = "CREATE ROLE one; CREATE ROLE two;";
    pair.source.psql(
        "d",
        &format!("{roles} CREATE TABLE t (id int); ALTER TABLE t OWNER TO one"),
    );
    pair.target.psql(
        "postgres",
        &format!(
            "SET ROLE admin; {roles} GRANT one TO admin WITH INHERIT FALSE, SET TRUE;
             GRANT two TO admin WITH INHERIT TRUE, SET FALSE; RESET ROLE;
             GRANT two TO admin WITH ADMIN TRUE, INHERIT FALSE, SET TRUE"
        ),
    );
    let before = pair.target.psql("postgres", MEMBERSHIPS);
    haul(way, &pair).run(&mut pair, &[]).expect(0);
    assert_ne!(pair.target.psql("postgres", MEMBERSHIPS), before);
    assert_alike(
        &pair,
        "SELECT relowner::regrole FROM pg_class WHERE relname = 't'",
    );
    cleanup(&pair, "admin").run().expect(0);
    let postgres = |line: &&str| !line.starts_with("postgres|");
    let after = pair.target.psql("postgres", MEMBERSHIPS);
    let after: Vec<&str> = after.lines().filter(postgres).collect();
    assert_eq!(after, before.lines().collect::<Vec<_>>());
}

both_ways!(superusers_end_what_the_administrator_may_not);
/// An administrator of the target has made a role a superuser, as the report says.
fn superusers_end_what_the_administrator_may_not(way: Way) {
    let mut pair = pair();
    pair.source.psql("d", "CREATE ROLE boss SUPERUSER");
    let omissions = foreseen(way, &mut pair, &[]);
    make_up(&pair, &omissions);
    let refused = cleanup(&pair, "admin").run().expect(1);
    let told = "as a superuser of the target";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    cleanup(&pair, "postgres").run().expect(0);
    let left = "SELECT count(*) FROM pg_auth_members
        WHERE member = 'admin'::regrole AND (inherit_option OR set_option)";
    assert_eq!(pair.target.psql("d", left), "0");
    // Which is why the next migration cannot act for it.
    pair.target.psql("postgres", "DROP DATABASE d");
    pair.source
        .psql("d", "CREATE TABLE t (id int); ALTER TABLE t OWNER TO boss");
    let omissions = foreseen(way, &mut pair, &[]);
    make_up(&pair, &omissions);
    assert_alike(
        &pair,
        "SELECT relowner::regrole FROM pg_class WHERE relname = 't'",
    );
}

both_ways!(what_stands_on_the_target_is_kept_and_what_it_lacks_is_named);
/// Roles that are there and for which the administrator may not act.
fn what_stands_on_the_target_is_kept_and_what_it_lacks_is_named(way: Way) {
    let mut pair = pair();
    let roles = "CREATE ROLE passes_on; CREATE ROLE closed; CREATE ROLE one; CREATE ROLE two;";
    pair.source.psql(
        "d",
        &format!(
            "{roles} CREATE ROLE owner; CREATE ROLE last; GRANT one TO two WITH INHERIT TRUE, SET TRUE;
             GRANT one TO closed WITH INHERIT FALSE, SET TRUE;
             CREATE SCHEMA s AUTHORIZATION owner; SET ROLE owner; CREATE TABLE s.t (id int);
             CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
             SELECT lo_from_bytea(11, 'a');
             GRANT SELECT, INSERT ON s.t TO passes_on WITH GRANT OPTION;
             GRANT UPDATE (id) ON s.t TO passes_on WITH GRANT OPTION;
             GRANT EXECUTE ON FUNCTION s.f() TO passes_on WITH GRANT OPTION;
             GRANT USAGE ON SCHEMA s TO passes_on WITH GRANT OPTION;
             GRANT SELECT ON LARGE OBJECT 11 TO passes_on WITH GRANT OPTION;
             SET ROLE passes_on; GRANT SELECT, INSERT ON s.t TO last WITH GRANT OPTION;
             GRANT UPDATE (id) ON s.t TO last; GRANT EXECUTE ON FUNCTION s.f() TO last;
             GRANT USAGE ON SCHEMA s TO last; GRANT SELECT ON LARGE OBJECT 11 TO last;
             SET ROLE last; GRANT INSERT ON s.t TO one;
             RESET ROLE; ALTER DATABASE d OWNER TO owner; SET ROLE owner;
             GRANT CONNECT ON DATABASE d TO passes_on WITH GRANT OPTION;
             SET ROLE passes_on; GRANT CONNECT ON DATABASE d TO last; RESET ROLE;
             SELECT lo_from_bytea(12, 'b'); ALTER LARGE OBJECT 12 OWNER TO closed"
        ),
    );
    pair.target.psql(
        "postgres",
        &format!(
            "{roles} GRANT one TO two WITH INHERIT FALSE, SET TRUE;
             GRANT one TO closed WITH INHERIT TRUE, SET TRUE"
        ),
    );
    let omissions = foreseen(way, &mut pair, &[]);
    let last = "SELECT has_table_privilege('last', 's.t', 'SELECT WITH GRANT OPTION'),
        has_schema_privilege('last', 's', 'USAGE'), has_function_privilege('last', 's.f()', 'EXECUTE'),
        has_database_privilege('last', 'd', 'CONNECT'), has_table_privilege('one', 's.t', 'INSERT')";
    assert_alike(&pair, last);
    make_up(&pair, &omissions);
    let told: Vec<&str> = omissions
        .iter()
        .filter_map(|one| one["object"].as_str())
        .collect();
    assert!(
        told.contains(&"membership of role \"two\" in \"one\""),
        "{told:#?}"
    );
    assert!(
        !told.contains(&"membership of role \"closed\" in \"one\""),
        "{told:#?}"
    );
    // The owner has granted as well.
    let theirs = "SELECT acl FROM (
            SELECT unnest(nspacl) AS acl FROM pg_namespace WHERE nspname = 's'
            UNION ALL SELECT unnest(relacl) FROM pg_class WHERE relname = 't'
            UNION ALL SELECT unnest(attacl) FROM pg_attribute WHERE attrelid = 's.t'::regclass
            UNION ALL SELECT unnest(proacl) FROM pg_proc WHERE proname = 'f'
            UNION ALL SELECT unnest(lomacl) FROM pg_largeobject_metadata
            UNION ALL SELECT unnest(datacl) FROM pg_database WHERE datname = 'd') AS a
        WHERE acl::text !~ '^last=.*/owner$' ORDER BY acl::text";
    assert_alike(&pair, theirs);
    assert_alike(
        &pair,
        "SELECT oid, lomowner::regrole FROM pg_largeobject_metadata ORDER BY 1",
    );
    assert_alike(
        &pair,
        "SELECT inherit_option, set_option FROM pg_auth_members
        WHERE roleid = 'one'::regrole AND member = 'two'::regrole",
    );
}

/// What belongs to a superuser on the source whose name the target's administrator has.
const OF_ADMIN: &str =
    "CREATE ROLE admin LOGIN SUPERUSER CREATEROLE CREATEDB; CREATE ROLE app; SET ROLE admin;
    ALTER DATABASE d OWNER TO admin;
    CREATE TABLE t (id int); CREATE PUBLICATION of_t FOR TABLE t;
    CREATE SUBSCRIPTION listens CONNECTION 'dbname=nowhere' PUBLICATION p
        WITH (connect = false, slot_name = NONE);
    COMMENT ON SUBSCRIPTION listens IS 'to nobody';
    CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER watch ON ddl_command_start EXECUTE FUNCTION watch();
    ALTER EVENT TRIGGER watch DISABLE; COMMENT ON EVENT TRIGGER watch IS 'watches';
    CREATE FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN DATA WRAPPER w TO app WITH GRANT OPTION;
    SET ROLE app; GRANT USAGE ON FOREIGN DATA WRAPPER w TO PUBLIC; SET ROLE admin;
    COMMENT ON FOREIGN DATA WRAPPER w IS 'wraps';
    UPDATE pg_proc SET proowner = 'admin'::regrole WHERE oid = 'pg_ls_logdir'::regproc;
    GRANT EXECUTE ON FUNCTION pg_ls_logdir() TO app";

both_ways!(statements_work_where_the_owner_is_no_superuser);
fn statements_work_where_the_owner_is_no_superuser(way: Way) {
    let mut pair = pair();
    pair.source.psql("d", OF_ADMIN);
    let may = "GRANT pg_create_subscription TO admin";
    pair.target.psql("postgres", may);
    let omissions = foreseen(way, &mut pair, &[]);
    make_up(&pair, &omissions);
    for query in [
        "SELECT evtname, evtenabled, obj_description(oid) FROM pg_event_trigger",
        "SELECT fdwname, obj_description(oid), has_foreign_data_wrapper_privilege('public', oid, 'USAGE'),
            has_foreign_data_wrapper_privilege('app', oid, 'USAGE WITH GRANT OPTION')
            FROM pg_foreign_data_wrapper",
        "SELECT subname, subowner::regrole, obj_description(oid) FROM pg_subscription",
        "SELECT has_function_privilege('app', 'pg_ls_logdir()', 'EXECUTE')",
        "SELECT has_database_privilege('admin', 'd', 'CREATE')",
    ] {
        assert_alike(&pair, query);
    }
}

both_ways!(materialized_views_stay_empty_where_their_owner_may_not_read);
/// A superuser read everything, and a role that is none does not.
fn materialized_views_stay_empty_where_their_owner_may_not_read(way: Way) {
    let mut pair = pair();
    pair.source.psql(
        "d",
        "CREATE ROLE boss SUPERUSER; CREATE ROLE app; CREATE SCHEMA s AUTHORIZATION app;
         CREATE TABLE s.t AS SELECT 1 AS id; ALTER TABLE s.t OWNER TO app;
         CREATE SCHEMA r AUTHORIZATION boss; SET ROLE boss;
         CREATE MATERIALIZED VIEW r.counted AS SELECT count(*) AS n FROM s.t;
         CREATE UNIQUE INDEX ON r.counted (n);
         CREATE MATERIALIZED VIEW r.again AS SELECT * FROM r.counted;
         CREATE MATERIALIZED VIEW r.own AS SELECT 1 AS n; RESET ROLE;
         SET search_path = s; CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT id FROM t';
         CREATE MATERIALIZED VIEW s.unqualified AS SELECT f() AS n;
         ALTER MATERIALIZED VIEW s.unqualified OWNER TO app",
    );
    let omissions = foreseen(way, &mut pair, &["materialized view data"]);
    let populated = "SELECT relname, relispopulated FROM pg_class WHERE relkind = 'm' ORDER BY 1";
    assert_eq!(
        pair.target.psql("d", populated),
        "again|f\ncounted|f\nown|t\nunqualified|f"
    );
    let search_path = "ALTER ROLE postgres SET search_path = s";
    pair.target.psql("d", search_path);
    make_up(&pair, &omissions);
    assert_alike(&pair, populated);
    assert_alike(&pair, "TABLE r.again");
}

both_ways!(before_16_an_administrator_inherits_or_does_not);
/// Who does not inherit is a member and yet may not act; before 15, the schema `public` is the
/// server's.
fn before_16_an_administrator_inherits_or_does_not(way: Way) {
    let of_14 = || Cluster::builder().version(14).start();
    let mut pair = Pair {
        source: of_14(),
        target: of_14(),
    };
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE ROLE app; CREATE ROLE new; CREATE ROLE admin SUPERUSER LOGIN CREATEROLE CREATEDB;
         CREATE TABLE t (id int); ALTER TABLE t OWNER TO app; CREATE TABLE u (id int);
         ALTER TABLE u OWNER TO new; ALTER SCHEMA public OWNER TO app; SET ROLE admin;
         CREATE SUBSCRIPTION listens CONNECTION 'dbname=nowhere' PUBLICATION p
             WITH (connect = false, slot_name = NONE)",
    );
    pair.target.psql("postgres", ADMIN);
    pair.target.psql(
        "postgres",
        "CREATE ROLE app; GRANT app TO admin; ALTER ROLE admin NOINHERIT",
    );
    let omissions = foreseen(way, &mut pair, &[]);
    cleanup(&pair, "admin").run().expect(0);
    let memberships = "SELECT roleid::regrole FROM pg_auth_members WHERE member = 'admin'::regrole";
    assert_eq!(pair.target.psql("d", memberships), "app");
    make_up(&pair, &omissions);
    for query in [
        "SELECT relname, relowner::regrole FROM pg_class WHERE relname IN ('t', 'u') ORDER BY 1",
        "SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'public'",
        "SELECT subname FROM pg_subscription",
    ] {
        assert_alike(&pair, query);
    }
    // One that inherits may act, but for the schema.
    pair.target.psql(
        "d",
        "ALTER SUBSCRIPTION listens SET (slot_name = NONE); DROP SUBSCRIPTION listens",
    );
    pair.target.psql("postgres", "DROP DATABASE d");
    pair.target.psql("postgres", "ALTER ROLE admin INHERIT");
    let omissions = foreseen(way, &mut pair, &[]);
    let told: Vec<&str> = omissions
        .iter()
        .filter_map(|one| one["object"].as_str())
        .collect();
    assert!(!told.iter().any(|one| one.contains("objects")), "{told:#?}");
    assert!(told.contains(&"owner of schema public"), "{told:#?}");
}
