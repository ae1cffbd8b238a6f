//! An agent brings events, and learns what is wanted of it.

use pghaul_spool::Seat as Shows;
use pghaul_stage::{Error, Kind, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Agents;
use super::admit::Caller;
use super::protocol::{AgentState, Command, Received};
use super::work::Work;
use crate::spool::Side;

impl Agents {
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
}
