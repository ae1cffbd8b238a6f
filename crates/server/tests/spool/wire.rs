//! What no client of S3 would send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::rig::{SOURCE, Server};

/// Sends bytes and reads the answer to its end. Nothing comes after the bytes, which the server does
/// not wait for unless it was told of more.
fn say(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("an answer");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("an answer");
    stream.write_all(request).expect("an answer");
    if request.ends_with(b"cut off") {
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("an answer");
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// An answer to a request with the rights of the source.
async fn ask(server: &Server, line: &str, headers: &str, body: &str) -> String {
    let request = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {SOURCE}\r\n\
         x-pghaul-agent: 00000000-0000-0000-0000-000000000000\r\nx-pghaul-epoch: 1\r\n\
         {headers}\r\n{body}"
    );
    let address = server.address.clone();
    let asking = tokio::task::spawn_blocking(move || say(&address, request.as_bytes()));
    asking.await.expect("an answer")
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_out_of_a_spool() {
    let server = Server::start(None).await;
    let outside = server.folder.path().join("outside");
    std::fs::write(&outside, "kept").unwrap();
    for path in [
        "/spool/m-1/../../outside",
        "/spool/m-1/d/../../../outside",
        "/spool/m-1/d/%2e%2e/%2e%2e/outside",
        "/spool/m-1/d%2f..%2f..%2foutside",
        "/spool/m-1/%2e%2e/outside",
        "/spool/m-1//outside",
        "/spool/m-1/d/parts/..%2f..%2f..%2foutside",
        "/spool/m-1/d/spool%00",
        "/spool/../outside",
    ] {
        for method in ["GET", "PUT", "DELETE", "HEAD"] {
            let headers = "If-None-Match: *\r\nContent-Length: 1\r\n";
            let answer = ask(&server, &format!("{method} {path}"), headers, "x").await;
            let status = status(&answer);
            assert!(
                ["400", "403", "404"].contains(&status),
                "{method} {path}: {answer}"
            );
        }
    }
    for prefix in ["..%2f", "d%2f..%2f..%2f", "%2f"] {
        let line = format!("GET /spool/m-1?list-type=2&prefix={prefix}");
        let answer = ask(&server, &line, "", "").await;
        assert!(!answer.contains("outside"), "{answer}");
        assert!(["200", "400"].contains(&status(&answer)), "{answer}");
    }
    assert_eq!(std::fs::read_to_string(outside).unwrap(), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_is_what_was_announced() {
    let server = Server::start(None).await;
    let put = async |headers: &str, body: &str| {
        let headers = format!("If-None-Match: *\r\n{headers}");
        ask(&server, "PUT /spool/m-1/d/plan", &headers, body).await
    };
    // Of the six bytes "abcdef", by md5sum and sha256sum.
    let md5 = "6AtQFwmJUPxYqtg8jBSXjg==";
    let sha = "vvV+x/U6bUC+tkCngKY5yDvCmsipgW8fxsXG3Nk8RyE=";
    let wrong = "7AtQFwmJUPxYqtg8jBSXjg==";
    for (headers, body, expected) in [
        ("", "", "411"),
        ("Content-Length: 2000000000\r\n", "x", "413"),
        ("Content-Length: 60\r\n", "cut off", "400"),
        (
            &format!("Content-Length: 6\r\nContent-MD5: {wrong}\r\n"),
            "abcdef",
            "400",
        ),
        ("Content-Length: 6\r\nContent-MD5: x\r\n", "abcdef", "400"),
        (
            &format!("Content-Length: 6\r\nx-amz-checksum-sha256: {md5}\r\n"),
            "abcdef",
            "400",
        ),
    ] {
        let answer = put(headers, body).await;
        assert!(
            status(&answer) == expected || body == "cut off" && answer.is_empty(),
            "{headers}: {answer}"
        );
        let absent = ask(&server, "GET /spool/m-1/d/plan", "", "").await;
        assert_eq!(status(&absent), "404", "{headers}");
    }
    let right =
        format!("Content-Length: 6\r\nContent-MD5: {md5}\r\nx-amz-checksum-sha256: {sha}\r\n");
    assert_eq!(status(&put(&right, "abcdef").await), "200");
    let there = ask(&server, "GET /spool/m-1/d/plan", "", "").await;
    assert!(there.ends_with("\r\n\r\nabcdef"), "{there}");
    assert_eq!(server.spools.used(server.migration).await.unwrap(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_in_the_words_of_s3() {
    let server = Server::start(None).await;
    let answer = ask(&server, "GET /spool/m-1/d/plan", "", "").await;
    assert!(answer.contains("<Error><Code>NoSuchKey</Code>"), "{answer}");
    assert!(answer.contains("content-type: application/xml"), "{answer}");
    for (line, expected) in [
        ("GET /spool/m-1?list-type=1", "501"),
        ("GET /spool/m-1?list-type=2&delimiter=%2F", "501"),
        ("GET /spool/m-1?list-type=2&prefix=d%2Fman", "501"),
        ("GET /spool/m-1?list-type=2&max-keys=x", "400"),
        ("POST /spool/m-1/d/plan?uploads", "501"),
        ("PUT /spool/m-1/d/plan?partNumber=1", "501"),
        ("PATCH /spool/m-1/d/plan", "501"),
    ] {
        let answer = ask(&server, line, "Content-Length: 0\r\n", "").await;
        assert_eq!(status(&answer), expected, "{line}: {answer}");
    }
    let headers = "x-pghaul-epoch: 2\r\n";
    let twice = ask(&server, "PUT /spool/m-1/d/plan", headers, "").await;
    assert_ne!(status(&twice), "200", "{twice}");
    let no_range = ask(&server, "GET /spool/m-1/d/plan", "Range: bytes=5-1\r\n", "").await;
    assert_eq!(status(&no_range), "400", "{no_range}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_objects_are_removed_in_one_request() {
    let server = Server::start(None).await;
    for name in ["catalog", "schema", "plan"] {
        let line = format!("PUT /spool/m-1/d/{name}");
        let answer = ask(
            &server,
            &line,
            "If-None-Match: *\r\nContent-Length: 1\r\n",
            "x",
        )
        .await;
        assert_eq!(status(&answer), "200", "{answer}");
    }
    let list = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
        <Object><Key>d/catalog</Key></Object><Object><Key>d/schema</Key></Object>\
        <Object><Key>d/plan</Key></Object><Object><Key>d/&amp;</Key></Object>\
        <Object><Key>d/statistics</Key></Object></Delete>";
    let headers = format!("Content-Length: {}\r\n", list.len());
    let answer = ask(&server, "POST /spool/m-1?delete", &headers, list).await;
    assert_eq!(status(&answer), "200", "{answer}");
    for removed in ["d/catalog", "d/schema", "d/statistics"] {
        let expected = format!("<Deleted><Key>{removed}</Key></Deleted>");
        assert!(answer.contains(&expected), "{answer}");
    }
    assert!(
        answer.contains("<Key>d/plan</Key><Code>AccessDenied</Code>"),
        "{answer}"
    );
    assert!(
        answer.contains("<Key>d/&amp;</Key><Code>InvalidObjectName</Code>"),
        "{answer}"
    );
    let left = ask(&server, "GET /spool/m-1?list-type=2", "", "").await;
    assert!(
        left.contains("<Key>d/plan</Key>") && left.contains("<KeyCount>1</KeyCount>"),
        "{left}"
    );
    for broken in ["<Delete><Object>", "nothing", ""] {
        let headers = format!("Content-Length: {}\r\n", broken.len());
        let answer = ask(&server, "POST /spool/m-1?delete", &headers, broken).await;
        assert_eq!(status(&answer), "400", "{broken}: {answer}");
    }
}
