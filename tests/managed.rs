//! Managed services: a target role that is no superuser, and a source role that can only read.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::oracle::{assert_no_leftovers, assert_progress, differences};
use crate::support::way::Haul;
use crate::support::{Cluster, Output, Pair, Pghaul, Way, both_ways, fixture};

/// What a service sets up before it hands a server over: its own roles, and an administrator
/// without superuser. Roles that a version does not have are passed over.
const SERVICE: &str = "
CREATE ROLE azure_pg_admin NOLOGIN; CREATE ROLE azuresu SUPERUSER NOLOGIN;
CREATE ROLE rdsadmin SUPERUSER NOLOGIN; CREATE ROLE cloudsqlsuperuser NOLOGIN CREATEDB CREATEROLE;
CREATE ROLE admin LOGIN CREATEROLE CREATEDB IN ROLE azure_pg_admin;
SELECT format('GRANT %I TO admin', rolname) FROM pg_roles
 WHERE rolname IN ('pg_read_all_data', 'pg_monitor', 'pg_signal_backend', 'pg_read_all_settings')
\\gexec";

/// The source's side of it: a role that reads, and nothing else.
const READER: &str = "
CREATE ROLE rds_superuser NOLOGIN; CREATE ROLE cloudsqladmin NOLOGIN;
CREATE ROLE reader LOGIN; GRANT CONNECT ON DATABASE shop TO reader;
ALTER ROLE reader BYPASSRLS; GRANT rds_superuser TO shop_legacy;
SELECT format('GRANT USAGE ON SCHEMA %I TO reader', nspname) FROM pg_namespace
 WHERE nspname !~ '^(pg_|information_schema)'
UNION ALL
SELECT format('GRANT SELECT ON ALL %s IN SCHEMA %I TO reader', kind, nspname)
  FROM pg_namespace, (VALUES ('TABLES'), ('SEQUENCES')) AS k (kind)
 WHERE nspname !~ '^(pg_|information_schema)'
UNION ALL
SELECT format('GRANT SELECT ON LARGE OBJECT %s TO reader', oid) FROM pg_largeobject_metadata
\\gexec";

/// The same database as another role.
pub(crate) fn by(dsn: &str, role: &str) -> String {
    dsn.replace("postgres@", &format!("{role}@"))
}

/// The shop, or where a server does not know all of it, what its version knows.
fn managed(source: Cluster, target: Cluster) -> Pair {
    if source.version() < 15 {
        fixture::ages(&source, "shop");
        source.psql("shop", "CREATE ROLE shop_legacy");
        source.psql("shop", READER);
        target.psql("postgres", SERVICE);
        return Pair { source, target };
    }
    fixture::shop(&source, "shop", 1);
    // Not every build of a server knows lz4.
    source.psql(
        "shop",
        "ALTER TABLE shop.documents ALTER packed SET COMPRESSION pglz",
    );
    source.psql("shop", READER);
    target.psql("postgres", SERVICE);
    Pair { source, target }
}

fn pghaul(pair: &Pair, args: &[&str]) -> Pghaul {
    let (source, target) = (pair.source.dsn("shop"), pair.target.dsn("shop"));
    pair.pghaul("shop", args)
        .source(&by(&source, "reader"))
        .target(&by(&target, "admin"))
}

/// The migration, by the same roles.
fn haul(way: Way, pair: &Pair) -> Haul {
    way.of("shop")
        .source(&by(&pair.source.dsn("shop"), "reader"))
        .target(&by(&pair.target.dsn("shop"), "admin"))
}

/// The omissions in the summary.
pub(crate) fn omissions(output: &Output) -> Vec<Value> {
    let lines = output.stdout.lines();
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let summary = lines.find(|line| line["event"] == "summary");
    let summary = summary.unwrap_or_else(|| panic!("{output:?}"));
    summary["omissions"].as_array().expect("a list").clone()
}

/// Who the administrator is a member of.
const MEMBER_OF: &str = "SELECT pg_get_userbyid(roleid), pg_get_userbyid(grantor)
    FROM pg_auth_members WHERE member = 'admin'::regrole
     AND coalesce(to_jsonb(pg_auth_members)->>'set_option', 't') <> 'false' ORDER BY 1, 2";

