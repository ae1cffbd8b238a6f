//! Lanes: threads that take parts from one queue, of one run or of several at the same time.
//!
//! The queue is ordered over all runs: a lane takes the largest part there is, so that the large
//! ones do not come last and leave the other lanes idle. A lane keeps its connections, and those
//! are to one database; so it stays with its run as long as that has a part of similar size.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded, select};
use pghaul_stage::{Error, Kind, Part, Result};

use crate::runner::Run;

/// Parts below this many bytes are alike to a lane: copying one takes about as long as logging in
/// to two other databases.
const SMALL: u64 = 4 << 20;

/// When a part that could not be begun is tried again.
const LATER: Duration = Duration::from_millis(500);

/// Lanes that copy the parts of any number of runs, one part at a time in each.
///
/// Give them to every [`Runner`](crate::Runner) that shall share them, by
/// [`Runner::lanes`](crate::Runner::lanes). Dropped, they end.
#[derive(Debug)]
pub struct Lanes {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Waiting>,
    closed: bool,
}

/// What of a run no lane has taken yet.
#[derive(Debug)]
struct Waiting {
    run: Arc<Run>,
    /// Largest first.
    parts: VecDeque<Part>,
    /// Those that could not be begun, and when to try again; in that order. One of the two is never
    /// empty.
    later: VecDeque<(Instant, Part)>,
    ticket: Ticket,
}

/// Nobody sends on it: once every copy is dropped, the run has no part waiting or in a lane.
type Ticket = Sender<Infallible>;

impl Lanes {
    /// Starts this many lanes.
    ///
    /// # Errors
    ///
    /// If the system has no threads left.
    pub fn start(jobs: NonZeroUsize) -> Result<Self> {
        let mut lanes = Self {
            queue: Arc::default(),
            threads: Vec::new(),
        };
        for number in 1..=jobs.get() {
            let queue = Arc::clone(&lanes.queue);
            let lane = thread::Builder::new()
                .name(format!("pghaul-lane-{number}"))
                .spawn(move || work(&queue))
                .map_err(|error| {
                    Error::new(Kind::Permanent, "cannot start a thread")
                        .because(error)
                        .remedy("use fewer --jobs")
                })?;
            lanes.threads.push(lane);
        }
        Ok(lanes)
    }

