//! Kinds of objects that need more than a statement: extensions, constraints that rows break,
//! indexes; and whether the fixture has every kind.

use std::fs;

use crate::faults::wait_until;
use crate::support::oracle::assert_migrated;
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Cluster, Pair, Way, both_ways, fixture, pg};

both_ways!(foreign_keys_that_rows_break_are_kept_unchecked_and_named);
fn foreign_keys_that_rows_break_are_kept_unchecked_and_named(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE parent (id int PRIMARY KEY);
         CREATE TABLE child (id int PRIMARY KEY, parent int CONSTRAINT \"to its\" REFERENCES parent);
         CREATE TABLE fine (id int PRIMARY KEY, parent int REFERENCES parent);
         CREATE TABLE parted (id int, parent int CONSTRAINT from_parted REFERENCES parent) PARTITION BY RANGE (id);
         CREATE TABLE parted_1 PARTITION OF parted DEFAULT;
         INSERT INTO parent VALUES (1); INSERT INTO fine VALUES (1, 1);
         SET session_replication_role = replica;
         INSERT INTO child VALUES (1, 1), (2, 404); INSERT INTO parted VALUES (1, 404);",
    );
    let mut haul = way.of("d");
    let output = haul.run(&mut pair, &[]).expect(0);
    let told = format!("{}{}", output.stdout, output.stderr);
    for expected in [
        "VALIDATE CONSTRAINT \"to its\";",
        "ADD CONSTRAINT from_parted FOREIGN KEY",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let keys = "SELECT conrelid::regclass, conname, convalidated FROM pg_constraint
        WHERE contype = 'f' ORDER BY 1, 2";
    let expected = "child|to its|f\nfine|fine_parent_fkey|t";
    assert_eq!(pair.target.psql("d", keys), expected);
    assert_eq!(
        pair.target
            .psql("d", "SELECT parent FROM child ORDER BY id"),
        "1\n404"
    );
    // What comes is checked.
    let refused = pair
        .target
        .try_psql("d", "INSERT INTO child VALUES (3, 405)");
    assert!(refused.is_err_and(|error| error.contains("to its")));
    // The resumed migration has nothing left to do.
    haul.run(&mut pair, &["--resume"]).expect(0);
}

both_ways!(extensions_keep_their_versions_if_the_target_has_them);
fn extensions_keep_their_versions_if_the_target_has_them(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    let versions =
        "SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1";
    pair.source.psql(
        "d",
        "CREATE EXTENSION hstore VERSION '1.4'; CREATE EXTENSION citext;
         CREATE TABLE t AS SELECT 'a=>1'::hstore AS h;
         CREATE EXTENSION pg_trgm;
         UPDATE pg_extension SET extversion = 'of our own' WHERE extname = 'pg_trgm';",
    );
    let expected = pair.source.psql("d", versions);
    let args = ["--verify", "--skip-validation"];
    let output = way.migrate(&mut pair, "d", &args).expect(0);
    let told = format!("{}{}", output.stdout, output.stderr);
    assert!(
        told.contains("version \"of our own\" of extension \"pg_trgm\""),
        "{told}"
    );
    let default = "SELECT default_version FROM pg_available_extensions WHERE name = 'pg_trgm'";
    let default = pair.target.psql("d", default);
    assert_eq!(
        pair.target.psql("d", versions),
        expected.replace("of our own", &default)
    );
}

/// Installs an extension with tables for its users' rows into a server that `scripts/servers` made.
fn install_sample(major: u32) {
    let control = "comment = 'sample'\ndefault_version = '1.0'\nrelocatable = false\n\
        superuser = true\ntrusted = true\n";
    let script = "
CREATE TABLE region (id int PRIMARY KEY, name text, standard boolean NOT NULL DEFAULT false);
CREATE TABLE a_city (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone int,
  region int NOT NULL REFERENCES region, name text);
ALTER TABLE a_city DROP COLUMN gone;
CREATE TABLE inner_part (n int);
INSERT INTO inner_part VALUES (1);
CREATE SEQUENCE number;
INSERT INTO region VALUES (1, 'standard', true);
SELECT pg_catalog.pg_extension_config_dump('a_city', '');
SELECT pg_catalog.pg_extension_config_dump('region', 'WHERE NOT standard');
SELECT pg_catalog.pg_extension_config_dump('number', '');
";
    let folder = pg::server(major).join("../share/postgresql/extension");
    for (name, text) in [
        ("pghaul_sample.control", control),
        ("pghaul_sample--1.0.sql", script),
    ] {
        // Another test may read it at this moment.
        let aside = folder.join(format!("{name}.{}", std::process::id()));
        fs::write(&aside, text).expect("the folder is writable");
        fs::rename(&aside, folder.join(name)).expect("the file is renamed");
    }
}

/// Rows of users in an extension's tables, which refer to one another.
const SAMPLE: &str = "
CREATE SCHEMA sample; CREATE EXTENSION pghaul_sample SCHEMA sample;
INSERT INTO sample.region VALUES (2, 'our own'), (3, 'too');
INSERT INTO sample.a_city (region, name) SELECT 1 + i % 3, 'city ' || i FROM generate_series(1, 50) i;
DELETE FROM sample.a_city WHERE id < 10;
SELECT nextval('sample.number') FROM generate_series(1, 7);
CREATE TABLE plain (id int PRIMARY KEY);";

both_ways!(languages_with_the_handlers_of_an_extension);
/// pg_dump has such a language without its functions, which then means an extension of its name.
fn languages_with_the_handlers_of_an_extension(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TRUSTED LANGUAGE \"Own\" HANDLER plpgsql_call_handler
             INLINE plpgsql_inline_handler VALIDATOR plpgsql_validator;
         CREATE LANGUAGE bare HANDLER plpgsql_call_handler;
         COMMENT ON LANGUAGE bare IS 'without the others';
         CREATE FUNCTION f(n int) RETURNS int LANGUAGE \"Own\" AS 'BEGIN RETURN n + 1; END';
         CREATE TABLE t (id int CHECK (f(id) > 1)); INSERT INTO t VALUES (7)",
    );
    way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
    let languages = "SELECT lanname, lanpltrusted, lanplcallfoid::regproc, laninline::regproc,
        lanvalidator::regproc FROM pg_language WHERE oid >= 16384 ORDER BY 1";
    let there = pair.target.psql("d", languages);
    assert_eq!(there, pair.source.psql("d", languages));
    assert_eq!(there.lines().count(), 2);
}

