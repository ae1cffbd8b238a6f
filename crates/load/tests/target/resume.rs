//! What a migration leaves on the target, and how a later run goes on.

use std::sync::Arc;

use pghaul_load::{PgTarget, Saved, State, inspect};
use pghaul_stage::{Encoding, Kind, Observer, Part, PartId, TableId, Target, Work};

use crate::migration::{Migration, table, whole};

async fn saved(m: &Migration) -> Saved {
    match inspect(&m.server.conninfo(&m.db)).await.unwrap() {
        State::Migration(saved) => *saved,
        other => panic!("{other:?}"),
    }
}

async fn resume(m: &Migration, saved: &Saved) -> PgTarget {
    let observer = Arc::clone(&m.notices) as Arc<dyn Observer>;
    PgTarget::resume(m.server.conninfo(&m.db), m.config.clone(), observer, saved)
        .await
        .unwrap()
}

/// Parts 1 and 2 are the halves of `big`, 3 is two small tables, 4 one, 5 the large objects.
fn several() -> Migration {
    let text = |name| whole(name, Encoding::Text);
    let parts = vec![
        Work::Rows([text("big")].into()),
        Work::Rows([text("big")].into()),
        Work::Rows([text("a"), text("b")].into()),
        Work::Rows([text("c")].into()),
        Work::LargeObjects {
            from: None,
            to: None,
        },
    ];
    Migration::new(
        "CREATE TABLE big (i int); CREATE TABLE a (i int); CREATE TABLE b (i int);
         CREATE TABLE c (i int)",
        ["big", "a", "b", "c"]
            .map(|name| table(name, &["i"], 0, 0))
            .to_vec(),
        parts,
    )
}

#[tokio::test]
async fn a_later_run_finds_everything_it_needs() {
    let mut m = several();
    m.catalog.server.system = u64::MAX;
    m.catalog.database.oid = u32::MAX;
    m.catalog.database.comment = Some("naïve \u{1f418} \"quoted\" \\ back".into());
    let target = m.prepared().await;
    m.write(&target, 2, &[(b"1\n", 1), (b"2\n3\n", 2)])
        .await
        .unwrap();
    let begun = saved(&m).await;
    assert_eq!(Some(begun.migration), target.migration());
    assert_eq!(begun.plan, m.plan);
    assert_eq!(begun.catalog.archive, m.catalog.archive);
    assert_eq!(begun.catalog.database, m.catalog.database);
    assert_eq!(begun.catalog.server, m.catalog.server);
    assert_eq!(begun.catalog.tables, m.catalog.tables);
    assert!(!begun.complete);
    let durable: Vec<_> = begun
        .durable
        .iter()
        .map(|(id, d)| (id.0, d.rows, d.bytes))
        .collect();
    assert_eq!(durable, [(3, 3, 6)]);

    let error = m.fresh().prepare(&m.catalog, &m.plan).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Input, "{error}");

    let target = resume(&m, &begun).await;
    target.prepare(&begun.catalog, &begun.plan).await.unwrap();
    for part in [0, 1, 3] {
        m.write(&target, part, &[(b"1\n", 1)]).await.unwrap();
    }
    target.complete(&[]).await.unwrap();
    assert!(saved(&m).await.complete);
    assert_eq!(m.psql("SELECT count(*) FROM big"), "2");
}

#[tokio::test]
async fn a_table_that_somebody_filled_before_its_copy_is_named() {
    let m = several();
    let target = m.prepared().await;
    m.write(&target, 0, &[(b"1\n", 1)]).await.unwrap();
    m.psql("INSERT INTO b VALUES (1)");
    let begun = saved(&m).await;
    let target = resume(&m, &begun).await;
    let error = target.prepare(&begun.catalog, &begun.plan).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("not empty before its copy"), "{error}");
    assert!(error.contains("public.b"), "{error}");

    // Blocks without a row are no rows.
    m.psql("DELETE FROM b");
    let begun = saved(&m).await;
    let target = resume(&m, &begun).await;
    target.prepare(&begun.catalog, &begun.plan).await.unwrap();
}

#[tokio::test]
async fn forgetting_empties_what_shares_a_part() {
    let m = several();
    let target = m.prepared().await;
    for part in [0, 1, 3] {
        m.write(&target, part, &[(b"1\n", 1)]).await.unwrap();
    }
    m.write(&target, 2, &[(b"1\n", 1), (b"2\n", 1)])
        .await
        .unwrap();
    m.psql("SELECT lo_create(4711)");
    m.psql(
        r#"INSERT INTO pghaul.step SELECT id, 'analyze "public"."' || t || '"'
           FROM pghaul.migration, unnest('{a,c}'::text[]) t"#,
    );
    let begun = saved(&m).await;
    let target = resume(&m, &begun).await;
    let mut plan = begun.plan.clone();
    plan.visible = "9:9:".into();
    let b = [TableId::new("public", "b")];
    target
        .forget(&b, false, &plan, &begun.catalog)
        .await
        .unwrap();
    let counts = "SELECT (SELECT count(*) FROM big), (SELECT count(*) FROM a),
                         (SELECT count(*) FROM b), (SELECT count(*) FROM c),
                         (SELECT count(*) FROM pg_largeobject_metadata)";
    assert_eq!(m.psql(counts), "2|0|0|1|1");
    let now = saved(&m).await;
    assert_eq!(
        now.durable.keys().map(|id| id.0).collect::<Vec<_>>(),
        [1, 2, 4]
    );
    assert_eq!(now.plan, plan);
    assert_eq!(
        m.psql("SELECT step FROM pghaul.step ORDER BY step"),
        "analyze \"public\".\"c\"\nprepared for rows"
    );

    target
        .forget(
            &[TableId::new("public", "big")],
            true,
            &plan,
            &begun.catalog,
        )
        .await
        .unwrap();
    assert_eq!(m.psql(counts), "0|0|0|1|0");

    m.psql("ALTER TABLE c ADD PRIMARY KEY (i); ALTER TABLE a ADD FOREIGN KEY (i) REFERENCES c");
    let error = target
        .forget(&[TableId::new("public", "c")], false, &plan, &begun.catalog)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Permanent);
    assert!(error.hint().unwrap().contains("--overwrite"), "{error:?}");
    assert_eq!(m.psql(counts), "0|0|0|1|0");
}

#[tokio::test]
async fn durable_is_asked_before_anything_else() {
    let m = Migration::one();
    let part = Part {
        id: PartId(9),
        ..m.plan.parts[0].clone()
    };
    let parts = [m.plan.parts[0].clone(), part];
    assert_eq!(m.fresh().durable(&parts).await.unwrap(), [None, None]);
    let target = m.prepared().await;
    let mark = m.write(&target, 0, &[(b"1\tx\n", 1)]).await.unwrap();
    assert_eq!(m.fresh().durable(&parts).await.unwrap(), [Some(mark), None]);
}
