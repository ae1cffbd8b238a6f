//! Parts together are the database: every row once, bytes as PostgreSQL writes them.

use std::collections::BTreeMap;

use crate::server::{Server, read};
use futures_util::{SinkExt, TryStreamExt};
use pghaul_extract::{Config, CopyFormat, PgSource, Split};
use pghaul_stage::{Encoding, Format, KeyRange, Kind, Part, PartId, Range, Source, TableId, Work};

const KIB: u64 = 1024;

/// Rows of every table according to the parts.
async fn counts(source: &PgSource) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for part in source.plan().await.unwrap().parts {
        let slices = read(source, &part).await.unwrap();
        for (slice, (_, rows)) in part.slices().iter().zip(slices) {
            *counts.entry(slice.table.name.to_string()).or_default() += rows;
        }
    }
    counts
}

#[tokio::test]
async fn odd_tables_are_read_as_postgresql_itself_would_copy_them() {
    let server = Server::start().await;
    server
        .run(
            r#"CREATE SCHEMA "Odd ""schema"; SET search_path = "Odd ""schema";
            CREATE TABLE "Tab
le" ("Col ""umn" int, "select" text, 数 int);
            INSERT INTO "Tab
le" SELECT g, repeat('v', g), -g FROM generate_series(1, 100) g;
            CREATE TABLE empty (a int, b text);
            CREATE TABLE nothing ();
            INSERT INTO nothing SELECT FROM generate_series(1, 5);
            CREATE TABLE all_generated (a int GENERATED ALWAYS AS (7) STORED);
            INSERT INTO all_generated SELECT FROM generate_series(1, 4);
            CREATE TABLE mixed (a int, gone int, b int GENERATED ALWAYS AS (a * 2) STORED, c text);
            ALTER TABLE mixed DROP COLUMN gone;
            INSERT INTO mixed (a, c) SELECT g, NULL FROM generate_series(1, 9) g;
            CREATE TABLE parent (a int);
            CREATE TABLE child (b int) INHERITS (parent);
            INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3), (4, 5);
            CREATE TABLE split (k int) PARTITION BY RANGE (k);
            CREATE TABLE split_low PARTITION OF split FOR VALUES FROM (MINVALUE) TO (10);
            CREATE TABLE split_high PARTITION OF split FOR VALUES FROM (10) TO (MAXVALUE);
            INSERT INTO split SELECT generate_series(1, 30);
            CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS x;
            CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, m mood);
            CREATE TABLE types AS SELECT 'ok'::mood AS m, ARRAY['sad', 'ok']::mood[] AS ms,
                   ROW(1, 'ok')::pair AS p, '[1,5)'::int4range AS r, 1.50::numeric AS n,
                   '{"b": 1, "a": [null]}'::json AS j, NULL::text AS t, ''::text AS e;
            CREATE TABLE names AS SELECT 'pg_class'::regclass AS c, 'a:1 b:2'::tsvector AS v;
            CREATE TABLE toasted AS SELECT string_agg(md5(g::text), '') AS v
                   FROM generate_series(1, 100000) g;"#,
        )
        .await;
    for copy_format in [CopyFormat::Auto, CopyFormat::Text] {
        let source = server
            .source_with(Config {
                copy_format,
                ..Config::default()
            })
            .await;
        let catalog = source.catalog().await.unwrap();
        let plan = source.plan().await.unwrap();
        let mut seen = 0;
        for part in &plan.parts {
            let slices = read(&source, part).await.unwrap();
            for (slice, (bytes, rows)) in part.slices().iter().zip(slices) {
                let table = catalog.tables.iter().find(|t| t.id == slice.table).unwrap();
                let name = format!(r#""Odd ""schema"."{}""#, table.id.name.replace('"', "\"\""));
                let expected = server
                    .ask(&format!("SELECT count(*) FROM ONLY {name}"))
                    .await;
                assert_eq!(rows.to_string(), expected, "{name}");
                let names_only = &*table.id.name == "names" || copy_format == CopyFormat::Text;
                let encoding = if names_only {
                    Encoding::Text
                } else {
                    Encoding::Binary
                };
                assert_eq!(slice.encoding, encoding, "{name}");
                let sql =
                    format!("SET search_path = ''; COPY {name} TO STDOUT (FORMAT {encoding})");
                let copy = sql.split_once("; ").unwrap().1;
                assert!(bytes == server.copy(copy).await, "bytes of {name}");
                seen += 1;
            }
        }
        assert_eq!(seen, 13);
        assert_eq!(catalog.tables.len(), 13);
    }
}

