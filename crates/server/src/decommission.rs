//! Taking a server out of use: what its migrations left, whether that may go, and its removal.

mod cleanup;
mod course;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use utoipa::ToSchema;

use crate::app::App;
use crate::job::{Extent, Job, Topology};
use crate::model::{Failure, Migration, State};
use crate::problem::Problem;
use crate::supervisor::{Action, Request, Shown};
use crate::words::words;
use cleanup::{Cleaned, Will};
pub(crate) use course::{Course, begin};
pub use course::{Decommissioning, Stage};

/// Migrations whose servers are asked at the same time.
const AT_A_TIME: usize = 4;

/// How long all servers together may take to say what is left.
const LOOK: Duration = Duration::from_secs(40);

/// How long a migration that is to be stopped may take for it.
const PATIENCE: Duration = Duration::from_secs(60);

words! {
    /// What a migration leaves behind.
    pub Kind {
        /// Its record in the schema `pghaul` of a database of the target, and what it has on the
        /// source.
        Ledger = "ledger",
        /// Rows that are kept between two agents.
        Spool = "spool",
        /// Its events, its log and its report.
        Run = "run",
        /// Its line in this server's state.
        State = "state",
    }
}

/// What stands between a server and its end.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Remains {
    /// Whether every migration is complete and verified, so that all of this may be removed.
    pub complete: bool,
    /// Each migration.
    pub migrations: Vec<Standing>,
    /// Everything that would be removed.
    pub left: Vec<Left>,
}

/// Whether the traces of a migration may be removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Whether source and target were compared and are the same.
    pub verified: Option<bool>,
    /// Why they may not; absent if they may.
    pub reason: Option<String>,
}

/// One thing that is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// What it is.
    pub kind: Kind,
    /// The name of the migration that left it.
    pub migration: String,
    /// Where it is.
    pub place: String,
    /// How large it is, where that is known.
    pub bytes: Option<u64>,
}

/// What was done to end a server's use.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decommissioned {
    /// What is gone.
    pub removed: Vec<Left>,
    /// What can no longer be done, because it was forced.
    pub lost: Vec<String>,
    /// What could not be removed, with the reason; only if it was forced.
    pub kept: Vec<String>,
}

/// How a server's use is to be ended.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Decommission {
    /// Also where a migration is not complete and verified.
    pub force: bool,
}

impl Standing {
    /// Judges a migration.
    pub(crate) fn of(migration: &Migration) -> Self {
        Self {
            name: migration.name.clone(),
            state: migration.current_status.state,
            verified: migration.verified,
            reason: reason(migration),
        }
    }

    /// What is lost if its traces are removed all the same.
    pub(crate) fn loss(&self) -> Option<String> {
        let reason = self.reason.as_ref()?;
        let then = if self.state.is_active() {
            "it is stopped, and cannot be resumed"
        } else {
            "it cannot be resumed or looked at any more"
        };
        Some(format!("migration {}: {reason}; {then}", self.name))
    }
}

/// Why the traces of a migration must stay.
fn reason(migration: &Migration) -> Option<String> {
    let state = migration.current_status.state;
    let only_checks = migration.job.option == Extent::Validate;
    let reason = match state {
        state if state.is_active() => "it has not ended",
        // Checks change nothing, however they end, and leave nothing to verify.
        _ if only_checks => return None,
        State::Succeeded => match migration.verified {
            Some(true) => return None,
            Some(false) => "source and target differ",
            None => "it was not verified: source and target were not compared",
        },
        State::ValidationFailed => "it was never carried out, because a check failed",
        State::Canceled => "it was canceled before it was complete",
        _ => "it failed before it was complete",
    };
    Some(reason.to_owned())
}

