//! What the server says of a migration, by the names of Azure's migration service.

mod validation;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

pub use validation::{
    DbLevelValidation, ServerLevelValidation, ValidationDetails, ValidationMessage,
    ValidationState, ValidationSummaryItem,
};

use crate::job::{Endpoint, Extent, Job, Mode, Topology};
use crate::words::words;
use chrono::{DateTime, Utc};

words! {
    /// As [`Mode`], in the service's spelling.
    pub MigrationMode {
        /// Nothing writes to the source meanwhile.
        Offline = "Offline",
        /// Changes are carried over until a cutover.
        Online = "Online",
    }
}

words! {
    /// As [`Extent`], in the service's spelling.
    pub MigrationOption {
        /// Check only.
        Validate = "Validate",
        /// Migrate without checks.
        Migrate = "Migrate",
        /// Check, then migrate.
        ValidateAndMigrate = "ValidateAndMigrate",
    }
}

words! {
    /// Where a migration is.
    pub State {
        /// It waits, runs or is paused.
        InProgress = "InProgress",
        /// It waits for somebody.
        WaitingForUserAction = "WaitingForUserAction",
        /// It was canceled.
        Canceled = "Canceled",
        /// It failed.
        Failed = "Failed",
        /// It did all it was asked to.
        Succeeded = "Succeeded",
        /// A check failed, and nothing was changed.
        ValidationFailed = "ValidationFailed",
        /// What it left is being removed.
        CleaningUp = "CleaningUp",
    }
}

impl State {
    /// Whether anything may still happen by itself.
    pub fn is_active(self) -> bool {
        matches!(
            self,
            State::InProgress | State::WaitingForUserAction | State::CleaningUp
        )
    }
}

words! {
    /// What it does there.
    pub SubState {
        /// It waits for its turn, connects, prepares.
        PerformingPreRequisiteSteps = "PerformingPreRequisiteSteps",
        /// Checks are made.
        ValidationInProgress = "ValidationInProgress",
        /// The source is being made ready for logical replication.
        WaitingForLogicalReplicationSetupRequestOnSourceDb =
            "WaitingForLogicalReplicationSetupRequestOnSourceDB",
        /// Somebody must say which databases.
        WaitingForDbsToMigrateSpecification = "WaitingForDBsToMigrateSpecification",
        /// Somebody must allow a target database to be replaced.
        WaitingForTargetDbOverwriteConfirmation = "WaitingForTargetDBOverwriteConfirmation",
        /// It waits for `startAt`.
        WaitingForDataMigrationScheduling = "WaitingForDataMigrationScheduling",
        /// It waits for its window.
        WaitingForDataMigrationWindow = "WaitingForDataMigrationWindow",
        /// Rows are copied and indexes built.
        MigratingData = "MigratingData",
        /// Somebody must ask for the cutover.
        WaitingForCutoverTrigger = "WaitingForCutoverTrigger",
        /// The last steps, and the comparison.
        CompletingMigration = "CompletingMigration",
        /// It has ended, well or not.
        Completed = "Completed",
        /// It is being stopped.
        CancelingRequestedDbMigrations = "CancelingRequestedDBMigrations",
    }
}

words! {
    /// Where a database of a migration is.
    pub DbState {
        /// It waits or is under way.
        InProgress = "InProgress",
        /// It waits for its cutover.
        WaitingForCutoverTrigger = "WaitingForCutoverTrigger",
        /// It failed.
        Failed = "Failed",
        /// It was stopped.
        Canceled = "Canceled",
        /// It is whole on the target.
        Succeeded = "Succeeded",
        /// It is being stopped.
        Canceling = "Canceling",
    }
}

words! {
    /// Where a table of a database is.
    pub TableState {
        /// Nothing of it is copied yet.
        Queued = "queued",
        /// Some of it is copied.
        Loading = "loading",
        /// All of it is on the target, durably.
        Completed = "completed",
        /// Copying it failed.
        Errored = "errored",
    }
}

/// A migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Migration {
    /// Its name, unique at this server.
    pub name: String,
    /// What distinguishes it from another one that had this name.
    pub migration_id: Uuid,
    /// Whether the source may be written to meanwhile.
    pub migration_mode: MigrationMode,
    /// How far to go.
    pub migration_option: MigrationOption,
    /// Who connects to the databases.
    pub topology: Topology,
    /// The server that is read; absent if agents connect.
    pub source: Option<Endpoint>,
    /// The server that is written; absent if agents connect.
    pub target: Option<Endpoint>,
    /// The databases that it was asked to migrate; none means all.
    pub dbs_to_migrate: Vec<String>,
    /// What was asked for, without secrets.
    pub job: Job,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// When its process was first started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Whether somebody paused it.
    pub paused: bool,
    /// The limit that holds now, in bytes a second.
    pub bytes_per_second: Option<u64>,
    /// How many start before this one, counted from 1; absent unless it waits for its turn.
    pub queue_position: Option<u64>,
    /// Where it is.
    pub current_status: CurrentStatus,
    /// Whether source and target were compared and are the same; absent if they were not compared.
    pub verified: Option<bool>,
}

