//! Migrating a part of a database: what arrives is what pg_dump dumps under the same flags.

use std::collections::BTreeSet;

use crate::support::{Cluster, Pair, Way, both_ways, pg};

/// Two schemas that refer to each other, partitions, children, sequences of every kind.
const SHOP: &str = r#"
CREATE ROLE sel_owner; CREATE ROLE sel_reader; CREATE ROLE "Sel ""Odd""";
CREATE EXTENSION citext;
CREATE SCHEMA app AUTHORIZATION sel_owner; CREATE SCHEMA "Other App"; CREATE SCHEMA scratch;
GRANT USAGE ON SCHEMA app TO sel_reader;
CREATE TABLE public.country (code text PRIMARY KEY, name public.citext);
INSERT INTO public.country SELECT 'c' || g, 'Country ' || g FROM generate_series(1, 50) g;
CREATE TABLE app.orders (id serial PRIMARY KEY, country text REFERENCES public.country, note text);
INSERT INTO app.orders (country, note) SELECT 'c' || 1 + g % 50, 'n' || g FROM generate_series(1, 3000) g;
CREATE INDEX orders_note ON app.orders (note);
CREATE TABLE app.items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  "order" int REFERENCES app.orders, twice int GENERATED ALWAYS AS ("order" * 2) STORED);
INSERT INTO app.items ("order") SELECT 1 + g % 3000 FROM generate_series(1, 4000) g;
CREATE TABLE app."Audit" (at timestamptz DEFAULT now(), what text);
INSERT INTO app."Audit" (what) VALUES ('one'), ('two');
COMMENT ON TABLE app."Audit" IS 'kept for ever';
CREATE VIEW app.busy AS SELECT o.country, count(*) FROM app.orders o, (VALUES (1)) AS one GROUP BY 1;
CREATE MATERIALIZED VIEW app.summary AS SELECT count(*) AS n FROM app.orders;
CREATE FUNCTION app.f(i int) RETURNS int LANGUAGE sql AS 'SELECT i + 1';
CREATE TYPE app.mood AS ENUM ('good', 'bad');
CREATE TABLE app.moods (m app.mood); INSERT INTO app.moods VALUES ('good');
CREATE SEQUENCE app.lone; SELECT nextval('app.lone'), nextval('app.lone');
CREATE TABLE "Other App".t (x int, y app.mood); INSERT INTO "Other App".t VALUES (1, 'bad');
CREATE TABLE scratch.junk (j int); INSERT INTO scratch.junk VALUES (1);
CREATE TABLE app.measured (at int NOT NULL, v int) PARTITION BY RANGE (at);
CREATE TABLE app.measured_1 PARTITION OF app.measured FOR VALUES FROM (0) TO (100);
CREATE TABLE app.measured_2 PARTITION OF app.measured FOR VALUES FROM (100) TO (200);
ALTER TABLE app.measured ADD PRIMARY KEY (at);
INSERT INTO app.measured SELECT g, g FROM generate_series(0, 199) g;
CREATE TABLE app.parent (a int); CREATE TABLE app.child (b int) INHERITS (app.parent);
INSERT INTO app.child VALUES (1, 2);
ALTER TABLE app.orders OWNER TO sel_owner; GRANT SELECT (id) ON app.orders TO sel_reader;
GRANT SELECT ON app.items TO sel_reader WITH GRANT OPTION;
SET ROLE sel_reader; GRANT SELECT ON app.items TO "Sel ""Odd"""; RESET ROLE;
ALTER TABLE app.items ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON app.items FOR SELECT TO sel_reader USING (id > 0);
CREATE POLICY q ON app.items FOR SELECT TO "Sel ""Odd""" USING (id > 1);
ALTER DEFAULT PRIVILEGES FOR ROLE sel_owner IN SCHEMA app GRANT SELECT ON TABLES TO sel_reader;
SELECT lo_from_bytea(4711, 'object'); ALTER LARGE OBJECT 4711 OWNER TO sel_owner;
GRANT SELECT ON LARGE OBJECT 4711 TO sel_reader;
ANALYZE;
"#;

/// What versions before 12 do not have.
const GENERATED: &str = ", twice int GENERATED ALWAYS AS (\"order\" * 2) STORED";

