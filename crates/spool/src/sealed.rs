//! Which parts of a spool are sealed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use pghaul_stage::{Error, Kind, PartId, Result, Side};
use tokio::time::Instant;

use crate::manifest::Entry;
use crate::name;
use crate::spool::Spool;

/// How long a listing of the manifest is good for: what was sealed meanwhile is found a little
/// later.
const FRESH: Duration = Duration::from_millis(500);

/// Manifest entries read at the same time.
const CONCURRENT: usize = 16;

/// What is known of the manifest. Entries never change, so they are kept while they are needed.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    entries: HashMap<PartId, Arc<Entry>>,
    /// The parts that were sealed when it was listed.
    sealed: HashSet<PartId>,
    listed: Option<Instant>,
}

impl Spool {
    /// The sealed entry of a part of rows; `None` if it is not sealed.
    pub(crate) async fn sealed(&self, part: PartId) -> Result<Option<Arc<Entry>>> {
        if let Some(entry) = self.known(part) {
            return Ok(Some(entry));
        }
        let entry = self.read_entry(part).await?;
        if let Some(entry) = &entry {
            self.manifest().entries.insert(part, Arc::clone(entry));
        }
        Ok(entry)
    }

    async fn read_entry(&self, part: PartId) -> Result<Option<Arc<Entry>>> {
        let name = name::entry(part, 0);
        let Some(entry) = self.json::<Entry>(&name).await? else {
            return Ok(None);
        };
        let subject = || self.store.subject(&name);
        entry.check(part, 0).map_err(|error| error.on(subject()))?;
        if !entry.last {
            return Err(
                Error::new(Kind::Identity, "a part of rows has several entries")
                    .at(Side::Link)
                    .on(subject()),
            );
        }
        Ok(Some(Arc::new(entry)))
    }

    /// All sealed parts of rows. Their entries are not kept.
    pub(crate) async fn all_sealed(&self) -> Result<Vec<Arc<Entry>>> {
        let mut parts: Vec<PartId> = self.list_sealed().await?.into_iter().collect();
        parts.sort_unstable();
        let entries = stream::iter(parts)
            .map(|part| self.read_entry(part))
            .buffered(CONCURRENT)
            .try_filter_map(|entry| std::future::ready(Ok(entry)));
        entries.try_collect().await
    }

    /// As [`Spool::sealed`], but may be a moment behind: all parts share one listing.
    pub(crate) async fn sealed_lately(&self, part: PartId) -> Result<Option<Arc<Entry>>> {
        let fresh = {
            let manifest = self.manifest();
            if let Some(entry) = manifest.entries.get(&part) {
                return Ok(Some(Arc::clone(entry)));
            }
            manifest.listed.is_some_and(|at| at.elapsed() < FRESH)
        };
        if !fresh {
            // Set before, so that not every lane lists.
            self.manifest().listed = Some(Instant::now());
            let sealed = self.list_sealed().await?;
            self.manifest().sealed = sealed;
        }
        if !self.manifest().sealed.contains(&part) {
            return Ok(None);
        }
        self.sealed(part).await
    }

    async fn list_sealed(&self) -> Result<HashSet<PartId>> {
        let listed = self.store.list(name::MANIFEST).await?;
        let parts = listed.iter().map(|object| name::part_of(&object.name));
        Ok(parts.flatten().collect())
    }

    /// Lets go of what is known of a sealed part.
    pub(crate) fn forget(&self, part: PartId) {
        self.manifest().entries.remove(&part);
    }

    fn known(&self, part: PartId) -> Option<Arc<Entry>> {
        self.manifest().entries.get(&part).map(Arc::clone)
    }

    fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals a part; `false` if it is sealed already, with other files.
    pub(crate) async fn put_entry(&self, entry: &Entry) -> Result<bool> {
        self.put_json(&name::entry(entry.part, entry.entry), entry)
            .await
    }

    /// Forgets a sealed part, so that it can be extracted again.
    pub async fn unseal(&self, part: PartId) -> Result<()> {
        self.forget(part);
        self.store.remove(&name::entry(part, 0)).await
    }
}