async fn lines_of(source: &PgSource, parts: &[Part]) -> Vec<String> {
    let mut lines = Vec::new();
    for part in parts {
        let slices = read(source, part).await.unwrap();
        let (bytes, rows) = &slices[0];
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert_eq!(text.lines().count() as u64, *rows, "{part}");
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

#[tokio::test]
async fn ranges_of_a_table_hold_every_row_once() {
    let server = Server::start().await;
    server
        .run(
            "CREATE TABLE t AS SELECT g AS k, md5(g::text) AS v FROM generate_series(1, 50000) g; \
             ALTER TABLE t ADD UNIQUE (k); DELETE FROM t WHERE k % 7 = 0; UPDATE t SET v = 'new' WHERE k % 11 = 0; ANALYZE t",
        )
        .await;
    let config = Config {
        split: Split::LargerThan(256 * KIB),
        copy_format: CopyFormat::Text,
        ..Config::default()
    };
    let source = server.source_with(config).await;
    let plan = source.plan().await.unwrap();
    // Row versions that the snapshot sees may end up anywhere; those it does not must not.
    server
        .run("UPDATE t SET v = 'later'; INSERT INTO t VALUES (0, 'later')")
        .await;
    assert!(plan.parts.len() > 10, "{}", plan.parts.len());
    let blocks = source.server_version() >= 140_000;
    for part in &plan.parts {
        let by_block = matches!(part.slices()[0].range, Range::Blocks { .. });
        assert_eq!(by_block, blocks, "{part}");
    }
    let lines = lines_of(&source, &plan.parts).await;
    let expected = server
        .session()
        .await
        .query_one(
            "SELECT array_agg(k || E'\\t' || CASE WHEN k % 11 = 0 THEN 'new' ELSE md5(k::text) END) \
               FROM generate_series(1, 50000) k WHERE k % 7 <> 0",
            &[],
        )
        .await
        .unwrap();
    let mut expected: Vec<String> = expected.get(0);
    expected.sort();
    assert!(
        lines == expected,
        "{} rows against {}",
        lines.len(),
        expected.len()
    );
}

#[tokio::test]
async fn ranges_of_keys_hold_every_row_once() {
    let server = Server::start().await;
    server
        .run(
            "CREATE TABLE t (k int8 UNIQUE, v int); \
             INSERT INTO t VALUES (-9223372036854775808, 1), (9223372036854775807, 2), (0, 3), \
                                  (NULL, 4), (NULL, 5), (-1, 6), (1, 7)",
        )
        .await;
    let source = server.source().await;
    let range = |from, to, nulls| {
        Range::Keys(Box::new(KeyRange {
            column: "k".into(),
            from,
            to,
            nulls,
        }))
    };
    let part = |range| Part {
        id: PartId(0),
        work: Work::Rows(std::sync::Arc::from([pghaul_stage::Slice {
            table: TableId::new("public", "t"),
            range,
            encoding: Encoding::Text,
            shape: pghaul_stage::Shape::Whole,
        }])),
        rows: 0,
        bytes: 0,
    };
    for (range, expected) in [
        (range(None, Some(i64::MIN), true), vec!["4", "5"]),
        (range(Some(i64::MIN), Some(-1), false), vec!["1"]),
        (range(Some(-1), Some(1), false), vec!["3", "6"]),
        (range(Some(1), Some(i64::MAX), false), vec!["7"]),
        (range(Some(i64::MAX), None, false), vec!["2"]),
    ] {
        let lines = lines_of(&source, &[part(range)]).await;
        let mut values: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.rsplit('\t').next())
            .collect();
        values.sort_unstable();
        assert_eq!(values, expected);
    }
}

#[tokio::test]
async fn hundreds_of_small_tables_share_a_few_parts() {
    let server = Server::start().await;
    server
        .run(
            "DO $$ BEGIN FOR i IN 1..300 LOOP \
               EXECUTE format('CREATE TABLE t%s AS SELECT g FROM generate_series(1, %s) g', i, i % 5); \
             END LOOP; END $$",
        )
        .await;
    let source = server.source().await;
    let plan = source.plan().await.unwrap();
    assert!(plan.parts.len() < 8, "{} parts", plan.parts.len());
    let counts = counts(&source).await;
    assert_eq!(counts.len(), 300);
    assert!(
        counts
            .iter()
            .all(|(name, rows)| name[1..].parse::<u64>().unwrap() % 5 == *rows)
    );
}

#[tokio::test]
async fn an_encoding_other_than_utf8_leaves_the_server_as_it_lies_there() {
    let server = Server::start().await;
    server.run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'").await;
    let session = server.session_in("latin").await;
    session
        .batch_execute("CREATE TABLE \"é\" (\"ü\" text); INSERT INTO \"é\" VALUES ('à')")
        .await
        .unwrap();
    for (copy_format, expected) in [
        (CopyFormat::Text, &b"\xe0\n"[..]),
        (
            CopyFormat::Binary,
            &b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x01\xe0\xff\xff"[..],
        ),
    ] {
        let config = Config {
            copy_format,
            ..Config::default()
        };
        let info = server.info("postgres").with_dbname("latin");
        let source = PgSource::open(info, config, std::sync::Arc::new(pghaul_stage::Silent))
            .await
            .unwrap();
        assert_eq!(source.catalog().await.unwrap().database.encoding, "LATIN1");
        for part in source.plan().await.unwrap().parts {
            for _ in 0..2 {
                assert_eq!(
                    read(&source, &part).await.unwrap()[0],
                    (expected.to_vec(), 1)
                );
            }
        }
    }
}

#[tokio::test]
async fn binary_on_demand_is_refused_where_it_cannot_be() {
    let server = Server::start().await;
    server
        .run("CREATE TABLE t (i int, \"Where\" regclass)")
        .await;
    let config = Config {
        copy_format: CopyFormat::Binary,
        ..Config::default()
    };
    let error = server.source_with(config).await.plan().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("table public.t"), "{error}");
    assert!(error.to_string().contains("\"Where\""), "{error}");
}

