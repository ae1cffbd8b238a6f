//! The routes of agents, and those about them.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use pghaul_spool::{AGENT_HEADER, EPOCH_HEADER, Seat};
use pghaul_stage::Error;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::protocol::{
    AgentView, Assignment, Over, Received, Registration, TokenAsked, TokenIssued,
};
use super::{Agents, Answer, Caller};
use crate::app::App;
use crate::problem::Problem;

/// The largest answer to a probe.
const LARGEST_ANSWER: usize = 1 << 20;

/// The routes of agents, who show their own tokens, and of those who look after them.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, register))
        .routes(routes!(report))
        .routes(routes!(probe))
        .routes(routes!(issue))
}

/// Ask for work.
///
/// Takes the seat of a side if it is free and there is something to do. An agent that gets 204 asks
/// again later.
#[utoipa::path(
    post,
    path = "/agents",
    tag = "agents",
    security(("agent" = [])),
    request_body = Registration,
    responses(
        (status = 200, body = Assignment, description = "The work, and the seat for it"),
        (status = 204, description = "No work yet, or another agent has the seat"),
        (status = 410, body = Over, description = "The migration has ended"),
        (status = 401, description = "The token is not valid", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token is for the other side", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "The body is not what it should be", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn register(
    State(app): State<App>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let caller = caller(app.agents(), &headers)?;
    let registration: Registration = crate::api::read(&body)?;
    if registration.side != caller.side {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "the token is for the other side",
        ));
    }
    Ok(match app.agents().register(caller, registration).await? {
        Answer::Work(assignment) => Json(assignment).into_response(),
        Answer::Nothing => StatusCode::NO_CONTENT.into_response(),
        Answer::Over(state) => (StatusCode::GONE, Json(Over { state })).into_response(),
    })
}

/// How much is to come back.
#[derive(Debug, Deserialize, IntoParams)]
struct Probe {
    /// Bytes of the answer.
    #[param(maximum = 1_048_576)]
    answer: usize,
}

/// Measure the way here.
///
/// Takes a body of up to a mebibyte, and answers with as many bytes as are asked for.
#[utoipa::path(
    post,
    path = "/agents/probe",
    tag = "agents",
    security(("agent" = [])),
    params(Probe),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream", description = "Zeros"),
        (status = 401, description = "The token is not valid", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "The request is not what it should be", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn probe(
    State(app): State<App>,
    Query(Probe { answer }): Query<Probe>,
    headers: HeaderMap,
    _body: Bytes,
) -> Result<Vec<u8>, Problem> {
    caller(app.agents(), &headers)?;
    if answer > LARGEST_ANSWER {
        return Err(Error::input("an answer has at most a mebibyte").into());
    }
    Ok(vec![0; answer])
}

/// How many events were brought earlier.
#[derive(Debug, Deserialize, IntoParams)]
struct Before {
    /// Events that the agent has brought in this epoch before these.
    before: u64,
}

/// Bring events, and learn what to do.
///
/// One JSON object a line, as `--output json` prints them; none is a sign of life.
#[utoipa::path(
    post,
    path = "/agents/{id}/events",
    tag = "agents",
    security(("agent" = [])),
    params(("id" = Uuid, Path, description = "The agent"), Before),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses(
        (status = 200, body = Received, description = "What holds now"),
        (status = 401, description = "The token is not valid", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another agent has the seat: stop", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "The request is not what it should be", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn report(
    State(app): State<App>,
    Path(id): Path<Uuid>,
    Query(Before { before }): Query<Before>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Received>, Problem> {
    let caller = caller(app.agents(), &headers)?;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let agent: Option<Uuid> = text(AGENT_HEADER).and_then(|agent| agent.parse().ok());
    let epoch = text(EPOCH_HEADER).and_then(|epoch| epoch.parse().ok());
    let seat = match (agent, epoch) {
        (Some(agent), Some(epoch)) if agent == id => Seat { agent, epoch },
        _ => return Err(Error::input("the seat is not shown").into()),
    };
    let lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let events: Result<Vec<Value>, _> = lines.map(serde_json::from_slice).collect();
    let events = events.map_err(|_| Error::input("a line is no JSON"))?;
    if !events.iter().all(Value::is_object) {
        return Err(Error::input("an event is an object").into());
    }
    Ok(Json(
        app.agents().report(caller, seat, before, events).await?,
    ))
}

/// The agents of this server.
#[derive(Serialize, ToSchema)]
struct AgentList {
    value: Vec<AgentView>,
}

/// List agents.
#[utoipa::path(
    get,
    path = "/agents",
    tag = "agents",
    security(("token" = ["viewer"]), ("session" = ["viewer"])),
    responses((status = 200, body = AgentList, description = "The newest first"))
)]
async fn list(State(app): State<App>) -> Json<AgentList> {
    Json(AgentList {
        value: app.agents().list(),
    })
}

/// Issue a token for an agent.
///
/// For one side of one migration, and for a while. It is shown once.
#[utoipa::path(
    post,
    path = "/migrations/{name}/tokens",
    tag = "agents",
    security(("token" = ["operator"]), ("session" = ["operator"])),
    params(("name" = String, Path, description = "The migration")),
    request_body = TokenAsked,
    responses(
        (status = 201, body = TokenIssued, description = "The token"),
        (status = 422, description = "There is no such migration that agents carry out", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "The request is not what it should be", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn issue(
    State(app): State<App>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let asked: TokenAsked = crate::api::read(&body)?;
    let issued = app
        .agents()
        .issue(&name, asked.side, asked.expires_in_seconds);
    let (token, expires) = issued.await?;
    let issued = TokenIssued {
        token: token.expose_secret().to_owned(),
        expires_at: expires.into(),
    };
    // Nobody on the way shall keep it.
    let quiet = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, quiet, Json(issued)).into_response())
}

fn caller(agents: &Agents, headers: &HeaderMap) -> Result<Caller, Problem> {
    let bearer = headers.get(header::AUTHORIZATION);
    let bearer = bearer.and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer "));
    token.and_then(|token| agents.caller(token)).ok_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "the token is not valid, or not any more",
        )
    })
}
