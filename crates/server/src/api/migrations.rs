//! Migrations: create, look at, act on, delete.

use std::future::{Ready, ready};

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Caller, Deed};
use crate::app::App;
use crate::job::Job;
use crate::model::Migration;
use crate::problem::Problem;
use crate::supervisor::{Action, Request};
use crate::words::words;

/// Bytes of a name.
const NAME: usize = 63;

words! {
    /// Which migrations to list.
    Filter {
        /// Those that have not ended.
        Active = "active",
        /// All.
        All = "all",
    }
}

words! {
    /// What to do with a migration.
    Verb {
        /// Stop it; what is copied is kept on the target.
        Cancel = "cancel",
        /// Copy nothing until it is resumed; its snapshot stays open.
        Pause = "pause",
        /// Go on.
        Resume = "resume",
        /// Copy no faster than this.
        Throttle = "throttle",
        /// Let the target take over; of online migrations, which are not possible yet.
        Cutover = "cutover",
    }
}

/// Some migrations.
#[derive(Debug, Serialize, ToSchema)]
struct MigrationList {
    /// In the order in which they were created.
    value: Vec<Migration>,
}

/// Which migrations to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// Those that have not ended, unless told otherwise.
    #[param(inline)]
    filter: Option<Filter>,
}

/// What to do with a migration.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Update {
    /// What.
    action: Verb,
    /// Bytes a second, for `throttle`; `null` is no limit.
    #[schema(minimum = 1)]
    bytes_per_second: Option<u64>,
}

/// A name to ask about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NameQuestion {
    /// The name.
    name: String,
}

/// Whether a migration can have a name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NameAnswer {
    /// Whether it can.
    name_available: bool,
    /// `Invalid` or `AlreadyExists`, if it cannot.
    reason: Option<&'static str>,
    /// The reason in words.
    message: Option<String>,
}

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(create, show, update, delete))
        .routes(routes!(check_name))
}

/// List migrations.
#[utoipa::path(get, path = "/migrations", operation_id = "listMigrations",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "migrations", params(Listing),
    responses((status = 200, body = MigrationList),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
fn list(
    State(app): State<App>,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Ready<Result<Json<MigrationList>, Problem>> {
    ready(listing.map_err(refused).map(|Query(listing)| {
        let all = listing.filter == Some(Filter::All);
        let shown = app.desk().board.all();
        let shown = shown.iter().map(|shown| &shown.migration);
        let wanted = shown.filter(|one| all || one.current_status.state.is_active());
        Json(MigrationList {
            value: wanted.cloned().collect(),
        })
    }))
}

/// Create a migration. The same body again changes nothing.
#[utoipa::path(put, path = "/migrations/{name}", operation_id = "putMigration",
    security(("token" = ["operator"]), ("session" = ["operator"])), tag = "migrations",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")),
    request_body = Job,
    responses((status = 201, body = Migration), (status = 200, body = Migration),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    if !is_name(&name) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, WRONG_NAME));
    }
    let job = Job::from_json(&body).map_err(|fault| Problem::faults(vec![fault]))?;
    job.check().map_err(Problem::faults)?;
    app.check_reach(&job).await?;
    let request = |answer| Request::Create {
        name,
        job: Box::new(job),
        user: caller.name,
        answer,
    };
    let (new, shown) = app.desk().ask(request).await?;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(shown.migration.clone())).into_response())
}

