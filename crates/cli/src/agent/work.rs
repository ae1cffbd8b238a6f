//! The work of an agent: one database after another, each until it is done or cannot be.

use std::time::Duration;

use pghaul_relay::Cancel;
use pghaul_server::agents::{Assignment, Ending, Task};
use pghaul_spool::Seat;
use pghaul_stage::{Error, Kind, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Agent;
use super::child::{Child, Ended, Stop};
use super::outbox::{Outbox, fenced};

/// How often a process is started again that ended without having done any of its work.
const ATTEMPTS: u32 = 8;

/// The pause before; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What an agent has to do.
pub(super) struct Work<'a> {
    pub(super) agent: &'a Agent<'a>,
    pub(super) assignment: &'a Assignment,
    pub(super) seat: Seat,
}

/// What the end of a process means.
enum Meaning {
    /// The database is done with; the error, or null.
    Final(Ending, Value),
    /// It has to be tried again, for this reason.
    Again(String),
}

impl Work<'_> {
    /// Does all of it; the worst of the endings.
    pub(super) async fn all(&self, outbox: &Outbox, cancel: &Cancel) -> Result<Ending> {
        let mut databases = self.assignment.databases.clone();
        if databases.is_empty() {
            databases = cancel.until(self.agent.half.databases()).await?;
            let event = json!({ "event": "databases_chosen", "databases": databases });
            outbox.speaker().say(&event).await?;
        }
        let mut worst = Ending::Done;
        for database in &databases {
            let ending = match self.assignment.finished.get(database) {
                Some(ending) => *ending,
                None => self.see_through(database, outbox, cancel).await?,
            };
            worst = worst.max(ending);
            if ending == Ending::Canceled {
                break;
            }
        }
        Ok(worst)
    }

    /// Works on a database until it is done or cannot be, and tells how that ended.
    async fn see_through(
        &self,
        database: &str,
        outbox: &Outbox,
        cancel: &Cancel,
    ) -> Result<Ending> {
        let run = folder()?;
        let mut begun = self.assignment.begun.iter().any(|name| name == database);
        let (mut attempts, mut pause) = (1, PAUSE);
        let (ending, error) = loop {
            let flags = self.flags(database, begun, run.path());
            let child = Child::start(&flags, run.path(), database)?;
            let ended = child.end(outbox, cancel).await?;
            begun |= ended.seen.planned;
            let why = match meaning(&ended)? {
                Meaning::Final(ending, error) => break (ending, error),
                Meaning::Again(why) => why,
            };
            if ended.seen.parts > 0 {
                (attempts, pause) = (1, PAUSE);
            }
            if attempts == ATTEMPTS {
                break (
                    Ending::Failed,
                    json!({ "message": why, "causes": [], "remedy": null }),
                );
            }
            let message = format!("the work broke off and is taken up again: {why}");
            eprintln!("{message}");
            let event = json!({
                "event": "notice", "severity": "warning", "database": database,
                "message": message,
            });
            outbox.speaker().say(&event).await?;
            let waiting = async {
                tokio::time::sleep(pause).await;
                Ok(())
            };
            cancel.until(waiting).await?;
            attempts += 1;
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        let event = match self.assignment.task {
            Task::Validate => json!({
                "event": "database_validated", "database": database, "ending": ending,
                "error": error,
            }),
            Task::Migrate => json!({
                "event": "database_ended", "database": database, "ending": ending, "error": error,
                "state": match ending {
                    Ending::Done => "migrated",
                    Ending::Differs => "differs",
                    Ending::Canceled => "stopped",
                    Ending::Invalid | Ending::Failed => "failed",
                },
            }),
        };
        outbox.speaker().say(&event).await?;
        Ok(ending)
    }
}

/// What the end of a process means.
fn meaning(ended: &Ended) -> Result<Meaning> {
    let told = ended.seen.ended.as_ref();
    let error = told.map(|ended| ended["error"].clone()).unwrap_or_default();
    let ending = told.and_then(|ended| Ending::deserialize(&ended["outcome"]).ok());
    // What was told to stop may have been done before it heard of that.
    if let Some(done @ (Ending::Done | Ending::Differs)) = ending {
        return Ok(Meaning::Final(done, error));
    }
    match ended.stopped {
        Some(Stop::Fenced) => return Err(fenced()),
        Some(Stop::Canceled) => return Ok(Meaning::Final(Ending::Canceled, Value::Null)),
        Some(Stop::Abandoned) => {
            let message = "the other side gave the database up";
            let error = json!({ "message": message, "causes": [], "remedy": null });
            return Ok(Meaning::Final(Ending::Failed, error));
        }
        Some(Stop::Here) => {
            return Err(Error::new(Kind::Cancelled, "the agent was stopped")
                .remedy("start it again: it goes on from what is done"));
        }
        None => {}
    }
    let message = || error["message"].as_str().unwrap_or_default().to_owned();
    Ok(match (ending, error["kind"].as_str()) {
        // It died, or a store or a server was away for longer than a command waits.
        (None, _) => Meaning::Again(ended.status.to_string()),
        (_, Some("transient" | "cancelled")) => Meaning::Again(message()),
        (_, Some("fenced")) => return Err(fenced()),
        (Some(ending), _) => Meaning::Final(ending, error),
    })
}

/// A directory for runs, for this user alone; it is gone with this value.
fn folder() -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("pghaul-agent-").tempdir();
    made.map_err(|error| {
        Error::input("there is no place for the run")
            .because(error)
            .remedy("let TMPDIR name a directory that can be written")
    })
}
