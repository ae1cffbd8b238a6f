//! Whether the server lives, whether it can work, and how much there is to do, for those who
//! watch over it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::future::{Ready, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::app::App;
use crate::model::State as MigrationState;
use crate::problem::Problem;

/// How long ago all migrations may have been looked at.
const FRESH: Duration = Duration::from_secs(60);

/// The routes.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(prepared))
        .route("/metrics", get(metrics))
}

fn alive(State(app): State<App>) -> Ready<Result<&'static str, Problem>> {
    let late = || {
        let detail = "migrations were not looked at for a minute";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    };
    let fresh = app.desk().board.age() < FRESH;
    ready(fresh.then_some("ok\n").ok_or_else(late))
}

async fn prepared(state: State<App>) -> Result<&'static str, Problem> {
    let store = state.0.store().clone();
    let answer = store.call(|file| file.query_row("SELECT 1", [], |row| row.get::<_, i64>(0)));
    answer.await.map_err(|error| {
        tracing::warn!(%error, "not ready");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the state cannot be read")
    })?;
    alive(state).await
}

fn metrics(State(app): State<App>) -> Ready<impl IntoResponse> {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    ready((kind, exposition(&app)))
}

/// All metrics, in Prometheus's text format.
fn exposition(app: &App) -> String {
    let shown = app.desk().board.all();
    let mut states: BTreeMap<_, u64> = BTreeMap::new();
    for state in MigrationState::ALL {
        states.insert(state.word(), 0);
    }
    let (mut queued, mut rows, mut bytes, mut rate) = (0_u64, 0, 0, 0.0);
    for one in shown.iter().map(|shown| &shown.migration) {
        *states.entry(one.current_status.state.word()).or_default() += 1;
        queued += u64::from(one.queue_position.is_some());
        for database in one
            .current_status
            .current_sub_state_details
            .db_details
            .values()
        {
            rows += database.rows;
            bytes += database.bytes;
            rate += database.bytes_per_second;
        }
    }
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: &[(String, String)]| {
        // Writing to a string cannot fail.
        let _ok = writeln!(
            text,
            "# HELP pghaul_{name} {help}\n# TYPE pghaul_{name} gauge"
        );
        for (labels, value) in values {
            let _ok = writeln!(text, "pghaul_{name}{labels} {value}");
        }
    };
    let states: Vec<_> = states
        .into_iter()
        .map(|(state, count)| (format!("{{state=\"{state}\"}}"), count.to_string()))
        .collect();
    gauge("migrations", "Migrations by state.", &states);
    for (name, help, value) in [
        (
            "migrations_queued",
            "Migrations that wait for a place.",
            queued.to_string(),
        ),
        (
            "migrations_places",
            "Migrations that may run at the same time.",
            app.max_running().to_string(),
        ),
        (
            "rows_copied",
            "Rows copied by the migrations there are.",
            rows.to_string(),
        ),
        (
            "bytes_copied",
            "Bytes copied by the migrations there are.",
            bytes.to_string(),
        ),
        (
            "bytes_per_second",
            "Bytes copied a second, of late.",
            rate.to_string(),
        ),
    ] {
        gauge(name, help, &[(String::new(), value)]);
    }
    text
}
