//! Agents that say nothing any more lose their seats.

use std::time::Duration;

use pghaul_stage::Result;
use serde_json::json;
use uuid::Uuid;

use super::Agents;
use super::protocol::{AgentState, Ending};
use super::seat::SILENCE;
use crate::spool::{Epoch, Side};

/// How often seats are looked at whose agents may be lost.
const WATCH: Duration = Duration::from_secs(1);

impl Agents {
    /// Takes seats away from agents that are silent. Runs until it is dropped.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(WATCH).await;
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "agents cannot be looked after");
            }
        }
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
}
