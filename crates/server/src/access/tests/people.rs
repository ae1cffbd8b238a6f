//! Users, logins, sessions and tokens.

use super::*;

#[tokio::test]
async fn the_first_start_makes_an_admin_and_the_next_does_not() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start().await;
    let file = server.folder.path().join("admin.token");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let (store, again) = (server.store.clone(), file.clone());
    let next = tokio::task::spawn_blocking(move || FirstAdmin::make(&store, None, &again));
    assert_eq!(next.await.unwrap().unwrap(), FirstAdmin::Known);
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), server.token);
    assert_eq!(
        server
            .admin("GET", "/api/v1/users", Value::Null)
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        server.log_in("admin", &server.token).await.status,
        StatusCode::OK
    );

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let made = tokio::task::spawn_blocking(move || {
        let store = Store::open(&path.join("state.db")).unwrap();
        let weak = SecretString::from("short");
        let refused = FirstAdmin::make(&store, Some(&weak), &path.join("admin.token"));
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .starts_with("PGHAUL_ADMIN_PASSWORD")
        );
        let strong = SecretString::from(PASSWORD);
        FirstAdmin::make(&store, Some(&strong), &path.join("admin.token")).unwrap()
    });
    assert_eq!(made.await.unwrap(), FirstAdmin::ByPassword);
    assert!(!folder.path().join("admin.token").exists());
}

