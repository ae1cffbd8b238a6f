//! What is in a spool for nothing.

use std::collections::HashSet;

use pghaul_stage::Result;

use crate::name;
use crate::spool::Spool;

/// Objects that nobody will read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Their names.
    pub names: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
}

/// Finds what no manifest entry lists, and the files of parts that are loaded. To be called while
/// no process extracts into the spool: files of a part that is being extracted are not listed yet.
///
/// # Errors
///
/// Those of the store, and of entries that are damaged.
pub async fn garbage(spool: &Spool, keep_loaded: bool) -> Result<Garbage> {
    let loaded: HashSet<_> = spool
        .store
        .list(name::LOADED)
        .await?
        .iter()
        .filter_map(|object| name::part_of(&object.name))
        .collect();
    let sealed = spool.all_sealed().await?;
    let needed: HashSet<&str> = sealed
        .iter()
        .filter(|entry| keep_loaded || !loaded.contains(&entry.part))
        .flat_map(|entry| &entry.files)
        .map(|file| file.name.as_str())
        .collect();
    let mut garbage = Garbage::default();
    for object in spool.store.list(name::PARTS).await? {
        if !needed.contains(object.name.as_str()) {
            garbage.bytes += object.size;
            garbage.names.push(object.name);
        }
    }
    Ok(garbage)
}

impl Spool {
    /// Removes all of it.
    pub async fn erase(&self) -> Result<()> {
        self.store.erase().await
    }

    /// Removes objects.
    pub async fn remove(&self, garbage: &Garbage) -> Result<()> {
        for name in &garbage.names {
            self.store.remove(name).await?;
        }
        Ok(())
    }
}
