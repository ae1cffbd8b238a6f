//! The end of a server's use takes as long as its migrations' servers do, so it is begun by one
//! request, and watched by others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Decommissioned, carry_out, in_the_way};
use crate::app::App;
use crate::model::Failure;
use crate::now;
use crate::problem::Problem;
use crate::words::words;

words! {
    /// How far the removal of all that is left is.
    pub Stage {
        /// Nobody began it since the server was started.
        Idle = "idle",
        /// It is under way.
        Running = "running",
        /// All of it is done.
        Done = "done",
        /// Something could not be removed. It may be begun again.
        Failed = "failed",
    }
}

/// The removal of all that is left.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decommissioning {
    /// How far it is.
    pub state: Stage,
    /// When it was begun.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// How many migrations there were.
    pub migrations: u64,
    /// How many of them are dealt with.
    pub settled: u64,
    /// What was done, once it has ended.
    pub result: Option<Decommissioned>,
    /// Why it failed.
    pub error: Option<Failure>,
}

/// The one removal of a server. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Course(Arc<Mutex<Decommissioning>>);

impl Default for Course {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Decommissioning {
            state: Stage::Idle,
            started_at: None,
            ended_at: None,
            migrations: 0,
            settled: 0,
            result: None,
            error: None,
        })))
    }
}

impl Course {
    /// How far it is.
    pub(crate) fn now(&self) -> Decommissioning {
        self.known().clone()
    }

    /// One of the migrations is dealt with.
    pub(super) fn settle(&self) {
        self.known().settled += 1;
    }

    fn known(&self) -> MutexGuard<'_, Decommissioning> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins to remove all that is left; if that is under way, it goes on as it was begun.
///
/// # Errors
///
/// A conflict if something is in the way, unless it is forced.
pub(crate) fn begin(app: &App, force: bool) -> Result<Decommissioning, Problem> {
    let course = app.course();
    let begun = {
        let mut known = course.known();
        if known.state == Stage::Running {
            return Ok(known.clone());
        }
        let all = app.desk().board.all();
        if !force {
            in_the_way(&all)?;
        }
        *known = Decommissioning {
            state: Stage::Running,
            started_at: Some(now()),
            ended_at: None,
            migrations: all.len() as u64,
            settled: 0,
            result: None,
            error: None,
        };
        known.clone()
    };
    let (app, course) = (app.clone(), course.clone());
    let work = tokio::spawn(async move { carry_out(&app, force).await });
    tokio::spawn(async move {
        let (result, error) = match work.await {
            Ok((done, error)) => (Some(done), error),
            Err(_) => (None, Some(Failure::new("the server failed"))),
        };
        let mut known = course.known();
        known.state = match error {
            None => Stage::Done,
            Some(_) => Stage::Failed,
        };
        known.ended_at = Some(now());
        (known.result, known.error) = (result, error);
    });
    Ok(begun)
}
