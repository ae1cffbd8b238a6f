//! Agents: processes at either side that dial this server, and do what a migration asks of their
//! side. The server dials none of them and knows no password of theirs.
//!
//! Each side of a migration has one seat. An agent with a token of that side takes it when there is
//! work, keeps it by calling, and loses it by silence. Whatever it writes shows the epoch of the
//! seat, so one that was taken for dead writes nothing any more.
//!
//! | what | file |
//! |---|---|
//! | tokens | `token.rs` |
//! | who has the seat | `seat.rs` |
//! | what is said over the wire | `protocol.rs`, `routes.rs` |
//! | what of the work is done | `work.rs` |
//! | what outlives this process | `kept.rs` |
//! | the supervisor, as agents see it | `desk.rs` |

mod desk;
mod kept;
mod protocol;
mod routes;
mod seat;
mod token;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use pghaul_spool::Seat as Shows;
use pghaul_stage::{Error, Kind, Result};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) use self::desk::append;
pub use self::protocol::{
    AgentState, AgentView, Assignment, Command, Ending, Over, Received, Registration, Task,
    TokenAsked, TokenIssued,
};
pub(crate) use self::routes::routes;
pub use self::token::PREFIX;

use self::kept::{Kept, KeptSeat};
use self::seat::{SILENCE, Seat, Taken};
use self::token::{Shown, Token};
use self::work::Work;
use crate::job::Job;
use crate::model::State;
use crate::spool::{Epoch, Gate, Guest, Refusal, Side};
use crate::store::Store;

/// How often seats are looked at whose agents may be lost.
const WATCH: Duration = Duration::from_secs(1);

/// How long a token is valid unless it is said, and at most.
const VALID: u64 = 7 * 24 * 3600;
const LONGEST: u64 = 366 * 24 * 3600;

/// Agents that are remembered of a migration after they have left.
const REMEMBERED: usize = 50;

/// The migrations of the server, as far as agents are concerned.
#[async_trait]
pub trait Migrations: fmt::Debug + Send + Sync {
    /// The migration of a name; `None` if there is none, or agents have no part in it.
    async fn find(&self, name: &str) -> Result<Option<Uuid>>;

    /// What is to be done; `None` while nothing is, or not any more.
    async fn work(&self, migration: Uuid) -> Result<Option<Asked>>;

    /// How a migration ended; `None` unless it has.
    async fn over(&self, migration: Uuid) -> Result<Option<State>>;

    /// What its operator wants right now.
    async fn wants(&self, migration: Uuid) -> Result<Wants>;

    /// Writes events down, as those of a process that migrates.
    async fn note(&self, migration: Uuid, events: Vec<Value>) -> Result<()>;

    /// The events that were written down.
    async fn noted(&self, migration: Uuid) -> Result<Vec<Value>>;

    /// Those that somebody canceled and that have not ended.
    async fn canceled(&self) -> Result<Vec<Uuid>>;

    /// Both sides are done, with this ending, and this error if one told.
    async fn ended(&self, migration: Uuid, ending: Ending, error: Option<Value>) -> Result<()>;
}

/// A migration that agents are to carry out.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// What is to be done now.
    pub task: Task,
    /// What was asked for.
    pub job: Job,
}

/// What an operator wants of a migration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wants {
    /// That it stops.
    pub canceled: bool,
    /// That it copies nothing for now.
    pub paused: bool,
    /// That it copies no more in a second.
    pub bytes_per_second: Option<u64>,
}

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

/// What an agent gets that wants work.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing to do for it now.
    Nothing,
    /// Something to do, and the seat for it.
    Work(Box<Assignment>),
    /// Nothing any more.
    Over(State),
}

