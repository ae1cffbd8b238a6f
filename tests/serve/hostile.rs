//! A client that means harm: what it sends is refused, and the server lives.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::runtime_server::RuntimeServer;

/// Longer than the server waits for anything.
const PATIENCE: Duration = Duration::from_secs(90);

/// Sends bytes as they are and gives the answer; empty if the server hung up.
fn exchange(server: &RuntimeServer, bytes: &[u8]) -> String {
    let mut stream = connect(server);
    // The server may have answered and closed before it has read all.
    let _refused = stream.write_all(bytes).is_err();
    read(&mut stream)
}

fn connect(server: &RuntimeServer) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // What came before a reset counts.
    let _reset = stream.read_to_end(&mut answer).is_err();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of an answer; 0 if there is none.
fn status(answer: &str) -> u16 {
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    status
        .and_then(|status| status.parse().ok())
        .unwrap_or_default()
}

fn token(server: &RuntimeServer) -> String {
    let token = std::fs::read_to_string(server.state().join("admin.token")).expect("a token");
    format!("Authorization: Bearer {}\r\n", token.trim())
}

/// A request line and headers, with the right name of the server.
fn head(server: &RuntimeServer, line: &str, headers: &str) -> String {
    let host = server.address();
    format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")
}

/// Whether the server answers. A flood may have used up what this client may ask for, or the places
/// for its connections: then it is refused, or hung up on, until there is room again.
#[track_caller]
fn lives(server: &RuntimeServer) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match server.try_ask("GET", "/api/v1/migrations?filter=all") {
            Ok(answer) if answer.status != 429 || Instant::now() > deadline => {
                return assert_eq!(answer.status, 200, "{}", answer.text);
            }
            Err(error) if Instant::now() > deadline => panic!("nobody answers: {error}"),
            Ok(_) | Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn job() -> Value {
    json!({
        "option": "validate",
        "source": {"host": "127.0.0.1", "port": 9, "user": "u"},
        "target": {"host": "127.0.0.1", "port": 9, "user": "u"},
    })
}

#[test]
fn hostile_api_client() {
    let server = RuntimeServer::start(&["--max-running", "1"]);
    thread::scope(|scope| {
        // Those take as long as the server waits for them.
        let slow_body = scope.spawn(|| {
            let mut stream = connect(&server);
            let headers = format!("{}Content-Type: application/json\r\nContent-Length: 500\r\n", token(&server));
            let head = head(&server, "PUT /api/v1/migrations/slow", &headers);
            stream.write_all(head.as_bytes()).expect("it takes a head");
            let began = Instant::now();
            while began.elapsed() < PATIENCE && stream.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_secs(1));
                stream.set_nonblocking(true).expect("a socket");
                let answered = !matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
                stream.set_nonblocking(false).expect("a socket");
                if answered {
                    break;
                }
            }
            read(&mut stream)
        });
        let slow_head = scope.spawn(|| {
            let mut stream = connect(&server);
            stream
                .write_all(b"GET / HTTP/1.1\r\nX-Slow: ")
                .expect("it takes a piece");
            read(&mut stream)
        });
        let silent_http2 = scope.spawn(|| {
            let mut stream = connect(&server);
            stream
                .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                .expect("it takes a preface");
            stream.write_all(&[0xff; 64]).expect("it takes garbage");
            read(&mut stream)
        });
        requests(&server);
        names(&server);
        bodies(&server);
        logins(&server);
        flood(&server);
        assert_eq!(status(&slow_body.join().expect("a client")), 408);
        assert_ne!(status(&slow_head.join().expect("a client")), 200);
        assert!(!silent_http2.join().expect("a client").contains("200"));
    });
    lives(&server);
    let said = server.said();
    assert!(!said.contains("panicked"), "{said}");
}

