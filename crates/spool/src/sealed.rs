//! Which parts of a spool are sealed.

use std::collections::HashMap;
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

/// What is known of the manifest. Entries never change, so they are kept.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    entries: HashMap<PartId, Arc<Entry>>,
    listed: Option<Instant>,
}

impl Spool {
    /// The sealed entry of a part of rows; `None` if it is not sealed.
    pub(crate) async fn sealed(&self, part: PartId) -> Result<Option<Arc<Entry>>> {
        if let Some(entry) = self.known(part) {
            return Ok(Some(entry));
        }
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
        let entry = Arc::new(entry);
        self.manifest().entries.insert(part, Arc::clone(&entry));
        Ok(Some(entry))
    }

    /// All sealed parts of rows.
    pub(crate) async fn all_sealed(&self) -> Result<Vec<Arc<Entry>>> {
        let listed = self.store.list(name::MANIFEST).await?;
        let mut parts: Vec<PartId> = listed
            .iter()
            .filter_map(|object| name::part_of(&object.name))
            .collect();
        parts.sort_unstable();
        parts.dedup();
        let entries = stream::iter(parts)
            .map(|part| self.sealed(part))
            .buffered(CONCURRENT)
            .try_filter_map(|entry| std::future::ready(Ok(entry)));
        let entries: Vec<_> = entries.try_collect().await?;
        self.manifest().listed = Some(Instant::now());
        Ok(entries)
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
            self.all_sealed().await?;
        }
        Ok(self.known(part))
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
        self.manifest().entries.remove(&part);
        self.store.remove(&name::entry(part, 0)).await
    }
}
