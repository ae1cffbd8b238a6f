//! One observer made of several.

use std::fmt;
use std::sync::Arc;

use pghaul_stage::{Event, Observer};

/// Passes every event on to each of its observers, in order.
pub struct Fanout(
    /// The observers.
    pub Vec<Arc<dyn Observer>>,
);

impl Observer for Fanout {
    fn observe(&self, event: &Event<'_>) {
        for observer in &self.0 {
            observer.observe(event);
        }
    }
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fanout({})", self.0.len())
    }
}
