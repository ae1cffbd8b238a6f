//! The directory of a migration's processes, as seen from outside: what they told, whether one
//! lives, and how to tell it something. docs/run-dir.md describes it.

pub(crate) mod fold;
pub(crate) mod last;
mod process;
pub(crate) mod samples;
pub(crate) mod tail;
mod validation;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

pub(crate) use process::Program;

use crate::machine::{Command, Order};

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of the longest path of a socket below the directory of all runs: an identifier, and
/// `/control.sock`.
pub(crate) const SOCKET: usize = 36 + 14;

/// The directory of one migration.
#[derive(Debug, Clone)]
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(crate) fn report(&self) -> PathBuf {
        self.0.join("report.md")
    }

    /// Makes it unless it is there.
    pub(crate) fn make(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
    }

    /// Removes it with everything in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Whether a process lives in it: it holds the lock for as long as it does.
    pub(crate) fn is_alive(&self) -> io::Result<bool> {
        let lock = match File::open(self.0.join("lock")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            lock => lock?,
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The process that holds the lock. To be asked only while one does.
    pub(crate) fn pid(&self) -> Option<rustix::process::Pid> {
        let text = fs::read_to_string(self.0.join("lock")).ok()?;
        rustix::process::Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Ends the process at once.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match self.pid() {
            Some(pid) if self.is_alive()? => Ok(rustix::process::kill_process(
                pid,
                rustix::process::Signal::KILL,
            )?),
            _ => Ok(()),
        }
    }

    /// Notes that a process is about to be started; what the last one told of its end no longer
    /// counts.
    pub(crate) fn note_attempt(&self, command: Command, rate: Option<u64>) -> io::Result<()> {
        let mut line = json!({
            "time": crate::now(), "event": "attempt", "command": command,
            "bytesPerSecond": rate,
        })
        .to_string();
        line.push('\n');
        // A line that a process was killed at is ended first.
        if tail::ends_within_a_line(&self.events())? {
            line.insert(0, '\n');
        }
        self.append()?.write_all(line.as_bytes())
    }

    /// The events, to add some.
    pub(crate) fn append(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.events())
    }

    /// Tells the process something.
    ///
    /// # Errors
    ///
    /// If it does not listen, does not answer in time, or refuses.
    pub(crate) fn tell(&self, order: Order) -> io::Result<()> {
        let line = match order {
            Order::Cancel => json!({ "action": "cancel" }),
            Order::Pause => json!({ "action": "pause" }),
            Order::Resume => json!({ "action": "resume" }),
            Order::Throttle(rate) => json!({ "action": "throttle", "bytesPerSecond": rate }),
        };
        let mut stream = UnixStream::connect(self.0.join("control.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        let answer: Value = serde_json::from_str(&answer)?;
        match answer.get("error") {
            None => Ok(()),
            Some(error) => Err(io::Error::other(error.to_string())),
        }
    }
}
