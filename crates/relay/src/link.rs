//! What joins the reading and the writing of a part.

use pghaul_stage::{Batch, Result};

use crate::channel::{self, Permit};
use crate::{Cancel, Pace};

/// The way batches take from source to target. Stages never see which one it is.
///
/// Today there is one, for a process that reaches both servers. The spool, for stages on
/// separate hosts, joins it as a second variant.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Link {
    /// A bounded channel in memory.
    Channel {
        /// Payload bytes that may be under way for one part. A single batch may be larger.
        bytes: usize,
    },
    /// As a channel, but all parts together go no faster than a pace, as over a network. Needs a
    /// runtime with timers.
    Paced {
        /// Payload bytes that may be under way for one part. A single batch may be larger.
        bytes: usize,
        /// How fast.
        pace: Pace,
    },
}

impl Default for Link {
    /// A channel of 8 MiB.
    fn default() -> Self {
        Link::Channel { bytes: 8 << 20 }
    }
}

/// The end of a link that the reader holds.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkSender {
    /// Into memory.
    Channel(channel::Sender),
    /// Into memory, at a pace.
    Paced {
        /// Where batches go in.
        sender: channel::Sender,
        /// How fast.
        pace: Pace,
        /// Ends the waiting.
        cancel: Cancel,
    },
}

/// The end of a link that the writer holds.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkReceiver {
    /// Out of memory.
    Channel(channel::Receiver),
}

impl Link {
    /// Opens the link for one attempt of a part. Both ends fail once `cancel` is cancelled.
    pub fn open(&self, cancel: &Cancel) -> (LinkSender, LinkReceiver) {
        match self {
            Link::Channel { bytes } => {
                let (sender, receiver) = channel::open(*bytes, cancel);
                (LinkSender::Channel(sender), LinkReceiver::Channel(receiver))
            }
            Link::Paced { bytes, pace } => {
                let (sender, receiver) = channel::open(*bytes, cancel);
                let sender = LinkSender::Paced {
                    sender,
                    pace: pace.clone(),
                    cancel: cancel.clone(),
                };
                (sender, LinkReceiver::Channel(receiver))
            }
        }
    }
}

impl LinkSender {
    /// Sends one batch, waiting while the link is full.
    pub async fn send(&self, batch: Batch) -> Result<()> {
        match self {
            LinkSender::Channel(sender) => sender.send(batch).await,
            LinkSender::Paced {
                sender,
                pace,
                cancel,
            } => {
                pace.wait(batch.payload.size(), cancel).await?;
                sender.send(batch).await
            }
        }
    }

    /// Says that the part is complete. Dropped without it, the receiver sees an error.
    pub fn seal(self) {
        match self {
            LinkSender::Channel(sender) | LinkSender::Paced { sender, .. } => sender.seal(),
        }
    }
}

impl LinkReceiver {
    /// The next batch, waiting until there is one; `None` after the seal. The batch counts
    /// as under way until its permit is dropped.
    pub async fn recv(&mut self) -> Result<Option<(Batch, Permit)>> {
        match self {
            LinkReceiver::Channel(receiver) => receiver.recv().await,
        }
    }
}
