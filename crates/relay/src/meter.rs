//! Measures what the two tasks of a lane wait for.
//!
//! Two readings of the clock per batch, and an event per tenth of a second and task: nothing
//! next to copying a batch, so it is always on.

use std::time::{Duration, Instant};

use pghaul_stage::{Event, Part, Side, Waits};

use crate::runner::Run;

/// How often a task reports, about; a single wait may last longer.
const STRETCH: Duration = Duration::from_millis(100);

/// What a task waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On {
    Source,
    Link,
    Transforms,
    Target,
}

/// The clock of one task of one attempt. Reports what is left when dropped.
pub(crate) struct Meter<'m> {
    run: &'m Run,
    part: &'m Part,
    /// [`Side::Source`] is the task that reads, [`Side::Target`] the one that writes.
    side: Side,
    began: Instant,
    stretch: Instant,
    waits: Waits,
    total: Waits,
}

impl<'m> Meter<'m> {
    pub(crate) fn start(run: &'m Run, part: &'m Part, side: Side) -> Self {
        let now = Instant::now();
        Self {
            run,
            part,
            side,
            began: now,
            stretch: now,
            waits: Waits::default(),
            total: Waits::default(),
        }
    }

    /// Does what may have to wait, and counts its time.
    pub(crate) async fn time<T>(&mut self, on: On, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let result = work.await;
        let now = Instant::now();
        let waited = match on {
            On::Source => &mut self.waits.source,
            On::Link => &mut self.waits.link,
            On::Transforms => &mut self.waits.transforms,
            On::Target => &mut self.waits.target,
        };
        *waited += now - began;
        if now - self.stretch >= STRETCH {
            self.report(now);
        }
        result
    }

    fn report(&mut self, now: Instant) {
        let waits = std::mem::take(&mut self.waits);
        self.total += waits;
        self.run.observe(&Event::Waited {
            part: self.part.id,
            side: self.side,
            waits,
            elapsed: now - self.stretch,
        });
        self.stretch = now;
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        self.report(now);
        self.run.note_waits(self.side, self.total, now - self.began);
    }
}
