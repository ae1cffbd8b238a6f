//! Several databases at once: each arrives whole, what belongs to the server is done once, and
//! what happens to one does not harm the others.

use serde_json::Value;

use crate::faults::wait_until;
use crate::support::oracle::{assert_migrated, assert_no_leftovers};
use crate::support::pghaul::Output;
use crate::support::{Cluster, Pair, Way, both_ways, fixture};

/// Names that have to be quoted somewhere on their way.
const ODD: [&str; 3] = ["Odd \"Name\", with a comma", "two\nlines", "🐘 Élan"];

/// Roles and their settings, which belong to the server.
const ROLES: &str = "
CREATE ROLE team ADMIN postgres;
CREATE ROLE \"Ann \"\"A\"\"\" LOGIN PASSWORD 'one' CONNECTION LIMIT 7 IN ROLE team;
CREATE ROLE bob NOINHERIT CREATEDB IN ROLE team;
GRANT team TO bob WITH ADMIN OPTION;
ALTER ROLE bob SET work_mem = '5MB';
COMMENT ON ROLE team IS 'both of them'";

/// A table with an index whose building waits on the target for as long as that has a database
/// named `gate`.
const GATED: &str = "
CREATE FUNCTION public.pass(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  WHILE EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = 'gate') LOOP
    PERFORM pg_catalog.pg_sleep(0.05);
  END LOOP;
  RETURN $1;
END $$;
CREATE TABLE gated (id int);
INSERT INTO gated VALUES (1);
CREATE INDEX ON gated (public.pass(id));
CREATE TABLE rows (id int PRIMARY KEY, t text);
INSERT INTO rows SELECT g, 'row ' || g FROM generate_series(1, 5000) g";

/// A table whose index cannot be built on a server that has a database named `wall`.
const WALLED: &str = "
CREATE FUNCTION public.climb(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = 'wall') THEN
    RAISE EXCEPTION 'there is a wall';
  END IF;
  RETURN $1;
END $$;
CREATE TABLE walled (id int);
INSERT INTO walled SELECT generate_series(1, 1000);
CREATE INDEX ON walled (public.climb(id))";

/// The lines of JSON on standard output.
fn events(output: &Output) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON: {line}"));
    output.stdout.lines().map(parse).collect()
}

/// What the last line says of each database, by name.
fn states(output: &Output) -> Vec<(String, String)> {
    let events = events(output);
    let last = events.last().expect("a line");
    assert_eq!(last["event"], "databases", "{last}");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let databases = last["databases"].as_array().expect("a list").iter();
    let mut states: Vec<_> = databases
        .map(|one| (text(&one["database"]), text(&one["state"])))
        .collect();
    states.sort();
    states
}

/// What is done to each database in the end.
fn done(way: Way) -> &'static str {
    match way {
        Way::Channel => "migrated",
        Way::Spool => "loaded",
    }
}

/// The names as one list.
fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .map(|name| format!("\"{}\"", name.replace('"', "\"\"")))
        .collect();
    quoted.join(",")
}

fn small(cluster: &Cluster, db: &str) {
    cluster.create_db(db);
    cluster.psql(
        db,
        "CREATE TABLE t (id int PRIMARY KEY, t text);
         INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 100) g",
    );
}