/// A session with a temporary table `x` that holds what a binary COPY says.
async fn loaded(server: &Server, columns: &str, bytes: &[u8]) -> tokio_postgres::Client {
    let session = server.session().await;
    session
        .batch_execute(&format!("CREATE TEMP TABLE x ({columns})"))
        .await
        .unwrap();
    let sink = session
        .copy_in("COPY x FROM STDIN (FORMAT binary)")
        .await
        .unwrap();
    let mut sink = std::pin::pin!(sink);
    sink.send(bytes::Bytes::copy_from_slice(bytes))
        .await
        .unwrap();
    sink.finish().await.unwrap();
    session
}

const OBJECTS: &str = "\
    CREATE ROLE owner LOGIN; \
    SELECT lo_from_bytea(1000, '\\x00ff'), lo_from_bytea(2000, ''), \
           lo_from_bytea(3000, decode(repeat('ab', 3000000), 'hex')); \
    SELECT lo_create(4000); SELECT lo_put(4000, 100000, 'end'); \
    COMMENT ON LARGE OBJECT 1000 IS 'one'; GRANT SELECT ON LARGE OBJECT 1000 TO PUBLIC; \
    ALTER LARGE OBJECT 1000 OWNER TO owner; ALTER LARGE OBJECT 2000 OWNER TO owner; \
    ALTER LARGE OBJECT 3000 OWNER TO owner; ALTER LARGE OBJECT 4000 OWNER TO owner";

