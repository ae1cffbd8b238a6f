//! A directory in which a run can be watched and controlled by another process, and gone on with
//! by a later one: what `--run-dir` names. docs/run-dir.md describes it.

mod before;
mod control;
mod ticker;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pghaul_relay::{Cancel, Pace, Progress};
use pghaul_stage::{Error, Kind, Result};
use serde_json::json;

use before::Before;
use ticker::Ticker;

use crate::{Outcome, causes, output};

/// The directory of this run.
pub(crate) struct RunDir {
    path: PathBuf,
    /// Locked for as long as this process lives, however it ends.
    _lock: File,
    before: Before,
    ticker: Ticker,
}

impl RunDir {
    /// Takes the directory, which is made if it is not there. From then on, what this process
    /// writes to standard output goes to `events.jsonl` in it, and what it writes to standard
    /// error to `log`.
    ///
    /// # Errors
    ///
    /// Kind input if another process runs in it, or if it cannot be written.
    pub(crate) fn open(path: &Path) -> Result<RunDir> {
        let failed = |error: io::Error| {
            Error::input("the directory of the run cannot be used")
                .on(path.display().to_string())
                .because(error)
        };
        let mut make = DirBuilder::new();
        make.recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let lock = lock(&path.join("lock")).map_err(failed)?.ok_or_else(|| {
            Error::input("another process runs in this directory")
                .on(path.display().to_string())
                .remedy("wait until it has ended, or name another directory")
        })?;
        let mut events = append(&path.join("events.jsonl")).map_err(failed)?;
        let before = Before::read(&mut events).map_err(failed)?;
        let log = append(&path.join("log")).map_err(failed)?;
        rustix::stdio::dup2_stdout(&events).map_err(|error| failed(error.into()))?;
        rustix::stdio::dup2_stderr(&log).map_err(|error| failed(error.into()))?;
        Ok(RunDir {
            path: path.to_owned(),
            _lock: lock,
            before,
            ticker: Ticker::start().map_err(failed)?,
        })
    }

    /// Lets others cancel, pause and throttle the run from now on, through `control.sock`.
    pub(crate) fn listen(&self, cancel: &Cancel, pace: &Pace) -> Result<()> {
        control::listen(&self.socket(), cancel.clone(), pace.clone())
    }

    /// Whether an earlier process had begun with this database on the target.
    pub(crate) fn had_begun(&self, database: &str) -> bool {
        self.before.begun.contains(database)
    }

    /// Whether an earlier process had compared source and target of this database.
    pub(crate) fn had_compared(&self, database: &str) -> bool {
        self.before.compared.contains(database)
    }

    /// Tells from now on once a second how far a database is, until what is returned is dropped.
    pub(crate) fn watch(&self, database: &str, progress: Arc<Progress>) -> ticker::Watched<'_> {
        self.ticker.watch(database, progress)
    }

    /// Tells how the run ended, as the last event.
    pub(crate) fn end(&self, command: &str, result: &Result<Outcome>) {
        let outcome = match result {
            Ok(Outcome::Done) => "done",
            Ok(Outcome::Differs) => "differs",
            Ok(Outcome::Invalid) => "invalid",
            Ok(Outcome::Failed) => "failed",
            Err(error) if error.kind() == Kind::Cancelled => "canceled",
            Err(_) => "failed",
        };
        let error = result.as_ref().err().map(|error| {
            json!({
                "kind": format!("{:?}", error.kind()).to_lowercase(),
                "message": error.to_string(),
                "causes": causes(error),
                "remedy": error.hint(),
            })
        });
        output::print_json(&json!({
            "event": "ended", "command": command, "outcome": outcome, "error": error,
        }));
        drop(fs::remove_file(self.socket()));
    }

    fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }
}

/// Locks a file and notes in it who did; `None` if somebody else has.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options.open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(Some(file))
}

/// Opens a file for appending. A line that a process was killed at is ended first.
fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let length = file.metadata()?.len();
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_a_line_that_was_cut_off_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).unwrap().unwrap();
        assert!(lock(&path).unwrap().is_none());
        drop(held);
        assert!(lock(&path).unwrap().is_some());

        let path = folder.path().join("events.jsonl");
        fs::write(
            &path,
            "{\"event\":\"begun\",\"database\":\"a\"}\n{\"event\":\"be",
        )
        .unwrap();
        let mut file = append(&path).unwrap();
        writeln!(file, "{{}}").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
