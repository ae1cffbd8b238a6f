//! Streams of events: how many there may be, and that who loses one and comes back misses nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::oracle::assert_migrated;
use crate::support::runtime_server::{RuntimeServer, is_active, job};
use crate::support::{Pair, fixture};

/// Streams at the same time, which are as many as the connections of one address.
const STREAMS: usize = 256;

const PATH: &str = "/api/v1/migrations/m/events/stream";

/// A client that follows the events after one; gone when dropped.
struct Follower(Child);

impl Follower {
    fn start(server: &RuntimeServer, more: &[&str]) -> Self {
        let token = format!("Authorization: Bearer {}", server.admin_token());
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--no-buffer",
            "--max-time",
            "120",
            "--header",
            &token,
        ]);
        curl.args(more)
            .arg(server.url() + PATH)
            .stdout(Stdio::piped());
        Self(curl.spawn().expect("curl is there"))
    }

    fn lines(&mut self) -> impl Iterator<Item = String> {
        let said = self.0.stdout.take().expect("a pipe");
        BufReader::new(said).lines().map_while(Result::ok)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn one_stream_too_many_is_refused() {
    let pair = Pair::start();
    let server = RuntimeServer::start(&[]);
    let later = json!({ "startAt": "2999-01-01T00:00:00Z" });
    server.create("m", &job(&pair, &["a"], later));
    let token = server.admin_token();
    let stream = || {
        let mut stream = TcpStream::connect(server.address()).expect("a connection");
        write!(
            stream,
            "GET {PATH} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
            server.address()
        )
        .expect("it is asked for");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 200");
        stream
    };
    let mut streams: Vec<TcpStream> = (0..STREAMS).map(|_| stream()).collect();

    // From another address, as the first one has no connection left.
    let other = ["--interface", "127.0.0.2", "--include"];
    let refused: Vec<String> = Follower::start(&server, &other).lines().collect();
    assert!(refused[0].starts_with("HTTP/1.1 429"), "{refused:?}");
    let kind = "content-type: application/problem+json";
    assert!(refused.iter().any(|line| line == kind), "{refused:?}");
    let problem: Value = refused[refused.len() - 1].parse().expect("JSON");
    assert_eq!(problem["status"], 429);
    assert_eq!(problem["remedy"], "read the events page by page");

    // Whoever leaves makes room.
    drop(streams.pop());
    let head = || Follower::start(&server, &other).lines().next();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut answer = head().expect("an answer");
    while answer.starts_with("HTTP/1.1 429") && Instant::now() < deadline {
        answer = head().expect("an answer");
    }
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn who_comes_back_misses_nothing_and_hears_nothing_twice() {
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "a", 1);
    let mut server = RuntimeServer::start(&[]);
    let slow = json!({ "bytesPerSecond": 2_000_000 });
    server.create("m", &job(&pair, &["a"], slow));
    let (mut told, mut last): (Vec<Value>, Option<String>) = (Vec::new(), None);
    for turn in 0.. {
        let after = last.as_ref().map(|id| format!("Last-Event-ID: {id}"));
        let after = after
            .iter()
            .flat_map(|line| ["--header", line])
            .collect::<Vec<_>>();
        // Whether the migration had ended before, so that this is all of it.
        let whole = !is_active(&server.get("m"));
        let mut follower = Follower::start(&server, &after);
        let mut id = None;
        let mut heard = 0;
        for line in follower.lines() {
            if let Some(given) = line.strip_prefix("id: ") {
                id = Some(given.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                told.push(data.parse().expect("JSON"));
            } else if line.is_empty() && id.is_some() {
                // A message counts once it is whole.
                last = id.take();
                heard += 1;
                if heard == 3 && !whole {
                    break;
                }
            }
        }
        drop(follower);
        if whole {
            break;
        }
        if turn == 2 {
            server.end("KILL");
            server.start_again();
        }
    }
    let ended = server.get("m");
    assert_eq!(ended["currentStatus"]["state"], "Succeeded", "{ended:#}");
    for event in &mut told {
        assert!(event["id"].is_u64(), "{event}");
        event.as_object_mut().expect("an object").remove("id");
    }
    assert_eq!(told, server.run_dir("m").events());
    assert_migrated(&pair.source, "a", &pair.target, "a");
}
