//! The target database is made like the source's, and dropped.

use pghaul_load::{State, create, drop_database, inspect};
use pghaul_stage::{Database, Kind};

use crate::server::Server;

fn source(encoding: &str, locale: &str) -> Database {
    Database {
        encoding: encoding.into(),
        collate: locale.into(),
        ctype: locale.into(),
        provider: "c".into(),
        ..Database::default()
    }
}

#[tokio::test]
async fn encoding_and_locale_are_those_of_the_source() {
    let server = Server::get();
    let name = server.name("Created \"db\"");
    let conninfo = server.conninfo(&name);
    create(&conninfo, &source("LATIN1", "C"), "").await.unwrap();
    assert!(matches!(inspect(&conninfo).await.unwrap(), State::Empty));
    let query = "SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider
                 FROM pg_database WHERE datname = current_database()";
    assert_eq!(server.psql(&name, query), "LATIN1|C|C|c");
    let error = create(&conninfo, &source("LATIN1", "C"), "")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("42P04"), "{error}");
}

#[tokio::test]
async fn an_icu_locale_is_kept() {
    let server = Server::get();
    let name = server.name("icu");
    let mut source = source("UTF8", "C");
    source.provider = "i".into();
    source.locale = Some("de-DE".into());
    create(&server.conninfo(&name), &source, "").await.unwrap();
    let query = "SELECT datlocprovider, daticulocale FROM pg_database
                 WHERE datname = current_database()";
    assert_eq!(server.psql(&name, query), "i|de-DE");
}

#[tokio::test]
async fn a_locale_that_is_missing_is_named() {
    let server = Server::get();
    let error = create(
        &server.conninfo(&server.name("x")),
        &source("UTF8", "tlh_QO.UTF-8"),
        "",
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), Kind::Permanent, "{error:?}");
    assert!(error.hint().unwrap().contains("tlh_QO.UTF-8"), "{error:?}");
}

#[tokio::test]
async fn a_database_in_use_is_dropped() {
    let server = Server::get();
    let db = server.database();
    let mut user = server
        .client("psql", &db)
        .args(["-c", "SELECT pg_sleep(60)"])
        .spawn()
        .unwrap();
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{db}'");
    while server.psql("postgres", &sessions) != "1" {}
    drop_database(&server.conninfo(&db)).await.unwrap();
    assert!(!user.wait().unwrap().success());
    assert!(matches!(
        inspect(&server.conninfo(&db)).await.unwrap(),
        State::Absent
    ));
    let error = drop_database(&server.conninfo("template1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
}
