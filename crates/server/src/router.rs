//! Where all routes come together.

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::get;
use pghaul_stage::Result;
use std::future::{Ready, ready};
use std::sync::Arc;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;

use crate::access::{self, Need, Role, Rules};
use crate::agents;
use crate::api::{
    decommission, endpoints, events, files, health, host, migrations, samples, tables,
};
use crate::app::App;
use crate::dashboard;
use crate::problem::Problem;
use crate::spool::Spools;

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
        (name = "agents", description = "Who works at either side"),
        (name = "server", description = "The server itself"),
        (name = "access", description = "Who may do what"),
    ),
    modifiers(&Schemes)
)]
struct Described;

/// How to show who one is.
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let token = Http::new(HttpAuthScheme::Bearer);
        let session = ApiKey::Cookie(ApiKeyValue::with_description(
            "pghaul_session",
            "From /login. Writes need the header X-CSRF-Token with what /session tells.",
        ));
        components.add_security_scheme("token", SecurityScheme::Http(token.clone()));
        components.add_security_scheme("session", SecurityScheme::ApiKey(session));
        components.add_security_scheme("agent", SecurityScheme::Http(token));
    }
}

/// The routes of the API, below `/api/v1`, and their description.
fn api() -> (Router<App>, Document) {
    OpenApiRouter::with_openapi(Described::openapi())
        .nest(
            "/api/v1",
            OpenApiRouter::new()
                .merge(migrations::router())
                .merge(events::router())
                .merge(tables::router())
                .merge(samples::router())
                .merge(files::router())
                .merge(host::router())
                .merge(endpoints::router())
                .merge(decommission::router())
                .merge(access::routes())
                .merge(agents::routes()),
        )
        .split_for_parts()
}

/// The OpenAPI document of the API, as JSON.
pub fn document() -> String {
    // Nothing in it can fail to become JSON.
    api().1.to_pretty_json().unwrap_or_default()
}

/// All routes, behind the one layer that lets nobody pass who may not.
///
/// # Errors
///
/// If a route does not declare who may use it.
pub(crate) fn router(app: App, access: access::Access) -> Result<Router> {
    let (api, described) = api();
    let viewer = Need::Role(Role::Viewer);
    let rules = Rules::of(&described)?
        .and(Method::GET, "/api/v1/openapi.json", viewer)
        .and(Method::GET, "/metrics", viewer)
        .and(Method::GET, "/healthz", Need::Health)
        .and(Method::GET, "/readyz", Need::Health)
        .and(Method::GET, "/", Need::Nothing)
        .and(Method::GET, "/assets/{*name}", Need::Nothing);
    let rules = Spools::REQUESTS
        .iter()
        .fold(rules, |rules, (method, path)| {
            rules.and(method.clone(), path, Need::Agent)
        });
    let spools = Arc::clone(app.spools()).routes();
    let document = document();
    let json = [("content-type", "application/json")];
    let document = get(move || ready((json, document)));
    let routes = Router::new()
        .merge(api)
        .route("/api/v1/openapi.json", document)
        .merge(health::router())
        .merge(dashboard::routes())
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .with_state(app)
        .merge(spools);
    Ok(access::guard(routes, rules, access))
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

    use super::{Rules, api, document};

    #[test]
    fn every_route_says_who_may_use_it() {
        let (_, mut described) = api();
        assert!(Rules::of(&described).is_ok());
        let host = described.paths.paths.get_mut("/api/v1/host");
        host.unwrap().get.as_mut().unwrap().security = None;
        assert!(Rules::of(&described).is_err());
    }

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
            ("/api/v1/migrations/{name}/samples", &["get"]),
            ("/api/v1/migrations/{name}/validation", &["get"]),
            ("/api/v1/migrations/{name}/report", &["get"]),
            ("/api/v1/migrations/{name}/logs", &["get"]),
            ("/api/v1/check-name-availability", &["post"]),
            ("/api/v1/host", &["get"]),
            ("/api/v1/agents", &["get", "post"]),
            ("/api/v1/agents/{id}/events", &["post"]),
            ("/api/v1/migrations/{name}/tokens", &["post"]),
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
