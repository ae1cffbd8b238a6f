//! How fast rows flowed while they did.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pghaul_stage::{Event, Observer};

/// Points of the curve at most; beyond that, two become one.
const POINTS: usize = 240;

/// Adds up bytes by the time they were accepted.
pub(super) struct Curve {
    began: Instant,
    state: Mutex<State>,
}

struct State {
    /// The time of one point.
    every: Duration,
    bytes: Vec<u64>,
}

/// A point: seconds since the start, and bytes per second.
pub(super) type Point = (f64, f64);

impl Curve {
    pub(super) fn start() -> Self {
        Self {
            began: Instant::now(),
            state: Mutex::new(State {
                every: Duration::from_millis(100),
                bytes: Vec::new(),
            }),
        }
    }

    /// The middle of every interval, and the rate in it.
    pub(super) fn points(&self) -> Vec<Point> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let every = state.every.as_secs_f64();
        let points = state.bytes.iter().enumerate();
        points
            .map(|(at, bytes)| ((at as f64 + 0.5) * every, *bytes as f64 / every))
            .collect()
    }
}

impl State {
    fn add(&mut self, at: Duration, bytes: u64) {
        let place = at.as_nanos() / self.every.as_nanos().max(1);
        let mut place = usize::try_from(place).unwrap_or(usize::MAX);
        while place >= POINTS {
            self.bytes = self.bytes.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.every *= 2;
            place /= 2;
        }
        if self.bytes.len() <= place {
            self.bytes.resize(place + 1, 0);
        }
        if let Some(sum) = self.bytes.get_mut(place) {
            *sum += bytes;
        }
    }
}

impl Observer for Curve {
    fn observe(&self, event: &Event<'_>) {
        if let Event::PartProgress { bytes, .. } = event {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.add(self.began.elapsed(), *bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_fewer_and_longer_intervals() {
        let curve = Curve::start();
        let mut state = curve.state.lock().unwrap();
        for second in 0..3600 {
            state.add(Duration::from_secs(second), 10);
        }
        drop(state);
        let points = curve.points();
        assert!(points.len() <= POINTS && points.len() > POINTS / 4);
        let last = points.last().unwrap();
        assert!((3500.0..3700.0).contains(&last.0), "{last:?}");
        assert!(
            points[..points.len() - 1]
                .iter()
                .all(|(_, rate)| (8.0..12.0).contains(rate))
        );
    }
}