both_ways!(all_databases_with_their_owners_and_settings_and_the_roles_once);
fn all_databases_with_their_owners_and_settings_and_the_roles_once(way: Way) {
    let mut pair = Pair::start();
    fixture::shop(&pair.source, "shop", 1);
    pair.source.psql("postgres", ROLES);
    for (number, db) in ODD.iter().enumerate() {
        small(&pair.source, db);
        let owner = ["\"Ann \"\"A\"\"\"", "bob", "team"][number];
        let name = format!("\"{}\"", db.replace('"', "\"\""));
        pair.source.psql(
            db,
            &format!(
                "ALTER TABLE t OWNER TO {owner}; ALTER DATABASE {name} OWNER TO {owner};
                 ALTER DATABASE {name} SET statement_timeout = '1{number}h';
                 ALTER ROLE bob IN DATABASE {name} SET work_mem = '1{number}MB';
                 GRANT CREATE ON DATABASE {name} TO team; GRANT SELECT ON t TO bob;
                 COMMENT ON DATABASE {name} IS 'number {number}'"
            ),
        );
    }
    pair.source.create_db("closed");
    pair.source
        .psql("postgres", "ALTER DATABASE closed ALLOW_CONNECTIONS false");
    small(&pair.source, "old_1");
    small(&pair.source, "old_2");

    let flags = [
        "--all-databases",
        "--exclude-database",
        "OLD_?",
        "--jobs",
        "2",
        "--verify",
        "--output",
        "json",
    ];
    let mut haul = way.of("postgres").encrypted();
    let output = haul.run(&mut pair, &flags).expect(0);
    for db in ODD.into_iter().chain(["shop"]) {
        assert_migrated(&pair.source, db, &pair.target, db);
    }
    let mut expected: Vec<&str> = ODD.into_iter().chain(["shop", "postgres"]).collect();
    expected.sort_unstable();
    let migrated: Vec<(String, String)> = states(&output);
    let names: Vec<&str> = migrated.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, expected);
    assert!(migrated.iter().all(|(_, state)| *state == done(way)));

    let events = events(&output);
    let of_all =
        |event: &Value| event["event"] == "databases" || event["event"] == "databases_chosen";
    let named = |event: &Value| event["database"].is_string() || of_all(event);
    assert!(events.iter().all(named), "{}", output.stdout);
    let of = |event: &str| events.iter().filter(|one| one["event"] == event).count();
    assert_eq!((of("summary"), of("comparison")), (5, 5));
    let roles = |one: &&Value| one["event"] == "step_done" && one["step"] == "roles";
    assert_eq!(events.iter().filter(roles).count(), 1, "{}", output.stdout);
    for skipped in ["closed", "template0", "template1", "old_1", "old_2"] {
        if way == Way::Spool {
            // Who loads does not hear of them.
            continue;
        }
        let said = |one: &Value| {
            one["database"] == skipped && one["message"].to_string().contains("skipped")
        };
        assert!(events.iter().any(said), "{skipped}:\n{}", output.stdout);
    }

    let verify = ["verify", "--databases", &list(&ODD), "--output", "json"];
    let output = pair.pghaul("postgres", &verify).run().expect(0);
    assert_eq!(states(&output).len(), 3);
    pair.target
        .psql(ODD[1], "UPDATE t SET t = 'changed' WHERE id = 7");
    let output = pair.pghaul("postgres", &verify).run().expect(3);
    let differs = |(name, state): &&(String, String)| (name == ODD[1]) == (state == "differs");
    assert_eq!(states(&output).iter().filter(differs).count(), 3);

    let cleanup = ["cleanup", "--databases", &list(&ODD)];
    let dry = [&cleanup[..], &["--dry-run"]].concat();
    let output = pair.pghaul("postgres", &dry).run().expect(0);
    assert_eq!(
        output
            .stdout
            .matches("would remove target: schema pghaul")
            .count(),
        3
    );
    pair.pghaul("postgres", &cleanup).run().expect(0);
    let record = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghaul'";
    assert!(ODD.iter().all(|db| pair.target.psql(db, record) == "0"));
    assert_eq!(pair.target.psql("shop", record), "1", "it was not named");
}