/// What the source shows to its superuser alone of an omitted object, as statements: no remedy can
/// have it.
fn shown_to_superusers(source: &Cluster, object: &str) -> String {
    let query = if let Some(role) = object.strip_prefix("password of role ") {
        let role: String = serde_json::from_str(role).expect("a quoted name");
        format!(
            "SELECT format('ALTER ROLE %I PASSWORD %L;', rolname, rolpassword)
               FROM pg_authid WHERE rolname = '{}' AND rolpassword IS NOT NULL",
            role.replace('\'', "''")
        )
    } else if let Some(mapping) = object.strip_prefix("options of USER MAPPING ") {
        format!(
            "SELECT format('ALTER USER MAPPING FOR %I SERVER %I OPTIONS (%s);', usename, srvname,
               (SELECT string_agg(format('ADD %I %L', option_name, option_value), ', ')
                  FROM pg_options_to_table(umoptions)))
               FROM pg_user_mappings WHERE usename || ' SERVER ' || srvname = '{}'",
            mapping.replace('\'', "''")
        )
    } else if let Some(name) = object.strip_prefix("subscription ") {
        format!(
            "SELECT format('CREATE SUBSCRIPTION %I CONNECTION %L PUBLICATION %s
                 WITH (connect = false, slot_name = NONE); COMMENT ON SUBSCRIPTION %1$I IS %4$L;',
               subname, subconninfo, (SELECT string_agg(quote_ident(p), ', ')
                 FROM unnest(subpublications) AS p), obj_description(oid, 'pg_subscription'))
               FROM pg_subscription WHERE subname = '{name}'"
        )
    } else {
        return String::new();
    };
    source.psql("shop", &query) + "\n"
}

/// A line about a membership without who granted it: that may be the loading role.
fn without_grantor(line: &str) -> String {
    let Some((subject, options)) = line.split_once(": ") else {
        return line.to_owned();
    };
    let mut options: Value = serde_json::from_str(options).expect("JSON");
    options.as_object_mut().expect("options").remove("grantor");
    format!("{subject}: {options}")
}

/// Runs what an administrator is told to run, with what only the source's can know, then compares:
/// nothing at all may differ.
#[track_caller]
fn assert_made_up(pair: &Pair, omissions: &[Value]) {
    let (mut script, mut secrets) = (String::new(), String::new());
    for omission in omissions {
        script += omission["remedy"].as_str().unwrap_or_default();
        script += "\n";
        let object = omission["object"].as_str().expect("an object");
        secrets += &shown_to_superusers(&pair.source, object);
    }
    pair.target.psql("shop", &(script + &secrets));
    let differences = differences(&pair.source, "shop", &pair.target, "shop");
    let granted: BTreeSet<String> = differences
        .lines()
        .filter(|line| line[2..].starts_with("membership of "))
        .map(without_grantor)
        .collect();
    let is_granted = |line: &str| {
        let line = without_grantor(line);
        ["- ", "+ "]
            .iter()
            .all(|sign| granted.contains(&format!("{sign}{}", &line[2..])))
    };
    // Reserved roles stay where they are, on either side.
    let reserved = ["rds", "cloudsql", "azure", "admin"];
    let left: Vec<&str> = differences
        .lines()
        .filter(|line| {
            let own = reserved.iter().any(|name| {
                line.contains(&format!("role \"{name}"))
                    || line.contains(&format!("in \"{name}"))
                    || line.contains(&format!("membership of \"{name}"))
            });
            let granted = line[2..].starts_with("membership of ") && is_granted(line);
            !own && !granted
        })
        .collect();
    assert!(
        left.is_empty(),
        "{}\nomitted:\n{omissions:#?}",
        left.join("\n")
    );
}

fn names(omissions: &[Value]) -> BTreeSet<&str> {
    let objects = omissions.iter().map(|omission| omission["object"].as_str());
    objects.map(|object| object.expect("an object")).collect()
}

