//! Where all routes come together.

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::routing::get;
use std::future::{Ready, ready};
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;

use crate::api::{events, files, health, host, migrations, tables};
use crate::app::App;
use crate::dashboard;
use crate::problem::Problem;
use crate::token::{self, Token};

/// What the OpenAPI document says besides the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "pghaul",
        description = "Migrations of PostgreSQL databases, by a runtime server."
    ),
    tags(
        (name = "migrations", description = "What is migrated"),
        (name = "progress", description = "How it goes"),
        (name = "server", description = "The server itself"),
    )
)]
struct Described;

/// The routes of the API, below `/api/v1`, and their description.
fn api() -> (Router<App>, Document) {
    OpenApiRouter::with_openapi(Described::openapi())
        .nest(
            "/api/v1",
            OpenApiRouter::new()
                .merge(migrations::router())
                .merge(events::router())
                .merge(tables::router())
                .merge(files::router())
                .merge(host::router()),
        )
        .split_for_parts()
}

/// The OpenAPI document of the API, as JSON.
pub fn document() -> String {
    let (_, document) = api();
    // Nothing in it can fail to become JSON.
    document.to_pretty_json().unwrap_or_default()
}

/// All routes. Without the token, there is the dashboard's page, which holds no data, and what tells
/// of health.
pub(crate) fn router(app: App, token: Arc<Token>) -> Router {
    let (api, _) = api();
    let document = document();
    let json = [("content-type", "application/json")];
    let document = get(move || ready((json, document)));
    let guard = middleware::from_fn_with_state(token, token::require);
    Router::new()
        .merge(api)
        .route("/api/v1/openapi.json", document)
        .route_layer(guard)
        .merge(health::router())
        .merge(dashboard::routes())
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .with_state(app)
}

fn nothing(uri: Uri) -> Ready<Problem> {
    let detail = format!("there is nothing at {}", uri.path());
    ready(Problem::new(StatusCode::NOT_FOUND, detail))
}

fn not_so(method: Method) -> Ready<Problem> {
    let detail = format!("{method} is not possible there");
    ready(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::document;

    #[test]
    fn the_document_has_every_route_and_no_password_to_read() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        for (path, verbs) in [
            ("/api/v1/migrations", &["get"][..]),
            (
                "/api/v1/migrations/{name}",
                &["get", "put", "patch", "delete"],
            ),
            ("/api/v1/migrations/{name}/events", &["get"]),
            ("/api/v1/migrations/{name}/events/stream", &["get"]),
            (
                "/api/v1/migrations/{name}/databases/{database}/tables",
                &["get"],
            ),
            ("/api/v1/migrations/{name}/validation", &["get"]),
            ("/api/v1/migrations/{name}/report", &["get"]),
            ("/api/v1/migrations/{name}/logs", &["get"]),
            ("/api/v1/check-name-availability", &["post"]),
            ("/api/v1/host", &["get"]),
        ] {
            for verb in verbs {
                assert!(paths[path][verb].is_object(), "{verb} {path}");
            }
        }
        let endpoint = &document["components"]["schemas"]["Endpoint"]["properties"];
        assert_eq!(endpoint["password"]["writeOnly"], true, "{endpoint}");
        let states = document["components"]["schemas"]["State"]["enum"].to_string();
        assert!(states.contains("WaitingForUserAction"), "{states}");
    }
}
