//! The migrations of the supervisor, as far as agents are concerned.

use std::io::Write;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use pghaul_stage::{Error, Kind, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use super::protocol::Ending;
use super::{Asked, Migrations, Wants};
use crate::job::Topology;
use crate::model::{State, SubState};
use crate::run::RunDir;
use crate::supervisor::{Desk, Shown};

#[async_trait]
impl Migrations for Desk {
    async fn name(&self, migration: Uuid) -> Result<Option<String>> {
        // What its events add up to is not known yet when the server has just started.
        let shown = self.of(migration).filter(|shown| shown.fold.is_some());
        Ok(shown.map(|shown| shown.migration.name.clone()))
    }

    async fn find(&self, name: &str) -> Result<Option<Uuid>> {
        let shown = self.board.get(name);
        let shown = shown.filter(|shown| shown.migration.topology == Topology::Agents);
        Ok(shown.map(|shown| shown.migration.migration_id))
    }

    async fn work(&self, migration: Uuid) -> Result<Option<Asked>> {
        let Some(shown) = self.of(migration) else {
            return Ok(None);
        };
        let under_way = shown.fold.as_ref().and_then(|fold| {
            let fold = fold.lock().unwrap_or_else(PoisonError::into_inner);
            fold.under_way()
        });
        Ok(under_way.map(|command| Asked {
            name: shown.migration.name.clone(),
            task: command.into(),
            job: shown.migration.job.clone(),
        }))
    }

    async fn over(&self, migration: Uuid) -> Result<Option<State>> {
        let state = self
            .of(migration)
            .map(|shown| shown.migration.current_status.state);
        Ok(state.filter(|state| !state.is_active()))
    }

    async fn wants(&self, migration: Uuid) -> Result<Wants> {
        Ok(self.of(migration).map_or_else(Wants::default, |shown| {
            let migration = &shown.migration;
            let sub = migration
                .current_status
                .current_sub_state_details
                .current_sub_state;
            Wants {
                canceled: sub == SubState::CancelingRequestedDbMigrations,
                paused: migration.paused || sub == SubState::WaitingForDataMigrationWindow,
                bytes_per_second: migration.bytes_per_second,
            }
        }))
    }

    async fn canceled(&self) -> Result<Vec<Uuid>> {
        let of_agents = self.board.all().into_iter().filter(|shown| {
            let details = &shown.migration.current_status.current_sub_state_details;
            shown.migration.topology == Topology::Agents
                && details.current_sub_state == SubState::CancelingRequestedDbMigrations
        });
        Ok(of_agents
            .map(|shown| shown.migration.migration_id)
            .collect())
    }

    async fn note(&self, migration: Uuid, events: Vec<Value>) -> Result<()> {
        let Some(shown) = self.of(migration) else {
            return Ok(());
        };
        let run = shown.run.clone();
        blocking(move || append(&run, &events)).await
    }

    async fn noted(&self, migration: Uuid) -> Result<Vec<Value>> {
        let Some(shown) = self.of(migration) else {
            return Ok(Vec::new());
        };
        let run = shown.run.clone();
        blocking(move || {
            let mut noted = Vec::new();
            let mut tail = crate::run::tail::Tail::new(run.events());
            tail.read(|event| noted.push(Value::Object(event.clone())))?;
            Ok(noted)
        })
        .await
    }

    async fn ended(&self, migration: Uuid, ending: Ending, error: Option<Value>) -> Result<()> {
        let event = json!({ "event": "ended", "outcome": ending, "error": error });
        self.note(migration, vec![event]).await
    }
}

impl Desk {
    fn of(&self, migration: Uuid) -> Option<Arc<Shown>> {
        let mut all = self.board.all().into_iter();
        all.find(|shown| shown.migration.migration_id == migration)
    }
}

/// Adds events to those of a run, each with its time.
pub(crate) fn append(run: &RunDir, events: &[Value]) -> std::io::Result<()> {
    let mut lines = String::new();
    if crate::run::tail::ends_within_a_line(&run.events())? {
        lines.push('\n');
    }
    for event in events {
        let mut event = event.clone();
        if let Some(fields) = event.as_object_mut() {
            fields.entry("time").or_insert_with(|| json!(crate::now()));
        }
        lines.push_str(&format!("{event}\n"));
    }
    run.append()?.write_all(lines.as_bytes())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(
            Kind::Permanent,
            "the events of a migration cannot be read or written",
        )
        .because(error)
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| failed(error.into()))?
        .map_err(|error| failed(error.into()))
}