/// What versions before 11 do not have.
const PARTITIONED_KEY: &str = "ALTER TABLE app.measured ADD PRIMARY KEY (at);";

fn shop() -> Pair {
    filled(Pair::start())
}

/// The distribution's version on both sides, the farthest versions, and two between.
fn shops(way: Way) -> impl Iterator<Item = Pair> {
    let pairs: [fn() -> Pair; 3] = [
        Pair::start,
        || Pair::of_versions(10, 18),
        || Pair::of_versions(13, 16),
    ];
    // What is selected on which version is the same over a spool.
    let count = match way {
        Way::Channel => 3,
        Way::Spool => 1,
    };
    pairs.into_iter().take(count).map(|start| filled(start()))
}

/// With what the source's version knows of the shop.
fn filled(pair: Pair) -> Pair {
    let mut script = SHOP.to_owned();
    let version = pair.source.version();
    if version < 12 {
        script = script.replace(GENERATED, "");
    }
    if version < 11 {
        let keys = ["measured_1", "measured_2"].map(|one| PARTITIONED_KEY.replace("measured", one));
        script = script.replace(PARTITIONED_KEY, &keys.concat());
    }
    pair.source.create_db("d");
    pair.source.psql("d", &script);
    pair
}

/// What pg_dump writes under these flags, without rows that other flags of ours leave out.
fn dump(cluster: &Cluster, flags: &[&str]) -> BTreeSet<String> {
    let mut command = cluster.client("pg_dump", "d");
    command
        .args([
            "--exclude-schema",
            "pghaul",
            "--exclude-table",
            "pghaul.*",
            "--inserts",
        ])
        .args(flags)
        .env("PGTZ", "UTC");
    let text = pg::run(&mut command).unwrap_or_else(|error| panic!("{error}"));
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with("--") && !line.contains("restrict "))
        // Versions before 12 have only one.
        .filter(|line| *line != "SET default_table_access_method = heap;")
        .map(str::to_owned)
        .collect()
}

/// Fails unless the target is, under these flags, what the source is, but for lines with one of
/// these words; and the comparison agrees.
#[track_caller]
fn assert_selected(pair: &Pair, flags: &[&str], but: &[&str]) {
    let (source, target) = (dump(&pair.source, flags), dump(&pair.target, flags));
    let known = |line: &&String| !but.iter().any(|word| line.contains(word));
    let missing: Vec<_> = source.difference(&target).filter(known).collect();
    let extra: Vec<_> = target.difference(&source).filter(known).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {missing:#?}, extra {extra:#?}"
    );
}

/// The user's relations, as the catalog lists them.
fn relations(cluster: &Cluster) -> String {
    cluster.psql(
        "d",
        "SELECT string_agg(format('%I.%I', n.nspname, c.relname), ' ' ORDER BY n.nspname, c.relname)
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname !~ '^pg_'
            AND n.nspname NOT IN ('information_schema', 'pghaul')",
    )
}

fn migrate(way: Way, pair: &mut Pair, flags: &[&str]) -> crate::support::Output {
    let mut args = vec!["--overwrite", "--verify"];
    args.extend(flags);
    way.migrate(pair, "d", &args).expect(0)
}

both_ways!(a_selection_is_what_pg_dump_dumps);
fn a_selection_is_what_pg_dump_dumps(way: Way) {
    for mut pair in shops(way) {
        let cases: &[(&[&str], &[&str])] = &[
            (&["--schema", "app", "--schema", "public"], &[]),
            (
                &["--schema", "\"Other \"*", "--schema", "A??"],
                &["country"],
            ),
            (
                &[
                    "--exclude-schema",
                    "\"Other App\"",
                    "--exclude-schema",
                    "scr*",
                ],
                &[],
            ),
            (
                &[
                    "--exclude-table",
                    "app.measured*",
                    "--exclude-table",
                    "*.[aj]u*",
                ],
                &[],
            ),
            (&["--table", "country", "--table", "app.orders"], &[]),
            (
                &[
                    "--exclude-table-data",
                    "app.items",
                    "--exclude-table-data",
                    "app.summary",
                ],
                &[],
            ),
        ];
        for (flags, but) in cases {
            let output = migrate(way, &mut pair, flags);
            assert_selected(&pair, flags, but);
            assert!(
                output.stdout.contains("source and target are the same"),
                "{}",
                output.stdout
            );
            let mut verify = vec!["verify"];
            verify.extend(*flags);
            pair.pghaul("d", &verify).run().expect(0);
        }
    }
}

