//! An agent: `pghaul extract` or `pghaul load` with a migration of a runtime server as its spool.
//!
//! It dials the server, waits for the work of its side, and has a process of its own do it, one
//! database after another: the same command, with the spool of that database and the seat of the
//! agent. What the process prints, the server gets. So a crash of the work is nothing to the agent,
//! which starts it again; and the work of an agent that is gone is done by the next one.

mod api;
mod child;
mod flags;
pub(crate) mod host;
mod outbox;
mod pieces;
mod tail;
mod work;

use std::time::Duration;

use pghaul_relay::Cancel;
use pghaul_server::agents::{Assignment, Ending, Registration, Task};
use pghaul_server::job::Extent;
use pghaul_server::model::State;
use pghaul_spool::{Relay, Seat};
use pghaul_stage::{Error, Kind, Result, Side};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::spool::Place;
use crate::{Outcome, causes, signal};

pub(crate) use child::die_with_parent;
pub(crate) use flags::Half;

use api::{Answer, Api};
use outbox::Outbox;
use work::Work;

/// How long to wait before asking for work again.
const POLL: Duration = Duration::from_secs(2);

/// How often somebody is told that nothing has come yet.
const TELL: u32 = 30;

/// An agent.
struct Agent<'a> {
    relay: Relay,
    place: &'a Place,
    half: Half<'a>,
    api: Api,
}

/// Runs the command as an agent, until the migration is done on this side.
pub(crate) fn run(relay: Relay, place: &Place, half: Half<'_>) -> Result<Outcome> {
    half.fits()?;
    let connection = relay.connect(&place.admission.access()?)?;
    let agent = Agent {
        api: Api::new(connection),
        relay,
        place,
        half,
    };
    let cancel = Cancel::new();
    signal::cancel_on_interrupt(cancel.clone());
    // The kernel ends the work with the thread that began it, so it is this one that has to wait.
    Handle::current().block_on(agent.run(&cancel))
}

impl Agent<'_> {
    /// Does one task after another, until there is none any more.
    async fn run(&self, cancel: &Cancel) -> Result<Outcome> {
        let agent_id = Uuid::now_v7();
        loop {
            let assignment = match cancel.until(self.answer(agent_id)).await? {
                Answer::Work(assignment) => assignment,
                Answer::Over(State::Succeeded) => return Ok(Outcome::Done),
                Answer::Over(state) => {
                    return Err(Error::new(
                        Kind::Permanent,
                        format!("the migration has ended: {state}"),
                    )
                    .at(Side::Link)
                    .on(self.relay.to_string())
                    .remedy("`pghaul migration show` tells why"));
                }
            };
            let outcome = self.work(&assignment, cancel).await?;
            // What was checked is migrated, unless the other side's checks failed.
            let more = assignment.task == Task::Validate
                && assignment.job.option == Extent::ValidateAndMigrate;
            if !more || outcome != Outcome::Done {
                return Ok(outcome);
            }
        }
    }

    async fn work(&self, assignment: &Assignment, cancel: &Cancel) -> Result<Outcome> {
        let seat = Seat {
            agent: assignment.agent_id,
            epoch: assignment.epoch,
        };
        let outbox = Outbox::open(self.api.clone(), seat);
        let work = Work {
            agent: self,
            assignment,
            seat,
        };
        let done = work.all(&outbox, cancel).await;
        if matches!(&done, Err(error) if error.kind() == Kind::Fenced) {
            return done.map(|_| Outcome::Failed);
        }
        let left = match &done {
            Ok(_) => json!({ "event": "agent_left", "error": null }),
            Err(error) => json!({ "event": "agent_left", "error": described(error) }),
        };
        let said = outbox.speaker().say(&left).await;
        let closed = outbox.close().await;
        let ending = done?;
        said.and(closed)?;
        Ok(match ending {
            Ending::Done => Outcome::Done,
            Ending::Differs => Outcome::Differs,
            Ending::Invalid => Outcome::Invalid,
            Ending::Failed | Ending::Canceled => Outcome::Failed,
        })
    }

    /// Waits for the seat and for something to do, or until there is nothing any more.
    async fn answer(&self, agent_id: Uuid) -> Result<Answer> {
        let registration = Registration {
            agent_id,
            side: self.half.side(),
            host: host::name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            processors: host::processors(),
            memory: host::memory(),
        };
        for turn in 0.. {
            let tell = turn % TELL == 0;
            match self.api.register(&registration).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) if tell => eprintln!("{}: waiting for work", self.relay),
                Ok(None) => {}
                // It may be started later than its agents.
                Err(error) if error.is_transient() => {
                    if tell {
                        eprintln!("{}: {}", self.relay, told(&error));
                    }
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Error::new(Kind::Permanent, "no work came"))
    }
}

/// An error for the server.
fn described(error: &Error) -> Value {
    json!({ "message": error.to_string(), "remedy": error.hint(), "causes": causes(error) })
}

/// An error and what it came from, in a line.
fn told(error: &Error) -> String {
    let mut parts = vec![error.to_string()];
    parts.extend(causes(error));
    parts.join(": ")
}
