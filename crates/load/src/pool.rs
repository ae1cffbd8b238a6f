//! Sessions for COPY, used again from part to part.

use std::sync::{Arc, Mutex, PoisonError};

use pghaul_stage::Result;
use pghaul_wire::{Conninfo, Lane};
use uuid::Uuid;

use crate::existing::{QUIET, forbidden};
use crate::fence::{Live, Registration};
use crate::session;

/// A session for COPY, known as one of ours for as long as it lives.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) lane: Lane,
    pub(crate) registration: Registration,
}

/// The idle sessions of a target. It holds at most as many as were ever in use at once.
#[derive(Debug)]
pub(crate) struct Pool {
    conninfo: Conninfo,
    migration: Uuid,
    /// Whether tables have triggers already, which must rest.
    triggers: bool,
    live: Live,
    idle: Mutex<Vec<Session>>,
}

impl Pool {
    /// A pool without sessions.
    pub(crate) fn new(conninfo: Conninfo, migration: Uuid, triggers: bool) -> Arc<Pool> {
        Arc::new(Pool {
            conninfo,
            migration,
            triggers,
            live: Live::default(),
            idle: Mutex::default(),
        })
    }

    /// The processes behind its sessions.
    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// An idle session, if there is one. Its server may have ended it unnoticed.
    pub(crate) fn idle(&self) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(session) = idle.pop() {
            if session.lane.is_healthy() {
                return Some(session);
            }
        }
        None
    }

    /// A new session.
    pub(crate) async fn connect(&self) -> Result<Session> {
        let mut lane = session::lane(&self.conninfo, self.migration).await?;
        let registration = self.live.register(lane.pid());
        // Keeps triggers of extensions' tables quiet; without the right to it, there is none to
        // fear as long as triggers and foreign keys are restored after the rows.
        match lane.execute(QUIET).await {
            Err(error) if error.code() != Some("42501") => Err(error),
            Err(error) if self.triggers => Err(forbidden(error)),
            _ => Ok(Session { lane, registration }),
        }
    }

    /// Takes a session back.
    pub(crate) fn put(&self, session: Session) {
        if session.lane.is_healthy() {
            session.registration.writes(None);
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(session);
        }
    }

    /// Closes one idle session.
    pub(crate) fn shrink(&self) {
        let session = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        drop(session);
    }

    /// Closes the idle sessions.
    pub(crate) fn clear(&self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