/// Only whoever reads the source matches patterns, which is the same either way.
#[test]
fn a_pattern_that_matches_nothing_is_refused_by_name() {
    let pair = shop();
    for (flag, pattern) in [
        ("--schema", "App"),
        ("--exclude-schema", "nowhere"),
        ("--table", "orders"),
        ("--exclude-table", "app.order"),
        ("--exclude-table-data", "app.\"*\""),
        ("--exclude-extension", "citex"),
    ] {
        let pattern = if flag == "--schema" {
            "\"App\""
        } else {
            pattern
        };
        for verb in ["migrate", "validate", "verify"] {
            if verb == "verify" {
                pair.target.psql("postgres", "DROP DATABASE IF EXISTS d");
                pair.target.create_db("d");
            }
            let refused = pair.pghaul("d", &[verb, flag, pattern]).run().expect(2);
            let named = format!("the pattern {pattern}");
            assert!(refused.stderr.contains(&named), "{}", refused.stderr);
        }
    }
    for wrong in ["a.b.c.d", "(", "elsewhere.app.orders"] {
        let refused = pair
            .pghaul("d", &["migrate", "--table", wrong])
            .run()
            .expect(2);
        assert!(refused.stderr.contains(wrong), "{}", refused.stderr);
    }
    assert_eq!(relations(&pair.target), "", "the target is untouched");
    let refused = pair
        .pghaul("d", &["migrate", "--role-map", "nobody=me"])
        .run()
        .expect(2);
    assert!(refused.stderr.contains("nobody"), "{}", refused.stderr);
    pair.pghaul("d", &["migrate", "--role-map", "nobody"])
        .run()
        .expect(2);
    for verb in ["validate", "migrate"] {
        let args = [verb, "--no-roles", "--role-map", "sel_owner=nobody here"];
        let refused = pair.pghaul("d", &args).run().expect(2);
        let named = "the target has no role \"nobody here\"";
        assert!(refused.stderr.contains(named), "{}", refused.stderr);
    }
}

both_ways!(what_refers_to_unselected_tables_is_left_out_and_named);
fn what_refers_to_unselected_tables_is_left_out_and_named(way: Way) {
    for mut pair in shops(way) {
        let flags = [
            "--table",
            "app.orders",
            "--table",
            "app.measured_1",
            "--table",
            "app.busy",
        ];
        let output = migrate(way, &mut pair, &flags);
        for named in [
            "orders_country_fkey",
            "public.country is not selected",
            "measured_1 as a partition",
        ] {
            assert!(output.stdout.contains(named), "{named}: {}", output.stdout);
        }
        assert_eq!(
            relations(&pair.target),
            "app.busy app.measured_1 app.orders app.orders_id_seq"
        );
        let facts =
            "SELECT (SELECT count(*) FROM app.measured_1), (SELECT count(*) FROM app.orders),
        (SELECT last_value FROM app.orders_id_seq), (SELECT count(*) FROM app.busy),
        (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'app'),
        (SELECT count(*) FROM pg_constraint WHERE contype = 'f'),
        (SELECT count(*) FROM pg_largeobject_metadata)";
        assert_eq!(
            pair.target.psql("d", facts),
            "100|3000|3000|50|sel_owner|0|0"
        );

        // A partitioned table comes alone, as pg_dump has it; a child needs its parent.
        migrate(way, &mut pair, &["--table", "app.measured"]);
        assert_eq!(relations(&pair.target), "app.measured");
        let child = ["--overwrite", "--table", "app.child"];
        let refused = way.migrate(&mut pair, "d", &child).expect(2);
        assert!(refused.stderr.contains("app.parent"), "{}", refused.stderr);
        // A type that is not there is no matter of a warning.
        let moods = ["--overwrite", "--table", "app.moods"];
        let refused = way.migrate(&mut pair, "d", &moods).expect(1);
        assert!(
            refused.stderr.contains("select what it needs"),
            "{}",
            refused.stderr
        );
    }
}

