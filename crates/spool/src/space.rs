//! How much room a spool may take.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pghaul_stage::Result;
use tokio::time::Instant;

use crate::name;
use crate::spool::Spool;

/// How long a measurement is good for.
const FRESH: Duration = Duration::from_secs(1);

/// Keeps an extraction from filling a spool faster than it is emptied.
#[derive(Debug)]
pub(crate) struct Space {
    limit: Option<u64>,
    /// Other spools whose files take the same room.
    beside: Vec<Arc<Spool>>,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Space {
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            beside: Vec::new(),
            last: Mutex::new(None),
        }
    }

    pub(crate) fn beside(self, others: Vec<Arc<Spool>>) -> Self {
        Self {
            beside: others,
            ..self
        }
    }

    /// Whether another part may begin. It may if nothing that is sealed waits to be loaded: then
    /// waiting would not make room, and a part larger than the limit would never begin.
    pub(crate) async fn allows(&self, spool: &Spool) -> Result<bool> {
        let Some(limit) = self.limit else {
            return Ok(true);
        };
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, allowed)) = last
            && at.elapsed() < FRESH
        {
            return Ok(allowed);
        }
        let (mut used, mut waits) = (0u64, false);
        for spool in self.beside.iter().map(Arc::as_ref).chain([spool]) {
            let files = spool.store.list(name::PARTS).await?;
            used = files
                .iter()
                .map(|file| file.size)
                .fold(used, u64::saturating_add);
            waits |= used >= limit && anything_waits(spool).await?;
        }
        let allowed = used < limit || !waits;
        if !allowed && last.is_none_or(|(_, before)| before) {
            tracing::warn!(
                used,
                limit,
                "the spool is full; the extraction waits until a load has removed files"
            );
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), allowed));
        Ok(allowed)
    }
}

async fn anything_waits(spool: &Spool) -> Result<bool> {
    let sealed = spool.store.list(name::MANIFEST).await?.len();
    let loaded = spool.store.list(name::LOADED).await?.len();
    Ok(loaded < sealed)
}