both_ways!(one_that_fails_leaves_the_others_alone_and_is_resumed);
fn one_that_fails_leaves_the_others_alone_and_is_resumed(way: Way) {
    let mut pair = Pair::start();
    for db in ["a", "b"] {
        fixture::pgbench(&pair.source, db, 1);
    }
    pair.source.create_db("walled");
    pair.source.psql("walled", WALLED);
    pair.target.create_db("wall");
    let flags = ["--jobs", "2", "--databases", "a,walled", "--databases", "b"];
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace.json");
    let file = trace.to_str().expect("paths here are UTF-8");
    let mut haul = way.of("postgres");
    let traced = [&flags[..], &["--trace", file]].concat();
    let output = haul.run(&mut pair, &traced).expect(1);
    let trace = std::fs::read_to_string(&trace).expect("a trace");
    let trace: Vec<Value> = serde_json::from_str(&trace).expect("JSON");
    for db in ["a", "b"] {
        let name = format!("{db}: public.pgbench_accounts");
        assert!(trace.iter().any(|span| span["name"] == name), "{name}");
    }
    assert!(
        output.stderr.contains("database walled: ") && output.stderr.contains("there is a wall"),
        "{}",
        output.stderr
    );
    assert!(
        output
            .stdout
            .contains(&format!("2 of 3 databases are {}", done(way))),
        "{}",
        output.stdout
    );
    for db in ["a", "b"] {
        assert_migrated(&pair.source, db, &pair.target, db);
    }
    assert_no_leftovers(&pair.source, "walled");
    assert_no_leftovers(&pair.target, "walled");

    pair.target.psql("postgres", "DROP DATABASE wall");
    let json = [&flags[..], &["--resume", "--output", "json"]].concat();
    let output = haul.run(&mut pair, &json).expect(0);
    assert_migrated(&pair.source, "walled", &pair.target, "walled");
    let state = |db: &str, state: &str| (db.to_owned(), state.to_owned());
    assert_eq!(
        states(&output),
        [
            state("a", "complete before"),
            state("b", "complete before"),
            state("walled", done(way)),
        ]
    );
    let read = events(&output)
        .into_iter()
        .filter(|one| one["event"] == "part_started" || one["event"] == "planned");
    let mut read: Vec<Value> = read.map(|mut one| one["database"].take()).collect();
    read.dedup();
    assert_eq!(read, ["walled"], "complete databases are not read");
}

/// Indexes are built one at a time over all databases; killed there, each goes on from where it
/// was, and those that had not begun begin.
#[test]
fn killed_with_some_databases_waiting_for_an_index_and_others_not_begun() {
    let pair = Pair::start();
    pair.source.psql("postgres", ROLES);
    let gated = ["gated_1", "gated_2", "gated_3", "gated_4"];
    for db in gated {
        pair.source.create_db(db);
        pair.source.psql(db, GATED);
        pair.source.psql(db, "ALTER TABLE rows OWNER TO bob");
    }
    for db in ["small_1", "small_2"] {
        small(&pair.source, db);
    }
    pair.target.create_db("gate");
    let migrate = |more: &[&'static str]| {
        let args = [
            &[
                "migrate",
                "--all-databases",
                "--exclude-database",
                "postgres|gate",
            ],
            &["--jobs", "2", "--index-jobs", "1"],
            more,
        ];
        pair.pghaul("postgres", &args.concat())
    };
    let mut run = migrate(&[]).spawn();
    wait_until(&mut run, "four databases had their rows", |_| {
        gated.iter().all(|db| {
            let rows = pair.target.try_psql(db, "SELECT count(*) FROM rows");
            rows.is_ok_and(|rows| rows == "5000")
        })
    });
    let building = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until(&mut run, "an index was being built", |_| {
        pair.target.psql("postgres", building) == "1"
    });
    let begun = "SELECT count(*) FROM pg_database WHERE datname LIKE 'small%'";
    assert_eq!(
        pair.target.psql("postgres", begun),
        "0",
        "only so many are open"
    );
    assert_eq!(pair.target.psql("postgres", building), "1", "one at a time");
    run.signal("KILL");
    run.wait().expect(-9);
    pair.target.psql("postgres", "DROP DATABASE gate");

    let output = migrate(&["--resume", "--output", "json"]).run().expect(0);
    // The largest, which came first, and one that had not begun.
    for db in ["gated_1", "small_2"] {
        assert_migrated(&pair.source, db, &pair.target, db);
    }
    let verify = [
        "verify",
        "--all-databases",
        "--exclude-database",
        "postgres",
    ];
    pair.pghaul("postgres", &verify).run().expect(0);
    assert!(states(&output).iter().all(|(_, state)| state == "migrated"));
    let events = events(&output);
    let skipped = |one: &&Value| one["event"] == "summary" && one["copy"]["skipped"] != 0;
    assert_eq!(
        events.iter().filter(skipped).count(),
        4,
        "{}",
        output.stdout
    );
}