both_ways!(what_is_excluded_is_not_compared_on_either_side);
/// On the target nothing matches the pattern, because it was excluded.
fn what_is_excluded_is_not_compared_on_either_side(way: Way) {
    let mut pair = shop();
    let published = "CREATE PUBLICATION listed FOR TABLE app.items, public.country";
    pair.source.psql("d", published);
    for flags in [
        ["--exclude-table", "app.\"Audit\""],
        ["--exclude-schema", "scratch"],
    ] {
        let output = migrate(way, &mut pair, &flags);
        let same = output.stdout.contains("source and target are the same");
        assert!(same, "{flags:?}: {}", output.stdout);
    }
}

both_ways!(a_schema_alone_has_neither_rows_nor_values_nor_large_objects);
fn a_schema_alone_has_neither_rows_nor_values_nor_large_objects(way: Way) {
    for mut pair in shops(way) {
        migrate(way, &mut pair, &["--schema-only"]);
        let facts = "SELECT (SELECT count(*) FROM app.orders), (SELECT is_called FROM app.lone),
        (SELECT relispopulated FROM pg_class WHERE relname = 'summary'),
        (SELECT count(*) FROM pg_constraint WHERE contype = 'f'), (SELECT count(*) FROM pg_largeobject_metadata)";
        assert_eq!(pair.target.psql("d", facts), "0|f|f|2|0");
        assert_selected(&pair, &["--schema-only"], &[]);
    }
}

both_ways!(a_resumed_migration_keeps_its_selection);
fn a_resumed_migration_keeps_its_selection(way: Way) {
    let mut pair = shop();
    let flags = ["--schema", "app", "--schema", "public"];
    let mut haul = way.of("d").keep();
    haul.run(&mut pair, &flags).expect(0);
    // As if the run had been stopped before its last steps.
    pair.target
        .psql("d", "UPDATE pghaul.migration SET state = 'prepared'");
    // A complete extraction is not asked for another selection.
    if way == Way::Channel {
        let other = ["--resume", "--schema", "app"];
        let refused = haul.run(&mut pair, &other).expect(2);
        assert!(
            refused.stderr.contains("not the selection"),
            "{}",
            refused.stderr
        );
    }
    pair.target.psql(
        "d",
        "DELETE FROM pghaul.progress; TRUNCATE app.orders, public.country, app.items, app.\"Audit\",
           app.moods, app.measured, app.parent, app.child",
    );
    haul.run(&mut pair, &["--resume", "--verify"]).expect(0);
    assert_selected(&pair, &flags, &[]);
    assert!(!relations(&pair.target).contains("scratch"));
}

both_ways!(owners_privileges_and_comments_can_stay_behind);
fn owners_privileges_and_comments_can_stay_behind(way: Way) {
    for mut pair in shops(way) {
        let flags = ["--no-owner", "--no-privileges", "--no-comments"];
        let more = [
            &flags[..],
            &["--no-roles", "--no-analyze", "--no-tablespaces"],
        ]
        .concat();
        let output = way.of("d").late().run(&mut pair, &more).expect(0);
        // A policy cannot stand without the role that it is for.
        assert!(
            output.stdout.contains("policy app.items p"),
            "{}",
            output.stdout
        );
        assert_selected(&pair, &flags, &["POLICY"]);
        let facts = "SELECT (SELECT count(*) FROM pg_roles WHERE rolname ~* '^sel'),
        (SELECT count(*) FROM pg_class WHERE relowner <> 'postgres'::regrole),
        (SELECT count(*) FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relacl IS NOT NULL),
        (SELECT count(*) FROM pg_default_acl), (SELECT count(*) FROM pg_statistic WHERE starelid >= 16384
          AND starelid NOT IN (SELECT oid FROM pg_class WHERE relnamespace = 'pghaul'::regnamespace)),
        (SELECT format('%s %s', lomowner::regrole, lomacl) FROM pg_largeobject_metadata)";
        assert_eq!(pair.target.psql("d", facts), "0|0|0|0|0|postgres ");
    }
}

