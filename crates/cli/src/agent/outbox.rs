//! What an agent tells the server, in batches, and what the server answers.

use std::collections::BTreeSet;
use std::time::Duration;

use pghaul_server::agents::Command;
use pghaul_spool::Seat;
use pghaul_stage::{Error, Kind, Result};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::api::Api;

/// Events that may wait. When so many do, the process that prints them waits too.
const QUEUE: usize = 1024;

/// Events in a batch, and its bytes.
const BATCH: usize = 512;
const BYTES: usize = 128 << 10;

/// How long events are collected before they are sent.
const COLLECT: Duration = Duration::from_millis(500);

/// How long to say nothing at most: a sign of life.
const BEAT: Duration = Duration::from_secs(3);

/// How long to wait before an unanswered batch is sent again.
const AGAIN: Duration = Duration::from_secs(2);

/// How long the last events may take.
const FAREWELL: Duration = Duration::from_secs(40);

/// What the server wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// That all stops.
    pub(super) cancel: bool,
    /// That nothing is copied for now.
    pub(super) paused: bool,
    /// That no more is copied in a second; once it was said.
    pub(super) bytes_per_second: Option<Option<u64>>,
    /// That these databases are given up.
    pub(super) abandoned: BTreeSet<String>,
    /// Nothing: it has another agent.
    pub(super) fenced: bool,
}

/// The way to the server.
pub(super) struct Outbox {
    speaker: Speaker,
    wanted: watch::Receiver<Wanted>,
    sending: JoinHandle<Result<()>>,
}

impl Outbox {
    /// Begins to give signs of life.
    pub(super) fn open(api: Api, seat: Seat) -> Self {
        let (lines, queue) = mpsc::channel(QUEUE);
        let (told, wanted) = watch::channel(Wanted::default());
        let sender = Sender {
            api,
            seat,
            queue,
            told,
            sent: 0,
        };
        Self {
            speaker: Speaker(lines),
            wanted,
            sending: tokio::spawn(sender.run()),
        }
    }

    /// Who can tell the server something, for as long as this is open.
    pub(super) fn speaker(&self) -> Speaker {
        self.speaker.clone()
    }

    /// What the server wants, now and when that changes.
    pub(super) fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.clone()
    }

    /// Waits until the server has everything.
    pub(super) async fn close(self) -> Result<()> {
        drop(self.speaker);
        match timeout(FAREWELL, self.sending).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(error)) => {
                Err(Error::new(Kind::Permanent, "the last events are lost").because(error))
            }
            Err(_) => Err(Error::new(
                Kind::Transient,
                "the runtime server does not take the last events",
            )),
        }
    }
}

/// Somebody who tells the server something.
#[derive(Debug, Clone)]
pub(super) struct Speaker(mpsc::Sender<String>);

impl Speaker {
    /// Tells it; waits while too much is waiting.
    pub(super) async fn say(&self, event: &Value) -> Result<()> {
        let sent = self.0.send(format!("{event}\n")).await;
        sent.map_err(|_| fenced())
    }
}

/// The error of one whose work another one does now.
pub(super) fn fenced() -> Error {
    Error::new(
        Kind::Fenced,
        "the runtime server gave the work of this agent to another one",
    )
}

struct Sender {
    api: Api,
    seat: Seat,
    queue: mpsc::Receiver<String>,
    told: watch::Sender<Wanted>,
    /// Events that the server has.
    sent: u64,
}

impl Sender {
    async fn run(mut self) -> Result<()> {
        loop {
            let (batch, more) = self.collect().await;
            let text = batch.concat();
            let answer = loop {
                match self.api.report(self.seat, self.sent, &text).await {
                    Ok(answer) => break answer,
                    Err(error) if error.is_transient() => {
                        tracing::warn!(error = super::told(&error), "events wait");
                        sleep(AGAIN).await;
                    }
                    Err(error) => {
                        // Whatever it is, nobody hears of the work any more.
                        self.told.send_modify(|wanted| wanted.fenced = true);
                        return Err(error);
                    }
                }
            };
            self.sent = answer.received;
            let wanted = want(answer.commands);
            self.told.send_if_modified(|known| {
                let changed = *known != wanted;
                *known = wanted;
                changed
            });
            if !more {
                return Ok(());
            }
        }
    }

    /// The next batch, and whether more may come. An empty one is a sign of life.
    async fn collect(&mut self) -> (Vec<String>, bool) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut end = Instant::now() + BEAT;
        while batch.len() < BATCH && bytes < BYTES {
            match tokio::time::timeout_at(end, self.queue.recv()).await {
                Ok(Some(line)) => {
                    if batch.is_empty() {
                        end = Instant::now() + COLLECT;
                    }
                    bytes += line.len();
                    batch.push(line);
                }
                Ok(None) => return (batch, false),
                Err(_) => break,
            }
        }
        (batch, true)
    }
}

fn want(commands: Vec<Command>) -> Wanted {
    let mut wanted = Wanted::default();
    for command in commands {
        match command {
            Command::Cancel => wanted.cancel = true,
            Command::Pause => wanted.paused = true,
            Command::Resume => wanted.paused = false,
            Command::Throttle { bytes_per_second } => {
                wanted.bytes_per_second = Some(bytes_per_second);
            }
            Command::Abandon { database } => {
                wanted.abandoned.insert(database);
            }
        }
    }
    wanted
}