fn migrates(way: Way, pair: &mut Pair) -> Vec<Value> {
    let before = pair.target.psql("postgres", MEMBER_OF);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path");
    let args = ["--output", "json", "--report", path];
    let output = haul(way, pair).run(pair, &args).expect(0);
    let omissions = omissions(&output);
    let report = std::fs::read_to_string(path).expect("the report");
    for omission in &omissions {
        let object = omission["object"].as_str().expect("an object");
        assert!(report.contains(object), "{object}:\n{report}");
        for line in omission["remedy"].as_str().unwrap_or_default().lines() {
            assert!(report.contains(line), "{line}:\n{report}");
        }
    }
    for omission in &omissions {
        // Only what asks for a transform cannot do without.
        let text = |field: &str| omission[field].as_str().unwrap_or_default().to_owned();
        let asked = text("remedy").contains("TRANSFORM FOR TYPE");
        assert!(
            asked || !text("reason").contains("it needs transform"),
            "{omission}"
        );
    }
    for told in ["| table |", "| event trigger |"] {
        let there = report.contains(told);
        assert_eq!(there, told == "| table |", "{told}:\n{report}");
    }
    assert!(report.contains("`pghaul cleanup`"), "{report}");
    assert_progress(&pair.target, "shop");
    assert_no_leftovers(&pair.target, "shop");
    assert_ne!(pair.target.psql("postgres", MEMBER_OF), before);
    pghaul(pair, &["cleanup"]).run().expect(0);
    assert_eq!(pair.target.psql("postgres", MEMBER_OF), before);
    assert_made_up(pair, &omissions);
    omissions
}

both_ways!(from_a_reader_to_an_administrator_of_15);
fn from_a_reader_to_an_administrator_of_15(way: Way) {
    let mut pair = managed(Cluster::start(), Cluster::start());
    let omissions = migrates(way, &mut pair);
    let names = names(&omissions);
    for expected in [
        "password of role \"shop_app\"",
        "BYPASSRLS of role \"reader\"",
        "setting shop.motto of role \"shop_legacy\"",
        "options of USER MAPPING shop_app SERVER warehouse",
        "event trigger guard_billing",
        "foreign data wrapper elsewhere",
        "operator class shop.backwards",
        "index staff.employees_backwards",
    ] {
        assert!(names.contains(expected), "{expected}: {names:#?}");
    }
}

both_ways!(from_a_reader_to_an_administrator_of_16);
/// From 16 on, whoever creates a role is not thereby a member who may act for it.
fn from_a_reader_to_an_administrator_of_16(way: Way) {
    let mut pair = managed(Cluster::start(), Cluster::builder().version(16).start());
    let omissions = migrates(way, &mut pair);
    let predefined = "membership of role \"shop_legacy\" in \"pg_read_all_data\"";
    assert!(names(&omissions).contains(predefined), "{omissions:#?}");
}

both_ways!(strictly_nothing_begins_where_something_would_be_lost);
/// Nothing is created on the target, not even the database, when something would be left out.
fn strictly_nothing_begins_where_something_would_be_lost(way: Way) {
    let mut pair = managed(Cluster::start(), Cluster::start());
    let roles = "SELECT count(*) FROM pg_roles";
    let before = pair.target.psql("postgres", roles);
    for args in [&["--strict"][..], &["--strict", "--skip-validation"]] {
        let output = haul(way, &pair).run(&mut pair, args).expect(1);
        for told in ["--strict", "not carried over: event trigger guard_billing"] {
            assert!(output.stderr.contains(told), "{told}: {}", output.stderr);
        }
    }
    let output = pghaul(&pair, &["validate", "--strict"]).run().expect(1);
    assert!(
        output.stdout.contains("613105  failed"),
        "{}",
        output.stdout
    );
    assert_eq!(pair.target.psql("postgres", roles), before);
    assert!(!pair.target.databases().contains(&"shop".to_owned()));
    assert_no_leftovers(&pair.source, "shop");
}

both_ways!(the_report_ends_with_what_to_do_next);
/// A person reads the same on standard output.
fn the_report_ends_with_what_to_do_next(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE t AS SELECT 1 AS id; CREATE SEQUENCE s; CREATE VIEW v AS SELECT 1",
    );
    let output = way.migrate(&mut pair, "d", &[]).expect(0);
    // Who loads has no say on the source.
    let first = match way {
        Way::Channel => "ALTER DATABASE \"d\" SET default_transaction_read_only = on;",
        Way::Spool => "nothing was written to the source since the extraction began",
    };
    let told = [
        "not carried over:",
        "what to do next:",
        first,
        "pghaul verify",
        "pghaul cleanup",
    ];
    for (told, there) in told.into_iter().zip([false, true, true, true, true]) {
        assert_eq!(
            output.stdout.contains(told),
            there,
            "{told}: {}",
            output.stdout
        );
    }
    for kind in ["sequence 1", "table 1", "view 1"] {
        assert!(output.stdout.contains(kind), "{kind}: {}", output.stdout);
    }
    let nowhere = ["--overwrite", "--report", "/nowhere/report.md"];
    let output = way.migrate(&mut pair, "d", &nowhere).expect(2);
    assert!(
        output.stderr.contains("/nowhere/report.md"),
        "{}",
        output.stderr
    );
}

