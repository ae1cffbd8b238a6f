//! The seat of a side of a migration: one agent has it at a time, for as long as it gives signs of
//! life. A pure machine: it is told the time and decides nothing else.

use std::time::Duration;

use uuid::Uuid;

/// After how long without a call an agent is lost.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// A seat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seat {
    /// How often it was taken, or taken away.
    epoch: u64,
    holder: Option<Holder>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    agent: Uuid,
    heard: Duration,
}

/// What a call brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// The agent has taken the seat.
    Now(u64),
    /// It had it already.
    Already(u64),
    /// Another one has it.
    Other,
}

impl Seat {
    /// A seat as it was recorded; who had it is given time to call.
    pub(super) fn recorded(epoch: u64, agent: Option<Uuid>, now: Duration) -> Self {
        Self {
            epoch,
            holder: agent.map(|agent| Holder { agent, heard: now }),
        }
    }

    /// The epoch.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Who has it.
    pub(super) fn agent(&self) -> Option<Uuid> {
        self.holder.as_ref().map(|holder| holder.agent)
    }

    /// An agent wants it.
    pub(super) fn take(&mut self, agent: Uuid, now: Duration) -> Taken {
        match &mut self.holder {
            Some(holder) if holder.agent == agent => {
                holder.heard = now;
                Taken::Already(self.epoch)
            }
            Some(_) => Taken::Other,
            None => {
                self.epoch += 1;
                self.holder = Some(Holder { agent, heard: now });
                Taken::Now(self.epoch)
            }
        }
    }

    /// An agent calls; whether it has the seat, in this epoch.
    pub(super) fn hear(&mut self, agent: Uuid, epoch: u64, now: Duration) -> bool {
        match &mut self.holder {
            Some(holder) if holder.agent == agent && self.epoch == epoch => {
                holder.heard = now;
                true
            }
            _ => false,
        }
    }

    /// An agent leaves.
    pub(super) fn leave(&mut self, agent: Uuid) {
        if self.agent() == Some(agent) {
            self.holder = None;
            self.epoch += 1;
        }
    }

    /// Takes the seat from an agent that was silent for too long: who that was.
    pub(super) fn lose(&mut self, now: Duration) -> Option<Uuid> {
        let silent = |holder: &Holder| now.saturating_sub(holder.heard) >= SILENCE;
        let lost = self.holder.take_if(|holder| silent(holder))?;
        self.epoch += 1;
        Some(lost.agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_secs(10);

    #[test]
    fn one_agent_has_it_until_it_is_silent() {
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        let mut seat = Seat::default();
        assert_eq!(seat.take(one, Duration::ZERO), Taken::Now(1));
        assert_eq!(
            seat.take(one, Duration::ZERO),
            Taken::Already(1),
            "an answer was lost"
        );
        assert_eq!(seat.take(other, LATER), Taken::Other);
        assert!(seat.hear(one, 1, LATER));
        assert!(!seat.hear(other, 1, LATER) && !seat.hear(one, 2, LATER));
        assert_eq!(seat.lose(LATER + SILENCE - Duration::from_millis(1)), None);
        assert_eq!(seat.lose(LATER + SILENCE), Some(one));
        assert!(!seat.hear(one, 1, LATER + SILENCE), "what it did is lost");
        assert_eq!(seat.take(other, LATER + SILENCE), Taken::Now(3));
        assert!(seat.hear(other, 3, LATER + SILENCE));
        assert_eq!(seat.take(one, LATER + SILENCE), Taken::Other);
    }

    #[test]
    fn who_leaves_makes_room_at_once() {
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        let mut seat = Seat::default();
        seat.take(one, Duration::ZERO);
        seat.leave(other);
        assert_eq!(seat.agent(), Some(one));
        seat.leave(one);
        assert_eq!(seat.take(other, Duration::ZERO), Taken::Now(3));
    }

    #[test]
    fn after_a_restart_of_the_server_the_agent_has_it_still() {
        let one = Uuid::now_v7();
        let mut seat = Seat::recorded(7, Some(one), LATER);
        assert!(seat.hear(one, 7, LATER + SILENCE / 2));
        assert_eq!(seat.lose(LATER + SILENCE), None);
        let mut vacant = Seat::recorded(7, None, LATER);
        assert_eq!(vacant.take(one, LATER), Taken::Now(8));
    }
}