#[tokio::test]
async fn a_login_gives_a_session_that_ends() {
    let server = Server::start().await;
    let session = server.log_in("admin", &server.token).await;
    assert_eq!(session.status, StatusCode::OK, "{}", session.body);
    let cookie = session.headers[header::SET_COOKIE].to_str().unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=86400"] {
        assert!(cookie.split("; ").any(|one| one == part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"));
    let cookie = cookie.split(';').next().unwrap();
    let show = async || {
        server
            .ask("GET", "/api/v1/session", &[("cookie", cookie)], "")
            .await
    };
    let shown = show().await;
    assert_eq!(shown.json(), session.json());
    assert_eq!(shown.json()["role"], "admin");

    // Idle, and too old.
    server
        .sql("UPDATE session SET seen_at = seen_at - 8 * 3600 + 5")
        .await;
    assert_eq!(show().await.status, StatusCode::OK);
    server
        .sql("UPDATE session SET seen_at = seen_at - 8 * 3600")
        .await;
    assert_eq!(show().await.status, StatusCode::UNAUTHORIZED);
    server
        .sql("UPDATE session SET seen_at = seen_at + 8 * 3600")
        .await;
    assert_eq!(show().await.status, StatusCode::OK);
    server
        .sql("UPDATE session SET created_at = created_at - 24 * 3600")
        .await;
    assert_eq!(show().await.status, StatusCode::UNAUTHORIZED);
    server
        .sql("UPDATE session SET created_at = created_at + 24 * 3600")
        .await;

    let csrf = session.json()["csrf"].as_str().unwrap().to_owned();
    let headers = [("cookie", cookie), ("x-csrf-token", &csrf)];
    let out = server.ask("POST", "/api/v1/logout", &headers, "").await;
    assert_eq!(out.status, StatusCode::NO_CONTENT, "{}", out.body);
    assert!(
        out.headers[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert_eq!(show().await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn with_tls_the_cookie_is_for_tls_alone() {
    let settings = Settings {
        tls: true,
        ..Settings::default()
    };
    let server = Server::with(&settings).await;
    let session = server.log_in("admin", &server.token).await;
    let cookie = session.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
}

#[tokio::test]
async fn a_session_outlives_the_server_and_not_its_user() {
    let server = Server::start().await;
    let (cookie, _) = server.user(Role::Viewer).await;
    let settings = Settings::default();
    let access = Access::new(server.store.clone(), &settings).unwrap();
    let shown = Credential::parse(cookie.strip_prefix("pghaul_session=").unwrap()).unwrap();
    let (name, role, shown) = session::find(&access, shown).await.unwrap().unwrap();
    assert_eq!((name.as_str(), role), ("viewer", Role::Viewer));

    // A new role counts at once; a new password ends all sessions, and so does the user's end.
    let path = "/api/v1/users/viewer";
    server.admin("PUT", path, json!({"role": "operator"})).await;
    let (_, role, shown) = session::find(&access, shown).await.unwrap().unwrap();
    assert_eq!(role, Role::Operator);
    server
        .admin(
            "PUT",
            path,
            json!({"role": "viewer", "password": "another long one"}),
        )
        .await;
    assert!(session::find(&access, shown).await.unwrap().is_none());
    let again = server.log_in("viewer", "another long one").await;
    let cookie = again.headers[header::SET_COOKIE]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let show = async || {
        server
            .ask("GET", "/viewer", &[("cookie", cookie)], "")
            .await
            .status
    };
    assert_eq!(show().await, StatusCode::OK);
    assert_eq!(
        server.admin("DELETE", path, Value::Null).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(show().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn wrong_logins_look_the_same_and_become_rare() {
    let server = Server::start().await;
    let wrong = server.log_in("admin", "wrong").await;
    let unknown = server.log_in("nobody", "wrong").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!((wrong.status, &wrong.body), (unknown.status, &unknown.body));
    let mut last = wrong;
    for _ in 0..9 {
        last = server.log_in("admin", "wrong").await;
    }
    assert_eq!(last.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = last.headers[header::RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=7).contains(&seconds), "{seconds}");
    let audit = server.audit().await;
    let logins: Vec<_> = audit
        .iter()
        .filter(|row| row["action"] == "login")
        .collect();
    assert_eq!(logins.len(), 10);
    assert!(
        logins
            .iter()
            .all(|row| row["outcome"] == "refused" && row["status"] == 401)
    );
    assert_eq!(
        logins.iter().filter(|row| row["user"] == "admin").count(),
        9
    );
    assert_eq!(logins.iter().filter(|row| row["user"].is_null()).count(), 1);
}

#[tokio::test]
async fn tokens_are_told_once_expire_and_are_revoked() {
    let server = Server::start().await;
    let made = server.admin(
        "POST",
        "/api/v1/tokens",
        json!({"name": "ci", "role": "viewer", "expiresInSeconds": 60}),
    );
    let made = made.await.json();
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let show = async |bearer: &str| {
        server
            .ask("GET", "/viewer", &[("authorization", bearer)], "")
            .await
    };
    let shown = show(&bearer).await;
    assert_eq!((shown.status, shown.body.as_str()), (StatusCode::OK, "ci"));
    assert_eq!(show(&bearer.to_lowercase()).await.status, StatusCode::OK);

    let list = server.admin("GET", "/api/v1/tokens", Value::Null).await;
    assert_eq!(list.json()["value"].as_array().unwrap().len(), 2);
    assert!(!list.body.contains(&bearer[bearer.len() - 64..]));

    let forged = format!(
        "{}{}",
        &bearer[..bearer.len() - 1],
        if bearer.ends_with('0') { '1' } else { '0' }
    );
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Basic YWRtaW46YWRtaW4=",
        &forged,
        &bearer[7..],
        &format!("{bearer}0"),
    ] {
        let refused = show(wrong).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{wrong}");
        assert_eq!(refused.headers[header::WWW_AUTHENTICATE], "Bearer");
    }
    // What is a session is no token, and the other way round.
    let (cookie, _) = server.user(Role::Viewer).await;
    let session = cookie.replace("pghaul_session=", "Bearer ");
    assert_eq!(show(&session).await.status, StatusCode::UNAUTHORIZED);
    let cookie = format!("pghaul_session={}", &bearer[7..]);
    let refused = server
        .ask("GET", "/viewer", &[("cookie", &cookie)], "")
        .await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);

    server
        .sql("UPDATE token SET expires_at = expires_at - 60 WHERE name = 'ci'")
        .await;
    assert_eq!(show(&bearer).await.status, StatusCode::UNAUTHORIZED);
    server
        .sql("UPDATE token SET expires_at = expires_at + 60 WHERE name = 'ci'")
        .await;
    let path = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(
        server.admin("DELETE", &path, Value::Null).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(show(&bearer).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        server.admin("DELETE", &path, Value::Null).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_last_admin_stays() {
    let server = Server::start().await;
    let path = "/api/v1/users/admin";
    for answer in [
        server.admin("DELETE", path, Value::Null).await,
        server.admin("PUT", path, json!({"role": "viewer"})).await,
    ] {
        assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.body);
    }
    server.user(Role::Admin).await;
    let second = json!({"role": "admin", "password": PASSWORD});
    server.admin("PUT", "/api/v1/users/second", second).await;
    assert_eq!(
        server.admin("DELETE", path, Value::Null).await.status,
        StatusCode::NO_CONTENT
    );
    let weak = server.admin(
        "PUT",
        "/api/v1/users/x",
        json!({"role": "admin", "password": "short"}),
    );
    assert_eq!(weak.await.json()["errors"][0]["key"], "password");
    let none = server
        .admin("PUT", "/api/v1/users/x", json!({"role": "admin"}))
        .await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST);
    for name in [
        "..%2f..%2fetc",
        "%00",
        "a%0d%0aSet-Cookie:x",
        ".x",
        "a b",
        &"a".repeat(64),
    ] {
        let path = format!("/api/v1/users/{}", name.replace(' ', "%20"));
        let wrong = server
            .admin("PUT", &path, json!({"role": "admin", "password": PASSWORD}))
            .await;
        assert_eq!(
            wrong.status,
            StatusCode::BAD_REQUEST,
            "{name}: {}",
            wrong.body
        );
    }
}

#[tokio::test]
async fn nothing_that_lets_anybody_in_is_kept() {
    let server = Server::start().await;
    let (cookie, csrf) = server.user(Role::Operator).await;
    let token = server.token(Role::Operator).await;
    server.log_in(PASSWORD, "x").await;
    server.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let mut kept = std::fs::read(server.folder.path().join("state.db")).unwrap();
    kept.extend(std::fs::read(server.folder.path().join("state.db-wal")).unwrap_or_default());
    let secret = |text: &str| text[text.len() - 64..].to_owned();
    for needle in [
        PASSWORD.to_owned(),
        secret(&cookie),
        csrf,
        secret(&token),
        secret(&server.token),
    ] {
        let bytes: Vec<u8> = (0..needle.len() / 2)
            .filter_map(|at| u8::from_str_radix(needle.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        let has = |needle: &[u8]| kept.windows(needle.len()).any(|window| window == needle);
        assert!(!has(needle.as_bytes()), "{needle}");
        assert!(
            bytes.len() != needle.len() / 2 || !has(&bytes),
            "{needle} as bytes"
        );
    }
    let hashed = server.store.call(|file| {
        let sql = "SELECT count(*) FROM user WHERE password LIKE ?1";
        file.query_row(sql, params!["$argon2id$%"], |row| row.get::<_, i64>(0))
    });
    assert_eq!(hashed.await.unwrap(), 2);
    let text = Credential::random().unwrap().text();
    assert!(Credential::parse(text.expose_secret()).is_some());
}
