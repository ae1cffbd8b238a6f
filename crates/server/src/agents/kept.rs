//! What of agents outlives the server's process.

use pghaul_stage::{Error, Kind, Result};
use rusqlite::params;
use uuid::Uuid;

use super::protocol::Registration;
use super::token::Token;
use crate::spool::Side;
use crate::store::Store;

/// A seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptSeat {
    /// Of which migration.
    pub(super) migration: Uuid,
    /// On which side.
    pub(super) side: Side,
    /// How often it was taken, or taken away.
    pub(super) epoch: u64,
    /// How many events of the holder were received.
    pub(super) received: u64,
    /// Who has it.
    pub(super) holder: Option<Registration>,
}

/// Where it is kept. What was put is there after a crash.
#[derive(Debug, Clone)]
pub(super) struct Kept(Store);

impl Kept {
    pub(super) fn new(store: Store) -> Self {
        Self(store)
    }

    /// The tokens that have not ended.
    pub(super) async fn tokens(&self, now: u64) -> Result<Vec<Token>> {
        let rows = self.0.call(move |file| {
            file.execute("DELETE FROM agent_token WHERE expires <= ?1", [signed(now)])?;
            let sql = "SELECT id, migration, side, expires, hash FROM agent_token";
            let mut statement = file.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, i64>(3)?,
                    row.get::<_, Vec<u8>>(4)?,
                ))
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        });
        let rows = rows.await?.into_iter();
        rows.map(|(id, migration, side, expires, hash)| {
            Ok(Token {
                id: id.parse().map_err(broken)?,
                migration: migration.parse().map_err(broken)?,
                side: side.parse()?,
                expires: expires.unsigned_abs(),
                hash,
            })
        })
        .collect()
    }

    /// The seats that were ever taken.
    pub(super) async fn seats(&self) -> Result<Vec<KeptSeat>> {
        let rows = self.0.call(|file| {
            let sql = "SELECT migration, side, epoch, received, holder FROM agent_seat";
            let mut statement = file.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, i64>(3)?,
                    row.get::<_, Option<String>>(4)?,
                ))
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        });
        let rows = rows.await?.into_iter();
        rows.map(|(migration, side, epoch, received, holder)| {
            let holder = holder.as_deref().map(serde_json::from_str).transpose();
            Ok(KeptSeat {
                migration: migration.parse().map_err(broken)?,
                side: side.parse()?,
                epoch: epoch.unsigned_abs(),
                received: received.unsigned_abs(),
                holder: holder.map_err(broken)?,
            })
        })
        .collect()
    }

    /// Adds a token.
    pub(super) async fn put_token(&self, token: &Token) -> Result<()> {
        let token = token.clone();
        let put = self.0.call(move |file| {
            let sql = "INSERT INTO agent_token (id, migration, side, expires, hash)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            file.execute(
                sql,
                params![
                    token.id.to_string(),
                    token.migration.to_string(),
                    token.side.to_string(),
                    signed(token.expires),
                    token.hash
                ],
            )
        });
        put.await.map(drop)
    }

    /// Adds a seat, or replaces it.
    pub(super) async fn put_seat(&self, seat: KeptSeat) -> Result<()> {
        let holder = seat.holder.as_ref().map(serde_json::to_string).transpose();
        let holder = holder.map_err(broken)?;
        let put = self.0.call(move |file| {
            let sql = "INSERT OR REPLACE INTO agent_seat
                       (migration, side, epoch, received, holder) VALUES (?1, ?2, ?3, ?4, ?5)";
            file.execute(
                sql,
                params![
                    seat.migration.to_string(),
                    seat.side.to_string(),
                    signed(seat.epoch),
                    signed(seat.received),
                    holder
                ],
            )
        });
        put.await.map(drop)
    }

    /// Removes what there is of a migration.
    pub(super) async fn forget(&self, migration: Uuid) -> Result<()> {
        let forgotten = self.0.call(move |file| {
            let id = [migration.to_string()];
            let transaction = file.transaction()?;
            transaction.execute("DELETE FROM agent_token WHERE migration = ?1", id.clone())?;
            transaction.execute("DELETE FROM agent_seat WHERE migration = ?1", id)?;
            transaction.commit()
        });
        forgotten.await
    }
}

/// As SQLite has numbers; none of these comes near the end of theirs.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::Permanent, "the record of agents cannot be read").because(error)
}
