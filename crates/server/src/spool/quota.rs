//! How much room each migration has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt;
use object_store::ObjectStore;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::of_migration;

/// What each migration has used.
#[derive(Debug)]
pub(super) struct Quotas {
    objects: Arc<dyn ObjectStore>,
    limit: Option<u64>,
    known: Mutex<HashMap<Uuid, Arc<OnceCell<Arc<Usage>>>>>,
}

/// What one migration has used. Signs of life do not count.
#[derive(Debug)]
pub(super) struct Usage {
    used: AtomicU64,
    limit: u64,
}

/// Room for an object that is arriving; given back unless it is kept.
#[derive(Debug)]
pub(super) struct Reserved {
    usage: Arc<Usage>,
    bytes: u64,
}

impl Quotas {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, limit: Option<u64>) -> Self {
        Self {
            objects,
            limit,
            known: Mutex::default(),
        }
    }

    /// What a migration has used: counted once, then kept.
    pub(super) async fn of(&self, migration: Uuid) -> object_store::Result<Arc<Usage>> {
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(migration).or_default())
        };
        let usage = cell.get_or_try_init(|| self.count(migration)).await?;
        Ok(Arc::clone(usage))
    }

    async fn count(&self, migration: Uuid) -> object_store::Result<Arc<Usage>> {
        let root = of_migration(migration);
        let mut found = self.objects.list(Some(&root));
        let mut used: u64 = 0;
        while let Some(meta) = found.try_next().await? {
            let mut steps = meta.location.parts().skip(2);
            if steps.next().is_none_or(|step| step.as_ref() != "workers") {
                used = used.saturating_add(meta.size);
            }
        }
        Ok(Arc::new(Usage {
            used: AtomicU64::new(used),
            limit: self.limit.unwrap_or(u64::MAX),
        }))
    }

    /// Forgets a migration whose spools are gone.
    pub(super) fn forget(&self, migration: Uuid) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&migration);
    }
}

impl Usage {
    /// Room for so many bytes; `None` if there is not so much.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reserved> {
        let room = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let relaxed = Ordering::Relaxed;
        self.used.try_update(relaxed, relaxed, room).ok()?;
        Some(Reserved {
            usage: Arc::clone(self),
            bytes,
        })
    }

    pub(super) fn release(&self, bytes: u64) {
        let relaxed = Ordering::Relaxed;
        self.used
            .update(relaxed, relaxed, |used| used.saturating_sub(bytes));
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Reserved {
    /// The object is there now.
    pub(super) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.usage.release(self.bytes);
    }
}
