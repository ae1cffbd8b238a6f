//! Cancelled, dropped, killed and silent sessions.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pghaul_stage::{Kind, Side};
use pghaul_wire::{Canceller, Client, CopyEvent, Lane, server_error};

use crate::copy::lane;
use crate::server::{Server, plain, tls};

const ENDLESS: &str = "COPY (SELECT generate_series(1, 1000000000)) TO STDOUT";

/// Cancels again and again, for the first request may come before the statement.
async fn keep_cancelling(canceller: Canceller) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        canceller.cancel().await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_is_cancelled() {
    for info in [
        plain().unix(""),
        plain().tcp(""),
        tls().tcp("sslmode=require"),
    ] {
        let start = Instant::now();
        let mut lane = Lane::connect(&info, Side::Source).await.unwrap();
        let cancel = keep_cancelling(lane.canceller());
        let error = tokio::select! {
            result = lane.execute("SELECT pg_sleep(60)") => result.unwrap_err(),
            () = cancel => unreachable!(),
        };
        assert_eq!(
            (error.code(), error.kind()),
            (Some("57014"), Kind::Transient)
        );
        lane.execute("SELECT 1").await.unwrap();

        let client = Client::connect(&info, Side::Source).await.unwrap();
        let result = tokio::select! {
            result = client.batch_execute("SELECT pg_sleep(60)") => result,
            () = keep_cancelling(client.canceller()) => unreachable!(),
        };
        let error = server_error(Side::Source, result.unwrap_err());
        assert_eq!(
            (error.code(), error.kind()),
            (Some("57014"), Kind::Transient)
        );
        client.cancel().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(50));
    }
}

/// Waits until the server has no such session.
async fn gone(server: &Server, pid: i32) {
    let start = Instant::now();
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    while server.psql(&sql) != "0" {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "session {pid} goes on"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_dropped_copy_stops_on_the_server() {
    // It sends nothing for a minute, so only a request to cancel can stop it.
    let quiet = "COPY (SELECT 1 UNION ALL SELECT 1 FROM pg_sleep(60)) TO STDOUT";
    for sql in [ENDLESS, quiet] {
        let lane = lane(plain(), Side::Source).await;
        let pid = lane.pid();
        let mut from = lane.copy_out(sql).await.unwrap();
        if sql == ENDLESS {
            let next = from.next().await.unwrap();
            assert!(matches!(next, Some(CopyEvent::Data { .. })), "{next:?}");
        } else {
            let next = tokio::time::timeout(Duration::from_millis(500), from.next()).await;
            assert!(next.is_err(), "{next:?}");
        }
        drop(from);
        gone(plain(), pid).await;
    }
}

#[tokio::test]
async fn a_dropped_copy_in_leaves_nothing() {
    plain().psql("CREATE TABLE dropped (id int)");
    let lane = lane(plain(), Side::Target).await;
    let pid = lane.pid();
    let mut to = lane.copy_in("COPY dropped FROM STDIN").await.unwrap();
    to.send("1\n".repeat(100_000).into()).await.unwrap();
    drop(to);
    gone(plain(), pid).await;
    assert_eq!(plain().psql("SELECT count(*) FROM dropped"), "0");
}

#[tokio::test]
async fn an_error_is_noticed_while_the_way_is_blocked() {
    plain().psql("CREATE TABLE blocked (id int)");
    let mut holder = lane(plain(), Side::Target).await;
    holder.execute("BEGIN; LOCK TABLE blocked").await.unwrap();
    let lane = lane(plain(), Side::Target).await;
    let pid = lane.pid();
    let mut to = lane.copy_in("COPY blocked FROM STDIN").await.unwrap();
    let piece: Bytes = "1\n".repeat(100_000).into();
    let send = async {
        loop {
            if let Err(error) = to.send(piece.clone()).await {
                return (error, Instant::now());
            }
        }
    };
    let terminate = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        holder
            .execute(&format!("SELECT pg_terminate_backend({pid})"))
            .await
            .unwrap();
        Instant::now()
    };
    let ((error, noticed), terminated) = tokio::join!(send, terminate);
    assert_eq!(
        (error.code(), error.kind()),
        (Some("57P01"), Kind::Transient)
    );
    assert!(noticed.saturating_duration_since(terminated) < Duration::from_secs(10));
}

#[tokio::test]
async fn a_killed_server_is_a_transient_error() {
    let mut server = Server::start("", "local all all trust\n");
    server.psql("CREATE TABLE t (id int)");
    let mut from = lane(&server, Side::Source)
        .await
        .copy_out(ENDLESS)
        .await
        .unwrap();
    let mut to = lane(&server, Side::Target)
        .await
        .copy_in("COPY t FROM STDIN")
        .await
        .unwrap();
    let client = Client::connect(&server.unix(""), Side::Source)
        .await
        .unwrap();
    assert!(from.next().await.unwrap().is_some());
    to.send("1\n".repeat(100_000).into()).await.unwrap();
    server.stop();

    let start = Instant::now();
    let read = loop {
        if let Err(error) = from.next().await {
            break error;
        }
    };
    let written = loop {
        if let Err(error) = to.send("1\n".repeat(100_000).into()).await {
            break error;
        }
    };
    let asked = client.batch_execute("SELECT 1").await.unwrap_err();
    for error in [read, written, server_error(Side::Source, asked)] {
        assert_eq!(error.kind(), Kind::Transient, "{error:?}");
    }
    assert!(client.is_closed());
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn silence_has_a_limit() {
    let limit = Some(Duration::from_millis(300));
    let mut quiet = lane(plain(), Side::Source).await;
    quiet.set_silence_limit(limit);
    let mut from = quiet
        .copy_out("COPY (SELECT pg_sleep(60)) TO STDOUT")
        .await
        .unwrap();
    let error = from.next().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
    assert!(error.message().contains("nothing has moved"), "{error}");

    plain().psql("CREATE TABLE stalled (id int)");
    let mut holder = lane(plain(), Side::Target).await;
    holder.execute("BEGIN; LOCK TABLE stalled").await.unwrap();
    let mut lane = lane(plain(), Side::Target).await;
    lane.set_silence_limit(limit);
    let mut to = lane.copy_in("COPY stalled FROM STDIN").await.unwrap();
    let error = loop {
        if let Err(error) = to.send("1\n".repeat(100_000).into()).await {
            break error;
        }
    };
    assert!(error.message().contains("nothing has moved"), "{error}");
}