/// Heads that are not what they should be.
fn requests(server: &RuntimeServer) {
    let token = token(server);
    let address = server.address();
    let get = "GET /api/v1/migrations";
    for (what, request, expected) in [
        (
            "no name",
            format!("{get} HTTP/1.1\r\nConnection: close\r\n{token}\r\n"),
            &[400, 421][..],
        ),
        (
            "another name",
            format!("{get} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n{token}\r\n"),
            &[421],
        ),
        (
            "two names",
            head(server, get, &format!("Host: evil.example\r\n{token}")),
            &[400, 421],
        ),
        (
            "another name in the target",
            head(server, "GET http://evil.example/api/v1/migrations", &token),
            &[421],
        ),
        ("nobody", head(server, get, ""), &[401]),
        (
            "a forged token",
            head(
                server,
                get,
                "Authorization: Bearer pghaul_0123456789abcdef0123456789abcdef_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n",
            ),
            &[401],
        ),
        (
            "a token of zero bytes",
            head(server, get, "Authorization: Bearer \0\0\r\n"),
            &[400, 401],
        ),
        (
            "a forged session",
            head(
                server,
                get,
                "Cookie: pghaul_session=pghaul_x_y; pghaul_session=\r\n",
            ),
            &[401],
        ),
        (
            "a session as SQL",
            head(server, get, "Cookie: pghaul_session=' OR 1=1 --\r\n"),
            &[401],
        ),
        (
            "another way to log in",
            head(server, get, "Authorization: Basic YWRtaW46YWRtaW4=\r\n"),
            &[401],
        ),
        (
            "TRACE",
            head(server, "TRACE /api/v1/migrations", &token),
            &[405],
        ),
        (
            "OPTIONS",
            head(server, "OPTIONS /api/v1/migrations/m", &token),
            &[405],
        ),
        (
            "CONNECT",
            format!(
                "CONNECT evil.example:80 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{token}\r\n"
            ),
            &[400, 404, 405, 421],
        ),
        (
            "no such method",
            head(server, "BREW /api/v1/migrations", &token),
            &[405],
        ),
        (
            "a method in disguise",
            head(
                server,
                get,
                &format!("{token}X-HTTP-Method-Override: DELETE\r\n"),
            ),
            &[200],
        ),
        (
            "a head of 100 kB",
            head(
                server,
                get,
                &format!("{token}X-Large: {}\r\n", "x".repeat(100_000)),
            ),
            &[0, 400, 431],
        ),
        (
            "a thousand headers",
            head(server, get, &format!("{token}{}", "X: y\r\n".repeat(1000))),
            &[0, 400, 431],
        ),
        (
            "a target of 100 kB",
            head(server, &format!("GET /{}", "x".repeat(100_000)), &token),
            &[0, 400, 414, 431],
        ),
        (
            "a folded header",
            head(server, get, "Authorization:\r\n Bearer x\r\n"),
            &[400, 401],
        ),
        (
            "no HTTP",
            "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(),
            &[0, 400],
        ),
    ] {
        let answer = exchange(server, request.as_bytes());
        assert!(expected.contains(&status(&answer)), "{what}: {answer}");
    }
    // Two lengths: what one takes for a body must not be another's request.
    let second = format!("GET /api/v1/host HTTP/1.1\r\nHost: {address}\r\n{token}\r\n");
    for lengths in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -1\r\n",
    ] {
        let host = format!("Host: {address}\r\nContent-Type: application/json\r\n");
        let first = format!(
            "POST /api/v1/check-name-availability HTTP/1.1\r\n{host}{token}{lengths}\r\n0\r\n\r\n"
        );
        let answer = exchange(server, format!("{first}{second}").as_bytes());
        assert!(!answer.contains("memoryBytes"), "{lengths}: {answer}");
        assert_ne!(status(&answer), 200, "{lengths}: {answer}");
    }
    lives(server);
}

