//! Agents: processes at either side that dial this server, and do what a migration asks of their
//! side. The server dials none of them and knows no password of theirs.
//!
//! Each side of a migration has one seat. An agent with a token of that side takes it when there is
//! work, keeps it by calling, and loses it by silence. Whatever it writes shows the epoch of the
//! seat, so one that was taken for dead writes nothing any more.
//!
//! | what | file |
//! |---|---|
//! | tokens, and who is let in | `token.rs`, `admit.rs` |
//! | who has the seat; who asks for it, and who loses it | `seat.rs`, `register.rs`, `watch.rs` |
//! | what is said over the wire | `protocol.rs`, `routes.rs` |
//! | what is told, and what of the work is done | `report.rs`, `work.rs` |
//! | what outlives this process | `kept.rs` |
//! | the migrations, as agents see them | `migrations.rs`, `desk.rs` |

mod admit;
mod desk;
mod kept;
mod migrations;
mod protocol;
mod register;
mod report;
mod routes;
mod seat;
mod token;
mod watch;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pghaul_stage::Result;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) use self::admit::Caller;
pub(crate) use self::desk::append;
pub use self::migrations::{Asked, Migrations, Wants};
pub use self::protocol::{
    AgentState, AgentView, Assignment, Command, Ending, Over, Received, Registration, Task,
    TokenAsked, TokenIssued,
};
pub(crate) use self::register::Answer;
pub(crate) use self::routes::routes;
pub use self::token::PREFIX;

use self::kept::{Kept, KeptSeat};
use self::seat::Seat;
use self::token::Token;
use self::work::Work;
use crate::spool::{Epoch, Side};
use crate::store::Store;

/// All agents of a server.
#[derive(Debug)]
pub struct Agents {
    migrations: Arc<dyn Migrations>,
    kept: Kept,
    spool_limit: Option<u64>,
    since: Instant,
    known: Mutex<Known>,
    /// Held by who changes a seat, until the change is written down.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    tokens: HashMap<Uuid, Token>,
    seats: HashMap<(Uuid, Side), Place>,
    agents: BTreeMap<Uuid, Agent>,
    work: HashMap<Uuid, Work>,
}

#[derive(Debug, Clone, Default)]
struct Place {
    seat: Seat,
    epoch: Epoch,
    /// How many events of the holder were received.
    received: u64,
}

#[derive(Debug, Clone)]
struct Agent {
    registration: Registration,
    migration: Uuid,
    name: String,
    state: AgentState,
    epoch: u64,
    heard: Duration,
    seen: SystemTime,
}

impl Agents {
    /// The agents of a server that were kept. Each holder of a seat has it still.
    ///
    /// # Errors
    ///
    /// Those of what is kept.
    pub async fn open(
        migrations: Arc<dyn Migrations>,
        store: Store,
        spool_quota: Option<u64>,
    ) -> Result<Arc<Self>> {
        let kept = Kept::new(store);
        let mut known = Known::default();
        for token in kept.tokens(now()).await? {
            known.tokens.insert(token.id, token);
        }
        for KeptSeat {
            migration,
            side,
            epoch,
            received,
            holder,
        } in kept.seats().await?
        {
            let agent = holder.as_ref().map(|registration| registration.agent_id);
            let place = Place {
                seat: Seat::recorded(epoch, agent, Duration::ZERO),
                epoch: Epoch::at(epoch),
                received,
            };
            known.seats.insert((migration, side), place);
            let name = migrations.name(migration).await?;
            if let (Some(registration), Some(name)) = (holder, name) {
                let agent = Agent {
                    registration,
                    migration,
                    name,
                    state: AgentState::Working,
                    epoch,
                    heard: Duration::ZERO,
                    seen: SystemTime::now(),
                };
                known.agents.insert(agent.registration.agent_id, agent);
            }
        }
        Ok(Arc::new(Self {
            migrations,
            kept,
            // Room must be left for what is under way when the extraction pauses.
            spool_limit: spool_quota.map(|quota| quota / 4 * 3),
            since: Instant::now(),
            known: Mutex::new(known),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// All agents that are known, the newest first.
    pub fn list(&self) -> Vec<AgentView> {
        let known = self.known();
        let agents = known.agents.values().rev();
        agents.map(Agent::view).collect()
    }

    /// Forgets a migration: its tokens, seats and agents.
    ///
    /// # Errors
    ///
    /// Those of what is kept.
    pub async fn forget(&self, migration: Uuid) -> Result<()> {
        let _turn = self.turn.lock().await;
        let fences: Vec<Epoch> = {
            let mut known = self.known();
            known.tokens.retain(|_, token| token.migration != migration);
            known.agents.retain(|_, agent| agent.migration != migration);
            known.work.remove(&migration);
            let sides = [Side::Source, Side::Target];
            let places = sides.map(|side| known.seats.remove(&(migration, side)));
            places
                .into_iter()
                .flatten()
                .map(|place| place.epoch)
                .collect()
        };
        for fence in fences {
            fence.set(u64::MAX).await;
        }
        self.kept.forget(migration).await
    }

    async fn write_down(&self, migration: Uuid, side: Side) -> Result<()> {
        let seat = {
            let known = self.known();
            let Some(place) = known.seats.get(&(migration, side)) else {
                return Ok(());
            };
            let holder = place
                .seat
                .agent()
                .and_then(|agent| known.agents.get(&agent));
            KeptSeat {
                migration,
                side,
                epoch: place.seat.epoch(),
                received: place.received,
                holder: holder.map(|agent| agent.registration.clone()),
            }
        };
        self.kept.put_seat(seat).await
    }

    /// What is done of a migration: kept, or read from what was written down.
    async fn work(&self, migration: Uuid, asked: &Asked) -> Result<Work> {
        let current = |work: &&Work| work.task == Some(asked.task);
        if let Some(work) = self.known().work.get(&migration).filter(current) {
            return Ok(work.clone());
        }
        let mut work = Work::new(asked.job.databases.clone());
        for event in self.migrations.noted(migration).await? {
            work.fold(&event);
        }
        let mut known = self.known();
        known.work.insert(migration, work.clone());
        Ok(work)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agent {
    fn view(&self) -> AgentView {
        AgentView {
            agent_id: self.registration.agent_id,
            migration: self.name.clone(),
            side: self.registration.side,
            host: self.registration.host.clone(),
            version: self.registration.version.clone(),
            processors: self.registration.processors,
            memory: self.registration.memory,
            state: self.state,
            epoch: self.epoch,
            last_seen: self.seen.into(),
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
