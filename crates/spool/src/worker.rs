//! Processes that work on a spool, and their signs of life.
//!
//! A clock is nobody's friend across hosts, so a sign of life is a number that changes: whoever sees
//! the same number for long enough, by their own clock, takes its process for dead. Behind the number
//! stands which process it is, so that another one on its host need not wait. Either is a hint and no
//! more; see [`claim`](crate::claim).

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pghaul_stage::{Error, Result};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::spool::Spool;
use crate::{name, process};

/// How often a sign of life is given.
const BEAT: Duration = Duration::from_secs(3);

/// After how long without a change a process is taken for dead.
const SILENCE: Duration = Duration::from_secs(20);

/// The side of a spool that a process works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It fills the spool.
    Extract,
    /// It empties the spool.
    Load,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Extract => "extract",
            Role::Load => "load",
        })
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "extract" => Ok(Role::Extract),
            "load" => Ok(Role::Load),
            _ => Err(Error::input("a side of a spool is extract or load")),
        }
    }
}

/// This process among those that work on a spool. It gives signs of life until it is dropped.
#[derive(Debug)]
pub struct Worker {
    pub(crate) spool: Arc<Spool>,
    pub(crate) role: Role,
    pub(crate) id: Uuid,
    beating: JoinHandle<()>,
    seen: Mutex<HashMap<Uuid, Seen>>,
}

/// What was seen of another process.
#[derive(Debug, Clone)]
struct Seen {
    sign: Bytes,
    changed: Instant,
    looked: Instant,
}

impl Worker {
    /// Enters this process. Needs a runtime.
    pub async fn enter(spool: Arc<Spool>, role: Role) -> Result<Worker> {
        let id = Uuid::now_v7();
        let name = name::worker(role, id);
        let identity = process::identity().await;
        spool.store.replace(&name, sign(1, &identity)).await?;
        let beating = tokio::spawn(beat(Arc::clone(&spool), name, identity));
        Ok(Worker {
            spool,
            role,
            id,
            beating,
            seen: Mutex::default(),
        })
    }

    /// Takes this process's name off the list, so that others need not wait for its silence.
    pub async fn leave(&self) {
        self.beating.abort();
        let name = name::worker(self.role, self.id);
        if let Err(error) = self.spool.store.remove(&name).await {
            tracing::warn!(%error, "a sign of life is left in the spool");
        }
    }

    /// Whether any process of a side gives signs of life.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn anyone(&self, role: Role) -> Result<bool> {
        let prefix = format!("{}/{role}", name::WORKERS);
        let mut alive = false;
        for object in self.spool.store.list(&prefix).await? {
            let id = object
                .name
                .rsplit('/')
                .next()
                .and_then(|id| id.parse().ok());
            if let Some(id) = id {
                alive |= self.lives(role, id).await?;
            }
        }
        Ok(alive)
    }

    /// Whether a process gives signs of life, as far as can be told by now.
    pub(crate) async fn lives(&self, role: Role, id: Uuid) -> Result<bool> {
        if id == self.id {
            return Ok(true);
        }
        let now = Instant::now();
        let before = self.lock().get(&id).cloned();
        if let Some(seen) = &before
            && now - seen.looked < BEAT
        {
            return Ok(now - seen.changed < SILENCE);
        }
        let Some(sign) = self.spool.store.read(&name::worker(role, id)).await? else {
            self.lock().remove(&id);
            return Ok(false);
        };
        let identity = String::from_utf8_lossy(&sign);
        let identity = identity.split_once(' ').map(|(_, identity)| identity);
        if process::has_ended(identity.unwrap_or_default().trim_end()).await {
            self.lock().remove(&id);
            return Ok(false);
        }
        let changed = match before {
            Some(seen) if seen.sign == sign => seen.changed,
            _ => now,
        };
        let seen = Seen {
            sign,
            changed,
            looked: now,
        };
        self.lock().insert(id, seen);
        Ok(now - changed < SILENCE)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

/// The sign of life of this number.
fn sign(beat: u64, identity: &str) -> Bytes {
    format!("{beat} {identity}\n").into()
}

async fn beat(spool: Arc<Spool>, name: String, identity: String) {
    let mut beat = 1u64;
    loop {
        tokio::time::sleep(BEAT).await;
        beat += 1;
        // One that is missed is made up for by the next.
        if let Err(error) = spool.store.replace(&name, sign(beat, &identity)).await {
            tracing::debug!(%error, "no sign of life");
        }
    }
}
