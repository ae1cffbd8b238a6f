//! Rows alone, into a schema that pg_dump and psql have put on the target.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::support::way::Haul;
use crate::support::{Cluster, Output, Pair, Way, both_ways, oracle, pg};

/// Tables that refer to themselves and each other, columns of every kind, partitions, triggers.
const SHOP: &str = r#"
CREATE SCHEMA app;
CREATE TABLE app.audit (n int NOT NULL); INSERT INTO app.audit VALUES (0);
CREATE FUNCTION app.count() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN UPDATE app.audit SET n = n + 1; RETURN NEW; END';
CREATE TABLE app.staff (id int PRIMARY KEY, boss int REFERENCES app.staff, team int);
CREATE TABLE app.team (id int PRIMARY KEY, lead int REFERENCES app.staff);
INSERT INTO app.staff SELECT g, CASE WHEN g > 1 THEN g / 2 END, 1 + g % 7 FROM generate_series(1, 2000) g;
INSERT INTO app.team SELECT g, g FROM generate_series(1, 7) g;
ALTER TABLE app.staff ADD FOREIGN KEY (team) REFERENCES app.team;
CREATE TABLE app.item ("Id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, price numeric(8, 2),
  twice numeric GENERATED ALWAYS AS (price * 2) STORED, who int REFERENCES app.staff, note text DEFAULT 'none');
INSERT INTO app.item (price, who, note) SELECT g, 1 + g % 2000, 'n' || g FROM generate_series(1, 3000) g;
CREATE TABLE app.day (at int, v text, PRIMARY KEY (at)) PARTITION BY RANGE (at);
CREATE TABLE app.day_1 PARTITION OF app.day FOR VALUES FROM (0) TO (100);
CREATE TABLE app.day_2 PARTITION OF app.day FOR VALUES FROM (100) TO (200);
INSERT INTO app.day SELECT g, 'v' || g FROM generate_series(0, 199) g;
CREATE TABLE app.note (at int REFERENCES app.day);
INSERT INTO app.note SELECT generate_series(0, 199);
CREATE TABLE app.visit (at int REFERENCES app.day, k int) PARTITION BY LIST (k);
CREATE TABLE app.visit_1 PARTITION OF app.visit FOR VALUES IN (1);
CREATE TABLE app.visit_2 PARTITION OF app.visit FOR VALUES IN (2);
INSERT INTO app.visit SELECT g, 1 + g % 2 FROM generate_series(0, 199) g;
CREATE TABLE app.parent (a int); CREATE TABLE app.child (b int) INHERITS (app.parent);
INSERT INTO app.parent VALUES (1); INSERT INTO app.child VALUES (2, 3);
CREATE TABLE app.pair (a int, b int, UNIQUE (a, b)); INSERT INTO app.pair VALUES (1, 1);
CREATE TABLE app.full_pair (a int, b int, FOREIGN KEY (a, b) REFERENCES app.pair (a, b) MATCH FULL);
INSERT INTO app.full_pair VALUES (1, 1), (NULL, NULL);
CREATE TABLE app.half (a int, b int, FOREIGN KEY (a, b) REFERENCES app.pair (a, b));
INSERT INTO app.half VALUES (1, 1), (7, NULL);
CREATE MATERIALIZED VIEW app.a_upper AS SELECT 1 AS one WITH NO DATA;
CREATE MATERIALIZED VIEW app.z_lower AS SELECT count(*) AS n FROM app.item;
DROP MATERIALIZED VIEW app.a_upper;
CREATE MATERIALIZED VIEW app.a_upper AS SELECT n + 1 AS n FROM app.z_lower;
CREATE MATERIALIZED VIEW app.idle AS SELECT 1 AS one WITH NO DATA;
CREATE SEQUENCE app.lone; SELECT setval('app.lone', 77);
CREATE TRIGGER t BEFORE INSERT ON app.item FOR EACH ROW EXECUTE PROCEDURE app.count();
CREATE TRIGGER u AFTER TRUNCATE ON app.item FOR EACH STATEMENT EXECUTE PROCEDURE app.count();
CREATE TRIGGER t AFTER INSERT ON app.day FOR EACH ROW EXECUTE PROCEDURE app.count();
SELECT lo_from_bytea(4711, 'object');
"#;

