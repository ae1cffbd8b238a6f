//! What becomes of a request, whoever makes it.

use super::*;

#[tokio::test]
async fn a_write_with_a_cookie_shows_that_a_page_of_this_server_makes_it() {
    let server = Server::start().await;
    let (cookie, csrf) = server.user(Role::Admin).await;
    let (_, other) = server.user(Role::Viewer).await;
    let body = json!({"role": "viewer", "password": PASSWORD}).to_string();
    let put = async |headers: &[(&str, &str)]| {
        let headers: Vec<_> = [("cookie", cookie.as_str())]
            .iter()
            .chain(headers)
            .copied()
            .collect();
        server
            .ask("PUT", "/api/v1/users/x", &headers, &body)
            .await
            .status
    };
    let right = ("x-csrf-token", csrf.as_str());
    assert_eq!(put(&[]).await, StatusCode::FORBIDDEN);
    assert_eq!(put(&[("x-csrf-token", "")]).await, StatusCode::FORBIDDEN);
    assert_eq!(
        put(&[("x-csrf-token", &other)]).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        put(&[("x-csrf-token", &csrf[1..])]).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        put(&[right, ("origin", "https://evil.example")]).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        put(&[right, ("origin", "null")]).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        put(&[right, ("sec-fetch-site", "cross-site")]).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        put(&[right, ("sec-fetch-site", "same-site")]).await,
        StatusCode::FORBIDDEN
    );
    let own = ("origin", "http://localhost:8432");
    assert_eq!(
        put(&[right, own, ("sec-fetch-site", "same-origin")]).await,
        StatusCode::CREATED
    );
    assert_eq!(put(&[right]).await, StatusCode::OK);
    let rows = server.audit().await;
    let refused = rows
        .iter()
        .filter(|row| row["action"] == "putUser" && row["status"] == 403);
    assert_eq!(refused.filter(|row| row["user"] == "admin").count(), 8);
    // A login by another page is refused, too.
    let body = json!({"user": "admin", "password": server.token}).to_string();
    let foreign = server.ask(
        "POST",
        "/api/v1/login",
        &[("origin", "https://evil.example")],
        &body,
    );
    assert_eq!(foreign.await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_is_not_declared_is_refused() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.token);
    let ask = async |method: &str, path: &str| {
        let headers = [("authorization", bearer.as_str())];
        server.ask(method, path, &headers, "").await.status
    };
    assert_eq!(ask("GET", "/undeclared").await, StatusCode::FORBIDDEN);
    assert_eq!(ask("GET", "/half").await, StatusCode::OK);
    assert_eq!(ask("HEAD", "/half").await, StatusCode::OK);
    assert_eq!(ask("POST", "/half").await, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(ask("TRACE", "/half").await, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        ask("OPTIONS", "/half").await,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(
        ask("DELETE", "/api/v1/users").await,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(ask("get", "/half").await, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(ask("GET", "/nothing").await, StatusCode::NOT_FOUND);
    assert_eq!(
        ask("GET", "/api/v1/../undeclared").await,
        StatusCode::NOT_FOUND
    );

    let mut document = server.document.clone();
    let path = document.paths.paths.get_mut("/api/v1/users").unwrap();
    path.get.as_mut().unwrap().security = None;
    let error = Rules::of(&document).unwrap_err();
    assert!(error.to_string().contains("GET /api/v1/users"), "{error}");
}

#[tokio::test]
async fn the_name_of_the_server_must_be_right() {
    let server = Server::start().await;
    let ask =
        async |path: &str, host: &str| server.ask("GET", path, &[("host", host)], "").await.status;
    for path in [
        "/half",
        "/viewer",
        "/api/v1/users",
        "/nothing",
        "/undeclared",
    ] {
        assert_eq!(
            ask(path, "evil.example").await,
            StatusCode::MISDIRECTED_REQUEST,
            "{path}"
        );
    }
    assert_eq!(ask("/healthz", "10.0.0.1").await, StatusCode::OK);
    assert_eq!(ask("/half", "127.0.0.1:8432").await, StatusCode::OK);
}

/// Every route of the document, by everybody.
#[tokio::test]
async fn each_role_gets_as_far_as_the_document_says() {
    let rates = Rates {
        requests: Rate {
            burst: 100_000.try_into().unwrap(),
            period: Duration::from_micros(1),
        },
        logins: Rate {
            burst: 100_000.try_into().unwrap(),
            period: Duration::from_micros(1),
        },
        ..Rates::default()
    };
    let settings = Settings {
        rates,
        ..Settings::default()
    };
    let server = Server::with(&settings).await;
    let mut callers = vec![(None, None, String::new())];
    for role in Role::ALL {
        callers.push((Some(*role), Some(server.token(*role).await), String::new()));
    }
    let document = serde_json::to_value(&server.document).unwrap();
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let declared = &operation["security"];
            let needed = declared[0]["token"][0]
                .as_str()
                .map(|role| role.parse::<Role>().unwrap());
            let path = path
                .replace("{name}", "nobody")
                .replace("{id}", "00000000-0000-0000-0000-000000000000");
            for (role, bearer, _) in &callers {
                let headers: Vec<_> = bearer
                    .iter()
                    .map(|bearer| ("authorization", bearer.as_str()))
                    .collect();
                let status = server
                    .ask(&method.to_uppercase(), &path, &headers, "")
                    .await
                    .status;
                let told = format!("{method} {path} by {role:?}: {status}");
                match (needed, role) {
                    (None, _) => assert_eq!(path, "/api/v1/login", "{told}"),
                    (Some(_), None) => assert_eq!(status, StatusCode::UNAUTHORIZED, "{told}"),
                    (Some(needed), Some(role)) if (*role as u8) < needed as u8 => {
                        assert_eq!(status, StatusCode::FORBIDDEN, "{told}");
                    }
                    _ => assert!(
                        status != StatusCode::UNAUTHORIZED
                            && status != StatusCode::FORBIDDEN
                            && !status.is_server_error(),
                        "{told}"
                    ),
                }
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 11 * 4);
}

#[tokio::test]
async fn bodies_are_of_one_kind_and_size() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.token);
    let put = async |kind: &str, body: &str| {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        server
            .ask("PUT", "/api/v1/users/x", &headers, body)
            .await
            .status
    };
    let good = json!({"role": "viewer", "password": PASSWORD}).to_string();
    assert_eq!(
        put("application/json; charset=utf-8", &good).await,
        StatusCode::CREATED
    );
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "application/jsonp",
        "application/x-ndjson",
        "application/octet-stream",
    ] {
        assert_eq!(
            put(kind, &good).await,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{kind}"
        );
    }
    let huge = format!(
        "{{\"role\": \"viewer\", \"password\": \"{}\"}}",
        "x".repeat(1 << 20)
    );
    assert_eq!(
        put("application/json", &huge).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let nested = "[".repeat(500_000);
    assert_eq!(
        put("application/json", &nested).await,
        StatusCode::BAD_REQUEST
    );
    let inner = format!("{{\"role\": {}", "{\"a\":".repeat(100_000));
    assert_eq!(
        put("application/json", &inner).await,
        StatusCode::BAD_REQUEST
    );
    for wrong in [
        "",
        "{",
        "null",
        "{}",
        "[]",
        "{\"role\": \"root\"}",
        "{\"role\": \"viewer\", \"x\": 1}",
        "{\"role\": \"viewer\"} {}",
    ] {
        assert_eq!(
            put("application/json", wrong).await,
            StatusCode::BAD_REQUEST,
            "{wrong}"
        );
    }
    let secret = json!({"role": "viewer", "password": {"hunter2hunter2": 271_828}}).to_string();
    let headers = [("authorization", bearer.as_str())];
    let told = server
        .ask("PUT", "/api/v1/users/x", &headers, &secret)
        .await;
    assert!(
        told.status == StatusCode::BAD_REQUEST
            && !told.body.contains("271")
            && !told.body.contains("hunter2"),
        "{}",
        told.body
    );
}

#[tokio::test]
async fn every_answer_has_the_headers_that_hold_browsers_back() {
    let server = Server::start().await;
    for (path, host) in [
        ("/half", HOST),
        ("/api/v1/session", HOST),
        ("/nothing", HOST),
        ("/half", "evil.example"),
        ("/undeclared", HOST),
    ] {
        let headers = server.ask("GET", path, &[("host", host)], "").await.headers;
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{path}"
        );
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
        assert_eq!(
            headers.contains_key(header::CACHE_CONTROL),
            path.starts_with("/api/")
        );
    }
}

#[tokio::test]
async fn an_answer_comes_in_time() {
    let settings = Settings {
        deadline: Duration::from_secs(5),
        ..Settings::default()
    };
    let server = Server::with(&settings).await;
    let bearer = server.token(Role::Operator).await;
    let slow = server
        .ask("POST", "/slow", &[("authorization", &bearer)], "")
        .await;
    assert_eq!(slow.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.audit().await[0]["outcome"], "failed");
}

#[tokio::test]
async fn a_flood_is_refused_and_another_client_is_not() {
    let server = Server::start().await;
    let mut refused = 0;
    for _ in 0..800 {
        let status = server.ask("GET", "/half", &[], "").await.status;
        refused += usize::from(status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn the_audit_log_only_grows_and_is_read_page_by_page() {
    let server = Server::start().await;
    let token = server.token(Role::Viewer).await;
    let refused = server
        .ask("GET", "/api/v1/audit", &[("authorization", &token)], "")
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let unknown = server
        .ask("DELETE", "/api/v1/users/admin?x=1", &[], "")
        .await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    let rows = server.audit().await;
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            [
                &row["user"],
                &row["role"],
                &row["action"],
                &row["subject"],
                &row["outcome"],
                &row["status"],
            ]
        })
        .map(|row| json!(row))
        .collect();
    assert_eq!(
        json!(told),
        json!([
            [null, null, "deleteUser", "/users/admin", "refused", 401],
            ["viewer", "viewer", "listAudit", "/audit", "refused", 403],
            ["admin", "admin", "createToken", "/tokens", "done", 201],
        ])
    );
    assert!(rows.iter().all(|row| row["address"] == "127.0.0.9"));
    assert!(rows[1]["token"].is_string() && rows[0]["token"].is_null());

    let first = server
        .admin("GET", "/api/v1/audit?limit=2", Value::Null)
        .await
        .json();
    assert_eq!(first["value"], json!(rows[..2]));
    let next = format!("/api/v1/audit?limit=2&after={}", first["next"]);
    let last = server.admin("GET", &next, Value::Null).await.json();
    assert_eq!(
        (&last["value"], &last["next"]),
        (&json!(rows[2..]), &Value::Null)
    );
    for wrong in ["limit=0", "limit=1001", "limit=x", "after=x", "x=1"] {
        let path = format!("/api/v1/audit?{wrong}");
        assert_eq!(
            server.admin("GET", &path, Value::Null).await.status,
            StatusCode::BAD_REQUEST,
            "{wrong}"
        );
    }

    for sql in ["DELETE FROM audit", "UPDATE audit SET user = 'x'"] {
        let changed = server.store.call(move |file| file.execute(sql, [])).await;
        let error = changed.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("only grows"), "{sql}: {cause}");
    }
    assert_eq!(server.audit().await, rows);
}
