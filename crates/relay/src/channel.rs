//! A channel bounded in bytes, between the reader and the writer of one part.
//!
//! A byte budget says how many batches may be under way. A batch holds its [`Permit`] from the
//! moment it is sent until the receiving side lets go of it, which it does once the target has
//! accepted the batch: so the budget bounds all payload in memory between the source and the
//! target, except for the one batch that the sender is waiting to send. A batch larger than the
//! whole budget passes alone.
//!
//! The end is explicit: [`Sender::seal`]. A sender that vanishes without it, by error, panic
//! or cancel, is an error for the receiver, never an end of data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pghaul_stage::{Batch, Error, Kind, Result, Side};
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};

use crate::Cancel;
use crate::cancel::cancelled;

/// Batches that may wait, whatever their size: enough that the budget binds, little enough
/// that an idle channel costs nothing.
const SLOTS: usize = 256;

/// The largest budget, in bytes.
const LARGEST: usize = 1 << 31;

/// Opens a channel on which at most `bytes` are under way. Both ends fail with
/// [`Kind::Cancelled`] once `cancel` is cancelled.
///
/// ```
/// use bytes::Bytes;
/// use pghaul_relay::{Cancel, channel};
/// use pghaul_stage::{Batch, Mark, Payload};
///
/// # let runtime = tokio::runtime::Runtime::new().expect("a runtime");
/// # runtime.block_on(async {
/// let (sender, mut receiver) = channel::open(1 << 20, &Cancel::new());
/// let batch = Batch {
///     slice: 0,
///     payload: Payload::Copy(Bytes::from_static(b"1\n")),
///     rows: 1,
///     mark: Mark(2),
/// };
/// sender.send(batch).await?;
/// sender.seal();
///
/// let (batch, permit) = receiver.recv().await?.expect("a batch");
/// assert_eq!(batch.rows, 1);
/// drop(permit);
/// assert!(receiver.recv().await?.is_none());
/// # Ok::<(), pghaul_stage::Error>(())
/// # })?;
/// # Ok::<(), pghaul_stage::Error>(())
/// ```
pub fn open(bytes: usize, cancel: &Cancel) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(SLOTS);
    let limit = bytes.clamp(1, LARGEST);
    let budget = Arc::new(Semaphore::new(limit));
    let sealed = Arc::new(AtomicBool::new(false));
    (
        Sender {
            batches: sender,
            limit,
            budget: Arc::clone(&budget),
            sealed: Arc::clone(&sealed),
            cancel: cancel.clone(),
        },
        Receiver {
            batches: receiver,
            budget,
            sealed,
            cancel: cancel.clone(),
        },
    )
}

/// The end that batches go in.
#[derive(Debug)]
pub struct Sender {
    batches: mpsc::Sender<(Batch, Permit)>,
    limit: usize,
    /// A permit for each byte that may be under way.
    budget: Arc<Semaphore>,
    sealed: Arc<AtomicBool>,
    cancel: Cancel,
}

/// The end that batches come out of.
#[derive(Debug)]
pub struct Receiver {
    batches: mpsc::Receiver<(Batch, Permit)>,
    budget: Arc<Semaphore>,
    sealed: Arc<AtomicBool>,
    cancel: Cancel,
}

/// A batch's share of the budget, given back on drop. Drop it once the batch no longer
/// occupies memory here.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "dropping it is its use")] OwnedSemaphorePermit);

impl Sender {
    /// Sends one batch, waiting for its share of the budget.
    ///
    /// Fails with [`Kind::Protocol`] at [`Side::Link`] if the receiver is gone.
    pub async fn send(&self, batch: Batch) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let permit = self.reserve(batch.payload.size()).await?;
        let message = match self.batches.try_send((batch, permit)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(receiver_gone()),
            Err(TrySendError::Full(message)) => message,
        };
        let sent = async {
            let sent = self.batches.send(message).await;
            sent.map_err(|_| receiver_gone())
        };
        self.cancel.until(sent).await
    }

    /// Says that all batches were sent. Only after this does the receiver see an end.
    pub fn seal(self) {
        self.sealed.store(true, Ordering::Release);
    }

    async fn reserve(&self, size: usize) -> Result<Permit> {
        // What is larger than the budget passes alone, instead of never.
        let share = u32::try_from(size.min(self.limit)).unwrap_or(u32::MAX);
        match Arc::clone(&self.budget).try_acquire_many_owned(share) {
            Ok(permit) => return Ok(Permit(permit)),
            Err(TryAcquireError::Closed) => return Err(receiver_gone()),
            Err(TryAcquireError::NoPermits) => {}
        }
        let reserved = async {
            let permit = Arc::clone(&self.budget).acquire_many_owned(share).await;
            permit.map(Permit).map_err(|_| receiver_gone())
        };
        self.cancel.until(reserved).await
    }
}

impl Receiver {
    /// The next batch with its share of the budget, or `None` after the seal.
    ///
    /// Fails with [`Kind::Protocol`] at [`Side::Link`] if the sender vanished without sealing.
    pub async fn recv(&mut self) -> Result<Option<(Batch, Permit)>> {
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        match self.batches.try_recv() {
            Ok(message) => return Ok(Some(message)),
            Err(TryRecvError::Disconnected) => return self.end(),
            Err(TryRecvError::Empty) => {}
        }
        let message = async { Ok(self.batches.recv().await) };
        match self.cancel.until(message).await? {
            Some(message) => Ok(Some(message)),
            None => self.end(),
        }
    }

    fn end(&self) -> Result<Option<(Batch, Permit)>> {
        if self.sealed.load(Ordering::Acquire) {
            Ok(None)
        } else {
            Err(Error::new(Kind::Protocol, "the sender ended without sealing").at(Side::Link))
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Wakes a sender that waits for its share.
        self.budget.close();
    }
}

fn receiver_gone() -> Error {
    Error::new(Kind::Protocol, "the receiver is gone").at(Side::Link)
}
