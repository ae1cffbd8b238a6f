//! Runs units of DDL, each committed together with its step in the ledger.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pghaul_stage::{Error, Event, Observer, Omission, Result};
use pghaul_wire::quote::ident;
use pghaul_wire::{Canceller, Client};
use tokio::runtime::Handle;

use crate::entry::Unit;
use crate::ledger::Ledger;
use crate::session::failed;
use crate::statement;

/// How many units share a transaction. Every object takes locks until the commit, and the
/// server's lock table is finite.
const CHUNK: usize = 300;

/// How often work is tried when its failures may pass.
const ATTEMPTS: u32 = 9;

/// The pause after the first failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(250);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The code of "cannot run inside a transaction block".
const OUTSIDE_ONLY: &str = "25001";

/// The code of a full lock table, which fewer objects per transaction do not fill.
const TOO_MANY: &str = "53200";

/// The code of "permission denied" and "must be owner".
const FORBIDDEN: &str = "42501";

/// One session that runs units, opened when first needed and again after it was lost.
pub(crate) struct Apply {
    ledger: Arc<Ledger>,
    observer: Arc<dyn Observer>,
    settings: String,
    client: Option<Client>,
}

impl Apply {
    /// Runs units in sessions on which `settings` have been executed.
    pub(crate) fn new(ledger: Arc<Ledger>, observer: Arc<dyn Observer>, settings: String) -> Self {
        Self {
            ledger,
            observer,
            settings,
            client: None,
        }
    }

    /// Closes the session; it is opened again when needed.
    pub(crate) fn close(&mut self) {
        self.client = None;
    }

    /// Runs the units that are not recorded as done, in order and in as few round trips as
    /// possible.
    ///
    /// # Errors
    ///
    /// Names the unit that failed; those before it are committed.
    pub(crate) async fn run(&mut self, units: &[Unit]) -> Result<()> {
        // A server logs the whole message that fails. One with a secret may fail, but the failure
        // of another statement shall not bring the secret into the log.
        for alike in units.chunk_by(|one, next| !one.secret && !next.secret) {
            for chunk in alike.chunks(CHUNK) {
                self.together(chunk, "").await?;
            }
        }
        Ok(())
    }

    /// Runs units in one transaction, after `settings` of that transaction; if that fails, each
    /// in its own.
    pub(crate) async fn together(&mut self, units: &[Unit], settings: &str) -> Result<()> {
        let begun = Instant::now();
        for unit in units {
            self.report(unit, None);
        }
        let mut pending: Vec<&Unit> = units.iter().collect();
        let mut attempt = 1;
        loop {
            let error = match self.attempt(&pending, settings).await {
                Ok(()) => break,
                Err(error) => error,
            };
            // The ledger knows what the error does not say: a commit whose reply was lost.
            let known = pending.len();
            if self.client.as_ref().is_none_or(|client| client.is_closed()) {
                self.client = None;
            }
            if error.is_transient() || error.code().is_some() {
                let steps: Vec<&str> = pending.iter().map(|unit| &*unit.step).collect();
                match self.ledger.steps_among(&steps).await {
                    Ok(done) => pending.retain(|unit| !done.contains(&unit.step)),
                    Err(other) if other.is_transient() => {}
                    Err(other) => return Err(other),
                }
            }
            if pending.is_empty() {
                break;
            }
            if pending.len() == known && (!error.is_transient() || attempt >= ATTEMPTS) {
                return Err(error);
            }
            if error.is_transient() {
                tracing::warn!(%error, attempt, "will be tried again");
                tokio::time::sleep(LONGEST_PAUSE.min(PAUSE * 2u32.pow(attempt - 1))).await;
                self.client = None;
                attempt += 1;
            }
        }
        let share = begun.elapsed() / u32::try_from(units.len().max(1)).unwrap_or(u32::MAX);
        for unit in units {
            self.report(unit, Some(share));
        }
        Ok(())
    }

    async fn attempt(&mut self, units: &[&Unit], settings: &str) -> Result<()> {
        if units.is_empty() {
            return Ok(());
        }
        match self.commit(units, settings).await {
            Err(error)
                if error
                    .code()
                    .is_some_and(|code| !error.is_transient() || code == TOO_MANY) => {}
            outcome => return outcome,
        }
        // One of them cannot be: alone, it can be named, and the others be done.
        for unit in units {
            if let Err(error) = self.commit(&[unit], settings).await {
                self.alone(unit, settings, error)
                    .await
                    .map_err(|error| error.on(&unit.subject))?;
            }
        }
        Ok(())
    }