/// Everything but the schema, as pg_dump writes it; rows of the audit differ when a trigger fires.
fn rows(cluster: &Cluster) -> String {
    let mut command = cluster.client("pg_dump", "d");
    command.args(["--data-only", "--inserts", "--column-inserts"]);
    command.args(["--exclude-schema", "pghaul"]);
    let text = pg::run(&mut command).unwrap_or_else(|error| panic!("{error}"));
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("--") && !line.contains("restrict "))
        .collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Fails unless both sides hold the same rows. A large object belongs to who could create it.
#[track_caller]
fn assert_same(pair: &Pair) {
    let (source, target) = (rows(&pair.source), rows(&pair.target));
    let other = |one: &str, than: &str| -> Vec<String> {
        let than: HashSet<&str> = than.lines().collect();
        one.lines()
            .filter(|line| !than.contains(line) && !line.starts_with("ALTER LARGE OBJECT"))
            .map(str::to_owned)
            .collect()
    };
    let (missing, extra) = (other(&source, &target), other(&target, &source));
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {missing:#?}, extra {extra:#?}"
    );
    assert_eq!(source.lines().count(), target.lines().count());
}

/// A source with rows, and its schema on the target.
fn shop() -> Pair {
    let pair = Pair::start();
    for cluster in [&pair.source, &pair.target] {
        cluster.create_db("d");
    }
    pair.source.psql("d", SHOP);
    let schema = pg::run(pair.source.client("pg_dump", "d").arg("--schema-only"))
        .unwrap_or_else(|error| panic!("{error}"));
    let mut psql = pair.target.client("psql", "d");
    psql.args(["--quiet", "--no-psqlrc", "-v", "ON_ERROR_STOP=1"]);
    pg::run_with_input(&mut psql, &schema).unwrap_or_else(|error| panic!("{error}"));
    pair
}

fn load(way: Way, pair: &mut Pair, flags: &[&str]) -> Output {
    way.migrate(pair, "d", &[&["--data-only"], flags].concat())
}

/// As if nothing had been tried.
fn forget(pair: &Pair) {
    pair.target
        .psql("d", "DROP SCHEMA IF EXISTS pghaul CASCADE");
}

#[track_caller]
fn assert_refused(way: Way, pair: &mut Pair, flags: &[&str], named: &[&str]) {
    let before = rows(&pair.target);
    let refused = load(way, pair, flags).expect(2);
    for name in named {
        assert!(refused.stderr.contains(name), "{name}: {}", refused.stderr);
    }
    assert!(rows(&pair.target) == before, "the target is untouched");
    let record = "SELECT to_regnamespace('pghaul') IS NULL";
    assert_eq!(pair.target.psql("d", record), "t");
    let mut validate = vec!["validate", "--data-only"];
    validate.extend(flags.iter().filter(|flag| **flag != "--skip-validation"));
    let found = pair.pghaul("d", &validate).run();
    assert_ne!(found.code, 0, "{}", found.stdout);
}

