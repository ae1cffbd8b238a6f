//! COPY between two lanes, checked by PostgreSQL itself.

use bytes::Bytes;
use pghaul_stage::{Error, Kind, Side};
use pghaul_wire::{CopyEvent, CopyIn, Lane, quote, server_error};
use proptest::collection::vec;
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::server::{Server, plain, tls};

pub(crate) async fn lane(server: &Server, side: Side) -> Lane {
    Lane::connect(&server.unix(""), side).await.unwrap()
}

/// Sends everything from one lane to the other, statement by statement.
pub(crate) async fn forward(
    source: Lane,
    out: &str,
    target: Lane,
    copy_in: &str,
) -> Result<(Lane, Lane, Vec<u64>), Error> {
    let mut from = source.copy_out(out).await?;
    let mut to = target.copy_in(copy_in).await?;
    let (mut seen, mut frames, mut sent) = (Vec::new(), 0, 0);
    while let Some(event) = from.next().await? {
        match event {
            CopyEvent::Data { bytes, rows } => {
                assert!(bytes.len() <= 256 * 1024);
                frames += rows;
                sent += bytes.len();
                to.send(bytes).await?;
            }
            CopyEvent::Done { rows } => {
                seen.push(rows);
                to.done().await?;
            }
        }
    }
    assert!(sent == 0 || frames > 0);
    let (target, rows) = to.finish().await?;
    assert_eq!(seen, rows);
    Ok((from.into_lane()?, target, rows))
}

/// Whether both tables hold the same, as the server computes it.
fn same(server: &Server, one: &str, other: &str) {
    let hash = |table: &str| {
        server.psql(&format!(
            "SELECT count(*) || md5(string_agg(md5(t::text), '' ORDER BY t::text)) FROM {table} t"
        ))
    };
    assert_eq!(hash(one), hash(other));
}

#[tokio::test]
async fn rows_arrive_unchanged_in_text_and_binary() {
    plain().psql(
        "CREATE TABLE narrow AS SELECT i AS id, -i AS other FROM generate_series(1, 60000) i;
         CREATE TABLE wide AS SELECT i AS id, repeat(md5(i::text), 1 + i % 40 * 250) AS t,
             CASE WHEN i % 3 = 0 THEN NULL ELSE E'tab\\t, \\\\, \\n and Ω' || i END AS n,
             now() + i * interval '1 s' AS at, i / 7.0 AS v FROM generate_series(1, 800) i;
         CREATE TABLE empty (id int);
         CREATE TABLE no_columns (); INSERT INTO no_columns SELECT FROM generate_series(1, 10)",
    );
    let mut lanes = (
        lane(plain(), Side::Source).await,
        lane(plain(), Side::Target).await,
    );
    for table in ["narrow", "wide", "empty", "no_columns"] {
        for format in ["text", "binary"] {
            let copy = format!("copy_{table}_{format}");
            plain().psql(&format!("CREATE TABLE {copy} (LIKE {table})"));
            let out = format!("COPY {table} TO STDOUT (FORMAT {format})");
            let back = format!("COPY {copy} FROM STDIN (FORMAT {format})");
            let (source, target, _) = forward(lanes.0, &out, lanes.1, &back).await.unwrap();
            same(plain(), table, &copy);
            lanes = (source, target);
        }
    }
    assert!(lanes.0.is_healthy() && lanes.1.is_healthy());
}

#[tokio::test]
async fn rows_arrive_unchanged_over_tls() {
    tls().psql(
        "CREATE TABLE s AS SELECT i, repeat('x', i % 5000) AS t FROM generate_series(1, 3000) i;
         CREATE TABLE d (LIKE s)",
    );
    let info = tls().tcp("sslmode=require");
    let source = Lane::connect(&info, Side::Source).await.unwrap();
    let target = Lane::connect(&info, Side::Target).await.unwrap();
    forward(source, "COPY s TO STDOUT", target, "COPY d FROM STDIN")
        .await
        .unwrap();
    same(tls(), "s", "d");
}

#[tokio::test]
async fn several_statements_in_one_query() {
    plain().psql(
        "CREATE TABLE m1 AS SELECT i FROM generate_series(1, 5) i;
         CREATE TABLE m2 AS SELECT i FROM generate_series(1, 30000) i; CREATE TABLE m3 (i int);
         CREATE TABLE n1 (i int); CREATE TABLE n2 (i int); CREATE TABLE n3 (i int)",
    );
    let (source, target, rows) = forward(
        lane(plain(), Side::Source).await,
        "COPY m1 TO STDOUT; SELECT 1; COPY m3 TO STDOUT; COPY m2 TO STDOUT",
        lane(plain(), Side::Target).await,
        "BEGIN; COPY n1 FROM STDIN; CREATE TABLE n4 (); COPY n3 FROM STDIN;
         COPY n2 FROM STDIN; COMMIT",
    )
    .await
    .unwrap();
    assert_eq!(rows, [5, 0, 30000]);
    same(plain(), "m2", "n2");
    same(plain(), "m1", "n1");
    assert!(source.is_healthy() && target.is_healthy() && !target.in_transaction());
}

