mod people;
mod requests;

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
