//! The migrations of the server, as far as agents are concerned.

use std::fmt;

use async_trait::async_trait;
use pghaul_stage::Result;
use serde_json::Value;
use uuid::Uuid;

use super::protocol::{Ending, Task};
use crate::job::Job;
use crate::model::State;

/// The migrations of the server, as far as agents are concerned.
#[async_trait]
pub trait Migrations: fmt::Debug + Send + Sync {
    /// The name of a migration that has not ended.
    async fn name(&self, migration: Uuid) -> Result<Option<String>>;

    /// The migration of a name; `None` if there is none, or agents have no part in it.
    async fn find(&self, name: &str) -> Result<Option<Uuid>>;

    /// What is to be done; `None` while nothing is, or not any more.
    async fn work(&self, migration: Uuid) -> Result<Option<Asked>>;

    /// How a migration ended; `None` unless it has.
    async fn over(&self, migration: Uuid) -> Result<Option<State>>;

    /// What its operator wants right now.
    async fn wants(&self, migration: Uuid) -> Result<Wants>;

    /// Writes events down, as those of a process that migrates.
    async fn note(&self, migration: Uuid, events: Vec<Value>) -> Result<()>;

    /// The events that were written down.
    async fn noted(&self, migration: Uuid) -> Result<Vec<Value>>;

    /// Those that somebody canceled and that have not ended.
    async fn canceled(&self) -> Result<Vec<Uuid>>;

    /// Both sides are done, with this ending, and this error if one told.
    async fn ended(&self, migration: Uuid, ending: Ending, error: Option<Value>) -> Result<()>;
}

/// A migration that agents are to carry out.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// What is to be done now.
    pub task: Task,
    /// What was asked for.
    pub job: Job,
}

/// What an operator wants of a migration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wants {
    /// That it stops.
    pub canceled: bool,
    /// That it copies nothing for now.
    pub paused: bool,
    /// That it copies no more in a second.
    pub bytes_per_second: Option<u64>,
}