both_ways!(rows_of_users_in_tables_of_extensions);
fn rows_of_users_in_tables_of_extensions(way: Way) {
    install_sample(15);
    install_sample(17);
    let mut pair = Pair::of_versions(15, 17);
    pair.source.create_db("d");
    pair.source.psql("d", SAMPLE);
    way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
    let cities = "SELECT count(*) FROM sample.a_city";
    assert_eq!(pair.target.psql("d", cities), "41");

    // What is the extension's own does not matter, what users added does.
    pair.target.psql(
        "d",
        "UPDATE sample.region SET name = 'newer' WHERE standard; DELETE FROM sample.inner_part",
    );
    pair.pghaul("d", &["verify"]).run().expect(0);
    pair.target.psql(
        "d",
        "UPDATE sample.a_city SET name = 'moved' WHERE id = 12; SELECT nextval('sample.number')",
    );
    let output = pair.pghaul("d", &["verify"]).run().expect(3);
    for expected in ["(id)=(12)", "sample.number"] {
        assert!(output.stdout.contains(expected), "{}", output.stdout);
    }
    for elsewhere in [["--exclude-extension", "pghaul_*"], ["--schema", "public"]] {
        let args = [&["verify"][..], &elsewhere].concat();
        pair.pghaul("d", &args).run().expect(0);
    }

    // An ordinary role may create the extension, but its tables belong to the server's first role.
    pair.target.psql(
        "postgres",
        "DROP DATABASE d; CREATE ROLE loader LOGIN CREATEDB",
    );
    let target = pair.target.dsn("d").replacen("postgres@", "loader@", 1);
    let mut haul = way.of("d").target(&target);
    let output = haul.run(&mut pair, &["--skip-validation"]).expect(0);
    let told = format!("{}{}", output.stdout, output.stderr);
    for expected in [
        "rows of extension table sample.a_city: the loading role may not change the table; 41 are missing",
        "rows of extension table sample.region: the loading role may not change the table; 2 are missing",
        "values of sequences that belong to others",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

both_ways!(invalid_indexes_are_named_with_the_statement_that_builds_them);
/// The leftover of a failed `CREATE INDEX CONCURRENTLY`, which pg_dump passes over.
fn invalid_indexes_are_named_with_the_statement_that_builds_them(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (1);
         CREATE TABLE parted (id int) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF parted DEFAULT;
         CREATE INDEX only_parent ON ONLY parted (id)",
    );
    let failed = pair.source.try_psql(
        "d",
        "CREATE UNIQUE INDEX CONCURRENTLY \"its \"\"own\"\"\" ON t (id)",
    );
    assert!(failed.is_err_and(|error| error.contains("could not create unique index")));
    let index = "SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index
         WHERE indrelid = 't'::regclass";
    let source = pair.source.psql("d", index);
    let (statement, valid) = source.split_once('|').expect("one index");
    assert_eq!(valid, "f");

    for refused in [
        pair.pghaul("d", &["validate", "--strict"]).run().expect(1),
        way.migrate(&mut pair, "d", &["--strict"]).expect(1),
    ] {
        let told = format!("{}{}", refused.stdout, refused.stderr);
        assert!(told.contains("index public.\"its \\\"own\\\"\""), "{told}");
        assert_eq!(pair.target.databases(), ["postgres"]);
    }
    let elsewhere = ["validate", "--strict", "--exclude-table", "t"];
    pair.pghaul("d", &elsewhere).run().expect(0);

    let output = way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    let told = output.stdout.lines().any(|line| line.contains(statement));
    assert!(told, "{statement}: {}", output.stdout);
    assert_eq!(pair.target.psql("d", index), "");
    let parent = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'only_parent'::regclass";
    assert_eq!(pair.target.psql("d", parent), "f");
    // Once its rows are repaired and it is built, that is no difference either.
    for cluster in [&pair.source, &pair.target] {
        cluster.psql("d", "UPDATE t SET id = 2 WHERE ctid = '(0,2)'");
    }
    pair.target.psql("d", statement);
    pair.pghaul("d", &["verify"]).run().expect(0);
}

both_ways!(constraints_of_children_are_checked_where_they_were);
/// A dump has only the parent's statement, which would leave the children unchecked, too.
fn constraints_of_children_are_checked_where_they_were(way: Way) {
    let checks = "
        CREATE TABLE parent (n int, m int); CREATE TABLE \"the child\" () INHERITS (parent);
        CREATE TABLE unchecked () INHERITS (parent);
        INSERT INTO parent VALUES (-1, NULL); INSERT INTO \"the child\" VALUES (1, 1);
        ALTER TABLE parent ADD CONSTRAINT \"p o s\" CHECK (n > 0) NOT VALID;
        ALTER TABLE \"the child\" VALIDATE CONSTRAINT \"p o s\";
        CREATE TABLE parted (n int, k int) PARTITION BY LIST (k);
        CREATE TABLE part_1 PARTITION OF parted FOR VALUES IN (1);
        CREATE TABLE part_2 PARTITION OF parted FOR VALUES IN (2);
        INSERT INTO parted VALUES (1, 1), (-1, 2);
        ALTER TABLE parted ADD CONSTRAINT pos CHECK (n > 0) NOT VALID;
        ALTER TABLE part_1 VALIDATE CONSTRAINT pos;";
    let since_18 = "
        ALTER TABLE parent ADD CONSTRAINT m_there NOT NULL m NOT VALID;
        ALTER TABLE \"the child\" VALIDATE CONSTRAINT m_there;
        CREATE TABLE keys (n int PRIMARY KEY); INSERT INTO keys VALUES (1);
        ALTER TABLE parted ADD CONSTRAINT known FOREIGN KEY (n) REFERENCES keys NOT VALID;
        ALTER TABLE part_1 VALIDATE CONSTRAINT known;
        CREATE TABLE other (m int NOT NULL); CREATE TABLE of_both () INHERITS (other, parent);";
    for (source, target) in [(10, 15), (18, 18)] {
        let mut pair = Pair::of_versions(source, target);
        pair.source.create_db("d");
        pair.source.psql("d", checks);
        if source >= 18 {
            pair.source.psql("d", since_18);
        }
        way.migrate(&mut pair, "d", &["--verify"]).expect(0);
        assert_migrated(&pair.source, "d", &pair.target, "d");
    }
}

both_ways!(a_child_of_two_parents_has_the_constraint_that_was_checked);
/// The child's is called after the parent that was there first, which on the target is the other one.
fn a_child_of_two_parents_has_the_constraint_that_was_checked(way: Way) {
    let mut pair = Pair::of_versions(18, 18);
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE late (a int); ALTER TABLE late ADD CONSTRAINT late_a NOT NULL a NOT VALID;
         CREATE TABLE early (a int CONSTRAINT early_a NOT NULL);
         CREATE TABLE child () INHERITS (late, early)",
    );
    let output = way.migrate(&mut pair, "d", &["--verify"]).expect(0);
    let omitted = output.stderr.contains("not carried over");
    assert!(!omitted, "{}", output.stderr);
    let checked = "SELECT convalidated FROM pg_constraint WHERE conrelid = 'child'::regclass";
    assert_eq!(pair.target.psql("d", checked), "t");
}