#[tokio::test]
async fn statements_of_every_kind() {
    let mut lane = lane(plain(), Side::Source).await;
    assert!((150_000..160_000).contains(&lane.server_version()));
    let tags = lane
        .execute("BEGIN; SELECT 1; CREATE TABLE tags (); ROLLBACK")
        .await
        .unwrap();
    assert_eq!(tags, ["BEGIN", "SELECT 1", "CREATE TABLE", "ROLLBACK"]);
    let rows = lane.query("SELECT 'ä', NULL, ''; SELECT 2").await.unwrap();
    assert_eq!(rows[0], [Some("ä".to_owned()), None, Some(String::new())]);
    assert_eq!(rows[1], [Some("2".to_owned())]);
    assert_eq!(lane.query("").await.unwrap(), Vec::<Vec<_>>::new());

    lane.execute("BEGIN").await.unwrap();
    assert!(lane.in_transaction() && !lane.is_healthy());
    let error = lane.execute("SELECT 1/0").await.unwrap_err();
    assert_eq!(
        (error.code(), error.kind()),
        (Some("22012"), Kind::Permanent)
    );
    assert!(lane.in_transaction());
    lane.execute("ROLLBACK").await.unwrap();
    // COPY in the wrong place is an error, not a session that hangs.
    assert!(
        lane.execute("COPY pg_description FROM STDIN")
            .await
            .is_err()
    );
    lane.execute("COPY (SELECT 1) TO STDOUT").await.unwrap();
    assert!(lane.is_healthy());
}

#[tokio::test]
async fn quoting_survives_the_server() {
    let mut lane = lane(plain(), Side::Source).await;
    for text in ["", "a'b", "a\\b", "\"", "'';--", "Ω\n\t", "E'x'", "$1"] {
        for setting in ["on", "off"] {
            lane.execute(&format!("SET standard_conforming_strings = {setting}"))
                .await
                .unwrap();
            let sql = format!("SELECT{}", pghaul_wire::quote::literal(text));
            assert_eq!(
                lane.query(&sql).await.unwrap()[0][0].as_deref(),
                Some(text),
                "{setting}"
            );
        }
        let name = format!("x{text}");
        let sql = format!("CREATE TEMP TABLE {} ()", pghaul_wire::quote::ident(&name));
        lane.execute(&sql).await.unwrap();
        let sql = format!(
            "SELECT count(*) FROM pg_class WHERE relname ={} AND relpersistence = 't'",
            pghaul_wire::quote::literal(&name)
        );
        assert_eq!(
            lane.query(&sql).await.unwrap()[0][0].as_deref(),
            Some("1"),
            "{name}"
        );
    }
}

/// Three hundred arbitrary names and texts, as the server's own parser reads them back.
#[tokio::test]
async fn arbitrary_names_and_texts_survive_the_server() {
    let mut lane = lane(plain(), Side::Source).await;
    let characters = prop_oneof![
        proptest::char::any().prop_filter("no text holds NUL", |c| *c != '\0'),
        select(vec!['"', '\'', '\\', '$', ' ', '.', ';']),
    ];
    let texts = vec(vec(characters, 1..40), 300);
    let mut runner = TestRunner::deterministic();
    let texts = texts.new_tree(&mut runner).unwrap().current();
    for text in texts.into_iter().map(String::from_iter) {
        let text: String = text;
        let (name, value) = (quote::literal(&quote::ident(&text)), quote::literal(&text));
        let sql = format!("SELECT (parse_ident({name}))[1], {value}");
        let rows = lane.query(&sql).await.unwrap();
        let expected = vec![Some(text.clone()), Some(text)];
        assert_eq!(rows, [expected]);
    }
}

