//! What is in a spool for nothing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use pghaul_stage::{Error, Kind, Result, Side};

use crate::name;
use crate::spool::Spool;
use crate::store::Store;
use crate::target::joined;

/// Objects that nobody will read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Their names.
    pub names: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
    /// Files of a directory that were being written under no name yet.
    pub unnamed: Vec<PathBuf>,
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
    if let Some(directory) = spool.store.directory() {
        let (store, directory) = (spool.store.clone(), directory.to_owned());
        // The spools of its databases have garbage of their own.
        let deep = !spool.header().several;
        let search = move || unnamed(&store, &directory, deep, &mut garbage).map(|()| garbage);
        return joined(tokio::task::spawn_blocking(search).await);
    }
    Ok(garbage)
}

/// Adds the files of a directory, and of those below if `deep`, whose names say that they were being
/// written.
fn unnamed(store: &Store, directory: &Path, deep: bool, garbage: &mut Garbage) -> Result<()> {
    let entries = std::fs::read_dir(directory).map_err(|error| failed(store, directory, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed(store, directory, error))?;
        let path = entry.path();
        let meta = entry
            .metadata()
            .map_err(|error| failed(store, &path, error))?;
        if meta.is_dir() {
            if deep {
                unnamed(store, &path, deep, garbage)?;
            }
        } else if is_unnamed(&path) {
            garbage.bytes += meta.len();
            garbage.unnamed.push(path);
        }
    }
    Ok(())
}

/// As `object_store` calls what it writes, before it has its name: `NAME#NUMBER`.
fn is_unnamed(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| Some(name.rsplit_once('#')?.1));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn failed(store: &Store, path: &Path, error: std::io::Error) -> Error {
    Error::new(Kind::Permanent, "the directory cannot be looked through")
        .at(Side::Link)
        .on(store.subject(&path.display().to_string()))
        .because(error)
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
        for path in &garbage.unnamed {
            match tokio::fs::remove_file(path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed(&self.store, path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