/// Who calls, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    migration: Uuid,
    side: Side,
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
            let name = migrations.work(migration).await?.map(|asked| asked.name);
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

    /// Takes seats away from agents that are silent. Runs until it is dropped.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(WATCH).await;
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "agents cannot be looked after");
            }
        }
    }

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

    /// An agent wants work.
    pub(crate) async fn register(
        &self,
        caller: Caller,
        registration: Registration,
    ) -> Result<Answer> {
        let Caller { migration, side } = caller;
        let Some(asked) = self.migrations.work(migration).await? else {
            let over = self.migrations.over(migration).await?;
            return Ok(over.map_or(Answer::Nothing, Answer::Over));
        };
        let work = self.work(migration, &asked).await?;
        if work.task == Some(Task::Validate) && work.is_done(side) {
            // The other side is not, or what comes next has not begun.
            return Ok(Answer::Nothing);
        }
        let _turn = self.turn.lock().await;
        let at = self.since.elapsed();
        let agent_id = registration.agent_id;
        // The target's side learns from the source's which databases there are.
        let early = side == Side::Target && work.databases.is_empty();
        let (taken, epoch) = {
            let mut known = self.known();
            let place = known.seats.entry((migration, side)).or_default();
            let taken = match early {
                true => Taken::Other,
                false => place.seat.take(agent_id, at),
            };
            if let Taken::Now(_) = taken {
                place.received = 0;
            }
            let (state, epoch) = match taken {
                Taken::Now(epoch) | Taken::Already(epoch) => (AgentState::Working, epoch),
                Taken::Other => (AgentState::Waiting, 0),
            };
            let fence = place.epoch.clone();
            let agent = Agent {
                registration: registration.clone(),
                migration,
                name: asked.name.clone(),
                state,
                epoch,
                heard: at,
                seen: SystemTime::now(),
            };
            known.agents.insert(agent_id, agent);
            known.forget_old(migration);
            (taken, fence)
        };
        match taken {
            Taken::Other => return Ok(Answer::Nothing),
            Taken::Already(_) => {}
            Taken::Now(number) => {
                epoch.set(number).await;
                self.write_down(migration, side).await?;
                let joined = json!({
                    "event": "agent_joined", "side": side, "agentId": agent_id,
                    "epoch": number, "host": registration.host,
                });
                self.migrations.note(migration, vec![joined]).await?;
            }
        }
        let number = match taken {
            Taken::Now(number) | Taken::Already(number) => number,
            Taken::Other => return Ok(Answer::Nothing),
        };
        Ok(Answer::Work(Box::new(Assignment {
            agent_id,
            epoch: number,
            migration: asked.name,
            task: asked.task,
            job: asked.job,
            databases: work.databases.clone(),
            begun: work.begun(side),
            finished: work.finished(side),
            spool_limit: self.spool_limit,
        })))
    }

    /// An agent brings events, of which it has brought `before` earlier.
    pub(crate) async fn report(
        &self,
        caller: Caller,
        shows: Shows,
        before: u64,
        events: Vec<Value>,
    ) -> Result<Received> {
        let Caller { migration, side } = caller;
        let _turn = self.turn.lock().await;
        if !self.hear(caller, shows) {
            return Err(Error::new(Kind::Fenced, "another agent has the seat"));
        }
        let asked = self.migrations.work(migration).await?;
        let received = self
            .known()
            .seats
            .get(&(migration, side))
            .map_or(0, |place| place.received);
        // What was lost of a server that ended at once is brought again; what was not, is left out.
        let known = usize::try_from(received.saturating_sub(before)).unwrap_or(usize::MAX);
        let now = before.saturating_add(events.len() as u64).max(received);
        let mut fresh: Vec<Value> = events.into_iter().skip(known).collect();
        for event in &mut fresh {
            event["agent"] = json!(side);
            // A check says what it is about, which may be how both servers fit.
            if event["event"] != "finding" {
                event["side"] = json!(side);
            }
        }
        if !fresh.is_empty() {
            self.migrations.note(migration, fresh.clone()).await?;
            if let Some(asked) = &asked {
                self.work(migration, asked).await?;
            }
            let mut known = self.known();
            if let Some(place) = known.seats.get_mut(&(migration, side)) {
                place.received = now;
            }
            if let Some(work) = known.work.get_mut(&migration) {
                fresh.iter().for_each(|event| work.fold(event));
            }
        }
        // Who may be told twice of an end would begin again.
        let ends = ["database_ended", "database_validated"];
        let ended_before = fresh
            .iter()
            .all(|event| ends.iter().all(|end| event["event"] != *end));
        let left = fresh.iter().any(|event| event["event"] == "agent_left");
        if left {
            self.vacate(migration, side, shows.agent, AgentState::Done)
                .await?;
        } else if !fresh.is_empty() {
            self.write_down(migration, side).await?;
        }
        let (ending, abandoned) = {
            let known = self.known();
            let work = known.work.get(&migration);
            (
                work.and_then(Work::ending),
                work.map(|work| work.abandoned(side)).unwrap_or_default(),
            )
        };
        if let (Some(ending), Some(_), false) = (ending, &asked, ended_before) {
            let error = self.known().work.get(&migration).and_then(Work::error);
            self.migrations.ended(migration, ending, error).await?;
        }
        let wants = self.migrations.wants(migration).await?;
        // Whoever works on what is no longer asked for, stops.
        let canceled = wants.canceled || asked.is_none() && ending.is_none();
        let mut commands = vec![Command::Throttle {
            bytes_per_second: wants.bytes_per_second,
        }];
        commands.push(if wants.paused {
            Command::Pause
        } else {
            Command::Resume
        });
        commands.extend(canceled.then_some(Command::Cancel));
        commands.extend(
            abandoned
                .into_iter()
                .map(|database| Command::Abandon { database }),
        );
        Ok(Received {
            received: now,
            commands,
        })
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

    /// Whether a caller has the seat that it shows; if so, that is a sign of life.
    fn hear(&self, caller: Caller, shows: Shows) -> bool {
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

    async fn sweep(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let at = self.since.elapsed();
        let lost: Vec<(Uuid, Side, Uuid, Epoch, u64)> = {
            let mut known = self.known();
            known.agents.retain(|_, agent| {
                agent.state != AgentState::Waiting || at.saturating_sub(agent.heard) < SILENCE
            });
            let places = known.seats.iter_mut();
            let lost = places.filter_map(|((migration, side), place)| {
                let agent = place.seat.lose(at)?;
                Some((
                    *migration,
                    *side,
                    agent,
                    place.epoch.clone(),
                    place.seat.epoch(),
                ))
            });
            lost.collect()
        };
        for (migration, side, agent, fence, epoch) in lost {
            fence.set(epoch).await;
            if let Some(agent) = self.known().agents.get_mut(&agent) {
                agent.state = AgentState::Lost;
            }
            self.write_down(migration, side).await?;
            let event = json!({
                "event": "agent_lost", "side": side, "agentId": agent, "epoch": epoch,
            });
            self.migrations.note(migration, vec![event]).await?;
        }
        // Agents leave what was canceled; when the last one has, it has ended.
        for migration in self.migrations.canceled().await? {
            let sides = [Side::Source, Side::Target];
            let taken = {
                let known = self.known();
                let seat = |side| known.seats.get(&(migration, side));
                sides
                    .iter()
                    .any(|side| seat(*side).is_some_and(|place| place.seat.agent().is_some()))
            };
            if !taken {
                self.migrations
                    .ended(migration, Ending::Canceled, None)
                    .await?;
            }
        }
        Ok(())
    }

    /// An agent gives the seat back.
    async fn vacate(
        &self,
        migration: Uuid,
        side: Side,
        agent: Uuid,
        state: AgentState,
    ) -> Result<()> {
        let left = {
            let mut known = self.known();
            if let Some(agent) = known.agents.get_mut(&agent) {
                agent.state = state;
            }
            known.seats.get_mut(&(migration, side)).map(|place| {
                place.seat.leave(agent);
                (place.epoch.clone(), place.seat.epoch())
            })
        };
        if let Some((fence, epoch)) = left {
            fence.set(epoch).await;
        }
        self.write_down(migration, side).await
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

impl Known {
    /// Forgets the oldest of the agents of a migration that have no seat any more.
    fn forget_old(&mut self, migration: Uuid) {
        let gone = |agent: &Agent| {
            agent.migration == migration
                && matches!(agent.state, AgentState::Lost | AgentState::Done)
        };
        let many = self.agents.values().filter(|agent| gone(agent)).count();
        for _ in REMEMBERED..many {
            let oldest = self.agents.iter().find(|(_, agent)| gone(agent));
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.agents.remove(&oldest);
            }
        }
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

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
