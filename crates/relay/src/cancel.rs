//! One signal that ends every wait of a run.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use pghaul_stage::{Error, Kind, Result};
use tokio::sync::watch;

/// A token that is cancelled once and stays so.
///
/// Clones are the same token. Threads blocked on a channel wake through [`Cancel::signal`],
/// futures through [`Cancel::cancelled`]; nothing polls.
///
/// ```
/// use pghaul_relay::Cancel;
///
/// let run = Cancel::new();
/// let part = run.child();
/// part.cancel();
/// assert!(!run.is_cancelled(), "a child ends alone");
/// run.cancel();
/// assert!(run.child().is_cancelled(), "a parent takes its children along");
/// ```
#[derive(Debug, Clone)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    live: Mutex<Live>,
    disconnected: Receiver<Infallible>,
    flag: watch::Sender<bool>,
}

#[derive(Debug)]
struct Live {
    /// Dropped on cancel, which disconnects `Inner::disconnected`.
    connection: Option<Sender<Infallible>>,
    children: Vec<Weak<Inner>>,
}

impl Cancel {
    /// A token that nothing has cancelled yet.
    pub fn new() -> Self {
        let (connection, disconnected) = crossbeam_channel::bounded(0);
        Self(Arc::new(Inner {
            live: Mutex::new(Live {
                connection: Some(connection),
                children: Vec::new(),
            }),
            disconnected,
            flag: watch::Sender::new(false),
        }))
    }

    /// A token that is cancelled with this one, and can be cancelled alone.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self::new();
        let mut live = self.0.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.connection.is_none() {
            drop(live);
            child.cancel();
        } else {
            live.children.retain(|child| child.strong_count() > 0);
            live.children.push(Arc::downgrade(&child.0));
        }
        child
    }

    /// Ends all waits on this token and its children, now and from now on.
    pub fn cancel(&self) {
        let children = {
            let mut live = self.0.live.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever wakes by the connection asks the flag next.
            self.0.flag.send_replace(true);
            live.connection = None;
            std::mem::take(&mut live.children)
        };
        for child in children {
            if let Some(child) = child.upgrade() {
                Cancel(child).cancel();
            }
        }
    }

    /// Whether it has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        *self.0.flag.borrow()
    }

    /// For `select!` in a blocking thread: never carries a message, and disconnects on cancel.
    pub fn signal(&self) -> &Receiver<Infallible> {
        &self.0.disconnected
    }

    /// For `select!` in a future: ready once cancelled.
    pub async fn cancelled(&self) {
        // The sender lives in this token, so the only other outcome cannot happen.
        let _closed = self
            .0
            .flag
            .subscribe()
            .wait_for(|flag| *flag)
            .await
            .is_err();
    }

    /// Blocks for `pause`, or returns the error of [`Kind::Cancelled`] as soon as cancelled.
    pub fn sleep(&self, pause: Duration) -> Result<()> {
        match self.0.disconnected.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(cancelled()),
            Ok(never) => match never {},
        }
    }

    /// Drives `future` until it ends or the token is cancelled, whichever comes first; what has
    /// ended already is not thrown away.
    pub async fn until<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            result = future => result,
            () = self.cancelled() => Err(cancelled()),
        }
    }
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

/// The error of a wait that was cancelled.
pub(crate) fn cancelled() -> Error {
    Error::new(Kind::Cancelled, "stopped on request").remedy("run again with --resume")
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::Cancel;

    #[test]
    fn cancel_wakes_threads_and_futures() {
        let cancel = Cancel::new();
        let started = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| assert!(cancel.child().sleep(Duration::from_secs(60)).is_err()));
            scope.spawn(|| assert!(cancel.signal().recv().is_err()));
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                runtime.block_on(cancel.child().cancelled());
            });
            thread::sleep(Duration::from_millis(20));
            assert!(!cancel.is_cancelled());
            cancel.cancel();
        });
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(cancel.sleep(Duration::from_secs(60)).is_err());
    }

    #[test]
    fn a_pause_without_cancel_passes() {
        assert!(Cancel::new().sleep(Duration::from_millis(1)).is_ok());
    }

    #[test]
    fn children_that_are_gone_are_forgotten() {
        let cancel = Cancel::new();
        for _ in 0..1000 {
            drop(cancel.child());
        }
        assert!(cancel.0.live.lock().unwrap().children.len() <= 1);
    }
}
