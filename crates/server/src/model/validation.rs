//! What the checks before a migration found, in the service's shape.

use pghaul_stage::{Check, Finding, Side};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::words::words;
use chrono::{DateTime, Utc};

words! {
    /// How checks ended; of several, the worst of them counts.
    pub ValidationState {
        /// Nothing is in the way.
        Succeeded = "Succeeded",
        /// The migration works, but something needs a look.
        Warning = "Warning",
        /// The migration would fail, or lose something.
        Failed = "Failed",
    }
}

impl ValidationState {
    /// The worse of the two.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        if (other as u8) > (self as u8) {
            other
        } else {
            self
        }
    }
}

/// What all checks found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidationDetails {
    /// The worst of all.
    pub status: ValidationState,
    /// When they began.
    pub validation_start_time_in_utc: DateTime<Utc>,
    /// When they ended; absent while they run.
    pub validation_end_time_in_utc: Option<DateTime<Utc>>,
    /// What is about both servers and this host.
    pub server_level_validation_details: Vec<ServerLevelValidation>,
    /// What is about each database.
    pub db_level_validation_details: Vec<DbLevelValidation>,
}

/// Checks of one type, of the servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerLevelValidation {
    /// Their type, as in `AuthenticationAndConnectivityValidation`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The worst of them.
    pub state: ValidationState,
    /// Each of them.
    pub messages: Vec<ValidationMessage>,
}

/// Checks of one database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DbLevelValidation {
    /// The database.
    pub database_name: String,
    /// When they began.
    pub started_on: DateTime<Utc>,
    /// When they ended; absent while they run.
    pub ended_on: Option<DateTime<Utc>>,
    /// By type.
    pub summary: Vec<ValidationSummaryItem>,
}

/// Checks of one type, of one database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidationSummaryItem {
    /// Their type, as in `SchemaValidation`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The worst of them.
    pub state: ValidationState,
    /// Each of them.
    pub messages: Vec<ValidationMessage>,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidationMessage {
    /// How it ended.
    pub state: ValidationState,
    /// What was found.
    pub message: String,
    /// The check's stable code; docs/validation.md describes each.
    pub code: u32,
    /// Where: `source`, `target`, or `runtime` for what lies between both.
    #[serde(default)]
    pub side: String,
    /// What to do.
    pub remedy: Option<String>,
    /// The objects it is about.
    pub objects: Vec<String>,
}

impl ValidationMessage {
    /// The finding that it was; `None` for a code that is not known.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let check = Check::of(self.code)?;
        let side = match self.side.as_str() {
            "source" => Side::Source,
            "target" => Side::Target,
            _ => Side::Link,
        };
        let (message, remedy) = (
            self.message.clone(),
            self.remedy.clone().unwrap_or_default(),
        );
        let finding = match self.state {
            ValidationState::Succeeded => Finding::succeeded(check, side, message),
            ValidationState::Warning => Finding::warning(check, side, message, remedy),
            ValidationState::Failed => Finding::failed(check, side, message, remedy),
        };
        Some(finding.on(self.objects.clone()))
    }
}
