//! Which of several servers is taken.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pghaul_stage::{Error, Kind, Side};
use pghaul_wire::{Client, Conninfo, Lane};

use crate::server::{Server, parse, plain};

/// Connects both kinds of session; the port of the server they reach.
async fn port(info: &Conninfo) -> Result<u16, Error> {
    let mut lane = Lane::connect(info, Side::Source).await?;
    let by_lane = lane.query("SHOW port").await.unwrap()[0][0]
        .clone()
        .unwrap();
    let client = Client::connect(info, Side::Source).await?;
    let by_client: String = client.query_one("SHOW port", &[]).await.unwrap().get(0);
    assert_eq!(by_lane, by_client);
    Ok(by_lane.parse().unwrap())
}

fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn several(ports: &[u16], more: &str) -> Conninfo {
    let list = |part: &dyn Fn(&u16) -> String| ports.iter().map(part).collect::<Vec<_>>().join(",");
    parse(&format!(
        "host={} port={} user=postgres {more}",
        list(&|_| "127.0.0.1".to_owned()),
        list(&u16::to_string)
    ))
}

#[tokio::test]
async fn the_first_server_that_will_do() {
    let read_only = Server::start(
        "default_transaction_read_only = on",
        "host all all all trust\n",
    );
    let (dead, read_only, plain) = (dead_port(), read_only.port, plain().port);
    let all = [dead, read_only, plain];
    for (wanted, expected) in [
        ("any", read_only),
        ("read-only", read_only),
        ("read-write", plain),
        ("primary", read_only),
        ("prefer-standby", read_only),
    ] {
        let info = several(&all, &format!("target_session_attrs={wanted}"));
        assert_eq!(port(&info).await.unwrap(), expected, "{wanted}");
    }
    let error = port(&several(&all, "target_session_attrs=standby"))
        .await
        .unwrap_err();
    for part in [
        &format!("127.0.0.1:{dead}"),
        "no server accepts",
        "not a standby",
    ] {
        assert!(error.message().contains(part), "{error}");
    }
    let one = several(&[read_only], "target_session_attrs=read-write");
    assert_eq!(port(&one).await.unwrap_err().kind(), Kind::Permanent);
    let random = several(
        &all,
        "load_balance_hosts=random target_session_attrs=read-write",
    );
    assert_eq!(port(&random).await.unwrap(), plain);
}

#[tokio::test]
async fn a_socket_and_a_network_host_in_one_list() {
    let folder = plain().socket_folder();
    let info = parse(&format!(
        "postgresql://postgres@{},127.0.0.1:{1}/postgres?port={1}",
        folder.replace('/', "%2F"),
        plain().port
    ));
    assert_eq!(port(&info).await.unwrap(), plain().port);
}

#[tokio::test]
async fn nobody_there() {
    let dead = dead_port();
    let error = port(&several(&[dead], "")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
    assert_eq!(error.subject(), Some(&*format!("127.0.0.1:{dead}")));
    assert!(error.hint().is_some());

    let error = port(&parse("host=/nonexistent user=u")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Permanent);
    let error = port(&parse("host=name.invalid user=u")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Permanent, "{error:?}");
    assert_eq!(error.subject(), Some("name.invalid:5432"));
}

#[tokio::test]
async fn silence_at_login_ends_in_time() {
    // Accepts connections by its backlog, and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().port();
    let start = Instant::now();
    let info = several(&[address, plain().port], "connect_timeout=2");
    assert_eq!(port(&info).await.unwrap(), plain().port);
    let error = port(&several(&[address], "connect_timeout=2"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
    // Two sessions past the mute server, and one attempt that ends there.
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_server_that_is_none() {
    for answer in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}",
        "R\0\0\0\0",
    ] {
        let fake = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let info = several(&[fake.local_addr().unwrap().port()], "sslmode=disable");
        let serve = async {
            let (mut socket, _) = fake.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut socket, answer.as_bytes())
                .await
                .unwrap();
            socket
        };
        let (error, _socket) = tokio::join!(Lane::connect(&info, Side::Source), serve);
        assert_eq!(error.unwrap_err().kind(), Kind::Protocol, "{answer:?}");
    }
}
