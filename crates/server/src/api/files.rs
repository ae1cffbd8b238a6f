//! What a migration leaves to read: what the checks found, its report, its log.

use std::fs::File;
use std::future::{Ready, ready};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path as FilePath;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use pghaul_stage::Finding;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::migrations::refused;
use crate::app::App;
use crate::model::{ValidationDetails, ValidationMessage};
use crate::page::{self, findings::section};
use crate::problem::Problem;

/// Bytes of a log that are given at a time.
const PIECE: u64 = 1 << 20;

/// A piece of a log.
#[derive(Debug, Serialize, ToSchema)]
struct LogPiece {
    /// The text.
    value: String,
    /// Where to go on.
    next: u64,
}

/// Which piece of a log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct From {
    /// The byte to begin with; what is before it is known already.
    #[serde(default)]
    after: u64,
}

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(validation))
        .routes(routes!(validation_page))
        .routes(routes!(report))
        .routes(routes!(log))
}

/// Show what the checks found.
#[utoipa::path(get, path = "/migrations/{name}/validation", operation_id = "getValidation",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "progress",
    params(("name" = String, Path)),
    responses((status = 200, body = ValidationDetails),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
fn validation(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Ready<Result<Json<ValidationDetails>, Problem>> {
    ready(found(&app, &name).map(Json))
}

/// Read what the checks found, as a page: the one that `pghaul validate --html` writes.
#[utoipa::path(get, path = "/migrations/{name}/validation.html", operation_id = "getValidationPage",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "progress",
    params(("name" = String, Path)),
    responses((status = 200, content_type = "text/html", body = String),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
fn validation_page(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Ready<Result<Response, Problem>> {
    ready(found(&app, &name).map(|details| {
        let body = sections(&name, &details);
        page::answer(page::page(&format!("Validation of {name}"), &body))
    }))
}

fn found(app: &App, name: &str) -> Result<ValidationDetails, Problem> {
    let shown = super::find(app, name)?;
    let details = &shown.migration.current_status.current_sub_state_details;
    let found = details.validation_details.clone();
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "nothing has been checked yet"))
}

/// What was found of both servers, and of each database.
fn sections(name: &str, details: &ValidationDetails) -> String {
    let findings = |messages: &[&[ValidationMessage]]| -> Vec<Finding> {
        let messages = messages.iter().flat_map(|some| some.iter());
        let mut found: Vec<Finding> = messages.filter_map(ValidationMessage::finding).collect();
        found.sort_by_key(|finding| (finding.side() as u8, finding.check()));
        found
    };
    let time = |time: DateTime<Utc>| time.format("%F %T UTC");
    let span = |from: DateTime<Utc>, to: Option<DateTime<Utc>>| match to {
        Some(to) => format!("from {} to {}", time(from), time(to)),
        None => format!("since {}", time(from)),
    };
    let mut body = format!("<h1>Validation of {}</h1>\n", page::escape(name));
    let servers = details.server_level_validation_details.iter();
    let messages: Vec<&[ValidationMessage]> = servers.map(|one| &one.messages[..]).collect();
    let took = span(
        details.validation_start_time_in_utc,
        details.validation_end_time_in_utc,
    );
    body += &section(Some("Both servers"), &findings(&messages), &took);
    for database in &details.db_level_validation_details {
        let groups = database.summary.iter();
        let messages: Vec<&[ValidationMessage]> = groups.map(|one| &one.messages[..]).collect();
        let heading = format!("Database {}", database.database_name);
        let took = span(database.started_on, database.ended_on);
        body += &section(Some(&heading), &findings(&messages), &took);
    }
    body
}

/// Read the report, as Markdown.
#[utoipa::path(get, path = "/migrations/{name}/report", operation_id = "getReport",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "progress",
    params(("name" = String, Path)),
    responses((status = 200, content_type = "text/markdown", body = String),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
async fn report(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Problem> {
    let report = super::find(&app, &name)?.run.report();
    let text = super::blocking(move || match std::fs::read_to_string(report) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => Ok(text?),
    })
    .await?;
    if text.is_empty() {
        let detail = "no database of it is complete, so there is no report yet";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    let kind = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
    Ok((kind, text).into_response())
}

/// Read the log of its processes.
#[utoipa::path(get, path = "/migrations/{name}/logs", operation_id = "getLog",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "progress",
    params(("name" = String, Path), From),
    responses((status = 200, body = LogPiece),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn log(
    State(app): State<App>,
    Path(name): Path<String>,
    from: Result<Query<From>, QueryRejection>,
) -> Result<Json<LogPiece>, Problem> {
    let Query(From { after }) = from.map_err(refused)?;
    let log = super::find(&app, &name)?.run.log();
    super::blocking(move || Ok(Json(piece(&log, after)?))).await
}

/// Text from a byte on; what comes later may begin with the rest of a character.
fn piece(path: &FilePath, after: u64) -> io::Result<LogPiece> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        file => {
            let mut file = file?;
            let after = after.min(file.metadata()?.len());
            file.seek(SeekFrom::Start(after))?;
            file.take(PIECE).read_to_end(&mut bytes)?;
        }
    }
    if let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    Ok(LogPiece {
        value: String::from_utf8_lossy(&bytes).into_owned(),
        next: after + bytes.len() as u64,
    })
}
