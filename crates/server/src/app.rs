//! What every request can reach.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::Store;
use crate::supervisor::Desk;

/// The server, as its routes see it. Clones are the same one.
#[derive(Debug, Clone)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    desk: Desk,
    store: Store,
    state: PathBuf,
    max_running: usize,
}

impl App {
    pub(crate) fn new(desk: Desk, store: Store, state: PathBuf, max_running: usize) -> Self {
        Self(Arc::new(Inner {
            desk,
            store,
            state,
            max_running,
        }))
    }

    /// Who takes on migrations, and shows them.
    pub(crate) fn desk(&self) -> &Desk {
        &self.0.desk
    }

    /// What outlives the process.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The directory with all state.
    pub fn state(&self) -> &Path {
        &self.0.state
    }

    /// Migrations that run at the same time.
    pub fn max_running(&self) -> usize {
        self.0.max_running
    }
}