/// Names that try to leave their place.
fn names(server: &RuntimeServer) {
    let token = token(server);
    for name in [
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f",
        "..",
        "%00",
        "a%00b",
        "a%0d%0aX-Evil:%20yes",
        "%ff%fe",
        "a%2fb",
        "-x",
        "%20",
        "a;b",
        "a'b",
        "%3Cimg%20src=x%3E",
        "%E2%80%AE",
    ] {
        for (method, body) in [
            ("GET", String::new()),
            ("DELETE", String::new()),
            ("PUT", job().to_string()),
        ] {
            let headers = format!(
                "{token}Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            );
            let line = format!("{method} /api/v1/migrations/{name}");
            let answer = exchange(server, (head(server, &line, &headers) + &body).as_bytes());
            assert!((400..500).contains(&status(&answer)), "{line}: {answer}");
            assert!(!answer.to_lowercase().contains("\r\nx-evil"), "{answer}");
        }
    }
    for path in [
        "/assets/../state.db",
        "/assets/..%2f..%2fstate.db",
        "/assets//etc/passwd",
        "/../../etc/passwd",
        "//evil.example/",
        "/assets/%2e%2e/%2e%2e/key",
    ] {
        let answer = exchange(
            server,
            head(server, &format!("GET {path}"), &token).as_bytes(),
        );
        assert!([400, 404].contains(&status(&answer)), "{path}: {answer}");
    }
    lives(server);
}

/// Bodies that are too much, or not what they say.
fn bodies(server: &RuntimeServer) {
    let token = token(server);
    let put = |kind: &str, body: &str| {
        let headers = format!(
            "{token}Content-Type: {kind}\r\nContent-Length: {}\r\n",
            body.len()
        );
        let head = head(server, "PUT /api/v1/migrations/m", &headers);
        exchange(server, (head + body).as_bytes())
    };
    let json = "application/json";
    let good = job().to_string();
    for kind in [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json, text/plain",
    ] {
        let answer = put(kind, &good);
        assert_eq!(status(&answer), 415, "{kind}: {answer}");
    }
    let large = format!("{{\"tags\": {{\"a\": \"{}\"}}}}", "x".repeat(2 << 20));
    assert_eq!(status(&put(json, &large)), 413);
    let announced = format!("{token}Content-Type: {json}\r\nContent-Length: 99999999999\r\n");
    let announced = head(server, "PUT /api/v1/migrations/m", &announced);
    assert_eq!(status(&exchange(server, announced.as_bytes())), 413);
    for nested in [
        "[".repeat(500_000),
        "{\"a\":".repeat(150_000),
        format!("{{\"tags\": {}", "[".repeat(900_000)),
    ] {
        let answer = put(json, &nested);
        assert_eq!(status(&answer), 400, "{answer}");
    }
    for (key, value) in [
        ("user", json!("u\u{0}")),
        ("host", json!("h\u{0}")),
        ("host", json!("a\r\nb")),
        ("password", json!("\u{0}")),
        ("database", json!("\u{0}")),
        ("port", json!(65_536)),
        ("port", json!(-1)),
        ("port", json!(1e99)),
        ("host", json!("169.254.169.254")),
        ("host", json!("127.0.0.1,169.254.169.254")),
        ("host", json!("/var/run/postgresql")),
        ("host", json!("::ffff:169.254.169.254")),
        ("host", json!("0.0.0.0")),
        ("host", json!("2852039166")),
        ("host", json!("@abstract")),
    ] {
        let mut wrong = job();
        wrong["source"][key] = value.clone();
        let answer = put(json, &wrong.to_string());
        assert_eq!(status(&answer), 400, "{key} {value}: {answer}");
    }
    for wrong in [
        "",
        "{",
        "\u{feff}{}",
        "{\"mode\": \"offline\", \"mode\": \"online\"}",
        "NaN",
        "{} {}",
        "{\"databases\": [\"a\\u0000\"]}",
    ] {
        let answer = put(json, wrong);
        assert_eq!(status(&answer), 400, "{wrong}: {answer}");
    }
    let not_utf8 = exchange(
        server,
        &[
            head(
                server,
                "PUT /api/v1/migrations/m",
                &format!("{token}Content-Type: {json}\r\nContent-Length: 9\r\n"),
            )
            .as_bytes(),
            b"{\"a\xff\xfe\": 1",
        ]
        .concat(),
    );
    assert_eq!(status(&not_utf8), 400, "{not_utf8}");
    let chunks = format!("{token}Content-Type: {json}\r\nTransfer-Encoding: chunked\r\n");
    let chunks = head(server, "PUT /api/v1/migrations/m", &chunks) + "zz\r\n{}\r\n";
    assert!([0, 400].contains(&status(&exchange(server, chunks.as_bytes()))));
    let found = server
        .ask("GET", "/api/v1/migrations?filter=all", None)
        .expect(200);
    assert_eq!(found["value"], json!([]), "none of that became a migration");
}

/// Guesses.
fn logins(server: &RuntimeServer) {
    let mut last = 0;
    for _ in 0..12 {
        let answer = server.send(
            "POST",
            "/api/v1/login",
            "",
            &json!({"user": "admin", "password": "guess"}).to_string(),
        );
        assert!([401, 429].contains(&answer.status), "{}", answer.text);
        last = answer.status;
    }
    assert_eq!(last, 429);
    let rows = server
        .ask("GET", "/api/v1/audit?limit=1000", None)
        .expect(200);
    let rows = rows["value"].as_array().expect("a list").clone();
    let guesses = rows
        .iter()
        .filter(|row| row["action"] == "login" && row["outcome"] == "refused");
    assert!(guesses.count() >= 10);
    assert!(!json!(rows).to_string().contains("guess\""), "{rows:?}");
}

/// More requests than anybody needs, and more connections.
fn flood(server: &RuntimeServer) {
    let refused = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let get = format!(
                        "GET /api/v1/session HTTP/1.1\r\nHost: {}\r\n\r\n",
                        server.address()
                    );
                    let last = head(server, "GET /api/v1/session", "");
                    let answers = exchange(server, (get.repeat(400) + &last).as_bytes());
                    answers.matches("HTTP/1.1 429").count()
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client"))
            .sum::<usize>()
    });
    assert!(refused > 0, "nobody is refused");
    let idle: Vec<_> = (0..400)
        .map(|_| TcpStream::connect(server.address()))
        .collect();
    drop(idle);
    lives(server);
}
