//! Large objects arrive with content, owner, privileges and comment.

use pghaul_stage::Work;

use crate::migration::Migration;

/// Everything about large objects that should be equal, by PostgreSQL itself.
const OBJECTS: &str = "
SELECT oid, pg_get_userbyid(lomowner), lomacl::text, obj_description(oid, 'pg_largeobject'),
       length(lo_get(oid)), md5(lo_get(oid))
FROM pg_largeobject_metadata ORDER BY oid";

const METADATA: &str = "
COPY (SELECT oid, pg_get_userbyid(lomowner)::text, lomacl::text[],
             obj_description(oid, 'pg_largeobject')
      FROM pg_largeobject_metadata) TO STDOUT (FORMAT binary)";

const PAGES: &str = "
COPY (SELECT loid, pageno::bigint * 2048, data FROM pg_largeobject) TO STDOUT (FORMAT binary)";

fn migration() -> Migration {
    Migration::new(
        "",
        vec![],
        vec![Work::LargeObjects {
            from: None,
            to: None,
        }],
    )
}

#[tokio::test]
async fn large_objects_are_equal() {
    let m = migration();
    let server = m.server;
    let source = server.database();
    let [owner, reader] = ["50% \"owner\"", "reader"].map(|prefix| server.name(prefix));
    let quoted = owner.replace('"', "\"\"");
    server.psql(
        &source,
        &format!(
            r#"CREATE ROLE "{quoted}"; CREATE ROLE {reader};
            SELECT lo_from_bytea(1001, 'plain');
            SELECT lo_from_bytea(1002, convert_to(repeat('0123456789', 100000), 'UTF8'));
            SELECT lo_create(1003);
            SELECT lo_create(1004); SELECT lo_put(1004, 1000000, '\xff');
            SELECT lo_from_bytea(4294967295, 'last');
            ALTER LARGE OBJECT 1002 OWNER TO "{quoted}";
            ALTER LARGE OBJECT 1003 OWNER TO "{quoted}";
            GRANT SELECT ON LARGE OBJECT 1001, 1002, 1004 TO PUBLIC;
            GRANT SELECT ON LARGE OBJECT 1002 TO {reader} WITH GRANT OPTION;
            REVOKE UPDATE ON LARGE OBJECT 1003 FROM "{quoted}";
            COMMENT ON LARGE OBJECT 1002 IS 'it''s 100% \commented';"#
        ),
    );
    let metadata = server.copy(&source, METADATA);
    let pages = server.copy(&source, PAGES);
    let count = |what: &str| server.psql(&source, &format!("SELECT count(*) FROM {what}"));
    let objects: u64 = count("pg_largeobject_metadata").parse().unwrap();
    let rows: u64 = count("pg_largeobject").parse().unwrap();

    let target = m.prepared().await;
    m.write(&target, 0, &[(&metadata, objects), (&pages, rows)])
        .await
        .unwrap();
    assert_eq!(m.psql(OBJECTS), server.psql(&source, OBJECTS));
    assert_eq!(m.psql(OBJECTS).lines().count(), 5);
    assert_eq!(m.notices.all(), Vec::<String>::new());
    assert_eq!(
        m.psql("SELECT rows FROM pghaul.progress"),
        (objects + rows).to_string()
    );
}

#[tokio::test]
async fn roles_that_are_missing_are_named() {
    let m = migration();
    let metadata = m.server.copy(
        "postgres",
        "COPY (VALUES (7::oid, 'nobody here', ARRAY['\"nobody here\"=rw/\"nobody here\"',
                       'other=r/\"nobody here\"'], NULL::text)) TO STDOUT (FORMAT binary)",
    );
    let target = m.prepared().await;
    m.write(&target, 0, &[(&metadata, 1)]).await.unwrap();
    assert!(
        m.psql(OBJECTS)
            .starts_with("7|postgres|{postgres=rw/postgres}|")
    );
    let notices = m.notices.all().join("\n");
    assert!(
        notices.contains("nobody here") && notices.contains("other"),
        "{notices}"
    );
}

#[tokio::test]
async fn without_objects_there_is_nothing_to_do() {
    let m = migration();
    let target = m.prepared().await;
    m.write(&target, 0, &[]).await.unwrap();
    assert_eq!(m.psql(OBJECTS), "");
    assert_eq!(m.psql("SELECT rows FROM pghaul.progress"), "0");
}
