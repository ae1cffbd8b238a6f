//! What every request can reach.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::FromRef;
use pghaul_wire::Reach;

use crate::access::Access;
use crate::agents::Agents;
use crate::decommission::Course;
use crate::run::Program;
use crate::spool::Spools;
use crate::store::Store;
use crate::supervisor::Desk;

/// The server, as its routes see it. Clones are the same one.
#[derive(Debug, Clone)]
pub struct App(Arc<Parts>);

/// What it is put together from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) desk: Desk,
    pub(crate) store: Store,
    pub(crate) access: Access,
    pub(crate) agents: Arc<Agents>,
    pub(crate) spools: Arc<Spools>,
    pub(crate) reach: Reach,
    pub(crate) program: Program,
    pub(crate) state: PathBuf,
    pub(crate) max_running: usize,
    pub(crate) course: Course,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Who works at either side.
    pub(crate) fn agents(&self) -> &Agents {
        &self.0.agents
    }

    /// The spools that are kept for them.
    pub(crate) fn spools(&self) -> &Arc<Spools> {
        &self.0.spools
    }

    /// Who takes on migrations, and shows them.
    pub(crate) fn desk(&self) -> &Desk {
        &self.0.desk
    }

    /// Which servers may be connected to.
    pub fn reach(&self) -> &Reach {
        &self.0.reach
    }

    /// The program that does what is asked for.
    pub(crate) fn program(&self) -> &Program {
        &self.0.program
    }

    /// The end of its use.
    pub(crate) fn course(&self) -> &Course {
        &self.0.course
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

impl FromRef<App> for Access {
    fn from_ref(app: &App) -> Self {
        app.0.access.clone()
    }
}