both_ways!(what_cannot_be_computed_anew_is_named);
/// The source has it from a time when it could be computed, or never had it; the rows have come.
fn what_cannot_be_computed_anew_is_named(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE t (n text); INSERT INTO t VALUES ('1');
         CREATE MATERIALIZED VIEW stale AS SELECT * FROM t; CREATE UNIQUE INDEX ON stale (n);
         CREATE MATERIALIZED VIEW above AS SELECT * FROM stale;
         CREATE MATERIALIZED VIEW beside AS SELECT count(*) FROM t;
         INSERT INTO t VALUES ('1'), ('x'); CREATE STATISTICS s ON (n::int) FROM t",
    );
    let output = way.migrate(&mut pair, "d", &[]).expect(0);
    for named in [
        "materialized view data public.stale: could not create unique index",
        "materialized view data public.above: materialized view \"stale\" has not been populated",
        "statistics of public.t: invalid input syntax for type integer",
    ] {
        let named = format!("not carried over: {named}");
        assert!(output.stderr.contains(&named), "{named}: {}", output.stderr);
    }
    let rows = "SELECT (SELECT count(*) FROM t), count FROM beside";
    assert_eq!(pair.target.psql("d", rows), "3|3");
}

both_ways!(options_of_dictionaries_of_extensions);
/// Before the rows, because an index of an expression keeps what the dictionary says.
fn options_of_dictionaries_of_extensions(way: Way) {
    for (source, target) in [(15, 15), (10, 18)] {
        let mut pair = Pair::of_versions(source, target);
        pair.source.create_db("d");
        pair.source.psql(
            "d",
            "CREATE EXTENSION dict_int; CREATE EXTENSION unaccent;
             ALTER TEXT SEARCH DICTIONARY intdict (maxlen = 3, rejectlong = false);
             CREATE TEXT SEARCH CONFIGURATION short (COPY = simple);
             ALTER TEXT SEARCH CONFIGURATION short ALTER MAPPING FOR uint WITH intdict;
             CREATE TABLE t (n text); INSERT INTO t SELECT g FROM generate_series(10000, 20000) AS g;
             CREATE INDEX ON t USING gin (to_tsvector('public.short', n))",
        );
        way.migrate(&mut pair, "d", &["--verify"]).expect(0);
        assert_migrated(&pair.source, "d", &pair.target, "d");
        let found = "SET enable_seqscan = off;
            SELECT count(*) FROM t WHERE to_tsvector('public.short', n) @@ to_tsquery('simple', '123')";
        for cluster in [&pair.source, &pair.target] {
            assert_eq!(cluster.psql("d", found), "100");
        }
    }
}

