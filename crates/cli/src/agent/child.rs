//! A process that does the work of an agent: it is watched and controlled through the directory of
//! its run.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use pghaul_relay::Cancel;
use pghaul_stage::{Error, Kind, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child as Process, Command};
use tokio::time::{Instant, sleep_until};

use super::outbox::{Outbox, Wanted};
use super::pieces;
use super::tail::Tail;

/// How often to look for what it has told.
const LOOK: Duration = Duration::from_millis(200);

/// How long a process may take to stop when it is told to.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// The longest event that is told to the server, which takes no more than 1 MiB at once.
const LONGEST: usize = 768 << 10;

/// A process that works on one database.
pub(super) struct Child<'a> {
    process: Process,
    run: &'a Path,
    database: &'a str,
    events: Tail,
    log: Tail,
    seen: Seen,
    /// What it was told, last.
    told: (bool, Option<Option<u64>>),
}

/// What was seen of the work.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Whether the plan stood, so that there is something to resume.
    pub(super) planned: bool,
    /// How many parts were done.
    pub(super) parts: u64,
    /// How it ended, if it told.
    pub(super) ended: Option<Value>,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) seen: Seen,
    /// Why it was told to stop, if it was.
    pub(super) stopped: Option<Stop>,
}

/// Why a process is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Somebody stops the agent.
    Here,
    /// Somebody canceled the migration.
    Canceled,
    /// The other side gave up the database.
    Abandoned,
    /// Another agent does the work.
    Fenced,
}

impl<'a> Child<'a> {
    /// Starts this very program with these arguments. It dies with this thread.
    pub(super) fn start(args: &[OsString], run: &'a Path, database: &'a str) -> Result<Self> {
        let failed = |error| {
            Error::new(Kind::Permanent, "no process for the work can be started").because(error)
        };
        let program = std::env::current_exe().map_err(failed)?;
        let events = Tail::at_end(&run.join("events.jsonl")).map_err(failed)?;
        let log = Tail::at_end(&run.join("log")).map_err(failed)?;
        let process = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // A signal from the terminal is for the agent, which passes it on once.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            process,
            run,
            database,
            events,
            log,
            seen: Seen::default(),
            told: (false, None),
        })
    }

    /// Waits until it ends; tells the server what it tells, and it what the server wants.
    pub(super) async fn end(mut self, outbox: &Outbox, cancel: &Cancel) -> Result<Ended> {
        let mut wanted = outbox.wanted();
        let (mut stopped, mut deadline) = (None, None);
        let status = loop {
            let now = wanted.borrow_and_update().clone();
            if let (None, Some(stop)) = (stopped, why(&now, self.database, cancel)) {
                stopped = Some(stop);
                match stop {
                    Stop::Fenced => self.signal(Signal::KILL),
                    _ => self.signal(Signal::INT),
                }
                deadline = Some(Instant::now() + PATIENCE);
            }
            self.steer(&now).await;
            let late = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let look = async {
                tokio::time::sleep(LOOK).await;
                tell(
                    &mut self.events,
                    &mut self.log,
                    self.database,
                    &mut self.seen,
                    outbox,
                )
                .await
            };
            tokio::select! {
                status = self.process.wait() => break status,
                changed = wanted.changed(), if stopped.is_none() => {
                    if changed.is_err() {
                        // Nobody hears of the work any more.
                        stopped = Some(Stop::Fenced);
                        deadline = Some(Instant::now());
                    }
                }
                () = cancel.cancelled(), if stopped.is_none() => {}
                () = late => {
                    deadline = None;
                    self.signal(Signal::KILL);
                }
                told = look => told?,
            }
        };
        let status = status.map_err(|error| {
            Error::new(Kind::Permanent, "the process cannot be waited for").because(error)
        })?;
        if stopped != Some(Stop::Fenced) {
            let last = tell(
                &mut self.events,
                &mut self.log,
                self.database,
                &mut self.seen,
                outbox,
            );
            // Not for longer than it was given to stop: the server may be gone.
            let told = tokio::time::timeout(PATIENCE, last).await;
            told.map_err(|_| {
                Error::new(
                    Kind::Transient,
                    "the runtime server does not take the last events",
                )
            })??;
        }
        Ok(Ended {
            status,
            seen: self.seen,
            stopped,
        })
    }

    /// Tells it what has changed of what the server wants.
    async fn steer(&mut self, wanted: &Wanted) {
        if wanted.paused != self.told.0 {
            let action = if wanted.paused { "pause" } else { "resume" };
            if self.control(&json!({ "action": action })).await {
                self.told.0 = wanted.paused;
            }
        }
        if wanted.bytes_per_second != self.told.1 {
            let limit = wanted.bytes_per_second.flatten();
            let throttle = json!({ "action": "throttle", "bytesPerSecond": limit });
            if self.control(&throttle).await {
                self.told.1 = wanted.bytes_per_second;
            }
        }
    }

    /// Tells it something; whether it listened. One that has just been started does not yet.
    async fn control(&self, command: &Value) -> bool {
        let telling = async {
            let mut stream = UnixStream::connect(self.run.join("control.sock")).await?;
            stream.write_all(format!("{command}\n").as_bytes()).await?;
            stream.shutdown().await?;
            let mut answer = String::new();
            stream
                .take(LONGEST as u64)
                .read_to_string(&mut answer)
                .await?;
            Ok::<_, std::io::Error>(answer.contains("\"ok\""))
        };
        matches!(tokio::time::timeout(ANSWER, telling).await, Ok(Ok(true)))
    }

    fn signal(&self, signal: Signal) {
        let pid = self
            .process
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(%error, "the process does not get the signal");
        }
    }
}

/// Why the work on a database has to stop now.
fn why(wanted: &Wanted, database: &str, cancel: &Cancel) -> Option<Stop> {
    if wanted.fenced {
        Some(Stop::Fenced)
    } else if wanted.cancel {
        Some(Stop::Canceled)
    } else if wanted.abandoned.contains(database) {
        Some(Stop::Abandoned)
    } else {
        cancel.is_cancelled().then_some(Stop::Here)
    }
}

/// Tells the server what the process has told since, and people what it has logged.
///
/// A line is told before it is taken from the tail: whoever drops this future loses none, and may
/// tell the first pieces of a long one again.
async fn tell(
    events: &mut Tail,
    log: &mut Tail,
    database: &str,
    seen: &mut Seen,
    outbox: &Outbox,
) -> Result<()> {
    let unreadable = |error: std::io::Error| {
        Error::new(Kind::Permanent, "the directory of the run cannot be read").because(error)
    };
    while let Some(line) = log.peek().map_err(unreadable)? {
        eprintln!("{}", String::from_utf8_lossy(&line));
        log.take();
    }
    while let Some(line) = events.peek().map_err(unreadable)? {
        let mut event = match serde_json::from_slice(&line) {
            Ok(Value::Object(event)) => Value::Object(event),
            _ => Value::Null,
        };
        if event["event"] == "ended" {
            // It ends the work on one database, and not the migration.
            seen.ended = Some(event);
        } else if !event.is_null() {
            event["database"] = json!(database);
            match event["event"].as_str() {
                Some("planned") => seen.planned = true,
                Some("part_done") => seen.parts += 1,
                _ => {}
            }
            for piece in pieces::of(event, LONGEST) {
                outbox.speaker().say(&piece).await?;
            }
        }
        events.take();
    }
    Ok(())
}

/// Has the kernel end this process when the one that started it is gone.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_parent() {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        tracing::warn!(%error, "this process would outlive its agent");
    }
}

/// Elsewhere the server ends what it does, when the agent has been silent for a while.
#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent() {}