both_ways!(rows_arrive_in_a_schema_that_stands);
fn rows_arrive_in_a_schema_that_stands(way: Way) {
    let mut pair = shop();
    // Columns in another order, one more, and another owner of the order of names.
    pair.target.psql(
        "d",
        "DROP MATERIALIZED VIEW app.a_upper, app.z_lower; DROP TABLE app.item;
         CREATE TABLE app.item (note text DEFAULT 'none', who int REFERENCES app.staff,
           price numeric(8, 2), twice numeric GENERATED ALWAYS AS (price * 2) STORED,
           more text DEFAULT 'more', \"Id\" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
         CREATE MATERIALIZED VIEW app.z_lower AS SELECT count(*) AS n FROM app.item WITH NO DATA;
         CREATE MATERIALIZED VIEW app.a_upper AS SELECT n + 1 AS n FROM app.z_lower WITH NO DATA;
         CREATE TRIGGER t BEFORE INSERT ON app.item FOR EACH ROW EXECUTE PROCEDURE app.count();",
    );
    pair.pghaul("d", &["validate", "--data-only"])
        .run()
        .expect(0);
    load(way, &mut pair, &[]).expect(0);
    let facts = "SELECT (SELECT n FROM app.audit), (SELECT count(*) FROM app.audit),
        (SELECT md5(string_agg(format('%s %s %s %s %s', \"Id\", price, twice, who, note), ',' ORDER BY \"Id\"))
           FROM app.item),
        (SELECT n FROM app.a_upper), (SELECT relispopulated FROM pg_class WHERE relname = 'idle'),
        (SELECT last_value FROM app.lone), (SELECT last_value FROM app.\"item_Id_seq\"),
        (SELECT string_agg(format('%s %s', tableoid::regclass, p), ',' ORDER BY p::text) FROM app.parent p),
        (SELECT md5(string_agg(s::text, ',' ORDER BY id)) FROM app.staff s),
        (SELECT string_agg(format('%s %s', tableoid::regclass, count), ',' ORDER BY tableoid)
           FROM (SELECT tableoid, count(*) FROM app.day GROUP BY 1) x),
        (SELECT count(*) FROM app.visit_2), (SELECT count(*) FROM app.half), (SELECT count(*) FROM app.full_pair),
        (SELECT encode(lo_get(4711), 'escape')), (SELECT setting FROM pg_settings WHERE name = 'work_mem')";
    assert_eq!(pair.target.psql("d", facts), pair.source.psql("d", facts));
    pair.pghaul("d", &["verify", "--data-only"]).run().expect(0);
    let analyzed =
        "SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'app' AND tablename = 'item'";
    assert_eq!(pair.target.psql("d", analyzed), "t");
    pair.target.psql(
        "d",
        "INSERT INTO app.day VALUES (0, 'x') ON CONFLICT (at) DO UPDATE SET v = 'v0'",
    );
}

both_ways!(full_tables_are_refused_or_emptied);
fn full_tables_are_refused_or_emptied(way: Way) {
    let mut pair = shop();
    load(way, &mut pair, &["--verify"]).expect(0);
    assert_same(&pair);
    pair.pghaul("d", &["verify", "--data-only"]).run().expect(0);
    // The record of it is in the way of another one.
    let refused = load(way, &mut pair, &["--skip-validation"]).expect(2);
    assert!(
        refused.stderr.contains("pghaul cleanup"),
        "{}",
        refused.stderr
    );
    forget(&pair);
    assert_refused(
        way,
        &mut pair,
        &["--skip-validation"],
        &["app.item", "app.day_1", "--truncate"],
    );
    // A spool has no list of the large objects in it.
    if way == Way::Channel {
        assert_refused(
            way,
            &mut pair,
            &["--skip-validation", "--truncate"],
            &["large objects", "4711"],
        );
    }
    pair.target.psql(
        "d",
        "SELECT lo_unlink(4711); INSERT INTO app.audit VALUES (9)",
    );
    load(way, &mut pair, &["--truncate"]).expect(0);
    assert_same(&pair);
    forget(&pair);
    // What refers to a table must be emptied with it; what it refers to need not.
    let part = ["--skip-validation", "--truncate", "--table", "app.staff"];
    assert_refused(
        way,
        &mut pair,
        &part,
        &["app.item refers to app.staff", "app.team refers"],
    );
    let part = [
        "--skip-validation",
        "--truncate",
        "--table",
        "app.[nv]*t*",
        "--table",
        "app.day*",
    ];
    load(way, &mut pair, &part).expect(0);
    assert_same(&pair);
    forget(&pair);
    let day = ["--skip-validation", "--truncate", "--table", "app.day_1"];
    assert_refused(way, &mut pair, &day, &["app.visit refers to app.day_1"]);
}

both_ways!(what_does_not_fit_is_listed_before_anything_changes);
fn what_does_not_fit_is_listed_before_anything_changes(way: Way) {
    let mut pair = shop();
    pair.target.psql(
        "d",
        "ALTER TABLE app.item ALTER price TYPE numeric(9, 2), DROP COLUMN note,
           ADD COLUMN needed int NOT NULL, ALTER twice DROP EXPRESSION;
         ALTER TABLE app.pair ADD COLUMN c int; DROP TABLE app.half; DROP SEQUENCE app.lone;
         ALTER TABLE app.team DROP COLUMN lead, ADD COLUMN lead int GENERATED ALWAYS AS (id) STORED;
         DROP MATERIALIZED VIEW app.a_upper",
    );
    assert_refused(
        way,
        &mut pair,
        &["--skip-validation"],
        &[
            "\"price\" of table app.item is numeric(9,2) instead of numeric(8,2)",
            "\"note\" of table app.item is missing",
            "\"needed\" of table app.item is NOT NULL",
            "\"twice\" of table app.item is generated on the source",
            "\"lead\" of table app.team is generated on the target",
            "table app.half is missing",
            "sequence app.lone is missing",
            "materialized view app.a_upper is missing",
        ],
    );
    let mut pair = shop();
    pair.target.psql(
        "d",
        "ALTER TABLE app.item ENABLE ALWAYS TRIGGER t;
         CREATE RULE r AS ON INSERT TO app.pair DO ALSO NOTHING;
         ALTER TABLE app.pair ENABLE REPLICA RULE r",
    );
    let named = [
        "trigger \"t\" of table app.item",
        "rule \"r\" of table app.pair",
    ];
    assert_refused(way, &mut pair, &["--skip-validation"], &named);
    pair.target.psql("postgres", "DROP DATABASE d");
    let refused = load(way, &mut pair, &["--skip-validation"]).expect(2);
    assert!(
        refused.stderr.contains("does not exist"),
        "{}",
        refused.stderr
    );
    for flags in [
        ["--schema-only"],
        ["--overwrite"],
        ["--no-roles"],
        ["--no-tablespaces"],
    ] {
        load(way, &mut pair, &flags).expect(2);
    }
    for mut haul in [way.of("d"), way.of("d").late()] {
        haul.run(&mut pair, &["--truncate"]).expect(2);
    }
}

both_ways!(a_role_that_may_not_silence_triggers_is_told_what_to_grant);
fn a_role_that_may_not_silence_triggers_is_told_what_to_grant(way: Way) {
    let mut pair = shop();
    pair.target.psql(
        "d",
        "CREATE ROLE loader LOGIN; GRANT CREATE ON DATABASE d TO loader;
         ALTER SCHEMA app OWNER TO loader;
         DO $$ DECLARE r record; BEGIN
           FOR r IN SELECT oid::regclass AS c, relkind FROM pg_class
             WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p', 'm') LOOP
             EXECUTE format('ALTER TABLE %s OWNER TO loader', r.c); END LOOP; END $$;
         ALTER SEQUENCE app.lone OWNER TO loader",
    );
    let dsn = pair.target.dsn("d").replace("postgres@", "loader@");
    let load = |pair: &mut Pair| {
        let mut haul = way.of("d").target(&dsn);
        haul.run(pair, &["--data-only", "--skip-validation"])
    };
    let refused = load(&mut pair).expect(2);
    let remedy = "GRANT SET ON PARAMETER session_replication_role TO";
    assert!(refused.stderr.contains(remedy), "{}", refused.stderr);
    if pair.target.version() >= 15 {
        let grant = format!("{remedy} loader");
        pair.target.psql("d", &grant);
        load(&mut pair).expect(0);
        assert_same(&pair);
    }
}

both_ways!(rows_that_break_a_foreign_key_fail_the_migration_by_name);
fn rows_that_break_a_foreign_key_fail_the_migration_by_name(way: Way) {
    let mut pair = shop();
    // Staff without teams; both kinds of matching; a partitioned table that refers to another.
    let flags = [
        "--exclude-table",
        "app.team",
        "--exclude-table",
        "app.pair",
        "--exclude-table",
        "app.day_2",
    ];
    let mut haul = way.of("d");
    let flags = [&["--data-only"], &flags[..]].concat();
    let failed = haul.run(&mut pair, &flags).expect(1);
    for name in [
        "\"staff_team_fkey\" of table app.staff (2000 rows)",
        "\"full_pair_a_b_fkey\" of table app.full_pair (1 rows)",
        "\"half_a_b_fkey\" of table app.half (1 rows)",
        "\"note_at_fkey\" of table app.note (100 rows)",
        "of table app.visit_1 (50 rows)",
        "of table app.visit_2 (50 rows)",
    ] {
        assert!(failed.stderr.contains(name), "{name}: {}", failed.stderr);
    }
    for name in ["staff_boss", "item_who"] {
        assert!(!failed.stderr.contains(name), "{name}: {}", failed.stderr);
    }
    // Corrected, it goes on.
    let copy = |table: &str| {
        let rows = pg::run(pair.source.client("pg_dump", "d").args([
            "--data-only",
            "--disable-triggers",
            "--table",
            table,
        ]));
        let mut psql = pair.target.client("psql", "d");
        pg::run_with_input(&mut psql, &rows.expect("rows")).expect("rows are loaded");
    };
    for table in ["app.team", "app.pair", "app.day_2"] {
        copy(table);
    }
    haul.run(&mut pair, &["--resume"]).expect(0);
    assert_same(&pair);
}

/// A run that was killed when some of its parts were durable, and the tables were emptied.
fn killed_midway(way: Way) -> (Pair, Haul) {
    let mut pair = Pair::start();
    for cluster in [&pair.source, &pair.target] {
        cluster.create_db("d");
        cluster.psql(
            "d",
            "CREATE TABLE big (id int PRIMARY KEY, pad text);
            CREATE TABLE late (id int PRIMARY KEY REFERENCES big)",
        );
    }
    pair.source.psql(
        "d",
        "INSERT INTO big SELECT g, repeat('x', 500) FROM generate_series(1, 20000) g;
         INSERT INTO late SELECT g FROM generate_series(1, 20000) g; VACUUM ANALYZE",
    );
    pair.target.psql("d", "INSERT INTO big VALUES (-1, 'old')");
    let args = [
        "--data-only",
        "--truncate",
        "--split-larger-than",
        "1MB",
        "--jobs",
        "2",
        "--skip-validation",
    ];
    let proxy = crate::support::proxy::Proxy::start(&pair.target);
    proxy.throttle(Some(1 << 20));
    let mut haul = way.of("d").target(&proxy.dsn(&pair.target, "d"));
    let run = haul.start(&mut pair, &args);
    let deadline = Instant::now() + Duration::from_secs(60);
    let durable = || {
        let parts = "SELECT count(*) FROM pghaul.progress";
        let parts = pair.target.try_psql("d", parts).ok();
        parts.and_then(|parts| parts.parse::<u32>().ok())
    };
    while durable().unwrap_or(0) < 2 {
        assert!(Instant::now() < deadline, "{}", run.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    let truncated = "SELECT count(*) FROM pghaul.step WHERE step = 'truncate'";
    assert_eq!(pair.target.psql("d", truncated), "1");
    run.signal("KILL");
    run.wait().expect(-9);
    proxy.throttle(None);
    let rows: u32 = pair
        .target
        .psql("d", "SELECT count(*) FROM big")
        .parse()
        .expect("a count");
    assert!(rows > 0 && rows < 20000, "{rows} rows are durable");
    let haul = haul.target(&pair.target.dsn("d"));
    (pair, haul)
}

/// Fails unless both tables hold what the source's do.
#[track_caller]
fn assert_same_big(pair: &Pair) {
    let facts = "SELECT count(*), min(id), sum(id), md5(string_agg(pad, '' ORDER BY id)),
        (SELECT count(*) FROM late) FROM big";
    assert_eq!(pair.target.psql("d", facts), pair.source.psql("d", facts));
    oracle::assert_progress(&pair.target, "d");
}

both_ways!(a_resumed_run_does_not_empty_tables_again);
fn a_resumed_run_does_not_empty_tables_again(way: Way) {
    let (mut pair, mut haul) = killed_midway(way);
    haul.run(&mut pair, &["--resume", "--jobs", "2"]).expect(0);
    assert_same_big(&pair);
}

/// Rows that are to be replaced could not be told from those that were there before. Over a spool
/// there is no other snapshot to take.
#[test]
fn no_new_snapshot_is_taken_where_the_source_has_changed() {
    let way = Way::Channel;
    let (mut pair, _) = killed_midway(way);
    pair.source
        .psql("d", "UPDATE big SET pad = 'changed' WHERE id < 20000");
    let before = pair.target.psql("d", "SELECT count(*) FROM big");
    let flags = ["--data-only", "--truncate"];
    let args = [&["migrate", "--resume", "--allow-new-snapshot"], &flags[..]].concat();
    let refused = pair.pghaul("d", &args).run().expect(2);
    for told in ["--allow-new-snapshot", "--data-only", "cannot be used with"] {
        assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
    }
    for args in [
        &["migrate", "--resume", "--allow-new-snapshot"][..],
        &["migrate", "--resume"],
    ] {
        let refused = pair.pghaul("d", args).run().expect(1);
        for told in ["public.big", "pghaul cleanup", "--data-only --truncate"] {
            assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
        }
        assert_eq!(
            pair.target.psql("d", "SELECT count(*) FROM big"),
            before,
            "the target is untouched"
        );
    }
    pair.pghaul("d", &["cleanup", "--force"]).run().expect(0);
    load(way, &mut pair, &["--truncate"]).expect(0);
    assert_same_big(&pair);
}

both_ways!(several_databases_are_emptied_and_filled_each_by_itself);
/// Each database has its own tables to empty, and its own share of the selection.
fn several_databases_are_emptied_and_filled_each_by_itself(way: Way) {
    let mut pair = Pair::start();
    let schema = |db: &str| {
        format!(
            "CREATE SCHEMA app; CREATE TABLE app.rows (id int PRIMARY KEY, of text);
             CREATE TABLE app.log (of text); CREATE TABLE public.other (of text);
             CREATE SEQUENCE app.s; CREATE TABLE app.only_{db} (id int REFERENCES app.rows)"
        )
    };
    for db in ["a", "b", "c"] {
        for cluster in [&pair.source, &pair.target] {
            cluster.create_db(db);
            cluster.psql(db, &schema(db));
        }
        pair.source.psql(
            db,
            &format!(
                "INSERT INTO app.rows SELECT g, '{db}' FROM generate_series(1, 1000) g;
                 INSERT INTO app.log VALUES ('{db}'); INSERT INTO public.other VALUES ('{db}');
                 INSERT INTO app.only_{db} VALUES (7);
                 SELECT setval('app.s', 100 + ascii('{db}'))"
            ),
        );
        pair.target.psql(
            db,
            "INSERT INTO app.rows VALUES (-1, 'old'); INSERT INTO app.log VALUES ('old');
             INSERT INTO public.other VALUES ('old')",
        );
    }
    let flags = ["--databases", "a,b", "--data-only"];
    let mut haul = way.of("postgres");
    let refused = haul.run(&mut pair, &flags).expect(1);
    for told in ["database a: ", "database b: ", "app.rows"] {
        assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
    }
    let facts = "SELECT (SELECT string_agg(DISTINCT of, ',') || count(*) FROM app.rows),
        (SELECT string_agg(of, ',') FROM app.log), (SELECT string_agg(of, ',') FROM public.other),
        (SELECT last_value FROM app.s)";
    for db in ["a", "b", "c"] {
        assert_eq!(pair.target.psql(db, facts), "old1|old|old|1", "{db}");
    }
    let selecting = [
        "--truncate",
        "--schema",
        "app",
        "--exclude-table",
        "app.lo*",
    ];
    let json = ["--verify", "--output", "json"];
    let flags = [&flags[..], &selecting, &json].concat();
    let output = haul.run(&mut pair, &flags).expect(0);
    for (db, sequence) in [("a", 197), ("b", 198)] {
        let expected = format!("{db}1000|old|old|{sequence}");
        assert_eq!(pair.target.psql(db, facts), expected, "{}", output.stdout);
        let own = format!("SELECT id FROM app.only_{db}");
        assert_eq!(pair.target.psql(db, &own), "7");
        oracle::assert_progress(&pair.target, db);
        let summary = format!("\"database\":\"{db}\"");
        let told = |line: &str| line.contains("\"event\":\"summary\"") && line.contains(&summary);
        assert!(output.stdout.lines().any(told), "{}", output.stdout);
    }
    assert_eq!(pair.target.psql("c", facts), "old1|old|old|1");
    let again = [&flags[..], &["--resume"]].concat();
    let output = haul.run(&mut pair, &again).expect(0);
    assert!(
        output.stdout.matches("complete before").count() >= 2,
        "{}",
        output.stdout
    );
}

both_ways!(rows_arrive_in_the_oldest_and_the_newest_version);
/// Of the oldest version, whose catalogs lack most of what is asked for, and of the newest, whose
/// foreign keys may be about periods.
fn rows_arrive_in_the_oldest_and_the_newest_version(way: Way) {
    let plain = "CREATE TABLE room (id int PRIMARY KEY);
        CREATE TABLE stay (room int REFERENCES room)";
    let plain_rows = "INSERT INTO room VALUES (1), (2); INSERT INTO stay VALUES (1), (NULL)";
    let periods = "CREATE TABLE room (id int4range, during daterange,
          PRIMARY KEY (id, during WITHOUT OVERLAPS));
        CREATE TABLE stay (room int4range, during daterange,
          FOREIGN KEY (room, PERIOD during) REFERENCES room (id, PERIOD during))";
    let period_rows = "INSERT INTO room VALUES ('[1,2)', '[2020-01-01,2020-02-01)'),
          ('[1,2)', '[2020-02-01,2020-03-01)');
        INSERT INTO stay VALUES ('[1,2)', '[2020-01-10,2020-02-10)')";
    for (version, schema, inserts) in [(10, plain, plain_rows), (18, periods, period_rows)] {
        let mut pair = Pair::of_versions(version, version);
        for cluster in [&pair.source, &pair.target] {
            cluster.create_db("d");
            cluster.psql("d", schema);
        }
        pair.source.psql("d", inserts);
        let failed = load(way, &mut pair, &["--exclude-table-data", "room"]).expect(1);
        assert!(failed.stderr.contains("stay (1 rows)"), "{}", failed.stderr);
        forget(&pair);
        load(way, &mut pair, &["--truncate"]).expect(0);
        let facts = "SELECT (SELECT string_agg(r::text, ';' ORDER BY r) FROM room r),
            (SELECT string_agg(s::text, ';' ORDER BY s) FROM stay s)";
        assert_eq!(pair.target.psql("d", facts), pair.source.psql("d", facts));
    }
}
