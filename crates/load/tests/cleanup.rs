//! What a migration leaves behind is found and removed, and nothing else.

#[expect(dead_code, reason = "other test binaries use the rest")]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
#[path = "target/migration.rs"]
mod migration;
#[expect(dead_code, reason = "other test binaries use the rest")]
mod server;

use pghaul_load::{Leftover, Trace, leftovers, remove};
use pghaul_stage::{Kind, Side};

use migration::Migration;
use server::Server;

async fn on_target(db: &str) -> Vec<Leftover> {
    let target = Server::get().conninfo(db);
    let mut found = leftovers(None, Some(&target)).await.expect("a list");
    // Origins and physical slots belong to the server, where other tests make them too.
    found.retain(|l| !matches!(l.trace, Trace::Origin { .. } | Trace::Slot { .. }));
    found
}

#[tokio::test]
async fn a_clean_database_has_no_leftovers() {
    let server = Server::get();
    let db = server.database();
    server.psql(
        &db,
        "CREATE SCHEMA pghaul_not; CREATE PUBLICATION pghauler; CREATE TABLE t ();",
    );
    assert_eq!(on_target(&db).await, []);
    let target = server.conninfo(&db);
    remove(None, Some(&target), &[], true)
        .await
        .expect("nothing to do");
}

#[tokio::test]
async fn an_unfinished_migration_is_removed_only_by_force() {
    let m = Migration::one();
    let target = m.prepared().await;
    m.write(&target, 0, &[(b"1\tone\n", 1)])
        .await
        .expect("a row");
    let id = target.migration().expect("a migration").to_string();
    target.close();
    drop(target);
    m.until(
        "SELECT count(*) FROM pg_stat_activity
          WHERE application_name LIKE 'pghaul %' AND datname = current_database()",
        "0",
    )
    .await;

    let found = on_target(&m.db).await;
    let [
        leftover @ Leftover {
            side: Side::Target,
            trace: Trace::Record { migrations },
        },
    ] = found.as_slice()
    else {
        panic!("{found:?}");
    };
    let [migration] = migrations.as_slice() else {
        panic!("{migrations:?}");
    };
    assert_eq!(migration.id, id);
    assert!(!migration.complete);
    assert_eq!((migration.durable, migration.parts), (1, 1));
    assert!(
        leftover.to_string().contains("1 of 1 parts done"),
        "{leftover}"
    );

    let conninfo = m.server.conninfo(&m.db);
    let refused = remove(None, Some(&conninfo), &found, false).await;
    let refused = refused.expect_err("it could be resumed");
    assert_eq!(refused.kind(), Kind::Input);
    assert!(refused.message().contains("resumed"), "{refused}");
    assert_eq!(on_target(&m.db).await, found);

    for _ in 0..2 {
        remove(None, Some(&conninfo), &found, true)
            .await
            .expect("it is removed");
        assert_eq!(on_target(&m.db).await, []);
    }
    assert_eq!(m.psql("SELECT note FROM t"), "one");
    assert_eq!(m.psql("SELECT to_regnamespace('pghaul') IS NULL"), "t");
}

#[tokio::test]
async fn a_complete_migration_needs_no_force() {
    let m = Migration::one();
    drop(m.prepared().await);
    m.psql("UPDATE pghaul.migration SET state = 'complete'");
    m.until(
        "SELECT count(*) FROM pg_stat_activity
          WHERE application_name LIKE 'pghaul %' AND datname = current_database()",
        "0",
    )
    .await;
    let found = on_target(&m.db).await;
    let conninfo = m.server.conninfo(&m.db);
    remove(None, Some(&conninfo), &found, false)
        .await
        .expect("it is removed");
    assert_eq!(on_target(&m.db).await, []);
}

/// A view on the record keeps it, and is not dropped with it.
#[tokio::test]
async fn what_others_built_on_the_record_is_not_dropped() {
    let m = Migration::one();
    drop(m.prepared().await);
    m.psql("CREATE VIEW mine AS SELECT id FROM pghaul.migration");
    let found = on_target(&m.db).await;
    let conninfo = m.server.conninfo(&m.db);
    let error = remove(None, Some(&conninfo), &found, true).await;
    let error = error.expect_err("the view is in the way");
    assert_eq!(error.code(), Some("2BP01"), "{error}");
    assert_eq!(m.psql("SELECT count(*) FROM mine"), "1");
}

/// A schema of that name that somebody else made stays.
#[tokio::test]
async fn foreign_objects_are_not_dropped() {
    let server = Server::get();
    let db = server.database();
    server.psql(&db, "CREATE SCHEMA pghaul; CREATE TABLE pghaul.mine ();");
    let found = on_target(&db).await;
    let target = server.conninfo(&db);
    let error = remove(None, Some(&target), &found, true).await;
    let error = error.expect_err("the schema is not empty");
    assert_eq!(error.code(), Some("2BP01"), "{error}");
    let sql = "SELECT to_regclass('pghaul.mine') IS NOT NULL";
    assert_eq!(server.psql(&db, sql), "t");
}

#[tokio::test]
async fn sessions_slots_publications_and_origins_are_removed() {
    let server = Server::get();
    let (db, suffix) = (server.database(), server.name("x"));
    server.psql(
        &db,
        &format!(
            "SET client_min_messages = error;
             CREATE PUBLICATION \"pghaul-{suffix}\";
             SELECT pg_create_physical_replication_slot('pghaul_{suffix}'),
                    pg_replication_origin_create('pghaul_{suffix}')"
        ),
    );
    let source = server.conninfo(&db);
    let session =
        pghaul_wire::Client::connect(&source.with_application_name("pghaul"), Side::Source)
            .await
            .expect("a session");

    let mut found = leftovers(Some(&source), None).await.expect("a list");
    found.retain(|l| match &l.trace {
        Trace::Slot { name, .. } | Trace::Origin { name } => name.ends_with(&suffix),
        _ => true,
    });
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(
        texts[0].starts_with(&format!(
            "source: session {} (\"pghaul\") connected since ",
            session.pid()
        )),
        "{texts:?}"
    );
    assert_eq!(
        texts[1..],
        [
            format!("source: replication slot \"pghaul_{suffix}\""),
            format!("source: publication \"pghaul-{suffix}\""),
            format!("source: replication origin \"pghaul_{suffix}\""),
        ]
    );
    let refused = remove(Some(&source), None, &found, false).await;
    assert_eq!(refused.expect_err("it may run").kind(), Kind::Input);
    assert!(!session.is_closed());
    let elsewhere = remove(None, Some(&source), &found, true).await;
    assert_eq!(elsewhere.expect_err("no source").kind(), Kind::Input);

    for _ in 0..2 {
        remove(Some(&source), None, &found, true)
            .await
            .expect("they are removed");
    }
    assert!(session.simple_query("SELECT 1").await.is_err());
    let left = format!(
        "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE '%{suffix}'
         UNION ALL SELECT pubname FROM pg_publication
         UNION ALL SELECT roname FROM pg_replication_origin WHERE roname LIKE '%{suffix}'"
    );
    assert_eq!(server.psql(&db, &left), "");
}
