//! An agent asks for work, and takes the seat if there is some.

use std::time::SystemTime;

use pghaul_stage::Result;
use serde_json::json;
use uuid::Uuid;

use super::admit::Caller;
use super::protocol::{AgentState, Assignment, Registration, Task};
use super::seat::Taken;
use super::{Agent, Agents, Known};
use crate::model::State;
use crate::spool::Side;

/// Agents that are remembered of a migration after they have left.
const REMEMBERED: usize = 50;

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

impl Agents {
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
