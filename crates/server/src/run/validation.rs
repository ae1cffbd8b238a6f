//! Findings of the checks, in the shape that Azure's migration service gives them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Time;
use crate::model::{
    DbLevelValidation, ServerLevelValidation, ValidationDetails, ValidationMessage,
    ValidationState, ValidationSummaryItem,
};

/// What all checks found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    databases: BTreeMap<String, OfDatabase>,
}

/// What the checks of one database found.
#[derive(Debug)]
struct OfDatabase {
    started: Time,
    ended: Option<Time>,
    found: Vec<Found>,
}

/// What one check found.
#[derive(Debug)]
struct Found {
    /// The side whose agent found it; empty where one process checks both.
    agent: String,
    group: &'static str,
    of_server: bool,
    message: ValidationMessage,
}

/// Messages by their types, each once.
type Groups = BTreeMap<&'static str, Vec<ValidationMessage>>;

/// A finding, as it is told.
#[derive(Deserialize)]
struct Line {
    code: u32,
    severity: ValidationState,
    objects: Vec<String>,
    message: String,
    remedy: Option<String>,
    #[serde(default)]
    side: String,
}

impl Findings {
    /// Adds an event about checks.
    pub(super) fn add(
        &mut self,
        kind: &str,
        database: Option<&str>,
        time: Time,
        event: &Map<String, Value>,
    ) {
        let name = database.unwrap_or_default().to_owned();
        let database = self.databases.entry(name).or_insert_with(|| OfDatabase {
            started: time,
            ended: None,
            found: Vec::new(),
        });
        let agent = event.get("agent").and_then(Value::as_str);
        let agent = agent.unwrap_or_default();
        match kind {
            "validation_started" => {
                // The other side's are not told again.
                database.found.retain(|found| found.agent != agent);
                database.ended = None;
            }
            "validation" => database.ended = Some(time),
            "finding" => {
                let Ok(line) = Line::deserialize(event) else {
                    return;
                };
                let (group, of_server) = group(line.code);
                let message = ValidationMessage {
                    state: line.severity,
                    message: line.message,
                    code: line.code,
                    side: line.side,
                    remedy: line.remedy,
                    objects: line.objects,
                };
                database.found.push(Found {
                    agent: agent.to_owned(),
                    group,
                    of_server,
                    message,
                });
            }
            _ => {}
        }
    }

    /// Whether there are any, or will be.
    pub(super) fn have_begun(&self) -> bool {
        !self.databases.is_empty()
    }

    /// All of them; `None` if there were no checks.
    pub(super) fn details(&self) -> Option<ValidationDetails> {
        let started = self.databases.values().map(|one| one.started).min()?;
        let ends: Option<Vec<Time>> = self.databases.values().map(|one| one.ended).collect();
        // Each database asks the servers anew, and mostly hears the same.
        let of_servers = self.databases.values().flat_map(|one| &one.found);
        let of_servers = grouped(of_servers.filter(|found| found.of_server));
        let server: Vec<ServerLevelValidation> = of_servers
            .iter()
            .map(|(kind, messages)| ServerLevelValidation {
                kind: (*kind).to_owned(),
                state: worst(messages),
                messages: messages.clone(),
            })
            .collect();
        let databases: Vec<DbLevelValidation> = self
            .databases
            .iter()
            .map(|(name, database)| DbLevelValidation {
                database_name: name.clone(),
                started_on: database.started,
                ended_on: database.ended,
                summary: grouped(database.found.iter().filter(|found| !found.of_server))
                    .iter()
                    .map(|(kind, messages)| ValidationSummaryItem {
                        kind: (*kind).to_owned(),
                        state: worst(messages),
                        messages: messages.clone(),
                    })
                    .collect(),
            })
            .collect();
        let of_databases = databases.iter().flat_map(|one| &one.summary);
        let states = of_databases.map(|item| item.state);
        let status = server.iter().map(|item| item.state).chain(states);
        Some(ValidationDetails {
            status: status.fold(ValidationState::Succeeded, ValidationState::worst),
            validation_start_time_in_utc: started,
            validation_end_time_in_utc: ends.and_then(|ends| ends.into_iter().max()),
            server_level_validation_details: server,
            db_level_validation_details: databases,
        })
    }
}

/// What was found, by type. What a migration finds again is told once.
fn grouped<'f>(found: impl Iterator<Item = &'f Found>) -> Groups {
    let mut groups = Groups::new();
    for found in found {
        let messages = groups.entry(found.group).or_default();
        if !messages.contains(&found.message) {
            messages.push(found.message.clone());
        }
    }
    groups
}

fn worst(messages: &[ValidationMessage]) -> ValidationState {
    let states = messages.iter().map(|message| message.state);
    states.fold(ValidationState::Succeeded, ValidationState::worst)
}

/// The type of a check by the service's names, and whether it is about a server.
fn group(code: u32) -> (&'static str, bool) {
    match code {
        603_000..=603_100 | 603_102 | 613_000..=613_099 => {
            ("AuthenticationAndConnectivityValidation", true)
        }
        603_400 | 613_400 => ("SourceVersionValidation", true),
        603_104..=603_109 | 603_112 | 613_200..=613_201 | 613_206 => {
            ("ServerParametersValidation", true)
        }
        613_300..=613_399 => ("RuntimeServerValidation", true),
        603_405..=603_408 | 613_401 => ("ExtensionsValidation", false),
        603_401..=603_403 => ("CollationsValidation", false),
        603_404 | 603_409..=603_413 | 613_402..=613_499 | 613_104..=613_105 => {
            ("SchemaValidation", false)
        }
        613_202..=613_299 => ("ActivityValidation", false),
        _ => ("PrivilegesValidation", false),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn findings_are_grouped_and_the_worst_counts() {
        let mut findings = Findings::default();
        assert_eq!(findings.details(), None);
        let time = |second: i64| Time::UNIX_EPOCH + chrono::TimeDelta::seconds(second);
        let empty = Map::new();
        for (second, name) in [(1, "a"), (2, "b")] {
            findings.add("validation_started", Some(name), time(second), &empty);
            for (code, severity) in [(603_000, "Succeeded"), (603_405, "Warning")] {
                let line = json!({
                    "code": code, "severity": severity, "objects": ["x"], "message": "m",
                    "remedy": null,
                });
                findings.add(
                    "finding",
                    Some(name),
                    time(second),
                    line.as_object().unwrap(),
                );
            }
        }
        let details = findings.details().unwrap();
        assert_eq!(details.status, ValidationState::Warning);
        assert_eq!(details.validation_start_time_in_utc, time(1));
        assert_eq!(details.validation_end_time_in_utc, None);
        let server = &details.server_level_validation_details;
        assert_eq!((server.len(), server[0].messages.len()), (1, 1));
        assert_eq!(
            details.db_level_validation_details[1].summary[0].kind,
            "ExtensionsValidation"
        );
        findings.add("validation", Some("a"), time(3), &empty);
        findings.add("validation", Some("b"), time(4), &empty);
        let end = findings.details().unwrap().validation_end_time_in_utc;
        assert_eq!(end, Some(time(4)));
    }
}
