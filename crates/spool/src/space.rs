//! How much room a spool may take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pghaul_stage::{Part, PartId, Result};
use tokio::time::Instant;

use crate::name;
use crate::spool::Spool;

/// How long a measurement is good for.
const FRESH: Duration = Duration::from_secs(1);

/// How long a part that may begin is counted although nobody writes it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps an extraction from filling a spool faster than it is emptied.
///
/// What is being written counts as much as its rows, because it is not among the files yet: without
/// it, as many parts as there are lanes would begin in what one of them fills. A disk that is full
/// keeps a load from noting what it is about to load, and so from making room.
#[derive(Debug)]
pub(crate) struct Space {
    limit: Option<u64>,
    /// Other spools whose files take the same room.
    beside: Vec<Arc<Spool>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Measured>,
    begun: HashMap<PartId, Begun>,
}

/// What was stored, with what was sealed here since.
#[derive(Debug, Clone, Copy)]
struct Measured {
    at: Instant,
    used: u64,
    /// Whether anything that is sealed waits to be loaded; asked only where that matters.
    waits: Option<bool>,
    /// Whether it was said that the spool is full.
    told: bool,
}

#[derive(Debug)]
struct Begun {
    bytes: u64,
    /// Until when it is counted; for as long as it is written if `None`.
    until: Option<Instant>,
}

impl State {
    /// Bytes of the other parts that are being written.
    fn in_flight(&mut self, part: PartId) -> u64 {
        self.begun
            .retain(|_, begun| begun.until.is_none_or(|until| Instant::now() < until));
        let others = self.begun.iter().filter(|(id, _)| **id != part);
        others.fold(0, |sum, (_, begun)| sum.saturating_add(begun.bytes))
    }
}

impl Space {
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            beside: Vec::new(),
            state: Arc::default(),
        }
    }

    pub(crate) fn beside(self, others: Vec<Arc<Spool>>) -> Self {
        Self {
            beside: others,
            ..self
        }
    }

    /// Whether this part may begin, which counts from then on. It may if nothing that is sealed
    /// waits to be loaded, and no other part to be sealed: then waiting would not make room, and a
    /// part larger than the limit would never begin.
    pub(crate) async fn allows(&self, spool: &Spool, part: &Part) -> Result<bool> {
        let Some(limit) = self.limit else {
            return Ok(true);
        };
        let (last, in_flight) = {
            let mut state = lock(&self.state);
            (state.last, state.in_flight(part.id))
        };
        let is_full = |used: u64| used.saturating_add(in_flight) >= limit;
        let fresh = last.filter(|last| {
            last.at.elapsed() < FRESH && (last.waits.is_some() || !is_full(last.used))
        });
        let measured = match fresh {
            Some(measured) => measured,
            None => self.measure(spool, is_full).await?,
        };
        let waits = measured.waits == Some(true);
        let mut state = lock(&self.state);
        // Other lanes may have begun something meanwhile.
        let in_flight = state.in_flight(part.id);
        let used = measured.used.saturating_add(in_flight);
        let allowed = used < limit || in_flight == 0 && !waits;
        let told = !allowed && last.is_some_and(|last| last.told);
        if !allowed && waits && !told {
            tracing::warn!(
                used,
                limit,
                "the spool is full; the extraction waits until a load has removed files"
            );
        }
        if allowed {
            let begun = Begun {
                bytes: part.bytes,
                until: Some(Instant::now() + PATIENCE),
            };
            state.begun.insert(part.id, begun);
        }
        if fresh.is_none() {
            state.last = Some(measured);
        }
        if let Some(last) = &mut state.last {
            last.told = told || !allowed && waits;
        }
        Ok(allowed)
    }

    async fn measure(&self, spool: &Spool, is_full: impl Fn(u64) -> bool) -> Result<Measured> {
        let at = Instant::now();
        let spools = || self.beside.iter().map(Arc::as_ref).chain([spool]);
        let mut used = 0u64;
        for spool in spools() {
            let files = spool.store.list(name::PARTS).await?;
            let sizes = files.iter().map(|file| file.size);
            used = sizes.fold(used, u64::saturating_add);
        }
        let mut waits = None;
        if is_full(used) {
            waits = Some(false);
            for spool in spools() {
                if anything_waits(spool).await? {
                    waits = Some(true);
                    break;
                }
            }
        }
        Ok(Measured {
            at,
            used,
            waits,
            told: false,
        })
    }

    /// The room of a part that begins to be written.
    pub(crate) fn room(&self, part: &Part) -> Room {
        let begun = Begun {
            bytes: part.bytes,
            until: None,
        };
        lock(&self.state).begun.insert(part.id, begun);
        Room {
            part: part.id,
            state: Arc::clone(&self.state),
        }
    }
}

/// A part that is being written; dropped, it takes no room any more.
#[derive(Debug)]
pub(crate) struct Room {
    part: PartId,
    state: Arc<Mutex<State>>,
}

impl Room {
    /// Its files have these bytes, and stay.
    pub(crate) fn keep(&self, bytes: u64) {
        if let Some(last) = &mut lock(&self.state).last {
            last.used = last.used.saturating_add(bytes);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        lock(&self.state).begun.remove(&self.part);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn anything_waits(spool: &Spool) -> Result<bool> {
    let sealed = spool.store.list(name::MANIFEST).await?.len();
    let loaded = spool.store.list(name::LOADED).await?.len();
    Ok(loaded < sealed)
}