both_ways!(ctrl_c_stops_all_of_them);
fn ctrl_c_stops_all_of_them(way: Way) {
    let mut pair = Pair::start();
    for db in ["one", "two"] {
        pair.source.create_db(db);
        pair.source.psql(db, GATED);
    }
    pair.target.create_db("gate");
    let flags = ["--databases", "one,two", "--jobs", "2"];
    // Over a spool they come one after the other.
    let (begun, not_begun) = match way {
        Way::Channel => (2, 0),
        Way::Spool => (1, 1),
    };
    let mut haul = way.of("postgres");
    let mut run = haul.start(&mut pair, &flags);
    let building = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until(&mut run, "all that are begun waited", |_| {
        pair.target.psql("postgres", building) == begun.to_string()
    });
    run.signal("INT");
    let output = haul.finish(&mut pair, run).expect(1);
    for (state, times) in [("stopped", begun), ("not begun", not_begun)] {
        let told = output.stdout.matches(state).count();
        assert_eq!(told, times, "{state}: {}", output.stdout);
    }
    assert!(output.stderr.contains("--resume"), "{}", output.stderr);
    for db in ["one", "two"].iter().take(begun) {
        assert_no_leftovers(&pair.source, db);
        assert_no_leftovers(&pair.target, db);
    }
    pair.target.psql("postgres", "DROP DATABASE gate");
    let again = [&flags[..], &["--resume"]].concat();
    haul.run(&mut pair, &again).expect(0);
    for db in ["one", "two"] {
        assert_migrated(&pair.source, db, &pair.target, db);
    }
}

#[test]
fn wrong_use_names_the_database_and_begins_nothing() {
    let pair = Pair::start();
    for db in ["a", "b"] {
        small(&pair.source, db);
    }
    small(&pair.target, "b");
    let refused = |args: &[&str], code: i32, words: &[&str]| {
        let output = pair.pghaul("postgres", args).run().expect(code);
        for word in words {
            assert!(output.stderr.contains(word), "{word}:\n{}", output.stderr);
        }
    };
    for verb in ["migrate", "validate", "verify", "cleanup"] {
        refused(&[verb, "--databases", "a,A"], 2, &["no database \"A\""]);
        let pattern = [verb, "--all-databases", "--exclude-database", "x*"];
        refused(&pattern, 2, &["pattern x*", "no database matches"]);
        refused(&[verb, "--exclude-database", "a"], 2, &["--all-databases"]);
        refused(
            &[verb, "--databases", "a", "--all-databases"],
            2,
            &["cannot be used"],
        );
    }
    refused(
        &["migrate", "--databases", "a,b"],
        2,
        &["database b: ", "already holds objects", "nothing was begun"],
    );
    refused(&["validate", "--databases", "a,b"], 1, &[]);
    assert_eq!(pair.target.databases(), ["b", "postgres"]);

    let args = ["migrate", "--databases", "a,b", "--overwrite"];
    pair.pghaul("postgres", &args).run().expect(0);
    for db in ["a", "b"] {
        assert_migrated(&pair.source, db, &pair.target, db);
    }
    refused(
        &["migrate", "--databases", "a,b"],
        2,
        &["database a: ", "database b: "],
    );
}

both_ways!(without_a_superuser_each_object_gets_its_owner_in_every_database);
/// As on a managed service: who creates the roles is no superuser, and becomes a member of them
/// for the sake of every database.
fn without_a_superuser_each_object_gets_its_owner_in_every_database(way: Way) {
    let mut pair = Pair::start();
    pair.source
        .psql("postgres", "CREATE ROLE ann; CREATE ROLE bob");
    for (db, owner) in [("one", "ann"), ("two", "bob"), ("three", "ann")] {
        small(&pair.source, db);
        let owned = format!("ALTER TABLE t OWNER TO {owner}; ALTER DATABASE {db} OWNER TO {owner}");
        pair.source.psql(db, &owned);
    }
    pair.target
        .psql("postgres", "CREATE ROLE admin LOGIN CREATEROLE CREATEDB");
    let target = pair.target.dsn("postgres").replace("postgres@", "admin@");
    let flags = ["--databases", "one,two,three", "--verify", "--strict"];
    let mut haul = way.of("postgres").target(&target);
    haul.run(&mut pair, &flags).expect(0);
    for db in ["one", "two", "three"] {
        let owners = "SELECT tableowner, pg_get_userbyid(datdba) FROM pg_tables, pg_database
                       WHERE tablename = 't' AND datname = current_database()";
        assert_eq!(
            pair.target.psql(db, owners),
            pair.source.psql(db, owners),
            "{db}"
        );
    }
}

