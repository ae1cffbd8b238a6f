//! The calls of an agent.

use std::time::Duration;

use pghaul_server::agents::{Assignment, Over, Received, Registration};
use pghaul_server::model::State;
use pghaul_spool::{AGENT_HEADER, Connection, EPOCH_HEADER, Seat};
use pghaul_stage::{Error, Kind, Result, Side};
use pghaul_wire::https_refusal;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The largest answer that is read.
const LARGEST: u64 = 16 << 20;

/// What the server says to one who asks for work.
pub(super) enum Answer {
    /// Some.
    Work(Box<Assignment>),
    /// There is none any more, because the migration ended like this.
    Over(State),
}

/// The server, as an agent calls it.
#[derive(Debug, Clone)]
pub(super) struct Api {
    connection: Connection,
}

impl Api {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Asks for work; `None` while there is none.
    pub(super) async fn register(&self, registration: &Registration) -> Result<Option<Answer>> {
        let body = serde_json::to_vec(registration).map_err(|error| {
            Error::new(Kind::Permanent, "the registration cannot be written").because(error)
        })?;
        let call = self
            .post("api/v1/agents")
            .header("content-type", "application/json");
        let answer = self.sent(call.body(body)).await?;
        match answer.status().as_u16() {
            204 => Ok(None),
            410 => {
                let over: Over = self.read(answer).await?;
                Ok(Some(Answer::Over(over.state)))
            }
            _ => {
                let answer = self.good(answer).await?;
                let assignment = self.read(answer).await?;
                Ok(Some(Answer::Work(Box::new(assignment))))
            }
        }
    }

    /// Brings events, of which `before` were brought earlier.
    pub(super) async fn report(&self, seat: Seat, before: u64, lines: &str) -> Result<Received> {
        let call = self
            .post(&format!(
                "api/v1/agents/{}/events?before={before}",
                seat.agent
            ))
            .header("content-type", "application/x-ndjson")
            .header(AGENT_HEADER, seat.agent.to_string())
            .header(EPOCH_HEADER, seat.epoch);
        let answer = self.sent(call.body(lines.to_owned())).await?;
        let answer = self.good(answer).await?;
        self.read(answer).await
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        let client = self.connection.client();
        client.post(self.connection.url(path)).timeout(PATIENCE)
    }

    /// Sends a call.
    async fn sent(&self, call: reqwest::RequestBuilder) -> Result<reqwest::Response> {
        call.send().await.map_err(|error| {
            // The URL is told with the error, and says less than the subject.
            let error = error.without_url();
            let failed = https_refusal(&error).unwrap_or_else(|| {
                Error::new(Kind::Transient, "the runtime server cannot be reached")
            });
            self.on(failed).because(error)
        })
    }

    /// An answer; one that is not a good one is an error.
    async fn good(&self, answer: reqwest::Response) -> Result<reqwest::Response> {
        let status = answer.status().as_u16();
        if answer.status().is_success() {
            return Ok(answer);
        }
        let problem: Value = self.read(answer).await.unwrap_or_default();
        let detail = ["detail", "title"]
            .into_iter()
            .find_map(|key| problem[key].as_str());
        let (kind, message) = match status {
            401 | 403 => (
                Kind::Permanent,
                "the runtime server does not accept the token",
            ),
            409 => (
                Kind::Fenced,
                "the runtime server gave the work of this agent to another one",
            ),
            408 | 429 | 500.. => (Kind::Transient, "the runtime server has a problem"),
            _ => (Kind::Permanent, "the runtime server refuses the call"),
        };
        let detail = detail.unwrap_or("without saying why");
        let refused = |message| {
            let error = self.on(Error::new(kind, message));
            error.because(format!("{status}: {detail}"))
        };
        if let (401 | 403, Some(remedy)) = (status, problem["remedy"].as_str()) {
            // It is not the token.
            return Err(
                refused("the runtime server does not let this agent in").remedy(remedy.to_owned())
            );
        }
        let error = refused(message);
        Err(match status {
            401 | 403 => error.remedy("get a token for this side of this migration, and give it as PGHAUL_TOKEN or --token-file"),
            _ => error,
        })
    }

    async fn read<T: DeserializeOwned>(&self, answer: reqwest::Response) -> Result<T> {
        let unreadable = |why: Box<dyn std::error::Error + Send + Sync>| {
            self.on(Error::new(Kind::Transient, "the answer cannot be read"))
                .because(why)
        };
        if answer
            .content_length()
            .is_some_and(|length| length > LARGEST)
        {
            return Err(unreadable("it is too long".into()));
        }
        let body = answer
            .bytes()
            .await
            .map_err(|error| unreadable(error.into()))?;
        serde_json::from_slice(&body).map_err(|error| unreadable(error.into()))
    }

    fn on(&self, error: Error) -> Error {
        error.at(Side::Link).on(self.connection.relay().to_string())
    }
}