#[tokio::test]
async fn a_target_error_is_noticed_while_sending() {
    plain().psql("CREATE TABLE u (id int PRIMARY KEY, t text); INSERT INTO u VALUES (1, '')");
    let mut to = lane(plain(), Side::Target)
        .await
        .copy_in("COPY u FROM STDIN")
        .await
        .unwrap();
    let piece: Bytes = format!("1\t{}\n", "x".repeat(100)).repeat(1000).into();
    let mut sent = 0usize;
    let error = loop {
        assert!(sent < 100_000_000, "nothing noticed");
        sent += piece.len();
        if let Err(error) = to.send(piece.clone()).await {
            break error;
        }
    };
    assert_eq!(
        (error.code(), error.kind()),
        (Some("23505"), Kind::Permanent)
    );
    assert_eq!(
        error.subject(),
        Some("table \"public\".\"u\", constraint \"u_pkey\"")
    );
    assert_eq!(error.side(), Some(Side::Target));
    assert!(sent < 20_000_000, "{sent}");
    assert!(to.send(piece).await.is_err());
    assert!(to.finish().await.is_err());
    assert_eq!(plain().psql("SELECT count(*) FROM u"), "1");
}

#[tokio::test]
async fn data_errors_show_the_place_and_not_the_value() {
    plain().psql("CREATE TABLE v (id int)");
    let mut to = lane(plain(), Side::Target)
        .await
        .copy_in("COPY v FROM STDIN")
        .await
        .unwrap();
    to.send(Bytes::from_static(b"1\nhidden\n")).await.unwrap();
    to.done().await.unwrap();
    let error = to.finish().await.unwrap_err();
    assert_eq!(error.subject(), Some("COPY v, line 2, column id"));
    assert!(!format!("{error:?}").contains("hidden"));
}

#[tokio::test]
async fn copy_fail_leaves_no_rows() {
    plain().psql("CREATE TABLE f (id int)");
    let mut to = lane(plain(), Side::Target)
        .await
        .copy_in("COPY f FROM STDIN; COPY f FROM STDIN")
        .await
        .unwrap();
    for _ in 0..3 {
        to.send("1\n".repeat(50_000).into()).await.unwrap();
    }
    to.done().await.unwrap();
    to.send(Bytes::from_static(b"2\n")).await.unwrap();
    let mut lane = to.fail("the source is gone").await.unwrap();
    assert!(lane.is_healthy());
    assert_eq!(
        lane.query("SELECT count(*) FROM f").await.unwrap()[0][0].as_deref(),
        Some("0")
    );

    // Too late: the rows are there.
    let mut to = lane.copy_in("COPY f FROM STDIN").await.unwrap();
    to.send(Bytes::from_static(b"3\n")).await.unwrap();
    to.done().await.unwrap();
    assert!(to.fail("too late").await.is_err());
    assert_eq!(plain().psql("SELECT count(*) FROM f"), "1");
}

#[tokio::test]
async fn streams_and_statements_must_match() {
    plain().psql("CREATE TABLE w (id int)");
    let start = async |sql: &str| -> CopyIn {
        lane(plain(), Side::Target)
            .await
            .copy_in(sql)
            .await
            .unwrap()
    };
    let mut few = start("COPY w FROM STDIN; COPY w FROM STDIN").await;
    few.done().await.unwrap();
    assert!(
        few.finish()
            .await
            .unwrap_err()
            .message()
            .contains("more COPY statements")
    );
    let mut many = start("COPY w FROM STDIN").await;
    many.done().await.unwrap();
    many.done().await.unwrap();
    assert!(
        many.finish()
            .await
            .unwrap_err()
            .message()
            .contains("fewer COPY statements")
    );
    let mut open = start("COPY w FROM STDIN").await;
    open.send(Bytes::from_static(b"1\n")).await.unwrap();
    assert!(open.finish().await.is_err());
    assert_eq!(
        start("COPY w TO STDOUT")
            .await
            .finish()
            .await
            .unwrap_err()
            .kind(),
        Kind::Input
    );
    assert_eq!(
        start("COPY nope FROM STDIN")
            .await
            .finish()
            .await
            .unwrap_err()
            .code(),
        Some("42P01")
    );
}

#[tokio::test]
async fn errors_of_the_other_client_are_ours_too() {
    let client = pghaul_wire::Client::connect(&plain().unix(""), Side::Source)
        .await
        .unwrap();
    client
        .batch_execute("CREATE TEMP TABLE k (id int PRIMARY KEY)")
        .await
        .unwrap();
    let sql = "INSERT INTO k VALUES (1234567), (1234567)";
    let error = server_error(Side::Source, client.batch_execute(sql).await.unwrap_err());
    assert_eq!(
        (error.code(), error.kind()),
        (Some("23505"), Kind::Permanent)
    );
    assert!(error.subject().unwrap().contains("constraint \"k_pkey\""));
    assert!(!format!("{error:?}").contains("1234567"));
}