#[test]
fn strict_refuses_all_before_the_first_begins() {
    let pair = Pair::start();
    for db in ["lossless", "lossy"] {
        small(&pair.source, db);
    }
    pair.source.psql(
        "lossy",
        "CREATE FUNCTION public.f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION public.f()",
    );
    pair.target
        .psql("postgres", "CREATE ROLE admin LOGIN CREATEROLE CREATEDB");
    let target = pair.target.dsn("postgres").replace("postgres@", "admin@");
    let args = ["migrate", "--databases", "lossless,lossy", "--strict"];
    let output = pair.pghaul("postgres", &args).target(&target).run();
    let output = output.expect(1);
    for word in ["database lossy: ", "event trigger", "nothing was begun"] {
        assert!(output.stderr.contains(word), "{word}:\n{}", output.stderr);
    }
    assert_eq!(pair.target.databases(), ["postgres"]);
}

both_ways!(omissions_about_roles_stand_with_the_server);
/// What the server lacks stands in one place, and what a database lacks in that database's.
fn omissions_about_roles_stand_with_the_server(way: Way) {
    let mut pair = Pair::start();
    pair.source.psql(
        "postgres",
        "CREATE ROLE ann LOGIN SUPERUSER PASSWORD 'secret'; CREATE ROLE reader LOGIN",
    );
    for db in ["one", "two"] {
        small(&pair.source, db);
        pair.source.psql(
            db,
            &format!(
                "GRANT SELECT ON t TO reader;
                 CREATE FUNCTION public.f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
                 CREATE EVENT TRIGGER of_{db} ON ddl_command_start EXECUTE FUNCTION public.f()"
            ),
        );
    }
    pair.target
        .psql("postgres", "CREATE ROLE admin LOGIN CREATEROLE CREATEDB");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path");
    let migrate = |pair: &mut Pair, more: &[&str]| {
        let flags = [&["--databases", "one,two"], more].concat();
        let reader = pair.source.dsn("postgres").replace("postgres@", "reader@");
        let admin = pair.target.dsn("postgres").replace("postgres@", "admin@");
        let mut haul = way.of("postgres").source(&reader).target(&admin);
        let output = haul.run(pair, &flags).expect(0);
        for gone in ["DATABASE one", "DATABASE two", "ROLE ann", "ROLE reader"] {
            pair.target.psql("postgres", &format!("DROP {gone}"));
        }
        output
    };
    let expected = [
        "password of role \"ann\"",
        "SUPERUSER of role \"ann\"",
        "password of role \"reader\"",
    ];
    let objects = |event: &Value| -> Vec<String> {
        let omissions = event["omissions"].as_array().expect("a list").iter();
        let text = |one: &Value| one["object"].as_str().expect("a text").to_owned();
        omissions.map(text).collect()
    };
    let output = migrate(&mut pair, &["--output", "json"]);
    let lines = events(&output);
    assert_eq!(objects(lines.last().expect("a line")), expected);
    let summaries: Vec<&Value> = lines
        .iter()
        .filter(|one| one["event"] == "summary")
        .collect();
    assert_eq!(summaries.len(), 2, "{}", output.stdout);
    for summary in summaries {
        let db = summary["database"].as_str().expect("a name");
        let own = objects(summary);
        assert!(own.contains(&format!("event trigger of_{db}")), "{own:?}");
        assert!(!own.iter().any(|one| one.contains("role")), "{own:?}");
    }

    let output = migrate(&mut pair, &["--report", path]);
    let report = std::fs::read_to_string(path).expect("the report");
    for text in [&output.stdout, &report] {
        for told in expected {
            assert_eq!(text.matches(told).count(), 1, "{told}:\n{text}");
        }
        let server = text.find("server, for all databases").expect("its place");
        for db in ["one", "two"] {
            let own = text.find(&format!("event trigger of_{db}")).expect("named");
            assert!(own < server, "{text}");
        }
        let set = "Set the passwords of these roles: \"ann\", \"reader\".";
        assert!(text[server..].contains(set), "{text}");
    }
}
