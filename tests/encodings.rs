//! Encodings of source and target: what arrives, and how what cannot is named. A test per rule of
//! `docs/encodings.md`.

use crate::support::oracle::assert_migrated;
use crate::support::{Cluster, Output, Pair, Way, both_ways, pg};

/// Creates a database of this encoding, and runs SQL in it, which is read as `client`.
fn database(cluster: &Cluster, db: &str, encoding: &str, client: &str, sql: &str) {
    cluster.psql(
        "postgres",
        &format!(
            "CREATE DATABASE {db} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        ),
    );
    cluster.psql(db, &format!("SET client_encoding = '{client}'; {sql}"));
}

/// The bytes of every text in a table, as PostgreSQL has them.
fn bytes(cluster: &Cluster, db: &str) -> String {
    let sql = "SELECT id, encode(convert_to(w, getdatabaseencoding()), 'hex') FROM t ORDER BY id";
    cluster.psql(db, sql)
}

/// The characters of every text in a table.
fn characters(cluster: &Cluster, db: &str) -> String {
    cluster.psql(
        db,
        "SET client_encoding = 'UTF8'; SELECT id, w FROM t ORDER BY id",
    )
}

fn encoding(cluster: &Cluster, db: &str) -> String {
    cluster.psql(db, "SHOW server_encoding")
}

/// Fails unless standard error has all of this on one line, and a remedy.
#[track_caller]
fn assert_says(output: &Output, words: &[&str]) {
    let found = |line: &str| words.iter().all(|word| line.contains(word));
    assert!(output.stderr.lines().any(found), "{}", output.stderr);
    assert!(output.stderr.contains("remedy: "), "{}", output.stderr);
}

both_ways!(a_new_target_has_the_sources_encoding_and_bytes);
fn a_new_target_has_the_sources_encoding_and_bytes(way: Way) {
    let mut pair = Pair::start();
    for (name, row) in [
        ("LATIN1", r"E'Stra\337e fa\347ade'"),
        ("KOI8R", r"E'\360\322'"),
        ("EUC_JP", r"E'\306\374\313\334'"),
        ("SQL_ASCII", r"E'\377\376 caf\351 \303\251'"),
    ] {
        let db = name.to_lowercase();
        let sql = format!(
            "CREATE TABLE t (id int PRIMARY KEY, w text); INSERT INTO t VALUES (1, {row});
             CREATE TABLE as_text AS SELECT t.*, 'pg_class'::regclass FROM t"
        );
        database(&pair.source, &db, name, name, &sql);
        way.migrate(&mut pair, &db, &["--verify"]).expect(0);
        assert_eq!(encoding(&pair.target, &db), name);
        assert_eq!(bytes(&pair.target, &db), bytes(&pair.source, &db));
        assert_migrated(&pair.source, &db, &pair.target, &db);
    }
}

both_ways!(characters_are_converted_for_a_target_of_another_encoding);
fn characters_are_converted_for_a_target_of_another_encoding(way: Way) {
    let mut pair = Pair::start();
    for (source, target, row) in [
        ("LATIN1", "UTF8", r"E'Stra\337e'"),
        ("EUC_JP", "UTF8", r"E'\306\374\313\334'"),
        ("EUC_JP", "EUC_JP", r"E'\306\374\313\334'"),
        ("LATIN2", "WIN1250", r"E'\261\306'"),
        ("WIN1252", "UTF8", r"E'\200'"),
    ] {
        let db = format!("{source}_{target}").to_lowercase();
        let sql = format!(
            "CREATE TABLE t (id int PRIMARY KEY, w text, j json, k regclass);
             INSERT INTO t VALUES (1, {row}), (2, 'plain');
             CREATE TABLE in_binary AS SELECT id, w, ARRAY[w] AS a FROM t"
        );
        database(&pair.source, &db, source, source, &sql);
        database(&pair.target, &db, target, target, "");
        let mut haul = way.of(&db).storing(&["--spool-encoding", "copy"]);
        haul.run(&mut pair, &["--verify"]).expect(0);
        assert_eq!(encoding(&pair.target, &db), target);
        assert_eq!(characters(&pair.target, &db), characters(&pair.source, &db));
    }
}

both_ways!(bytes_without_an_encoding_must_be_valid_in_the_targets);
fn bytes_without_an_encoding_must_be_valid_in_the_targets(way: Way) {
    let mut pair = Pair::start();
    let table = "CREATE TABLE t (id int, part text, w text, PRIMARY KEY (part, id));";
    let valid = r"INSERT INTO t SELECT g, 'a', E'caf\303\251' FROM generate_series(1, 100) g;";
    let sql = format!("{table} {valid}");
    database(&pair.source, "valid", "SQL_ASCII", "SQL_ASCII", &sql);
    database(&pair.target, "valid", "UTF8", "UTF8", "");
    way.migrate(&mut pair, "valid", &["--verify"]).expect(0);
    assert_eq!(bytes(&pair.target, "valid"), bytes(&pair.source, "valid"));

    let invalid = r"UPDATE t SET w = E'caf\351' WHERE id = 77;";
    let sql = format!("{sql} {invalid}");
    for format in ["binary", "text"] {
        let db = format!("invalid_{format}");
        database(&pair.source, &db, "SQL_ASCII", "SQL_ASCII", &sql);
        database(&pair.target, &db, "UTF8", "UTF8", "");
        let mut haul = way.of(&db);
        let failed = haul.run(&mut pair, &["--copy-format", format]).expect(1);
        assert!(!failed.stderr.contains("caf"), "{}", failed.stderr);
        // Without the source, the row is named by its place; and it is in the spool for good.
        if way == Way::Spool {
            assert_says(&failed, &["COPY t, line 100", "22021"]);
            continue;
        }
        let place = r#"table public.t, column "w", row (id, part)=(77, a)"#;
        assert_says(&failed, &[place, "UTF8", "22021"]);

        pair.source
            .psql(&db, "UPDATE t SET w = 'cafe' WHERE id = 77");
        haul.run(&mut pair, &["--resume"]).expect(0);
        assert_eq!(bytes(&pair.target, &db), bytes(&pair.source, &db));
    }
}

both_ways!(characters_that_the_target_lacks_are_named_by_table_column_and_key);
fn characters_that_the_target_lacks_are_named_by_table_column_and_key(way: Way) {
    let mut pair = Pair::start();
    let sql = "CREATE TABLE t (w jsonb, note text, \"Key \"\"1\" uuid PRIMARY KEY);
        INSERT INTO t SELECT '{}', 'é', md5(g::text)::uuid FROM generate_series(1, 50) g;
        UPDATE t SET w = '{\"price\": \"7 €\"}' WHERE \"Key \"\"1\" = md5('7')::uuid;
        CREATE TABLE before AS SELECT g AS n, 'ü' AS w FROM generate_series(1, 10) g";
    database(&pair.source, "d", "UTF8", "UTF8", sql);
    for format in ["binary", "text"] {
        pair.target.psql("postgres", "DROP DATABASE IF EXISTS d");
        database(&pair.target, "d", "LATIN1", "UTF8", "");
        let args = ["--copy-format", format];
        let failed = way.migrate(&mut pair, "d", &args).expect(1);
        let key = pair.source.psql("d", "SELECT md5('7')::uuid");
        let place = match way {
            Way::Channel => format!(r#"table public.t, column "w", row (Key "1)=({key})"#),
            Way::Spool => "COPY t, line 50".to_owned(),
        };
        assert_says(&failed, &[&place, "22P05"]);
        assert!(failed.stderr.contains("LATIN1"), "{}", failed.stderr);
        assert!(!failed.stderr.contains('€'), "{}", failed.stderr);
    }
}

both_ways!(rows_without_a_key_are_named_by_their_place);
fn rows_without_a_key_are_named_by_their_place(way: Way) {
    let mut pair = Pair::start();
    let sql = r"CREATE TABLE t (id int, w text);
        INSERT INTO t SELECT g, 'plain' FROM generate_series(1, 9) g; INSERT INTO t VALUES (10, E'\377')";
    database(&pair.source, "d", "SQL_ASCII", "SQL_ASCII", sql);
    database(&pair.target, "d", "UTF8", "UTF8", "");
    let failed = way.migrate(&mut pair, "d", &[]).expect(1);
    let place = match way {
        Way::Channel => r#"table public.t, column "w", row (ctid)=((0,10))"#,
        Way::Spool => "COPY t, line 10, column w",
    };
    assert_says(&failed, &[place]);
}

both_ways!(a_target_without_an_encoding_takes_the_bytes_as_they_are);
fn a_target_without_an_encoding_takes_the_bytes_as_they_are(way: Way) {
    let mut pair = Pair::start();
    let table = "CREATE TABLE t (id int PRIMARY KEY, w text);";
    for (source, row) in [("UTF8", "'€ 🦀'"), ("LATIN1", "'é'")] {
        let db = source.to_lowercase();
        let sql = format!("{table} INSERT INTO t VALUES (1, {row})");
        database(&pair.source, &db, source, "UTF8", &sql);
        database(&pair.target, &db, "SQL_ASCII", "SQL_ASCII", "");
        let output = way.migrate(&mut pair, &db, &["--verify"]).expect(0);
        assert!(output.stderr.contains("SQL_ASCII"), "{}", output.stderr);
        assert_eq!(bytes(&pair.target, &db), bytes(&pair.source, &db));
    }
}

both_ways!(single_bytes_beyond_ascii_survive_where_only_text_is_possible);
/// Before PostgreSQL 16 a server writes such bytes into COPY's text as they are.
fn single_bytes_beyond_ascii_survive_where_only_text_is_possible(way: Way) {
    let mut pair = Pair::of_versions(13, 17);
    let sql =
        "CREATE TABLE t (id int PRIMARY KEY, c \"char\", many \"char\"[], k regclass, w text);
        INSERT INTO t SELECT g, g::\"char\", ARRAY[g::\"char\", NULL], 'pg_class', 'é'
          FROM generate_series(-128, 127) g;
        CREATE TABLE other AS SELECT g AS n, 'ü' AS w FROM generate_series(1, 10) g";
    database(&pair.source, "d", "UTF8", "UTF8", sql);
    way.migrate(&mut pair, "d", &[]).expect(0);
    let values = "SELECT id, c::int, many[1]::int, array_length(many, 1), k, w FROM t ORDER BY id";
    assert_eq!(pair.target.psql("d", values), pair.source.psql("d", values));
}

/// A locale whose amounts have no digits after the point, as in Japan.
const WHOLE_AMOUNTS: &str = "comment_char %
escape_char /
LC_MONETARY
int_curr_symbol \"JPY \"
currency_symbol \"Y\"
mon_decimal_point \".\"
mon_thousands_sep \",\"
mon_grouping 3
positive_sign \"\"
negative_sign \"-\"
int_frac_digits 0
frac_digits 0
p_cs_precedes 1
p_sep_by_space 0
n_cs_precedes 1
n_sep_by_space 0
p_sign_posn 4
n_sign_posn 4
END LC_MONETARY
";

both_ways!(money_arrives_whatever_its_locale);
/// Money is a number of the smallest unit; where its digits are cut is a setting of the reader.
fn money_arrives_whatever_its_locale(way: Way) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("yy_YY");
    let definition = folder.path().join("yen");
    std::fs::write(&definition, WHOLE_AMOUNTS).expect("a file");
    // It warns of all the categories that are not defined.
    let compiled = std::process::Command::new("localedef")
        .args(["--no-archive", "--force", "-i"])
        .args([&definition, &place])
        .output()
        .expect("localedef starts: it is in the package libc-bin");
    assert!(place.join("LC_MONETARY").exists(), "{compiled:?}");
    let mut open = std::process::Command::new("chmod");
    pg::run(open.args(["-R", "a+rX"]).arg(folder.path())).unwrap_or_else(|error| panic!("{error}"));
    let path = folder.path().to_str().expect("a path in UTF-8");
    let yen = || {
        Cluster::builder()
            .env("LOCPATH", path)
            .conf("lc_monetary", "yy_YY")
            .start()
    };
    for (source, target) in [(yen(), Cluster::start()), (Cluster::start(), yen())] {
        let mut pair = Pair { source, target };
        pair.source.create_db("d");
        pair.source.psql(
            "d",
            "SET lc_monetary = 'C'; CREATE TABLE t (id int PRIMARY KEY, m money, many money[]);
             INSERT INTO t SELECT n, m, ARRAY[m, NULL, m]
               FROM unnest(ARRAY['-92233720368547758.08', '92233720368547758.07', '0', '12.34',
                                 '-0.01', NULL]::money[]) WITH ORDINALITY AS v (m, n);
             CREATE TABLE defaults (id int, m money DEFAULT '12.34', CHECK (m > '0.05'::money))",
        );
        let shown =
            [&pair.source, &pair.target].map(|it| it.psql("postgres", "SELECT 1234::money"));
        assert_ne!(shown[0], shown[1]);
        for format in ["binary", "text"] {
            let args = ["--overwrite", "--verify", "--copy-format", format];
            way.migrate(&mut pair, "d", &args).expect(0);
            let sent = "INSERT INTO defaults (id) VALUES (1);
                SELECT encode(cash_send(m), 'hex'), encode(array_send(many), 'hex') FROM t ORDER BY id;
                SELECT encode(cash_send(m), 'hex') FROM defaults; DELETE FROM defaults";
            assert_eq!(
                pair.target.psql("d", sent),
                pair.source.psql("d", sent),
                "{format}"
            );
            pair.pghaul("d", &["verify"]).run().expect(0);
        }
    }
}