both_ways!(passwords_are_not_even_read);
fn passwords_are_not_even_read(way: Way) {
    let mut pair = shop();
    pair.source
        .psql("d", "ALTER ROLE sel_reader LOGIN PASSWORD 'secret'");
    migrate(
        way,
        &mut pair,
        &[
            "--no-role-passwords",
            "--exclude-extension",
            "citext",
            "--exclude-table",
            "country",
        ],
    );
    let facts =
        "SELECT rolpassword IS NULL, rolcanlogin FROM pg_authid WHERE rolname = 'sel_reader'";
    assert_eq!(pair.target.psql("d", facts), "t|t");
    assert_eq!(
        pair.target.psql("d", "SELECT count(*) FROM pg_extension"),
        "1"
    );
}

both_ways!(roles_get_other_names_wherever_they_stand);
fn roles_get_other_names_wherever_they_stand(way: Way) {
    for mut pair in shops(way) {
        pair.target.psql("postgres", "CREATE ROLE reader NOINHERIT");
        pair.source.psql("d", "GRANT sel_owner TO sel_reader; GRANT CONNECT ON DATABASE d TO sel_reader;
        ALTER DATABASE d OWNER TO sel_owner; ALTER ROLE sel_reader IN DATABASE d SET work_mem = '5MB'");
        let map = [
            "--role-map",
            "sel_owner=New \"Owner\"",
            "--role-map",
            "sel_reader=reader",
        ];
        migrate(way, &mut pair, &map);
        // The source under the same names is what the target has to be.
        let expected = dump(&pair.source, &["--create"]);
        let rename = |line: &String| {
            line.replace("sel_owner", "\"New \"\"Owner\"\"\"")
                .replace("sel_reader", "reader")
        };
        let expected: BTreeSet<String> = expected.iter().map(rename).collect();
        let found = dump(&pair.target, &["--create"]);
        let missing: Vec<_> = expected.difference(&found).collect();
        assert!(missing.is_empty(), "missing {missing:#?}");
        let facts = "SELECT (SELECT count(*) FROM pg_roles WHERE rolname ~ '^sel'),
        (SELECT roleid::regrole || ' ' || member::regrole FROM pg_auth_members WHERE member = 'reader'::regrole),
        (SELECT lomowner::regrole || ' ' || lomacl::text FROM pg_largeobject_metadata)";
        assert_eq!(
            pair.target.psql("d", facts),
            "0|\"New \"\"Owner\"\"\" reader|\"New \"\"Owner\"\"\" {\"\\\"New \\\"\\\"Owner\\\"\\\"\\\"=rw/\\\"New \\\"\\\"Owner\\\"\\\"\\\"\",\"reader=r/\\\"New \\\"\\\"Owner\\\"\\\"\\\"\"}"
        );
        let mut verify = vec!["verify"];
        verify.extend(map);
        pair.pghaul("d", &verify).run().expect(0);
        pair.pghaul("d", &["verify"]).run().expect(3);
    }
}

both_ways!(a_resumed_migration_keeps_the_new_names_of_roles);
fn a_resumed_migration_keeps_the_new_names_of_roles(way: Way) {
    let mut pair = shop();
    pair.target.psql("postgres", "CREATE ROLE fresh");
    let map = ["--role-map", "sel_owner=fresh", "--no-roles", "--no-acl"];
    let mut haul = way.of("d").late();
    haul.run(&mut pair, &map).expect(0);
    // As if the run had been stopped before its last steps.
    pair.target
        .psql("d", "UPDATE pghaul.migration SET state = 'prepared'");
    let facts = "SELECT (SELECT epoch FROM pghaul.migration), (SELECT count(*) FROM pghaul.step)";
    let before = pair.target.psql("d", facts);
    for other in [
        ["--role-map", "sel_owner=other", "--no-roles", "--no-acl"],
        ["--role-map", "sel_reader=fresh", "--no-roles", "--no-acl"],
    ] {
        let other = [&["--resume"], &other[..]].concat();
        let refused = haul.run(&mut pair, &other).expect(2);
        let began = match way {
            Way::Channel => "--role-map \"sel_owner=fresh\"",
            Way::Spool => "began to leave alone",
        };
        for told in [began, "--overwrite"] {
            assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
        }
    }
    pair.target
        .psql("postgres", "ALTER ROLE fresh RENAME TO gone");
    let refused = haul.run(&mut pair, &["--resume"]).expect(2);
    let named = "the target has no role \"fresh\"";
    assert!(refused.stderr.contains(named), "{}", refused.stderr);
    assert_eq!(pair.target.psql("d", facts), before);
    pair.target
        .psql("postgres", "ALTER ROLE gone RENAME TO fresh");
    let again = [&["--resume"], &map[..]].concat();
    haul.run(&mut pair, &again).expect(0);
    let owner = "SELECT relowner::regrole FROM pg_class WHERE relname = 'orders'";
    assert_eq!(pair.target.psql("d", owner), "fresh");

    // Of a migration that began without.
    pair.target.psql(
        "d",
        "UPDATE pghaul.migration SET state = 'prepared', catalog = jsonb_set(
           catalog::jsonb, '{selection,role_map}', '{}')",
    );
    let refused = haul.run(&mut pair, &again).expect(2);
    let told = match way {
        Way::Channel => "began with no --role-map",
        Way::Spool => "began to leave alone",
    };
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
}

