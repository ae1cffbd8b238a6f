//! A limit in bytes per second that many share, and a gate that holds them all.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pghaul_stage::Result;
use tokio::sync::watch;

use crate::Cancel;

/// So many bytes a second, for all clones together. The rate can be changed and all of it be
/// paused meanwhile; who waits then goes on waiting by what holds now.
///
/// ```
/// use pghaul_relay::{Cancel, Pace};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(async {
/// let pace = Pace::unlimited();
/// pace.pause();
/// let waiting = pace.clone();
/// let waiting = tokio::spawn(async move { waiting.wait(1 << 30, &Cancel::new()).await });
/// assert!(!waiting.is_finished());
/// pace.resume();
/// waiting.await.expect("it waits no longer")?;
/// # Ok::<(), pghaul_stage::Error>(())
/// # }).expect("no error");
/// ```
#[derive(Debug, Clone)]
pub struct Pace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Told whenever the state is changed by anything but waiting.
    changed: watch::Sender<()>,
}

/// Where the pace is, as a way that is travelled: waiting for some bytes is waiting until the
/// end of a stretch as long as they are.
#[derive(Debug)]
struct State {
    /// Bytes a second; `None` is no limit.
    rate: Option<NonZeroU64>,
    paused: bool,
    /// How far it had come at `since`.
    position: f64,
    since: Instant,
    /// The end of the last stretch that somebody waits for, or waited for.
    taken: f64,
}

/// What somebody who waits has to do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    Go,
    /// Unless something changes before.
    Sleep(Duration),
    /// Until something changes.
    Stand,
}

impl Pace {
    /// `rate` bytes per second.
    pub fn new(rate: NonZeroU64) -> Self {
        let pace = Self::unlimited();
        pace.set_rate(Some(rate));
        pace
    }

    /// As fast as it goes, until told otherwise.
    pub fn unlimited() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                rate: None,
                paused: false,
                position: 0.0,
                since: Instant::now(),
                taken: 0.0,
            }),
            changed: watch::Sender::new(()),
        }))
    }

    /// Changes the rate; `None` is no limit.
    pub fn set_rate(&self, rate: Option<NonZeroU64>) {
        self.change(|state| state.rate = rate);
    }

    /// Lets nothing more through until [`Pace::resume`].
    pub fn pause(&self) {
        self.change(|state| state.paused = true);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.change(|state| state.paused = false);
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Waits until so many bytes have passed behind those that came before.
    pub async fn wait(&self, bytes: usize, cancel: &Cancel) -> Result<()> {
        // Subscribed before the state is looked at, so that no change of it is missed.
        let mut changed = self.0.changed.subscribe();
        let end = self.lock().take(bytes, Instant::now());
        let waiting = async {
            loop {
                let verdict = self.lock().verdict(end, Instant::now());
                let change = async {
                    // The sender lives in this pace, so it cannot be gone.
                    let _gone = changed.changed().await.is_err();
                };
                match verdict {
                    Verdict::Go => return Ok(()),
                    Verdict::Stand => change.await,
                    Verdict::Sleep(time) => tokio::select! {
                        () = tokio::time::sleep(time) => {}
                        () = change => {}
                    },
                }
            }
        };
        cancel.until(waiting).await
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        {
            let mut state = self.lock();
            state.travel(Instant::now());
            change(&mut state);
        }
        self.0.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Goes as far as it went until now.
    fn travel(&mut self, now: Instant) {
        let time = now.saturating_duration_since(self.since);
        self.since = now;
        match self.rate {
            _ if self.paused => {}
            Some(rate) => self.position += time.as_secs_f64() * rate.get() as f64,
            None => self.position = self.position.max(self.taken),
        }
    }

    /// Takes the next stretch. Time in which nobody waited is lost, not saved.
    fn take(&mut self, bytes: usize, now: Instant) -> f64 {
        self.travel(now);
        self.taken = self.taken.max(self.position) + bytes as f64;
        self.taken
    }

    /// What to do until the end of a stretch is reached.
    fn verdict(&mut self, end: f64, now: Instant) -> Verdict {
        self.travel(now);
        match self.rate {
            _ if self.paused => Verdict::Stand,
            _ if self.position >= end => Verdict::Go,
            None => Verdict::Go,
            Some(rate) => {
                let seconds = (end - self.position) / rate.get() as f64;
                // A time too long to be told is until something changes.
                Duration::try_from_secs_f64(seconds)
                    .ok()
                    .filter(|time| *time < LONGEST)
                    .map_or(Verdict::Stand, Verdict::Sleep)
            }
        }
    }
}

/// Timers cannot be set further ahead than some years.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use futures_util::future::try_join_all;

    use super::*;

    fn rate(bytes: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes).unwrap()
    }

    #[tokio::test]
    async fn all_together_keep_the_pace() {
        let pace = Pace::new(rate(100_000));
        let cancel = Cancel::new();
        let began = Instant::now();
        let waits = (0..20).map(|_| pace.wait(500, &cancel));
        try_join_all(waits).await.unwrap();
        // 10,000 bytes.
        assert!(began.elapsed() >= Duration::from_millis(100));
        cancel.cancel();
        assert!(pace.wait(usize::MAX / 2, &cancel).await.is_err());
    }

    #[test]
    fn a_way_is_travelled_at_the_rate_of_each_moment() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut state = State {
            rate: Some(rate(100)),
            paused: false,
            position: 0.0,
            since: start,
            taken: 0.0,
        };
        // What was not used in the first ten seconds is lost.
        let first = state.take(500, at(10));
        let second = state.take(500, at(10));
        let sleep = |seconds| Verdict::Sleep(Duration::from_secs(seconds));
        assert_eq!(state.verdict(first, at(10)), sleep(5));
        assert_eq!(state.verdict(second, at(10)), sleep(10));
        state.travel(at(12));
        state.rate = Some(rate(1000));
        assert_eq!(
            state.verdict(second, at(12)),
            Verdict::Sleep(Duration::from_millis(800))
        );
        state.paused = true;
        assert_eq!(state.verdict(first, at(12)), Verdict::Stand);
        state.travel(at(1000));
        state.paused = false;
        state.rate = Some(rate(100));
        assert_eq!(state.verdict(second, at(1000)), sleep(8));
        assert_eq!(state.verdict(first, at(1003)), Verdict::Go);
        state.travel(at(1003));
        state.rate = None;
        assert_eq!(state.verdict(second, at(1003)), Verdict::Go);
        // No limit leaves no debt.
        state.take(1 << 40, at(1004));
        state.travel(at(1005));
        state.rate = Some(rate(100));
        let third = state.take(100, at(1005));
        assert_eq!(state.verdict(third, at(1005)), sleep(1));
    }

    #[tokio::test]
    async fn a_pause_holds_everybody_and_a_new_rate_reaches_who_waits() {
        let pace = Pace::new(rate(1));
        let cancel = Cancel::new();
        let waits = (0..3).map(|_| pace.wait(1_000_000, &cancel));
        let mut waits = Box::pin(try_join_all(waits));
        let moment = Duration::from_millis(20);
        assert!(tokio::time::timeout(moment, &mut waits).await.is_err());
        pace.pause();
        pace.set_rate(None);
        assert!(pace.is_paused());
        assert!(tokio::time::timeout(moment, &mut waits).await.is_err());
        pace.resume();
        waits.await.unwrap();
    }
}