/// Show a migration.
#[utoipa::path(get, path = "/migrations/{name}", operation_id = "getMigration",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "migrations", params(("name" = String, Path)),
    responses((status = 200, body = Migration),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Ready<Result<Json<Migration>, Problem>> {
    let shown = super::find(&app, &name);
    ready(shown.map(|shown| Json(shown.migration.clone())))
}

/// Act on a migration.
#[utoipa::path(patch, path = "/migrations/{name}", operation_id = "updateMigration",
    security(("token" = ["operator"]), ("session" = ["operator"])), tag = "migrations",
    params(("name" = String, Path)), request_body = Update,
    responses((status = 200, body = Migration),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn update(
    State(app): State<App>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<(Extension<Deed>, Json<Migration>), Problem> {
    let update: Update = super::read(&body)?;
    let rate = update.bytes_per_second;
    let wrong = |detail: &str| Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    let action = match update.action {
        Verb::Throttle if rate == Some(0) => return wrong("bytesPerSecond must be 1 or more"),
        Verb::Throttle => Action::Throttle(rate),
        _ if rate.is_some() => return wrong("bytesPerSecond belongs to the action throttle"),
        Verb::Cancel => Action::Cancel,
        Verb::Pause => Action::Pause,
        Verb::Resume => Action::Resume,
        Verb::Cutover => {
            super::find(&app, &name)?;
            return Err(Problem::conflict(
                "an offline migration has no cutover, and online ones are not possible yet",
            )
            .remedy("once it has succeeded, switch the applications over"));
        }
    };
    let request = |answer| Request::Act {
        name,
        action,
        answer,
    };
    let shown = app.desk().ask(request).await?;
    let deed = match action {
        Action::Cancel => "cancelMigration",
        Action::Pause => "pauseMigration",
        Action::Resume => "resumeMigration",
        Action::Throttle(_) => "throttleMigration",
    };
    Ok((Extension(Deed::new(deed)), Json(shown.migration.clone())))
}

/// Forget a migration that has ended, with its events and logs. Nothing changes on the databases.
#[utoipa::path(delete, path = "/migrations/{name}", operation_id = "deleteMigration",
    security(("token" = ["admin"]), ("session" = ["admin"])), tag = "migrations",
    params(("name" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem,
        content_type = "application/problem+json")))]
async fn delete(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    app.forget(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl App {
    /// Forgets a migration that has ended, and removes what this server keeps of it.
    ///
    /// # Errors
    ///
    /// If there is none of that name, or it has not ended.
    pub(crate) async fn forget(&self, name: &str) -> Result<(), Problem> {
        let id = super::find(self, name)?.migration.migration_id;
        let request = |answer| Request::Delete {
            name: name.to_owned(),
            answer,
        };
        self.desk().ask(request).await?;
        // Nobody finds these any more, so what cannot be removed only takes room.
        self.agents().forget(id).await?;
        if let Err(error) = self.spools().erase(id).await {
            tracing::warn!(%error, migration = %id, "a spool is left");
        }
        Ok(())
    }
}

/// Ask whether a migration can have a name.
#[utoipa::path(post, path = "/check-name-availability", operation_id = "checkNameAvailability",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "migrations",
    request_body = NameQuestion,
    responses((status = 200, body = NameAnswer),
        (status = 400, body = Problem, content_type = "application/problem+json")))]
fn check_name(State(app): State<App>, body: Bytes) -> Ready<Result<Json<NameAnswer>, Problem>> {
    ready(super::read(&body).map(|NameQuestion { name }| Json(answer(&app, &name))))
}

fn answer(app: &App, name: &str) -> NameAnswer {
    let reason = if !is_name(name) {
        Some(("Invalid", WRONG_NAME.to_owned()))
    } else if app.desk().board.get(name).is_some() {
        Some(("AlreadyExists", format!("there is a migration {name:?}")))
    } else {
        None
    };
    let (reason, message) = reason.unzip();
    NameAnswer {
        name_available: reason.is_none(),
        reason,
        message,
    }
}

const WRONG_NAME: &str =
    "a name has 1 to 63 letters, digits, - and _, and begins with a letter or digit";

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= NAME
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A query that is not what it should be.
pub(super) fn refused(rejection: QueryRejection) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, rejection.body_text())
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_are_plain() {
        for good in [
            "a",
            "M1",
            "0b6f9d1e-1111-4222-8333-444455556666",
            &"x".repeat(63),
        ] {
            assert!(is_name(good), "{good}");
        }
        for wrong in ["", "-a", "_a", "a b", "ä", "a/b", "..", &"x".repeat(64)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
