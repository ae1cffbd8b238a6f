//! The examples do what they say; their results are checked against PostgreSQL and the input.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Pair, pg};

/// The program of an example, which cargo builds along with the tests.
fn example(name: &str) -> Command {
    let pghaul = Path::new(env!("CARGO_BIN_EXE_pghaul"));
    let folder = pghaul.parent().expect("a folder").join("examples");
    let program: PathBuf = folder.join(name);
    assert!(
        program.exists(),
        "{} is missing: cargo build --examples",
        program.display()
    );
    let mut command = Command::new(program);
    pg::clean(&mut command);
    command
}

fn run(command: &mut Command) -> String {
    pg::run(command).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn in_memory() {
    assert_eq!(run(&mut example("in_memory")), "moved 5 rows in 2 parts\n");
}

#[test]
fn custom_source() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "first\nwith\ttab and \\\nthird\nfourth\n").expect("text");
    assert_eq!(
        run(example("custom_source").arg(file.path())),
        "1\tfirst\n2\twith\\ttab and \\\\\n3\tthird\nread 4 lines\n"
    );
}

#[test]
fn counting_target() {
    let said = run(&mut example("counting_target"));
    let expected = "20000 rows in 7 parts, ";
    let nulls = said
        .strip_prefix(expected)
        .unwrap_or_else(|| panic!("{said}"));
    let nulls: u32 = nulls
        .trim_end_matches(" NULLs\n")
        .parse()
        .expect("a number");
    // One in four of one column and one in ten of another.
    assert!((6_300..7_700).contains(&nulls), "{nulls}");
}

/// Masked values are masked, equal ones alike, and all others arrive untouched, in binary, in
/// text (the table with an aclitem), with NULLs and in several parts' tables.
#[test]
fn masking() {
    let pair = Pair::start();
    pair.source.create_db("live");
    pair.source.psql(
        "live",
        "CREATE TABLE person (id int PRIMARY KEY, email text UNIQUE, name text, age int,
                              note text);
         INSERT INTO person SELECT g, 'user' || g || '@example.com',
                CASE WHEN g % 10 > 0 THEN E'Name\\t' || g % 7 || E'\\\\' END, g % 90, 'note ' || g
           FROM generate_series(1, 20000) g;
         CREATE TABLE phone (phone text, owner int REFERENCES person, rights aclitem);
         INSERT INTO phone SELECT '0' || g, g, 'postgres=r/postgres' FROM generate_series(1, 300) g;
         CREATE TABLE product (id int, name varchar(10), price numeric);
         INSERT INTO product SELECT g, 'p' || g, g / 7.0 FROM generate_series(1, 500) g;",
    );
    pair.target.create_db("test");
    let mut masking = example("masking");
    masking
        .env("PGHAUL_SOURCE", pair.source.dsn("live"))
        .env("PGHAUL_TARGET", pair.target.dsn("test"));
    assert_eq!(
        run(&mut masking),
        "moved 20800 rows, personal data masked\n"
    );

    let target = |sql| pair.target.psql("test", sql);
    let source = |sql| pair.source.psql("live", sql);
    for same in [
        "SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM (SELECT id, age, note FROM person) p",
        "SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM product p",
        "SELECT count(email), count(DISTINCT email), count(name), count(DISTINCT name) FROM person",
        "SELECT count(*), min(owner), max(owner), count(rights), count(DISTINCT phone) FROM phone",
    ] {
        assert_eq!(target(same), source(same), "{same}");
    }
    for clear in [
        "SELECT count(*) FROM person WHERE email NOT LIKE 'masked-%' OR name NOT LIKE 'masked-%'",
        "SELECT count(*) FROM phone WHERE phone NOT LIKE 'masked-%'",
    ] {
        assert_eq!(target(clear), "0", "{clear}");
    }
}
