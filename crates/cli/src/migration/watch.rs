//! Follows a migration to its end: its events as they come, and its state when that changes.

use std::time::Duration;

use futures_util::StreamExt;
use pghaul_server::model::Migration;
use pghaul_stage::{Error, Kind, Result};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::args::Form;
use super::stream::Events;
use super::table::{percent, plain};
use super::{Client, outcome, read, show};
use crate::Outcome;
use crate::output::{bytes, count, say};

/// How often to ask for the state, which no event tells.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How often a database says how far it is, to people.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How long a server may be away: it may be restarted, and the migration goes on meanwhile.
const PATIENCE: Duration = Duration::from_secs(300);

/// How many events to ask for at once.
const PAGE: &str = "1000";

/// Follows the migration of this name.
pub(super) async fn run(client: &Client, name: &str, form: Form) -> Result<Outcome> {
    let mut watch = Watch {
        client,
        name,
        form,
        last: None,
        state: None,
        told: Vec::new(),
    };
    let mut away: Option<Instant> = None;
    let answer = loop {
        match watch.follow().await {
            Ok(answer) => break answer,
            Err(error) if error.kind() == Kind::Transient => {
                let since = *away.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    return Err(error.remedy("the migration goes on without being watched"));
                }
                sleep(ASK_EVERY).await;
                if client.get(&["migrations", name], &[]).await.is_ok() {
                    away = None;
                }
            }
            Err(error) => return Err(error),
        }
    };
    let migration = read(&answer)?;
    if !super::print(form, &answer)? {
        say("");
        show::print(&migration);
    }
    Ok(outcome(&migration))
}

struct Watch<'a> {
    client: &'a Client,
    name: &'a str,
    form: Form,
    /// The last event that was shown.
    last: Option<String>,
    /// The last state that was shown.
    state: Option<String>,
    /// When each database last said how far it is.
    told: Vec<(String, Instant)>,
}

impl Watch<'_> {
    /// Shows events until the migration has ended, and gives what the server then says of it.
    ///
    /// # Errors
    ///
    /// Kind transient when the connection is lost: call it again, it goes on where it was.
    async fn follow(&mut self) -> Result<Value> {
        let path = ["migrations", self.name, "events", "stream"];
        let mut ask = interval(ASK_EVERY);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(ended) = self.ended().await? {
                return Ok(ended);
            }
            let answer = self.client.events(&path, self.last.as_deref()).await?;
            let mut pieces = answer.bytes_stream();
            let mut events = Events::default();
            loop {
                tokio::select! {
                    piece = pieces.next() => {
                        let Some(piece) = piece else { break };
                        let piece = piece.map_err(|error| {
                            Error::new(Kind::Transient, "the stream of events broke off")
                                .because(error.without_url())
                        })?;
                        let complete = events.take(&piece).ok_or_else(|| {
                            Error::new(Kind::Protocol, "an event of the runtime server does not end")
                        })?;
                        for event in complete {
                            if let Ok(value) = serde_json::from_str(&event.data) {
                                self.show(&value)?;
                            }
                            self.last = event.id.or(self.last.take());
                        }
                    }
                    _ = ask.tick() => {
                        if let Some(ended) = self.ended().await? {
                            return Ok(ended);
                        }
                    }
                }
            }
            // The server ends the stream when nothing more can come, or when it stops itself.
            ask.tick().await;
        }
    }

    /// What the server says of a migration that has ended, after its last events were shown.
    async fn ended(&mut self) -> Result<Option<Value>> {
        let answer = self.client.get(&["migrations", self.name], &[]).await?;
        let migration = read(&answer)?;
        self.tell_state(&migration);
        if migration.current_status.state.is_active() {
            return Ok(None);
        }
        let path = ["migrations", self.name, "events"];
        loop {
            let mut query = vec![("limit", PAGE)];
            let after = self.last.clone();
            query.extend(after.as_deref().map(|after| ("after", after)));
            let page = self.client.get(&path, &query).await?;
            let events = page.get("value").and_then(Value::as_array);
            let Some(events) = events.filter(|events| !events.is_empty()) else {
                return Ok(Some(answer));
            };
            for event in events {
                self.show(event)?;
                self.last = event.get("id").map(identifier).or(self.last.take());
            }
            if self.last == after {
                return Ok(Some(answer));
            }
        }
    }

    fn tell_state(&mut self, migration: &Migration) {
        let state = show::state(migration);
        if self.form == Form::Table && self.state.as_ref() != Some(&state) {
            say(&state);
        }
        self.state = Some(state);
    }

    fn show(&mut self, event: &Value) -> Result<()> {
        if !super::print(self.form, event)?
            && let Some(line) = self.line(event)
        {
            say(&line);
        }
        Ok(())
    }

    /// An event for people; `None` for those that would be too many.
    fn line(&mut self, event: &Value) -> Option<String> {
        let text = |key: &str| event.get(key).and_then(Value::as_str).map(plain);
        let number = |key: &str| event.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let line = match event.get("event")?.as_str()? {
            "progress" => {
                let database = text("database").unwrap_or_default();
                let fraction = number("fraction");
                if !self.is_time_to_tell(&database) {
                    return None;
                }
                format!(
                    "{}: {} rows, {}, {}/s",
                    percent(fraction),
                    count(number("rows") as u64),
                    bytes(number("bytes") as u64),
                    bytes(number("bytes_per_second").max(number("bytesPerSecond")) as u64)
                )
            }
            "part_done" => format!(
                "copied {}: {} rows, {}",
                text("subject")?,
                count(number("rows") as u64),
                bytes(number("bytes") as u64)
            ),
            "part_retried" => format!("retrying {}: {}", text("subject")?, text("error")?),
            "step_done" => format!("done: {} {}", text("step")?, text("subject")?),
            "notice" => format!("{}: {}", text("severity")?, text("message")?),
            "omitted" => format!(
                "not carried over: {}, because {}",
                text("object")?,
                text("reason")?
            ),
            "error" => format!("error: {}", text("message")?),
            _ => return None,
        };
        let database = text("database").map(|name| format!("{name}: "));
        Some(format!("{}{line}", database.unwrap_or_default()))
    }

    /// Whether a database was silent for long enough.
    fn is_time_to_tell(&mut self, database: &str) -> bool {
        let now = Instant::now();
        match self.told.iter_mut().find(|(name, _)| name == database) {
            Some((_, told)) if now - *told < TELL_EVERY => false,
            Some((_, told)) => {
                *told = now;
                true
            }
            None => {
                self.told.push((database.to_owned(), now));
                true
            }
        }
    }
}

/// An identifier, which may be written as a number or as a text.
fn identifier(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}