both_ways!(rows_of_users_come_with_a_whole_database);
/// Of a part of a database extensions come without what users added, and so they do by request.
fn rows_of_users_come_with_a_whole_database(way: Way) {
    install_sample(17);
    let mut pair = Pair::of_versions(17, 17);
    pair.source.create_db("d");
    pair.source.psql("d", SAMPLE);
    pair.source.psql(
        "d",
        "CREATE TABLE sample.own AS SELECT 1 AS n; CREATE SEQUENCE sample.uses;
         CREATE TABLE uses (id bigint DEFAULT nextval('sample.number'))",
    );
    // The default of the column needs the extension.
    let without = [
        "--exclude-extension",
        "pghaul_sample",
        "--exclude-table",
        "uses",
    ];
    let args = [&["--verify"][..], &without].concat();
    way.migrate(&mut pair, "d", &args).expect(0);
    let tables = "SELECT string_agg(relname, ' ') FROM pg_class
        WHERE relnamespace = 'sample'::regnamespace AND relkind = 'r'";
    assert_eq!(pair.target.psql("d", tables), "own");

    let schema = ["--verify", "--overwrite", "--schema", "sample"];
    let output = way.migrate(&mut pair, "d", &schema).expect(0);
    for lost in ["sample.a_city", "sample.region"] {
        let lost = format!("what users added to {lost} of an extension");
        assert!(output.stdout.contains(&lost), "{lost}: {}", output.stdout);
    }
    let rows = "SELECT (SELECT count(*) FROM sample.a_city), (SELECT count(*) FROM sample.region)";
    assert_eq!(pair.target.psql("d", rows), "0|1");

    // The extension comes for the table, without the rows.
    let args = ["--verify", "--overwrite", "--table", "uses"];
    way.migrate(&mut pair, "d", &args).expect(0);
    assert_eq!(pair.target.psql("d", rows), "0|1");
}

