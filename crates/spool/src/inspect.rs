//! What is in a spool, and whether it is whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pghaul_stage::{Kind, Part, PartId, Plan, Result};

use crate::file_reader::FileReader;
use crate::manifest::Entry;
use crate::name;
use crate::spool::Spool;
use crate::target::joined;

/// What a spool holds.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The plan, if it stands.
    pub plan: Option<Plan>,
    /// What is sealed.
    pub sealed: Vec<Arc<Entry>>,
    /// Parts that are on the target.
    pub loaded: HashSet<PartId>,
    /// Whether the extraction is complete.
    pub complete: bool,
    /// Bytes of all its files of rows.
    pub bytes: u64,
}

/// Something that is not what the manifest says.
#[derive(Debug)]
pub struct Damage {
    /// The part it belongs to, if it belongs to one.
    pub part: Option<PartId>,
    /// What is wrong, with its name.
    pub error: pghaul_stage::Error,
}

/// Looks into a spool. Entries that are damaged are left out here; [`Spool::check`] tells of them.
///
/// # Errors
///
/// Those of the store.
pub async fn contents(spool: &Spool) -> Result<Contents> {
    let plan = spool.plan().await?;
    let mut sealed = Vec::new();
    for part in plan.iter().flat_map(|plan| &plan.parts) {
        match spool.sealed(part.id).await {
            Ok(entry) => sealed.extend(entry),
            Err(error) if error.kind() == Kind::Identity => {}
            Err(error) => return Err(error),
        }
    }
    let files = spool.store.list(name::PARTS).await?;
    let loaded = spool.store.list(name::LOADED).await?;
    Ok(Contents {
        plan,
        sealed,
        loaded: loaded
            .iter()
            .filter_map(|object| name::part_of(&object.name))
            .collect(),
        complete: spool.end().await?.is_some(),
        bytes: files
            .iter()
            .map(|file| file.size)
            .fold(0, u64::saturating_add),
    })
}

impl Spool {
    /// How many parts were loaded once and have no files any more, so that they cannot be loaded
    /// again.
    ///
    /// # Errors
    ///
    /// Those of the store, and of entries that are damaged.
    pub async fn spent(&self) -> Result<usize> {
        let loaded = self.store.list(name::LOADED).await?;
        if loaded.is_empty() {
            return Ok(0);
        }
        let files = self.store.list(name::PARTS).await?;
        let files: HashSet<String> = files.into_iter().map(|file| file.name).collect();
        let mut spent = 0;
        for part in loaded
            .iter()
            .filter_map(|object| name::part_of(&object.name))
        {
            let entry = self.sealed(part).await?;
            let mut needed = entry.iter().flat_map(|entry| &entry.files);
            spent += usize::from(needed.any(|file| !files.contains(&file.name)));
        }
        Ok(spent)
    }

    /// Reads everything a load would, and says what it could not use; `told` is called for every
    /// part that is whole. Files of parts that are loaded may be gone.
    ///
    /// # Errors
    ///
    /// Those of the store; damage is no error.
    pub async fn check(self: &Arc<Self>, mut told: impl FnMut(&Part)) -> Result<Vec<Damage>> {
        let mut damage = Vec::new();
        let mut note = |part, result: Result<()>| match result {
            Err(error) if error.kind() == Kind::Transient => Err(error),
            Err(error) => {
                damage.push(Damage { part, error });
                Ok(false)
            }
            Ok(()) => Ok(true),
        };
        note(None, self.catalog().await.map(drop))?;
        let end = self.end().await;
        let lost = self.lost().await;
        let ended = lost.iter().flatten().any(|name| *name == name::END);
        // Who ended the extraction had sealed every part before.
        let complete = ended || matches!(&end, Ok(Some(_)));
        note(None, end.map(drop))?;
        for name in lost.iter().flatten() {
            note(None, Err(self.was_lost(name)))?;
        }
        note(None, lost.map(drop))?;
        note(None, self.get(name::DIGEST).await.map(drop))?;
        note(None, self.get(name::FACTS).await.map(drop))?;
        let plan = match self.plan().await {
            Ok(None) if complete => {
                note(None, Err(self.missing(name::PLAN)))?;
                None
            }
            Ok(plan) => plan,
            Err(error) if error.kind() == Kind::Transient => return Err(error),
            // Told with the catalog, which asks for it too.
            Err(_) => None,
        };
        let loaded: HashMap<_, _> = self
            .store
            .list(name::LOADED)
            .await?
            .into_iter()
            .filter_map(|object| Some((name::part_of(&object.name)?, object)))
            .collect();
        for part in plan.iter().flat_map(|plan| &plan.parts) {
            let gone = loaded.contains_key(&part.id);
            let checked = self.check_part(part.id, gone, complete).await;
            if note(Some(part.id), checked)? {
                told(part);
            }
        }
        Ok(damage)
    }

    async fn check_part(
        self: &Arc<Self>,
        part: PartId,
        loaded: bool,
        complete: bool,
    ) -> Result<()> {
        let Some(entry) = self.sealed(part).await? else {
            return match complete {
                true => Err(self.missing(&name::entry(part, 0))),
                false => Ok(()),
            };
        };
        for file in entry.files.iter().cloned() {
            let Some(stored) = self.store.read(&file.name).await? else {
                if loaded {
                    continue;
                }
                return Err(self.missing(&file.name));
            };
            let spool = Arc::clone(self);
            let reading = tokio::task::spawn_blocking(move || {
                let mut reader = FileReader::open(&file, stored, &spool.seal)?;
                while reader.next()?.is_some() {}
                Ok(())
            });
            joined(reading.await)?;
        }
        Ok(())
    }
}