    /// Runs a unit that failed with this error, in whatever other way it may be run.
    async fn alone(&mut self, unit: &Unit, settings: &str, error: Error) -> Result<()> {
        let code = error.code().unwrap_or_default().to_owned();
        if code == OUTSIDE_ONLY {
            self.execute(&unit.sql).await?;
            let rest = Unit {
                sql: String::new(),
                ..unit.clone()
            };
            return self.commit(&[&rest], settings).await;
        }
        if code == FORBIDDEN && unit.owner.is_some() {
            let unowned = Unit {
                owner: None,
                ..unit.clone()
            };
            if self.commit(&[&unowned], settings).await.is_ok() {
                let owner = unit.owner.as_deref();
                self.omit(&format!("owner of {}", unit.subject), &error, owner);
                return Ok(());
            }
        }
        let choices = unit.instead.iter();
        for choice in choices.filter(|choice| choice.after.is_none_or(|after| after == code)) {
            tracing::debug!(code, subject = unit.subject, "refused, done otherwise");
            let other = Unit {
                sql: choice.sql.clone(),
                ..unit.clone()
            };
            match self.commit(&[&other], settings).await {
                Ok(()) => {
                    if let Some(omission) = &choice.omission {
                        self.observer.observe(&Event::Omitted(omission));
                    }
                    return Ok(());
                }
                Err(error) if error.is_transient() || error.code().is_none() => return Err(error),
                Err(error) => tracing::debug!(%error, subject = unit.subject, "refused, too"),
            }
        }
        if !unit.tolerates(&code) {
            return Err(error);
        }
        let pieces = statement::split(&unit.sql);
        if pieces
            .iter()
            .filter(|piece| !piece.trim().is_empty())
            .count()
            < 2
        {
            self.omit(&unit.subject, &error, unit.remedy().as_deref());
            return Ok(());
        }
        let mut script = Vec::new();
        for piece in pieces.iter().filter(|piece| !piece.trim().is_empty()) {
            match self
                .execute(&format!("BEGIN;\n{}\n{piece}\n;ROLLBACK;", script.concat()))
                .await
            {
                Ok(()) => {}
                Err(error) if error.code().is_some_and(|code| unit.tolerates(code)) => {
                    let part = (!unit.secret).then_some(*piece);
                    self.omit(&format!("part of {}", unit.subject), &error, part);
                    continue;
                }
                Err(error) => return Err(error),
            }
            // Later statements may depend on the session that earlier ones set up.
            script.push(format!("{piece}\n"));
        }
        let rest = Unit {
            sql: script.concat(),
            ..unit.clone()
        };
        self.commit(&[&rest], settings).await
    }

    /// Runs units in one transaction with their steps.
    async fn commit(&mut self, units: &[&Unit], settings: &str) -> Result<()> {
        let steps = units.iter().map(|unit| unit.step.as_str());
        let script = script(units, settings, &self.ledger.steps_sql(steps));
        self.execute(&script).await
    }

    async fn execute(&mut self, script: &str) -> Result<()> {
        let client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => self.client.insert(client),
            None => {
                let client = self.ledger.session().await?;
                client.batch_execute(&self.settings).await.map_err(failed)?;
                self.client.insert(client)
            }
        };
        let mut running = Running(Some(client.canceller()));
        let outcome = client.batch_execute(script).await;
        running.0 = None;
        let Err(error) = outcome else {
            return Ok(());
        };
        // The session may be inside the failed transaction; if it cannot leave, it is over.
        if client.batch_execute("ROLLBACK").await.is_err() {
            self.client = None;
        }
        Err(failed(error))
    }

    fn report(&self, unit: &Unit, elapsed: Option<Duration>) {
        let Some(report) = &unit.report else { return };
        let (step, subject, table) = (report.step, report.subject.as_str(), Some(&report.table));
        self.observer.observe(&match elapsed {
            None => Event::StepStarted {
                step,
                subject,
                table,
            },
            Some(elapsed) => Event::StepDone {
                step,
                subject,
                table,
                elapsed,
            },
        });
    }

    fn omit(&self, object: &str, error: &Error, remedy: Option<&str>) {
        let omission = Omission::new(object, error.message());
        let omission = omission.remedy(remedy.unwrap_or_default());
        self.observer.observe(&Event::Omitted(&omission));
    }
}

/// Statements that the server is running. Dropped, it asks the server to stop them: they would
/// go on to their end otherwise, though nobody waits for them any more.
struct Running(Option<Canceller>);

impl Drop for Running {
    fn drop(&mut self) {
        if let (Some(canceller), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = canceller.cancel().await {
                    tracing::debug!(%error, "could not cancel");
                }
            });
        }
    }
}

/// One transaction: each unit under the defaults it expects, then the record of their steps. It
/// comes last because it holds the migration's row.
fn script(units: &[&Unit], settings: &str, record: &str) -> String {
    let mut script = format!("BEGIN;\n{settings}\n");
    let (mut tablespace, mut access_method) = (None, None);
    for unit in units {
        if unit.tablespace.is_some() && unit.tablespace != tablespace {
            tablespace.clone_from(&unit.tablespace);
            script += &setting("default_tablespace", tablespace.as_deref());
        }
        if unit.access_method.is_some() && unit.access_method != access_method {
            access_method.clone_from(&unit.access_method);
            script += &setting("default_table_access_method", access_method.as_deref());
        }
        script += &unit.sql;
        script += "\n;\n";
        if let Some(owner) = &unit.owner {
            script += owner;
            script += "\n";
        }
    }
    script + record + ";\nCOMMIT;"
}

fn setting(name: &str, value: Option<&str>) -> String {
    match value.unwrap_or_default() {
        "" => format!("SET LOCAL {name} = '';\n"),
        value => format!("SET LOCAL {name} = {};\n", ident(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_set_where_they_change_and_steps_come_last() {
        let unit = |step: &str, tablespace: Option<&str>| Unit {
            step: step.into(),
            sql: format!("do {step};"),
            tablespace: tablespace.map(Into::into),
            ..Unit::default()
        };
        let units = [
            unit("1", Some("")),
            unit("2", None),
            unit("3", Some("a\"b")),
            unit("4", Some("a\"b")),
        ];
        let units: Vec<&Unit> = units.iter().collect();
        let script = script(&units, "SET LOCAL x = 1;", "record 1 to 4");
        let lines: Vec<&str> = script.lines().filter(|line| *line != ";").collect();
        assert_eq!(
            lines,
            [
                "BEGIN;",
                "SET LOCAL x = 1;",
                "SET LOCAL default_tablespace = '';",
                "do 1;",
                "do 2;",
                "SET LOCAL default_tablespace = \"a\"\"b\";",
                "do 3;",
                "do 4;",
                "record 1 to 4;",
                "COMMIT;",
            ]
        );
    }
}