both_ways!(rows_of_users_are_not_there_twice_after_a_kill);
/// The extension stands already, and perhaps its rows, when a migration goes on.
fn rows_of_users_are_not_there_twice_after_a_kill(way: Way) {
    install_sample(17);
    let mut pair = Pair::of_versions(17, 17);
    for (db, pattern) in [
        ("before_commit", "DELETE FROM ONLY"),
        ("after_commit", "pg_catalog.setval("),
    ] {
        pair.source.create_db(db);
        pair.source.psql(db, SAMPLE);
        let proxy = Proxy::start(&pair.target);
        proxy.arm(pattern, Fault::Hold);
        let mut haul = way.of(db).target(&proxy.dsn(&pair.target, db));
        let mut run = haul.start(&mut pair, &["--skip-validation"]);
        wait_until(&mut run, "it came there", |_| proxy.struck() == 1);
        run.signal("KILL");
        run.wait().expect(-9);
        drop(proxy);
        let mut haul = haul.target(&pair.target.dsn(db));
        haul.run(&mut pair, &["--resume", "--verify"]).expect(0);
        assert_migrated(&pair.source, db, &pair.target, db);
    }
}

/// Catalogs of labels, which `labels` is about, and of what is no object of its own.
const NO_OBJECTS: [&str; 4] = [
    "pg_init_privs",
    "pg_seclabel",
    "pg_shseclabel",
    "pg_subscription_rel",
];

/// A kind that is not in the fixture would be proven by nothing.
#[test]
fn the_fixture_has_every_kind_of_object_that_the_newest_version_knows() {
    let cluster = Cluster::builder().version(18).start();
    cluster.create_db("empty");
    fixture::ages(&cluster, "ages");
    let catalogs = "SELECT relname FROM pg_class
        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' ORDER BY 1";
    for catalog in cluster.psql("ages", catalogs).lines() {
        let count = format!("SELECT count(*) FROM pg_catalog.{catalog}");
        let count = |db| cluster.psql(db, &count).parse::<u64>().expect("a number");
        let shared = "SELECT relisshared FROM pg_class WHERE oid = 'pg_catalog.";
        let shared = cluster.psql("ages", &format!("{shared}{catalog}'::regclass")) == "t";
        let holds = count("ages") > if shared { 0 } else { count("empty") };
        assert!(
            holds || NO_OBJECTS.contains(&catalog),
            "nothing in {catalog}"
        );
    }
    // Every kind that COMMENT knows.
    let described = "SELECT string_agg(DISTINCT (pg_identify_object(classoid, objoid, objsubid)).type, ', ')
        FROM (SELECT classoid, objoid, objsubid FROM pg_description WHERE objoid >= 16384
              UNION ALL SELECT classoid, objoid, 0 FROM pg_shdescription WHERE objoid >= 16384) AS d";
    assert_eq!(
        cluster.psql("ages", described),
        "access method, aggregate, cast, collation, composite type column, conversion, database, \
         domain constraint, event trigger, extension, foreign table, foreign table column, \
         foreign-data wrapper, function, index, language, large object, materialized view, \
         materialized view column, operator, operator class, operator family, policy, procedure, \
         publication, role, rule, schema, sequence, server, statistics object, subscription, table, \
         table column, table constraint, text search configuration, text search dictionary, \
         text search parser, text search template, transform, trigger, type, view, view column"
    );
}