both_ways!(from_a_reader_of_11_to_an_administrator_of_13);
/// Before PostgreSQL 13 no extension is trusted, before 14 there is no role that reads everything,
/// and before 15 the schema `public` is a superuser's.
fn from_a_reader_of_11_to_an_administrator_of_13(way: Way) {
    let of = |version| Cluster::builder().version(version).start();
    let mut pair = managed(of(11), of(13));
    let omissions = migrates(way, &mut pair);
    for expected in [
        "options of USER MAPPING reader_of_ages SERVER warehouse",
        "options of USER MAPPING public SERVER warehouse",
        "subscription listener",
        "transform TRANSFORM FOR ages.address LANGUAGE sql",
    ] {
        assert!(names(&omissions).contains(expected), "{omissions:#?}");
    }
}

both_ways!(from_a_reader_of_all_data_to_a_creator_of_roles_that_joins_them);
/// A role that reads everything but what rows' policies and large objects keep from it; and a
/// target that makes whoever creates a role a member of it at once.
fn from_a_reader_of_all_data_to_a_creator_of_roles_that_joins_them(way: Way) {
    let target = Cluster::builder()
        .version(16)
        .conf("createrole_self_grant", "set, inherit")
        .start();
    let mut pair = managed(Cluster::start(), target);
    pair.source
        .psql("shop", "CREATE ROLE auditor LOGIN IN ROLE pg_read_all_data; GRANT CONNECT ON DATABASE shop TO auditor");
    let source = by(&pair.source.dsn("shop"), "auditor");
    // Tables with policies, by name.
    let policies = "SELECT oid::regclass FROM pg_class WHERE relrowsecurity ORDER BY 1";
    let policies = pair.source.psql("shop", policies);
    assert!(!policies.is_empty());
    let migrate = |pair: &mut Pair, args: &[&str]| {
        let mut haul = haul(way, pair).encrypted().source(&source);
        haul.run(pair, args)
    };
    let validate = pghaul(&pair, &["validate"]).source(&source);
    for refused in [validate.run(), migrate(&mut pair, &[])] {
        let refused = refused.expect(1);
        let told = refused.stdout + &refused.stderr;
        assert!(told.contains("613100"), "{told}");
        for table in policies.lines() {
            assert!(told.contains(table), "{table}: {told}");
        }
        // Sequences are data, large objects are not.
        assert!(told.contains("large object 4000001"), "{told}");
        assert!(!told.contains("sequence shop."), "{told}");
    }
    let refused = migrate(&mut pair, &["--skip-validation"]).expect(1);
    let table = policies.lines().next().expect("a table");
    assert!(refused.stderr.contains(table), "{}", refused.stderr);

    pair.source.psql(
        "shop",
        "ALTER ROLE auditor BYPASSRLS;
         SELECT format('GRANT SELECT ON LARGE OBJECT %s TO auditor', oid) FROM pg_largeobject_metadata
         \\gexec",
    );
    let output = migrate(&mut pair, &["--output", "json"]).expect(0);
    let omissions = omissions(&output);
    // Whoever reads everything reads the passwords, and no options of user mappings.
    let names = names(&omissions);
    assert!(
        !names.iter().any(|name| name.starts_with("password of")),
        "{names:#?}"
    );
    let options = "options of USER MAPPING shop_app SERVER warehouse";
    assert!(names.contains(options), "{names:#?}");
    assert_progress(&pair.target, "shop");
    assert_no_leftovers(&pair.target, "shop");
    assert_made_up(&pair, &omissions);
    let cleanup = pghaul(&pair, &["cleanup"]).source(&source);
    cleanup.run().expect(0);
}
