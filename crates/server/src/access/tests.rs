use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use rusqlite::params;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::Service;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::credential::Credential;
use super::*;
use crate::store::Store;

const HOST: &str = "localhost:8432";
const PASSWORD: &str = "correct horse battery";

/// A server with the routes of this module and a few others.
struct Server {
    routes: Router,
    document: OpenApi,
    store: Store,
    token: String,
    folder: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Server {
    async fn start() -> Self {
        Self::with(&Settings::default()).await
    }

    async fn with(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let (store, token) = tokio::task::spawn_blocking(move || {
            let store = Store::open(&path.join("state.db")).unwrap();
            let file = path.join("admin.token");
            let first = FirstAdmin::make(&store, None, &file).unwrap();
            assert_eq!(first, FirstAdmin::ByFile(file.clone()));
            (store, std::fs::read_to_string(file).unwrap())
        })
        .await
        .unwrap();
        let access = Access::new(store.clone(), settings).unwrap();
        let (own, document) = OpenApiRouter::new()
            .nest("/api/v1", super::routes())
            .split_for_parts();
        let routes = own
            .with_state(access.clone())
            .route("/healthz", get(async || "ok"))
            .route("/undeclared", get(async || "secret"))
            .route(
                "/slow",
                post(async || tokio::time::sleep(Duration::from_secs(3600)).await),
            )
            .route("/half", get(async || "half").post(async || "other half"))
            .route("/agents", post(async |body: String| body))
            .route(
                "/viewer",
                get(async |caller: Extension<Caller>| caller.0.name),
            );
        let rules = Rules::of(&document)
            .unwrap()
            .and(Method::GET, "/healthz", Need::Health)
            .and(Method::POST, "/slow", Need::Role(Role::Operator))
            .and(Method::GET, "/half", Need::Nothing)
            .and(Method::POST, "/agents", Need::Agent)
            .and(Method::GET, "/viewer", Need::Role(Role::Viewer));
        Self {
            routes: guard(routes, rules, access),
            document,
            store,
            token: token.trim().to_owned(),
            folder,
        }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let local = ([127, 0, 0, 1], 8432).into();
        let remote = ([127, 0, 0, 9], 40_000).into();
        let peer = Peer {
            remote,
            local,
            certified: false,
        };
        let mut request = Request::builder().method(method).uri(path).extension(peer);
        let own = [("host", HOST), ("content-type", "application/json")];
        let own = own
            .iter()
            .filter(|(name, _)| headers.iter().all(|(other, _)| other != name));
        for (name, value) in own.chain(headers) {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer: Response = self.routes.clone().call(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.ask(
            method,
            path,
            &[("authorization", &bearer)],
            &body.to_string(),
        )
        .await
    }

    async fn log_in(&self, user: &str, password: &str) -> Answer {
        let body = json!({"user": user, "password": password}).to_string();
        self.ask("POST", "/api/v1/login", &[], &body).await
    }

    /// A user of this role, as cookie and header.
    async fn user(&self, role: Role) -> (String, String) {
        let path = format!("/api/v1/users/{role}");
        let made = self
            .admin("PUT", &path, json!({"role": role, "password": PASSWORD}))
            .await;
        assert!(made.status.is_success(), "{}", made.body);
        let session = self.log_in(role.word(), PASSWORD).await;
        let cookie = session.headers[header::SET_COOKIE].to_str().unwrap();
        let csrf = session.json()["csrf"].as_str().unwrap().to_owned();
        (cookie.split(';').next().unwrap().to_owned(), csrf)
    }

    async fn token(&self, role: Role) -> String {
        let wanted = json!({"name": role, "role": role, "expiresInSeconds": 60});
        let made = self.admin("POST", "/api/v1/tokens", wanted).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        format!("Bearer {}", made.json()["token"].as_str().unwrap())
    }

    async fn audit(&self) -> Vec<Value> {
        let page = self.admin("GET", "/api/v1/audit", Value::Null).await.json();
        page["value"].as_array().unwrap().clone()
    }

    async fn sql(&self, sql: &'static str) {
        self.store
            .call(move |file| file.execute_batch(sql))
            .await
            .unwrap();
    }
}

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
