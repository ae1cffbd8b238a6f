//! What runs beside and after what.

use pghaul_load::Config;
use pghaul_stage::{Step, Target};

use crate::source::{Source, Told};

/// Tables of a few megabytes, connected, with several indexes each.
const LARGE: &str = "
    CREATE TABLE a (id int PRIMARY KEY, x int, y int);
    CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a, x int, UNIQUE (x) DEFERRABLE);
    INSERT INTO a SELECT n, n, n FROM generate_series(1, 200000) n;
    INSERT INTO b SELECT n, n, n FROM generate_series(1, 200000) n;
    CREATE INDEX a_x ON a (x); CREATE INDEX a_y ON a (y, x); CREATE INDEX b_a ON b (a);
    CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM b";

fn at(told: &[Told], wanted: &Told) -> usize {
    told.iter()
        .position(|told| told == wanted)
        .unwrap_or_else(|| panic!("no {wanted:?} in {told:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_of_one_table_are_built_side_by_side() {
    let source = Source::new(LARGE);
    let db = source.server.database();
    let config = Config {
        index_jobs: 3,
        ..Config::default()
    };
    let told = source.migrate(&db, config).await.unwrap().all();
    let started = |name: &str| at(&told, &Told::Started(Step::Index, format!("public.{name}")));
    let done = |name: &str| at(&told, &Told::Done(Step::Index, format!("public.{name}")));
    let indexes = ["a_pkey", "a_x", "a_y"];
    // Three jobs begin with three of the six indexes, so with two at least of one table.
    let overlap = |indexes: [&str; 3]| {
        let mut starts = indexes.map(started);
        starts.sort_unstable();
        starts[1] < indexes.map(done).into_iter().min().unwrap()
    };
    let side_by_side = overlap(indexes) || overlap(["b_pkey", "b_x_key", "b_a"]);
    assert!(side_by_side, "{told:#?}");

    let constraint = at(
        &told,
        &Told::Started(Step::Constraint, "public.a_pkey".into()),
    );
    let last_end = indexes.map(done).into_iter().max().unwrap();
    assert!(last_end < constraint, "{told:#?}");
    let key = at(
        &told,
        &Told::Started(Step::ForeignKey, "public.b_a_fkey".into()),
    );
    for table in ["a_pkey", "b_pkey", "b_x_key"] {
        assert!(
            at(
                &told,
                &Told::Done(Step::Constraint, format!("public.{table}"))
            ) < key
        );
    }
    let refresh = at(&told, &Told::Started(Step::Refresh, "public.m".into()));
    assert!(
        at(
            &told,
            &Told::Done(Step::ForeignKey, "public.b_a_fkey".into())
        ) < refresh
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_do_not_wait_for_other_tables() {
    let source = Source::new(LARGE);
    let db = source.server.database();
    let (target, memory) = source.target(&db, Config::default());
    target
        .prepare(&source.catalog, &Source::plan())
        .await
        .unwrap();
    let a = &source
        .catalog
        .tables
        .iter()
        .find(|table| &*table.id.name == "a")
        .unwrap();
    source.copy(&db, a);
    target
        .tables_loaded(std::slice::from_ref(&a.id))
        .await
        .unwrap();
    for _ in 0..600 {
        if memory
            .all()
            .contains(&Told::Done(Step::Analyze, "public.a".into()))
        {
            let told = memory.all();
            assert!(
                !told
                    .iter()
                    .any(|told| matches!(told, Told::Started(Step::ForeignKey, _)))
            );
            assert_eq!(
                source
                    .server
                    .psql(&db, "SELECT count(*) FROM pg_indexes WHERE tablename = 'a'"),
                "3"
            );
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{:#?}", memory.all());
}
