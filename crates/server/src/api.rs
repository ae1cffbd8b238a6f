//! The routes, a file for each subject.

pub(crate) mod decommission;
pub(crate) mod endpoints;
pub(crate) mod events;
pub(crate) mod files;
pub(crate) mod health;
pub(crate) mod host;
pub(crate) mod migrations;
pub(crate) mod samples;
pub(crate) mod tables;

use std::sync::Arc;

use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::job::Fault;
use crate::problem::Problem;
use crate::supervisor::Shown;

/// Reads a body. What is wrong with it is told by the key.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| Fault {
        key: error.path().to_string(),
        message: error.into_inner().to_string(),
    });
    value.map_err(|fault| Problem::faults(vec![fault]))
}

/// The migration of this name.
fn find(app: &App, name: &str) -> Result<Arc<Shown>, Problem> {
    let shown = app.desk().board.get(name);
    shown.ok_or_else(|| Problem::not_found("migration", name))
}

/// Does something that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed"))?
}

/// Where to begin.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Paging {
    /// The identifier of the last event that is known already.
    #[serde(default)]
    after: u64,
}

/// How long a page is.
fn limit(given: Option<usize>) -> Result<usize, Problem> {
    match given.unwrap_or(100) {
        limit @ 1..=1000 => Ok(limit),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "limit must be 1 to 1000",
        )),
    }
}
