//! A channel bounded in bytes, between the reader and the writer of one part.
//!
//! Batches wait in a crossbeam channel, and a byte budget says how many may be under way. A
//! batch holds its [`Permit`] from the moment it is sent until the receiving side lets go of
//! it, which it does once the target has accepted the batch: so the budget bounds all payload
//! in memory between the source and the target, except for the one batch that the sender is
//! waiting to send. A batch larger than the whole budget passes alone.
//!
//! The end is explicit: [`Sender::seal`]. A sender that vanishes without it, by error, panic
//! or cancel, is an error for the receiver, never an end of data.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{TryRecvError, TrySendError, select};
use pghaul_stage::{Batch, Error, Kind, Result, Side};

use crate::Cancel;
use crate::cancel::cancelled;

/// Batches that may wait, whatever their size: enough that the budget binds, little enough
/// that an idle channel costs nothing.
const SLOTS: usize = 256;

/// Opens a channel on which at most `bytes` are under way. Both ends fail with
/// [`Kind::Cancelled`] once `cancel` is cancelled.
///
/// ```
/// use bytes::Bytes;
/// use pghaul_relay::{Cancel, channel};
/// use pghaul_stage::{Batch, Mark, Payload};
///
/// let (sender, receiver) = channel::open(1 << 20, &Cancel::new());
/// sender.send(Batch {
///     slice: 0,
///     payload: Payload::Copy(Bytes::from_static(b"1\n")),
///     rows: 1,
///     mark: Mark(2),
/// })?;
/// sender.seal();
///
/// let (batch, permit) = receiver.recv()?.expect("a batch");
/// assert_eq!(batch.rows, 1);
/// drop(permit);
/// assert!(receiver.recv()?.is_none());
/// # Ok::<(), pghaul_stage::Error>(())
/// ```
pub fn open(bytes: usize, cancel: &Cancel) -> (Sender, Receiver) {
    let (sender, receiver) = crossbeam_channel::bounded(SLOTS);
    let (freed, wake) = crossbeam_channel::bounded(1);
    let shared = Arc::new(Shared {
        limit: bytes,
        usage: Mutex::new(Usage::default()),
        freed,
        sealed: AtomicBool::new(false),
    });
    (
        Sender {
            batches: sender,
            wake,
            shared: Arc::clone(&shared),
            cancel: cancel.clone(),
        },
        Receiver {
            batches: receiver,
            shared,
            cancel: cancel.clone(),
        },
    )
}

/// The end that batches go in.
#[derive(Debug)]
pub struct Sender {
    batches: crossbeam_channel::Sender<(Batch, Permit)>,
    /// One pending message means: look at the budget again.
    wake: crossbeam_channel::Receiver<()>,
    shared: Arc<Shared>,
    cancel: Cancel,
}

/// The end that batches come out of.
#[derive(Debug)]
pub struct Receiver {
    batches: crossbeam_channel::Receiver<(Batch, Permit)>,
    shared: Arc<Shared>,
    cancel: Cancel,
}

/// A batch's share of the budget, given back on drop. Drop it once the batch no longer
/// occupies memory here.
#[derive(Debug)]
pub struct Permit {
    size: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    usage: Mutex<Usage>,
    freed: crossbeam_channel::Sender<()>,
    sealed: AtomicBool,
}

#[derive(Debug, Default)]
struct Usage {
    bytes: usize,
    receiver_gone: bool,
}

impl Sender {
    /// Sends one batch, waiting for its share of the budget.
    ///
    /// Fails with [`Kind::Protocol`] at [`Side::Link`] if the receiver is gone.
    pub fn send(&self, batch: Batch) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let permit = self.reserve(batch.payload.size())?;
        let message = match self.batches.try_send((batch, permit)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Disconnected(_)) => return Err(receiver_gone()),
            Err(TrySendError::Full(message)) => message,
        };
        select! {
            send(self.batches, message) -> sent => sent.map_err(|_| receiver_gone()),
            recv(self.cancel.signal()) -> _ => Err(cancelled()),
        }
    }

    /// Says that all batches were sent. Only after this does the receiver see an end.
    pub fn seal(self) {
        self.shared.sealed.store(true, Ordering::Release);
    }

    fn reserve(&self, size: usize) -> Result<Permit> {
        if let Some(permit) = self.shared.try_reserve(size)? {
            return Ok(permit);
        }
        loop {
            select! {
                recv(self.wake) -> _ => {}
                recv(self.cancel.signal()) -> _ => return Err(cancelled()),
            }
            if let Some(permit) = self.shared.try_reserve(size)? {
                return Ok(permit);
            }
        }
    }
}

impl Receiver {
    /// The next batch with its share of the budget, or `None` after the seal.
    ///
    /// Fails with [`Kind::Protocol`] at [`Side::Link`] if the sender vanished without sealing.
    pub fn recv(&self) -> Result<Option<(Batch, Permit)>> {
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        match self.batches.try_recv() {
            Ok(message) => return Ok(Some(message)),
            Err(TryRecvError::Disconnected) => return self.end(),
            Err(TryRecvError::Empty) => {}
        }
        select! {
            recv(self.batches) -> message => match message {
                Ok(message) => Ok(Some(message)),
                Err(_) => self.end(),
            },
            recv(self.cancel.signal()) -> _ => Err(cancelled()),
        }
    }

    fn end(&self) -> Result<Option<(Batch, Permit)>> {
        if self.shared.sealed.load(Ordering::Acquire) {
            Ok(None)
        } else {
            Err(Error::new(Kind::Protocol, "the sender ended without sealing").at(Side::Link))
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.lock().receiver_gone = true;
        self.shared.notify();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.lock().bytes -= self.size;
        self.shared.notify();
    }
}

impl Shared {
    fn try_reserve(self: &Arc<Self>, size: usize) -> Result<Option<Permit>> {
        let mut usage = self.lock();
        if usage.receiver_gone {
            return Err(receiver_gone());
        }
        // What is larger than the budget passes alone, instead of never.
        if usage.bytes > 0 && usage.bytes.saturating_add(size) > self.limit {
            return Ok(None);
        }
        usage.bytes += size;
        Ok(Some(Permit {
            size,
            shared: Arc::clone(self),
        }))
    }

    /// Wakes the sender. There is only one, so a message that waits already is enough.
    fn notify(&self) {
        let _pending_already = self.freed.try_send(()).is_err();
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn receiver_gone() -> Error {
    Error::new(Kind::Protocol, "the receiver is gone").at(Side::Link)
}
