//! What a migration told: page by page, or as it comes.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::io;
use std::path::PathBuf;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Paging;
use super::migrations::refused;
use crate::app::App;
use crate::problem::Problem;
use crate::run::last::{Last, last};
use crate::run::tail::{Page, page};

/// How often a stream looks for more.
const EVERY: Duration = Duration::from_millis(500);

/// Events of a stream that are read at a time.
const BATCH: usize = 200;

/// Some events.
#[derive(Debug, Serialize, ToSchema)]
struct EventPage {
    /// Each with its `id`, its `time`, what `event` it is, and what belongs to that.
    #[schema(value_type = Vec<Object>)]
    value: Vec<Map<String, Value>>,
    /// The identifier to go on with, if there are more already.
    next: Option<u64>,
    /// The identifier to go back with by `before`, if `tail` was given and there are older ones.
    before: Option<u64>,
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The identifier of the last event that is known already.
    #[serde(default)]
    after: u64,
    /// At most so many, 1 to 1000.
    limit: Option<usize>,
    /// The last so many instead, 1 to 1000.
    tail: Option<usize>,
    /// With `tail`: of those before the event with this identifier.
    before: Option<u64>,
    /// Kinds of events to leave out, with commas between them.
    #[serde(default)]
    exclude: String,
}

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(follow))
}

/// Read events, oldest first.
#[utoipa::path(get, path = "/migrations/{name}/events", operation_id = "listEvents",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "progress",
    params(("name" = String, Path), Wanted),
    responses((status = 200, body = EventPage),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(app): State<App>,
    Path(name): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<EventPage>, Problem> {
    let Query(wanted) = wanted.map_err(refused)?;
    let events = super::find(&app, &name)?.run.events();
    let (tail, before, excluded) = (wanted.tail, wanted.before, wanted.exclude);
    let fits = move |event: &Map<String, Value>| {
        let kind = event
            .get("event")
            .and_then(Value::as_str)
            .unwrap_or_default();
        excluded.split(',').all(|excluded| excluded != kind)
    };
    if tail.is_none() {
        if before.is_some() {
            let detail = "before belongs to tail";
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
        let page = read(events, wanted.after, super::limit(wanted.limit)?).await?;
        let next = page.more.then_some(page.next);
        let value = numbered(page.events.into_iter().filter(|(_, event)| fits(event)));
        return Ok(Json(EventPage {
            value,
            next,
            before,
        }));
    }
    let limit = super::limit(tail)?;
    let last = super::blocking(move || {
        last(&events, before, limit, fits).map_err(|error| wrong("before", error))
    });
    let Last { events, before } = last.await?;
    let value = numbered(events.into_iter());
    Ok(Json(EventPage {
        value,
        next: None,
        before,
    }))
}

/// Events with their identifiers in them.
fn numbered(events: impl Iterator<Item = (u64, Map<String, Value>)>) -> Vec<Map<String, Value>> {
    let with = |(id, mut event): (u64, Map<String, Value>)| {
        event.insert("id".to_owned(), json!(id));
        event
    };
    events.map(with).collect()
}

/// What went wrong as events were read.
fn wrong(key: &str, error: io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::InvalidInput => {
            Problem::new(StatusCode::BAD_REQUEST, format!("{key}: {error}"))
        }
        _ => error.into(),
    }
}

/// Follow the events as server-sent events. The stream ends with the migration.
#[utoipa::path(get, path = "/migrations/{name}/events/stream", operation_id = "followEvents",
    security(("token" = ["viewer"]), ("session" = ["viewer"])), tag = "progress",
    params(("name" = String, Path), Paging,
        ("Last-Event-ID" = Option<u64>, Header, description = "Where to go on; wins over `after`")),
    responses((status = 200, content_type = "text/event-stream", body = String),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn follow(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Query(paging) = paging.map_err(refused)?;
    let shown = super::find(&app, &name)?;
    let after = match headers.get("last-event-id") {
        Some(id) => id
            .to_str()
            .ok()
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    "Last-Event-ID is no identifier of an event",
                )
            })?,
        None => paging.after,
    };
    // An identifier that is wrong is told now, while it still can be.
    read(shown.run.events(), after, 1).await?;
    let reader = Reader {
        id: shown.migration.migration_id,
        app,
        name,
        events: shown.run.events(),
        after,
        waiting: Vec::new().into_iter(),
    };
    let stream = stream::unfold(reader, Reader::next);
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// Who follows the events of a migration.
struct Reader {
    app: App,
    name: String,
    id: uuid::Uuid,
    events: PathBuf,
    after: u64,
    waiting: std::vec::IntoIter<(u64, Map<String, Value>)>,
}

impl Reader {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some((id, mut event)) = self.waiting.next() {
                event.insert("id".to_owned(), json!(id));
                let data = Value::Object(event).to_string();
                // A message without a name is one that every client hears.
                let event = Event::default().id(id.to_string()).data(data);
                return Some((Ok(event), self));
            }
            // Asked before the events are read, so that the last ones are among them.
            let going = self.is_going();
            let page = read(self.events.clone(), self.after, BATCH).await.ok()?;
            self.after = page.next;
            if page.events.is_empty() {
                if !going {
                    return None;
                }
                tokio::time::sleep(EVERY).await;
            }
            self.waiting = page.events.into_iter();
        }
    }

    fn is_going(&self) -> bool {
        let shown = self.app.desk().board.get(&self.name);
        shown.is_some_and(|shown| {
            let migration = &shown.migration;
            migration.migration_id == self.id && migration.current_status.state.is_active()
        })
    }
}

async fn read(events: PathBuf, after: u64, limit: usize) -> Result<Page, Problem> {
    super::blocking(move || page(&events, after, limit).map_err(|error| wrong("after", error)))
        .await
}