    /// Copies parts of a run, which come largest first; returns once no lane works on one, either
    /// because all are done or because the run was stopped.
    pub(crate) fn copy(&self, run: &Arc<Run>, parts: Vec<Part>) {
        if parts.is_empty() {
            return;
        }
        let (ticket, done) = bounded(0);
        self.queue.lock().waiting.push(Waiting {
            run: Arc::clone(run),
            parts: parts.into(),
            later: VecDeque::new(),
            ticket,
        });
        self.queue.changed.notify_all();
        select! {
            recv(done) -> _ => {}
            recv(run.stop.signal()) -> _ => {
                self.queue.withdraw(run);
                // The lanes stop by themselves; what they hold must not outlive the run.
                let _ended = done.recv().is_err();
            }
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
        for lane in self.threads.drain(..) {
            // A panic of a stage is contained, and told as the error of its part.
            drop(lane.join());
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a part; `None` when the lanes are to end.
    fn next(&self, last: &Weak<Run>) -> Option<(Arc<Run>, Part, Ticket)> {
        let mut state = self.lock();
        loop {
            if let Some(next) = state.take(last) {
                return Some(next);
            }
            if state.closed {
                return None;
            }
            let due = state.waiting.iter().filter_map(|run| run.later.front());
            state = match due.map(|(due, _)| *due).min() {
                Some(due) => {
                    let pause = due.saturating_duration_since(Instant::now());
                    let waited = self.changed.wait_timeout(state, pause);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes a part back that cannot be begun yet.
    fn defer(&self, run: &Arc<Run>, part: Part, ticket: Ticket) {
        // Who stops a run withdraws what waits, once, and this must not come after it.
        let mut state = self.lock();
        if run.stop.is_cancelled() {
            return;
        }
        let later = (Instant::now() + LATER, part);
        let mut waiting = state.waiting.iter_mut();
        match waiting.find(|waiting| Arc::ptr_eq(&waiting.run, run)) {
            Some(waiting) => waiting.later.push_back(later),
            None => state.waiting.push(Waiting {
                run: Arc::clone(run),
                parts: VecDeque::new(),
                later: VecDeque::from([later]),
                ticket,
            }),
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Takes back what no lane has taken.
    fn withdraw(&self, run: &Arc<Run>) {
        let mut state = self.lock();
        let (withdrawn, left) = std::mem::take(&mut state.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|waiting| Arc::ptr_eq(&waiting.run, run));
        state.waiting = left;
        drop(state);
        drop(withdrawn);
    }
}

impl State {
    fn take(&mut self, last: &Weak<Run>) -> Option<(Arc<Run>, Part, Ticket)> {
        let now = Instant::now();
        let due = |waiting: &Waiting| waiting.later.front().is_some_and(|(due, _)| *due <= now);
        if let Some(at) = self.waiting.iter().position(due) {
            let (_, part) = self.waiting.get_mut(at)?.later.pop_front()?;
            return self.give(at, part);
        }
        let heads = self.waiting.iter().map(|waiting| Head {
            bytes: waiting.parts.front().map(|part| part.bytes),
            own: std::ptr::eq(Arc::as_ptr(&waiting.run), last.as_ptr()),
        });
        let at = choose(heads)?;
        let part = self.waiting.get_mut(at)?.parts.pop_front()?;
        self.give(at, part)
    }

    /// A part of the run at this place, which goes from the list with its last one.
    fn give(&mut self, at: usize, part: Part) -> Option<(Arc<Run>, Part, Ticket)> {
        let waiting = self.waiting.get(at)?;
        if waiting.parts.is_empty() && waiting.later.is_empty() {
            let Waiting { run, ticket, .. } = self.waiting.swap_remove(at);
            return Some((run, part, ticket));
        }
        Some((Arc::clone(&waiting.run), part, waiting.ticket.clone()))
    }
}

/// The largest part that a run has waiting.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// Its size; `None` if all that waits is to be tried later.
    bytes: Option<u64>,
    /// Whether the lane that asks did its last part for this run.
    own: bool,
}

/// Which run's part a lane takes: its own run's, if that is at least half as large as the largest
/// of all or all are small, otherwise the largest.
fn choose(heads: impl Iterator<Item = Head> + Clone) -> Option<usize> {
    let numbered = || {
        let heads = heads.clone().enumerate();
        heads.filter_map(|(at, head)| Some((at, head.bytes?, head.own)))
    };
    // The earliest of several: no run waits behind one that came later.
    let (largest, most, _) =
        numbered().max_by_key(|(at, bytes, _)| (*bytes, std::cmp::Reverse(*at)))?;
    let own = numbered().find(|(_, _, own)| *own);
    match own {
        Some((at, bytes, _)) if bytes >= most / 2 || most < SMALL => Some(at),
        _ => Some(largest),
    }
}

/// What a lane does.
fn work(queue: &Queue) {
    let mut last = Weak::new();
    while let Some((run, part, ticket)) = queue.next(&last) {
        if !std::ptr::eq(Arc::as_ptr(&run), last.as_ptr())
            && let Some(before) = last.upgrade()
        {
            before.leave();
        }
        last = Arc::downgrade(&run);
        let handle = run.handle().clone();
        // Connections may only be dropped where their runtime can be found.
        let _context = handle.enter();
        if run.carry(&part) {
            drop(run);
            drop(ticket);
        } else {
            queue.defer(&run, part, ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: u64) -> Head {
        Head {
            bytes: Some(bytes),
            own: false,
        }
    }

    fn own(bytes: u64) -> Head {
        Head {
            own: true,
            ..head(bytes)
        }
    }

    #[test]
    fn the_largest_part_goes_first_unless_the_own_is_similar() {
        let gib = 1 << 30;
        let chosen = |heads: &[Head]| choose(heads.iter().copied());
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[head(1), head(gib), head(gib)]), Some(1));
        assert_eq!(chosen(&[own(gib / 2), head(gib)]), Some(0));
        assert_eq!(chosen(&[own(gib / 2 - 1), head(gib)]), Some(1));
        assert_eq!(chosen(&[head(SMALL - 1), own(0)]), Some(1));
        assert_eq!(chosen(&[head(SMALL), own(0)]), Some(0));
        let empty = Head {
            bytes: None,
            own: true,
        };
        assert_eq!(chosen(&[empty]), None);
        assert_eq!(chosen(&[empty, head(0)]), Some(1));
    }
}
