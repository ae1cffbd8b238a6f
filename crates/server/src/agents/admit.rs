//! Who is let in: tokens are issued and shown, and a seat is shown with what is written.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use pghaul_spool::Seat as Shows;
use pghaul_stage::{Error, Result};
use secrecy::SecretString;
use uuid::Uuid;

use super::token::{Shown, Token};
use super::{Agents, now};
use crate::spool::{Gate, Guest, Refusal, Side};

/// How long a token is valid unless it is said, and at most.
const VALID: u64 = 7 * 24 * 3600;
const LONGEST: u64 = 366 * 24 * 3600;

/// Who calls, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(super) migration: Uuid,
    pub(super) side: Side,
}

impl Agents {
    /// A token for a side of a migration, valid for so many seconds.
    ///
    /// # Errors
    ///
    /// Kind input if there is no such migration that agents carry out.
    pub async fn issue(
        &self,
        migration: &str,
        side: Side,
        seconds: Option<u64>,
    ) -> Result<(SecretString, SystemTime)> {
        let migration = self.migrations.find(migration).await?.ok_or_else(|| {
            Error::input("there is no migration of this name that agents carry out")
        })?;
        let seconds = seconds.unwrap_or(VALID);
        if seconds == 0 || seconds > LONGEST {
            return Err(Error::input("a token is valid for a second to a year"));
        }
        let expires = now().saturating_add(seconds);
        let (token, secret) = Token::issue(migration, side, expires)?;
        self.kept.put_token(&token).await?;
        let mut known = self.known();
        let now = now();
        known.tokens.retain(|_, token| now < token.expires);
        known.tokens.insert(token.id, token);
        Ok((secret, UNIX_EPOCH + Duration::from_secs(expires)))
    }

    /// Who shows a token; `None` if nobody may.
    pub(crate) fn caller(&self, token: &str) -> Option<Caller> {
        let shown = Shown::parse(token)?;
        let known = self.known();
        let token = known.tokens.get(&shown.id)?;
        token.admits(&shown, now()).then_some(Caller {
            migration: token.migration,
            side: token.side,
        })
    }

    /// Whether a caller has the seat that it shows; if so, that is a sign of life.
    pub(super) fn hear(&self, caller: Caller, shows: Shows) -> bool {
        let at = self.since.elapsed();
        let mut known = self.known();
        let seat = (caller.migration, caller.side);
        let place = known.seats.get_mut(&seat);
        let heard = place.is_some_and(|place| place.seat.hear(shows.agent, shows.epoch, at));
        if heard && let Some(agent) = known.agents.get_mut(&shows.agent) {
            agent.heard = at;
            agent.seen = SystemTime::now();
        }
        heard
    }
}

#[async_trait]
impl Gate for Agents {
    async fn admit(
        &self,
        bucket: &str,
        token: &str,
        shows: Option<Shows>,
    ) -> Result<Guest, Refusal> {
        let caller = self.caller(token).ok_or(Refusal::Unknown)?;
        let found = self.migrations.find(bucket).await.map_err(|error| {
            tracing::warn!(%error, "migrations cannot be looked up");
            Refusal::Unavailable
        })?;
        if found != Some(caller.migration) {
            return Err(Refusal::Forbidden("The token is for another migration."));
        }
        let seat = match shows {
            None => None,
            Some(shows) if self.hear(caller, shows) => {
                let known = self.known();
                let place = known.seats.get(&(caller.migration, caller.side));
                place.map(|place| (place.epoch.clone(), shows.epoch))
            }
            Some(_) => return Err(Refusal::Fenced),
        };
        Ok(Guest {
            migration: caller.migration,
            side: caller.side,
            seat,
        })
    }
}