#[tokio::test]
async fn large_objects_are_read_by_page_or_by_opening_them() {
    let server = Server::start().await;
    server.run(OBJECTS).await;
    for user in ["postgres", "owner"] {
        let source = server.open(user, Config::default()).await.unwrap();
        assert_eq!(source.catalog().await.unwrap().large_objects, 4);
        let plan = source.plan().await.unwrap();
        let [part] = plan.parts.as_slice() else {
            panic!("{:?}", plan.parts)
        };
        assert_eq!(
            part.work,
            Work::LargeObjects {
                from: None,
                to: None
            }
        );
        let slices = read(&source, part).await.unwrap();
        let [(metadata, objects), (pages, _)] = slices.as_slice() else {
            panic!()
        };
        assert_eq!(*objects, 4);
        let session = loaded(
            &server,
            "o oid, owner text, acl text[], note text",
            metadata,
        )
        .await;
        let query = "SELECT string_agg(concat_ws('|', o, owner, acl, note), ';' ORDER BY o) FROM x";
        let understood: String = session.query_one(query, &[]).await.unwrap().get(0);
        assert_eq!(
            understood, "1000|owner|{owner=rw/owner,=r/owner}|one;2000|owner;3000|owner;4000|owner",
            "{user}"
        );
        // Put together again in other objects, they must be equal.
        let session = loaded(&server, "o oid, at int8, data bytea", pages).await;
        session
            .batch_execute(
                "BEGIN; DO $$ BEGIN \
                   PERFORM lo_create((m.oid::int8 + 100000)::oid) FROM pg_largeobject_metadata m; \
                   PERFORM lo_put((o::int8 + 100000)::oid, at, data) FROM x; END $$",
            )
            .await
            .unwrap();
        let query = "SELECT count(*) FROM pg_largeobject_metadata m WHERE m.oid < 100000 \
                        AND lo_get(m.oid) = lo_get((m.oid::int8 + 100000)::oid)";
        let same: i64 = session.query_one(query, &[]).await.unwrap().get(0);
        assert_eq!(same, 4, "{user}");
    }
}

#[tokio::test]
async fn many_large_objects_are_cut_into_ranges_that_hold_each_once() {
    let server = Server::start().await;
    server
        .run("SELECT lo_from_bytea(0, 'x') FROM generate_series(1, 5000)")
        .await;
    let source = server.source().await;
    let parts = source.plan().await.unwrap().parts;
    assert_eq!(parts.len(), 5);
    let mut objects = 0;
    for part in &parts {
        let slices = read(&source, part).await.unwrap();
        assert_eq!(slices[0].1, slices[1].1);
        objects += slices[0].1;
    }
    assert_eq!(objects, 5000);
}

#[tokio::test]
async fn an_object_that_may_not_be_read_is_an_error() {
    let server = Server::start().await;
    server
        .run("CREATE ROLE poor LOGIN; SELECT lo_from_bytea(1000, 'secret')")
        .await;
    let source = server.open("poor", Config::default()).await.unwrap();
    let parts = source.plan().await.unwrap().parts;
    let error = read(&source, &parts[0]).await.unwrap_err();
    assert_eq!(error.code(), Some("42501"), "{error}");
}

#[tokio::test]
async fn parts_can_be_read_at_the_same_time() {
    let server = Server::start().await;
    server
        .run("CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 100000) g")
        .await;
    let config = Config {
        split: Split::LargerThan(512 * KIB),
        ..Config::default()
    };
    let source = server.source_with(config).await;
    let parts = source.plan().await.unwrap().parts;
    let rows = futures_util::future::try_join_all(parts.iter().map(async |part| {
        let batches = source.read(part, Format::Copy).await?;
        batches
            .try_fold(0, async |rows, batch| Ok(rows + batch.rows))
            .await
    }))
    .await
    .unwrap();
    assert_eq!(rows.iter().sum::<u64>(), 100_000);
    let lanes = "SELECT count(*) FROM pg_stat_activity \
                  WHERE application_name ~ '^pghaul ' AND state = 'idle'";
    assert_eq!(server.ask(lanes).await, parts.len().to_string());
    source.close().await.unwrap();
    let all = "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^pghaul '";
    for _ in 0..500 {
        if server.ask(all).await == "0" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("sessions are left over");
}
