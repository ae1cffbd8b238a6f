//! What a migration left on both servers: listed and removed by `pghaul cleanup`, which knows it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Kind, Left};
use crate::Job;
use crate::job::quoted;
use crate::run::{Program, RunDir};

/// How long it may take for all databases of a migration.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much of what it says is read.
const LONGEST: u64 = 4 << 20;

/// What to do with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Will {
    /// Only list it.
    List,
    /// Remove it, unless the migration can still be resumed.
    Remove,
    /// Remove it.
    Force,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Cleaned {
    /// What was found, or removed.
    pub(super) removed: Vec<Left>,
    /// Which side could not be cleaned, and why; only if it was forced.
    pub(super) kept: Vec<String>,
}

/// Lists or removes what a migration left on its servers. If it is forced, one that cannot be
/// reached keeps nobody from cleaning the other one.
///
/// # Errors
///
/// In words, if a server cannot be asked, or refuses.
pub(super) async fn run(
    program: &Program,
    name: &str,
    job: &Job,
    directory: &RunDir,
    will: Will,
) -> Result<Cleaned, String> {
    let call = async |without: Option<&str>| {
        let command = program.command(directory, job);
        let mut command = Command::from(command.map_err(|error| error.to_string())?);
        without.map(|variable| command.env_remove(variable));
        clean(command, name, job, will).await
    };
    let both = call(None).await;
    let reason = match both {
        Ok(removed) => {
            let kept = Vec::new();
            return Ok(Cleaned { removed, kept });
        }
        Err(reason) if will != Will::Force => return Err(reason),
        Err(reason) => reason,
    };
    let mut cleaned = Cleaned::default();
    for (side, other) in [("target", "PGHAUL_SOURCE"), ("source", "PGHAUL_TARGET")] {
        match call(Some(other)).await {
            Ok(removed) => cleaned.removed.extend(removed),
            Err(reason) => cleaned.kept.push(format!("{side}: {reason}")),
        }
    }
    match cleaned.kept.len() {
        2 => Err(reason),
        _ => Ok(cleaned),
    }
}

/// Has the servers of a job cleaned that the command knows.
async fn clean(
    mut command: Command,
    name: &str,
    job: &Job,
    will: Will,
) -> Result<Vec<Left>, String> {
    command
        .args(["cleanup", "--output=json"])
        .args(
            job.databases
                .iter()
                .map(|name| format!("--databases={}", quoted(name))),
        )
        .args(match will {
            Will::List => Some("--dry-run"),
            Will::Remove => None,
            Will::Force => Some("--force"),
        })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let ended = timeout(PATIENCE, async {
        let mut child = command.spawn()?;
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout)
                .take(LONGEST)
                .read_to_end(&mut said)
                .await?;
        }
        std::io::Result::Ok((child.wait().await?, said))
    });
    let (status, said) = match ended.await {
        Ok(ended) => ended.map_err(|error| error.to_string())?,
        Err(_) => return Err("the servers did not answer in two minutes".to_owned()),
    };
    let events: Vec<Value> = String::from_utf8_lossy(&said)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if status.success() {
        return Ok(events
            .iter()
            .filter_map(|event| left(name, event))
            .collect());
    }
    let text = |event: &Value, key| event.get(key).and_then(Value::as_str).map(str::to_owned);
    let error = events.iter().rev().find(|event| is(event, "error"));
    Err(error
        .and_then(|error| text(error, "message"))
        .unwrap_or_else(|| format!("`pghaul cleanup` ended with {status}")))
}

fn is(event: &Value, kind: &str) -> bool {
    event.get("event").and_then(Value::as_str) == Some(kind)
}

/// A trace that was found.
fn left(name: &str, event: &Value) -> Option<Left> {
    if !is(event, "leftover") {
        return None;
    }
    let description = event.get("description")?.as_str()?;
    let database = event.get("database").and_then(Value::as_str);
    Some(Left {
        kind: Kind::Ledger,
        migration: name.to_owned(),
        place: match database {
            Some(database) => format!("database {database}: {description}"),
            None => description.to_owned(),
        },
        bytes: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_traces_are_listed() {
        let event =
            json!({"event": "leftover", "description": "target: schema pghaul", "database": "d"});
        let found = left("m", &event).unwrap();
        assert_eq!(found.place, "database d: target: schema pghaul");
        assert_eq!((found.kind, found.migration.as_str()), (Kind::Ledger, "m"));
        assert_eq!(
            left("m", &json!({"event": "notice", "description": "x"})),
            None
        );
    }
}
