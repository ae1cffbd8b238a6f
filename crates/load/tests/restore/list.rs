//! The reader of archives against pg_restore's list of the same archive.

use std::process::Command;

use crate::archive::Archive;
use crate::server::run;
use crate::source::Source;

#[test]
fn entries_are_those_that_pg_restore_lists() {
    let source = Source::rich();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), source.catalog.archive.unpack().unwrap()).unwrap();
    let program = source
        .server
        .client("pg_restore", "unused")
        .get_program()
        .to_owned();
    let listed = run(
        Command::new(program).arg("-l").arg("-v").arg(file.path()),
        "",
    );
    let mut expected = Vec::new();
    for line in listed.lines() {
        if let Some(on) = line.strip_prefix(";\tdepends on: ") {
            let ids = on.split(' ').map(|id| id.parse().unwrap()).collect();
            if let Some((_, dependencies)) = expected.last_mut() {
                *dependencies = ids;
            }
        } else if !line.starts_with(';') {
            expected.push((line.to_owned(), Vec::<i32>::new()));
        }
    }
    let archive = Archive::parse(source.catalog.archive.clone()).unwrap();
    let found: Vec<_> = archive
        .entries()
        .map(|entry| {
            let schema = if entry.schema.is_empty() {
                "-"
            } else {
                &entry.schema
            };
            let line = format!(
                "{}; {} {} {} {schema} {} {}",
                entry.id, entry.catalog, entry.oid, entry.desc, entry.tag, entry.owner
            );
            (line, entry.dependencies.clone())
        })
        .collect();
    assert!(found.len() > 150);
    assert_eq!(found, expected);
}