/// Says what is left, and what is in the way.
pub(crate) async fn look(app: &App) -> Remains {
    let all = app.desk().board.all();
    let migrations: Vec<_> = all
        .iter()
        .map(|shown| Standing::of(&shown.migration))
        .collect();
    let mut traces = clean(app, &all, Will::List).await;
    let mut left = Vec::new();
    for shown in &all {
        match traces.remove(&shown.migration.name) {
            Some(Ok(found)) => left.extend(found.removed),
            Some(Err(reason)) => left.push(trace(shown, format!("cannot be told: {reason}"))),
            None => {}
        }
        left.extend(own(app, shown).await);
    }
    Remains {
        complete: migrations.iter().all(|one| one.reason.is_none()),
        migrations,
        left,
    }
}

/// Refuses to remove anything as long as a migration is not complete and verified.
fn in_the_way(all: &[Arc<Shown>]) -> Result<(), Problem> {
    let in_the_way = all.iter().filter_map(|shown| {
        let one = Standing::of(&shown.migration);
        Some(format!("migration {}: {}", one.name, one.reason?))
    });
    let in_the_way: Vec<_> = in_the_way.collect();
    if in_the_way.is_empty() {
        return Ok(());
    }
    Err(Problem::conflict(in_the_way.join("; ")).remedy(
        "complete and verify them, or delete them, or force it; what is lost is then listed",
    ))
}

/// Removes all that is left, which nothing is in the way of, or which is forced: what was done, and
/// unless it is forced, which servers did not let their traces be removed.
async fn carry_out(app: &App, force: bool) -> (Decommissioned, Option<Failure>) {
    let mut all = app.desk().board.all();
    let mut done = Decommissioned::default();
    if force {
        let standings = all.iter().map(|shown| Standing::of(&shown.migration));
        done.lost = standings.filter_map(|one| one.loss()).collect();
        stop(app, &all).await;
        let names: Vec<_> = all
            .iter()
            .map(|shown| shown.migration.name.clone())
            .collect();
        all = names
            .iter()
            .filter_map(|name| app.desk().board.get(name))
            .collect();
    }
    let will = if force { Will::Force } else { Will::Remove };
    let mut traces = clean(app, &all, will).await;
    let mut failed = Vec::new();
    for shown in &all {
        let name = &shown.migration.name;
        match traces.remove(name) {
            Some(Ok(Cleaned { removed, kept })) => {
                done.removed.extend(removed);
                let kept = kept.iter();
                done.kept
                    .extend(kept.map(|what| format!("what migration {name} left on its {what}")));
            }
            Some(Err(reason)) if force => done.kept.push(format!(
                "what migration {name} left on its servers: {reason}"
            )),
            Some(Err(reason)) => {
                failed.push(format!("migration {name}: {reason}"));
                app.course().settle();
                continue;
            }
            None if needs_agents(shown) => done.kept.push(format!(
                "what migration {name} left on its servers, which only its agents reach: run `pghaul cleanup` there"
            )),
            None => {}
        }
        let own = own(app, shown).await;
        match app.forget(name).await {
            Ok(()) => done.removed.extend(own),
            Err(problem) if force => done.kept.push(format!("migration {name}: {problem}")),
            Err(problem) => failed.push(format!("migration {name}: {problem}")),
        }
        app.course().settle();
    }
    let error = (!failed.is_empty()).then(|| Failure {
        remedy: Some("make the servers reachable and do it again, or force it".to_owned()),
        ..Failure::new(format!(
            "not everything could be removed: {}",
            failed.join("; ")
        ))
    });
    (done, error)
}

/// Cancels what has not ended, and waits for it.
async fn stop(app: &App, all: &[Arc<Shown>]) {
    let deadline = Instant::now() + PATIENCE;
    let active = || {
        let shown = all
            .iter()
            .filter_map(|shown| app.desk().board.get(&shown.migration.name));
        shown.filter(|shown| shown.migration.current_status.state.is_active())
    };
    for shown in active() {
        let cancel = |answer| Request::Act {
            name: shown.migration.name.clone(),
            action: Action::Cancel,
            answer,
        };
        // One that has ended meanwhile needs no cancelling.
        drop(app.desk().ask(cancel).await);
    }
    while active().next().is_some() && Instant::now() < deadline {
        sleep(Duration::from_millis(200)).await;
    }
}

