//! What agents and the server say to one another.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::job::Job;
use crate::machine;
use crate::model::State;
use crate::spool::Side;

/// An agent that wants work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registration {
    /// What the agent calls itself: a new identifier for every process.
    pub agent_id: Uuid,
    /// The side it works on; must be the token's.
    pub side: Side,
    /// The name of its host.
    pub host: String,
    /// Its version of pghaul.
    pub version: String,
    /// The processors of its host.
    pub processors: u64,
    /// The memory of its host, in bytes.
    pub memory: u64,
}

/// The work of an agent, and the seat it has for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Whose work it is.
    pub agent_id: Uuid,
    /// The epoch of the seat, which every further call shows.
    pub epoch: u64,
    /// The name of the migration.
    pub migration: String,
    /// What is to be done now.
    pub task: Task,
    /// What was asked for.
    pub job: Job,
    /// The databases, in their order; empty while only the source's server knows them.
    pub databases: Vec<String>,
    /// Those of which this side has begun to carry something over.
    pub begun: Vec<String>,
    /// Those that this side is done with, and how that ended.
    pub finished: BTreeMap<String, Ending>,
    /// So many bytes may wait in the spool before an extraction pauses.
    pub spool_limit: Option<u64>,
}

/// What an agent is to do with each database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Check its side, and how both fit; change nothing.
    Validate,
    /// Carry it over.
    Migrate,
}

impl From<machine::Command> for Task {
    fn from(command: machine::Command) -> Self {
        match command {
            machine::Command::Validate => Self::Validate,
            machine::Command::Migrate => Self::Migrate,
        }
    }
}

/// That there is nothing to do any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Over {
    /// How the migration ended.
    pub state: State,
}

/// How a database ended on one side, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// All is done.
    Done,
    /// Done, and the target differs from the source.
    Differs,
    /// A check failed, and nothing was changed.
    Invalid,
    /// It failed.
    Failed,
    /// It was stopped.
    Canceled,
}

/// The answer to events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    /// How many events of this agent the server has now.
    pub received: u64,
    /// What holds now. It is said again in every answer, so that none is lost with one.
    pub commands: Vec<Command>,
}

/// What an agent is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(
    tag = "action",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Command {
    /// Stop, and keep what is done.
    Cancel,
    /// Copy nothing further for now.
    Pause,
    /// Copy, if not at work already.
    Resume,
    /// Copy at most so many bytes a second.
    Throttle {
        /// The limit; none if absent.
        bytes_per_second: Option<u64>,
    },
    /// Give up a database, which has failed on the other side.
    Abandon {
        /// Which one.
        database: String,
    },
}

/// An agent, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentView {
    /// What it calls itself.
    pub agent_id: Uuid,
    /// The name of the migration it works on.
    pub migration: String,
    /// The side.
    pub side: Side,
    /// The name of its host.
    pub host: String,
    /// Its version of pghaul.
    pub version: String,
    /// The processors of its host.
    pub processors: u64,
    /// The memory of its host, in bytes.
    pub memory: u64,
    /// What it does.
    pub state: AgentState,
    /// The epoch of its seat; 0 if it never had it.
    pub epoch: u64,
    /// When it called last.
    pub last_seen: DateTime<Utc>,
}

/// What an agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentState {
    /// It waits for work, or for the seat of another one.
    Waiting,
    /// It has the seat.
    Working,
    /// It lost the seat, because it was silent.
    Lost,
    /// It gave the seat back.
    Done,
}

/// A token that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenAsked {
    /// The side it is for.
    pub side: Side,
    /// For how long it is to be valid, at most a year; a week if absent.
    #[schema(minimum = 1, maximum = 31_622_400)]
    pub expires_in_seconds: Option<u64>,
}

/// A token. It is told this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenIssued {
    /// What the agent has to show, as `PGHAUL_TOKEN`.
    pub token: String,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}