/// As above: only the source matches patterns.
#[test]
fn patterns_match_what_pg_dump_matches() {
    let pair = shop();
    for pattern in [
        "app.*",
        "ap?.ORDERS",
        "app.\"Audit\"",
        "app.Audit|app.x",
        "*",
        "app.[a-i]*",
        "app.(orders|items)",
        "\"app\".o$*",
        "*.*m*",
        "\"Other App\".t",
        "d.app.lone",
        "public.*",
    ] {
        let listed = |cluster: &Cluster| -> BTreeSet<String> {
            let mut command = cluster.client("pg_dump", "d");
            command.args([
                "--schema-only",
                "--format=custom",
                "--exclude-table=pg_catalog.*",
                "--exclude-table=information_schema.*",
            ]);
            command.arg(format!("--table={pattern}"));
            let folder = tempfile::tempdir().expect("a folder");
            let archive = folder.path().join("a");
            let dumped = pg::run(command.arg("--file").arg(&archive));
            if dumped.is_err() {
                return BTreeSet::new();
            }
            let list = pg::run(
                cluster
                    .client("pg_restore", "d")
                    .arg("--list")
                    .arg(&archive),
            )
            .expect("a list");
            list.lines()
                .filter_map(|line| {
                    let words: Vec<&str> = line.split(' ').collect();
                    let kind = *words.get(3)?;
                    (["TABLE", "VIEW", "SEQUENCE"].contains(&kind)
                        && words.get(4) != Some(&"ATTACH")
                        && words.get(4) != Some(&"OWNED"))
                    .then(|| words[4..words.len() - 1].join(" "))
                })
                .collect()
        };
        let expected = listed(&pair.source);
        let output = pair
            .pghaul("d", &["validate", "--table", pattern, "--output", "json"])
            .run();
        assert_eq!(
            output.stderr.contains("the pattern"),
            expected.is_empty(),
            "{pattern}: {expected:?} {}",
            output.stderr
        );
    }
}

both_ways!(extensions_of_selected_tables_keep_their_versions);
/// Extensions that are created for what was selected are the source's, too.
fn extensions_of_selected_tables_keep_their_versions(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext VERSION '1.4';
         CREATE EXTENSION citext SCHEMA ext;
         CREATE TABLE t (h ext.hstore, c ext.citext); INSERT INTO t VALUES ('a=>1', 'C');
         UPDATE pg_extension SET extversion = 'of our own' WHERE extname = 'citext'",
    );
    let flags = ["--skip-validation", "--table", "t"];
    let output = migrate(way, &mut pair, &flags);
    let told = format!("{}{}", output.stdout, output.stderr);
    let named = "version \"of our own\" of extension \"citext\"";
    assert!(told.contains(named), "{told}");
    let versions = "SELECT extversion = '1.4', extversion <> 'of our own' FROM pg_extension
        WHERE extname <> 'plpgsql' ORDER BY extname DESC";
    assert_eq!(pair.target.psql("d", versions), "t|t\nf|t");
}
