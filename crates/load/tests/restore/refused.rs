//! What cannot be restored: named, and where nothing hangs on it, passed over.

use pghaul_load::Config;
use pghaul_stage::{Tables, Target};

use crate::source::{Source, assert_same};

/// Whether the indexes are built in the background or with the rest: the key is kept for what
/// comes, and named with the statement that checks it once the rows are repaired.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_that_rows_break_is_kept_unchecked_and_named() {
    let source = Source::new(
        "CREATE TABLE parent (id int PRIMARY KEY);
         CREATE TABLE child (id int CONSTRAINT to_parent REFERENCES parent)",
    );
    for source in [source.large(), source] {
        let db = source.server.database();
        let (target, memory) = source.target(&db, Config::default());
        target
            .prepare(&source.catalog, &Source::plan())
            .await
            .unwrap();
        source.server.psql(&db, "INSERT INTO child VALUES (1)");
        target.tables_loaded(&source.tables()).await.unwrap();
        target.complete(&[]).await.unwrap();
        let valid = "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f'";
        assert_eq!(source.server.psql(&db, valid), "to_parent|f");
        let omissions = memory.omissions();
        let [omission] = omissions.as_slice() else {
            panic!("{omissions:?}");
        };
        assert!(omission.object.contains("to_parent"), "{omission}");
        // On repaired rows, what it says makes both sides the same.
        source.server.psql(&db, "INSERT INTO parent VALUES (1)");
        source.server.psql(&db, omission.remedy.as_deref().unwrap());
        assert_same(
            &source.dump(&db),
            &source.dump(&{
                source.server.psql(&source.db, "TRUNCATE child, parent");
                source.server.psql(
                    &source.db,
                    "INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1)",
                );
                source.oracle()
            }),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_of_many_is_named() {
    let source = Source::new(
        "CREATE DOMAIN d AS int; CREATE TABLE t (x d, y int); CREATE VIEW v AS SELECT x FROM t",
    );
    let db = source.server.database();
    source.server.psql(&db, "CREATE VIEW v AS SELECT 1 AS one");
    let (target, _) = source.target(&db, Config::default());
    let error = target
        .prepare(&source.catalog, &Source::plan())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("42P07"), "{error}");
    assert!(error.to_string().contains("view public.v"), "{error}");
    // What came before is there, recorded, and not tried again.
    source.server.psql(&db, "DROP VIEW v");
    target
        .prepare(&source.catalog, &Source::plan())
        .await
        .unwrap();
    assert_eq!(source.server.psql(&db, "SELECT count(*) FROM v"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_roles_cost_warnings_only() {
    let server = crate::server::Server::get();
    let (owner, reader, other) = (
        server.name("absent_owner"),
        server.name("absent"),
        server.name("present"),
    );
    server.psql(
        "postgres",
        &format!("CREATE ROLE {owner}; CREATE ROLE {reader}; CREATE ROLE {other}"),
    );
    let source = Source::new(&format!(
        "CREATE TABLE t (x int); ALTER TABLE t OWNER TO {owner};
         GRANT SELECT ON t TO {reader}; GRANT INSERT ON t TO {other}"
    ));
    server.psql(
        "postgres",
        &format!("DROP DATABASE {}; DROP ROLE {owner}, {reader}", source.db),
    );
    let db = server.database();
    let (target, memory) = source.target(&db, Config::default());
    target
        .prepare(&source.catalog, &Source::plan())
        .await
        .unwrap();
    target.complete(&[]).await.unwrap();
    let facts = "SELECT pg_get_userbyid(relowner), relacl::text FROM pg_class WHERE relname = 't'";
    assert_eq!(
        server.psql(&db, facts),
        format!("postgres|{{postgres=arwdDxt/postgres,{other}=a/postgres}}")
    );
    let warnings = memory.warnings();
    assert!(
        warnings.iter().any(|warning| warning.contains(&owner)),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().any(|warning| warning.contains(&reader)),
        "{warnings:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_tablespace_is_replaced() {
    let source = Source::new("CREATE TABLE t (x int)");
    let db = source.server.database();
    source.server.psql(
        "postgres",
        "SET allow_in_place_tablespaces = on; CREATE TABLESPACE gone LOCATION ''",
    );
    source
        .server
        .psql(&source.db, "ALTER TABLE t SET TABLESPACE gone");
    let mut source = source.reread();
    source.catalog.tables = Tables::default();
    source
        .server
        .psql(&source.db, "ALTER TABLE t SET TABLESPACE pg_default");
    source.server.psql("postgres", "DROP TABLESPACE gone");
    let memory = source.migrate(&db, Config::default()).await.unwrap();
    let warnings = memory.warnings();
    assert!(
        warnings.iter().any(|warning| warning.contains("\"gone\"")),
        "{warnings:?}"
    );
    assert_eq!(source.server.psql(&db, "SELECT count(*) FROM t"), "0");
}