/// Lists or removes what migrations left on their servers, by their names. Those that can have
/// left nothing, and those whose servers only agents reach, are not among them.
async fn clean(
    app: &App,
    all: &[Arc<Shown>],
    will: Will,
) -> HashMap<String, Result<Cleaned, String>> {
    // Whoever asks what is left waits for the answer.
    let limit = (will == Will::List).then(|| Instant::now() + LOOK);
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut tasks = JoinSet::new();
    for shown in all.iter().filter(|shown| has_servers(shown)) {
        let (app, shown, places) = (app.clone(), Arc::clone(shown), Arc::clone(&places));
        tasks.spawn(async move {
            let name = shown.migration.name.clone();
            let found = async {
                let _place = places.acquire().await;
                match job(&app, &shown).await {
                    Ok(job) => cleanup::run(app.program(), &name, &job, &shown.run, will).await,
                    Err(problem) => Err(problem.to_string()),
                }
            };
            let found = match limit {
                Some(limit) => timeout_at(limit, found)
                    .await
                    .unwrap_or_else(|_| Err("its servers did not answer in time".to_owned())),
                None => found.await,
            };
            (name, found)
        });
    }
    tasks.join_all().await.into_iter().collect()
}

/// A job with its passwords, and with the databases that it found if it was to find them.
async fn job(app: &App, shown: &Shown) -> Result<Job, Problem> {
    let ask = |answer| Request::Reveal {
        name: shown.migration.name.clone(),
        answer,
    };
    let mut job = app.desk().ask(ask).await?;
    let details = &shown.migration.current_status.current_sub_state_details;
    if job.databases.is_empty() {
        job.databases = details.db_details.keys().cloned().collect();
    }
    Ok(job)
}

/// Whether a migration may have left something where this server can connect to.
fn has_servers(shown: &Shown) -> bool {
    let migration = &shown.migration;
    let began = migration.started_at.is_some() && migration.job.option != Extent::Validate;
    let details = &migration.current_status.current_sub_state_details;
    let some = !migration.job.databases.is_empty() || !details.db_details.is_empty();
    began && some && migration.topology == Topology::Server
}

fn needs_agents(shown: &Shown) -> bool {
    shown.migration.topology == Topology::Agents && shown.migration.started_at.is_some()
}

fn trace(shown: &Shown, place: String) -> Left {
    Left {
        kind: Kind::Ledger,
        migration: shown.migration.name.clone(),
        place,
        bytes: None,
    }
}

/// What this server itself keeps of a migration.
async fn own(app: &App, shown: &Shown) -> Vec<Left> {
    let name = &shown.migration.name;
    let mut left = Vec::new();
    for (kind, path) in [
        (
            Kind::Spool,
            app.state()
                .join("spool")
                .join(shown.migration.migration_id.to_string()),
        ),
        (Kind::Run, shown.run.path().to_owned()),
    ] {
        let measured = path.clone();
        let size = tokio::task::spawn_blocking(move || size(&measured)).await;
        if let Ok(Some(bytes)) = size {
            left.push(Left {
                kind,
                migration: name.clone(),
                place: path.display().to_string(),
                bytes: Some(bytes),
            });
        }
    }
    left.push(Left {
        kind: Kind::State,
        migration: name.clone(),
        place: app.state().join("state.db").display().to_string(),
        bytes: None,
    });
    left
}

/// Bytes of the files in a folder; `None` if there is none.
fn size(folder: &Path) -> Option<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).ok()? {
        let Ok(entry) = entry else { continue };
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += size(&entry.path()).unwrap_or(0),
            Ok(metadata) => bytes += metadata.len(),
            // Gone meanwhile.
            Err(_) => {}
        }
    }
    Some(bytes)
}
