//! Who may do what with a spool, and the fence.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use pghaul_spool::{Object, Role, Seat};
use serde::{Deserialize, Serialize};
use tokio::sync::{RwLock, RwLockReadGuard};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Refusal;

/// The side of a migration that an agent works on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// It extracts.
    Source,
    /// It loads.
    Target,
}

impl Side {
    /// What a process of this side does with a spool.
    pub fn role(self) -> Role {
        match self {
            Side::Source => Role::Extract,
            Side::Target => Role::Load,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Target => "target",
        })
    }
}

impl FromStr for Side {
    type Err = pghaul_stage::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "source" => Ok(Side::Source),
            "target" => Ok(Side::Target),
            _ => Err(pghaul_stage::Error::input("a side is source or target")),
        }
    }
}

/// Lets agents in.
#[async_trait]
pub trait Gate: fmt::Debug + Send + Sync {
    /// Who shows this token and this seat at the spools of a migration.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unknown`] for a token that nobody has, or that is no longer valid;
    /// [`Refusal::Forbidden`] for one of another migration; [`Refusal::Fenced`] for a seat that
    /// another agent has.
    async fn admit(&self, bucket: &str, token: &str, seat: Option<Seat>) -> Result<Guest, Refusal>;
}

/// How often a seat was taken. Who commits a write holds it, so that nobody takes the seat between
/// the look at the epoch and the write.
#[derive(Debug, Clone, Default)]
pub struct Epoch(Arc<RwLock<u64>>);

impl Epoch {
    /// A seat that was taken so often.
    pub fn at(epoch: u64) -> Self {
        Self(Arc::new(RwLock::new(epoch)))
    }

    /// Raises it to this, once writes that are being committed are done.
    pub async fn set(&self, epoch: u64) {
        *self.0.write().await = epoch;
    }
}

/// One who was let in.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The migration.
    pub migration: Uuid,
    /// The side.
    pub side: Side,
    /// The seat, and the epoch in which the guest took it; `None` for who has none, and so may
    /// only read.
    pub seat: Option<(Epoch, u64)>,
}

impl Guest {
    /// Lets nobody take the seat for as long as what this gives lives.
    pub(super) async fn hold(&self) -> Result<RwLockReadGuard<'_, u64>, Refusal> {
        let Some((epoch, taken)) = &self.seat else {
            return Err(Refusal::Forbidden("only an agent with a seat writes"));
        };
        let current = epoch.0.read().await;
        match *current == *taken {
            true => Ok(current),
            false => Err(Refusal::Fenced),
        }
    }

    pub(super) fn may_create(&self, object: Object) -> Result<(), Refusal> {
        match object.writer() == self.side.role() {
            true => Ok(()),
            false => Err(Refusal::Forbidden("the other side writes this object")),
        }
    }

    pub(super) fn may_remove(&self, object: Object) -> Result<(), Refusal> {
        match object.is_removed_by(self.side.role()) {
            true => Ok(()),
            false => Err(Refusal::Forbidden("this side does not remove this object")),
        }
    }
}