/// Where a migration is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CurrentStatus {
    /// Its state.
    pub state: State,
    /// Why it failed.
    pub error: Option<Failure>,
    /// More exactly.
    pub current_sub_state_details: SubStateDetails,
}

/// What a migration does, all together and in each database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubStateDetails {
    /// What it does.
    pub current_sub_state: SubState,
    /// Each database, by name.
    pub db_details: BTreeMap<String, DbDetails>,
    /// What the checks found; absent before they are done.
    pub validation_details: Option<ValidationDetails>,
}

/// Why something failed, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What happened, where.
    pub message: String,
    /// What can be done about it.
    pub remedy: Option<String>,
    /// What led to it, outermost first.
    pub causes: Vec<String>,
}

impl Failure {
    /// A failure without remedy and causes.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: None,
            causes: Vec::new(),
        }
    }
}

/// Where one database of a migration is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DbDetails {
    /// Its name.
    pub database_name: String,
    /// Its state.
    pub migration_state: DbState,
    /// What is being done with it, for people.
    pub migration_operation: String,
    /// The last thing that was said about it.
    pub message: Option<String>,
    /// When it began.
    pub started_on: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_on: Option<DateTime<Utc>>,
    /// Tables of which nothing is copied yet.
    pub full_load_queued_tables: u64,
    /// Tables of which some is copied.
    pub full_load_loading_tables: u64,
    /// Tables that are copied.
    pub full_load_completed_tables: u64,
    /// Tables that failed.
    pub full_load_errored_tables: u64,
    /// Changes received of an online migration.
    pub incoming_changes: u64,
    /// Changes applied of an online migration.
    pub applied_changes: u64,
    /// Rows inserted by them.
    pub cdc_insert_counter: u64,
    /// Rows updated by them.
    pub cdc_update_counter: u64,
    /// Rows deleted by them.
    pub cdc_delete_counter: u64,
    /// Seconds by which the target is behind the source, of an online migration.
    pub latency: u64,
    /// Rows copied by the running process.
    pub rows: u64,
    /// Bytes copied by the running process.
    pub bytes: u64,
    /// Rows there are, an estimate.
    pub rows_expected: u64,
    /// Bytes there are on the source's disk, an estimate.
    pub bytes_expected: u64,
    /// How much is copied, from 0 to 1.
    pub fraction: f64,
    /// How long the copying will still take.
    pub eta_seconds: Option<f64>,
    /// How fast it was of late.
    pub bytes_per_second: f64,
    /// What is done besides copying.
    pub running_steps: Vec<RunningStep>,
}

impl DbDetails {
    /// A database that nothing has happened to yet.
    pub fn new(name: &str) -> Self {
        Self {
            database_name: name.to_owned(),
            migration_state: DbState::InProgress,
            migration_operation: "waiting".to_owned(),
            message: None,
            started_on: None,
            ended_on: None,
            full_load_queued_tables: 0,
            full_load_loading_tables: 0,
            full_load_completed_tables: 0,
            full_load_errored_tables: 0,
            incoming_changes: 0,
            applied_changes: 0,
            cdc_insert_counter: 0,
            cdc_update_counter: 0,
            cdc_delete_counter: 0,
            latency: 0,
            rows: 0,
            bytes: 0,
            rows_expected: 0,
            bytes_expected: 0,
            fraction: 0.0,
            eta_seconds: None,
            bytes_per_second: 0.0,
            running_steps: Vec::new(),
        }
    }
}

/// A step under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningStep {
    /// Which, as in `index`.
    pub step: String,
    /// On what.
    pub subject: String,
    /// For how long.
    pub elapsed_seconds: f64,
}

/// Where one table is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TableProgress {
    /// Its schema and name, as people read them.
    pub table: String,
    /// Its state.
    pub state: TableState,
    /// Rows copied by the running process.
    pub rows: u64,
    /// Bytes copied by the running process.
    pub bytes: u64,
    /// Rows there are, an estimate.
    pub rows_expected: u64,
    /// Bytes there are on the source's disk, an estimate.
    pub bytes_expected: u64,
    /// How long it will still take at the rate of late; absent unless it is being copied.
    pub eta_seconds: Option<f64>,
}

impl From<Mode> for MigrationMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Offline => MigrationMode::Offline,
            Mode::Online => MigrationMode::Online,
        }
    }
}

impl From<Extent> for MigrationOption {
    fn from(extent: Extent) -> Self {
        match extent {
            Extent::Validate => MigrationOption::Validate,
            Extent::Migrate => MigrationOption::Migrate,
            Extent::ValidateAndMigrate => MigrationOption::ValidateAndMigrate,
        }
    }
}
