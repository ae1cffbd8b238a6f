//! What a lane does with a part: it sees it through to durable.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use pghaul_stage::{Error, Event, Kind, Part, Result, Severity, Side, Turn};

use crate::attempt::{Copied, contain};
use crate::runner::Run;

impl Run {
    /// Copies a part; what cannot be retried ends the run. `false` if the part cannot be begun yet.
    pub(crate) fn carry(self: &Arc<Self>, part: &Part) -> bool {
        if self.stop.is_cancelled() {
            return true;
        }
        contain(|| self.part(part)).unwrap_or_else(|error| {
            self.fail(part, error.on(part.to_string()));
            true
        })
    }

    /// Tells both stages that a lane goes on with another run.
    pub(crate) fn leave(&self) {
        let _context = self.runner.handle.enter();
        self.runner.source.lane_left();
        self.runner.target.lane_left();
    }

    fn part(self: &Arc<Self>, part: &Part) -> Result<bool> {
        let form = match self.turn(part)? {
            Turn::Now(form) => form,
            Turn::Later => return Ok(false),
            Turn::Taken => return self.elsewhere(part),
        };
        let started = Instant::now();
        let Some(copied) = self.copy(&form)? else {
            return self.elsewhere(part);
        };
        self.note_part(&copied);
        self.observe(&Event::PartDone {
            part,
            rows: copied.rows,
            bytes: copied.bytes,
            elapsed: started.elapsed(),
        });
        self.confirm(part, copied.mark)?;
        let complete = self.lock(&self.loaded).done(part);
        self.tables_loaded(&complete)?;
        Ok(true)
    }

    /// Whether both sides let the part be begun now.
    fn turn(&self, part: &Part) -> Result<Turn> {
        let (source, target) = (&self.runner.source, &self.runner.target);
        match self.retried(Side::Source, || source.turn(part))? {
            Turn::Now(form) => self.retried(Side::Target, || target.turn(&form)),
            other => Ok(other),
        }
    }

    /// Whether a part that somebody else took is done.
    fn elsewhere(&self, part: &Part) -> Result<bool> {
        let [Some(mark)] = *self.durable(std::slice::from_ref(part))? else {
            return Ok(false);
        };
        self.note_elsewhere();
        self.observe(&Event::PartElsewhere { part });
        self.confirm(part, mark)?;
        let complete = self.lock(&self.loaded).done(part);
        self.tables_loaded(&complete)?;
        Ok(true)
    }

    /// Whether somebody else has taken a part that was ours.
    fn is_taken(&self, part: &Part) -> Result<bool> {
        Ok(matches!(self.turn(part)?, Turn::Taken))
    }

    /// Copies a part, again and again if need be, until it is durable; `None` if somebody else took
    /// it meanwhile, with whom to fight over it would only delay both.
    fn copy(self: &Arc<Self>, part: &Part) -> Result<Option<Copied>> {
        let retry = self.runner.options.retry;
        let mut complete = None;
        let mut attempt = 1;
        let mut form = Cow::Borrowed(part);
        loop {
            let error = match self.try_copy(&form, attempt, &mut complete) {
                Ok(copied) => return Ok(Some(copied)),
                Err(error) => error,
            };
            let error = match self.reconsider(&form, error) {
                // One other form is all a part may get, or two could alternate for ever.
                Ok(other) if matches!(form, Cow::Borrowed(_)) => {
                    form = Cow::Owned(other);
                    self.note_retry();
                    attempt += 1;
                    continue;
                }
                Ok(_) => Error::new(Kind::Protocol, "a third form of a part").at(Side::Source),
                Err(error) => error,
            };
            if error.is_transient() && attempt < retry.attempts {
                let pause = retry.pause(part.id.0, attempt);
                self.note_retry();
                self.observe(&Event::PartRetried {
                    part,
                    error: &error,
                    pause,
                });
                self.stop.sleep(pause)?;
                if self.is_taken(part)? {
                    return Ok(None);
                }
                attempt += 1;
                continue;
            }
            // Either error may hide that the part is durable, by us or by another worker.
            if (error.is_transient() || error.kind() == Kind::Fenced)
                && let Ok(Some(copied)) = self.settle(part, complete)
            {
                return Ok(Some(copied));
            }
            if error.kind() == Kind::Fenced && self.is_taken(part)? {
                return Ok(None);
            }
            return Err(error);
        }
    }

    /// Asks the source whether the part can be copied in another form.
    fn reconsider(&self, part: &Part, error: Error) -> Result<Part> {
        if !matches!(error.kind(), Kind::Transient | Kind::Permanent) {
            return Err(error);
        }
        let source = &self.runner.source;
        self.wait(&self.stop, Side::Source, source.reconsider(part, error))
    }

    fn try_copy(
        self: &Arc<Self>,
        part: &Part,
        attempt: u32,
        complete: &mut Option<Copied>,
    ) -> Result<Copied> {
        // An attempt that failed may have been committed all the same, with only the reply
        // lost. The target is the one who knows.
        if attempt > 1
            && let Some(copied) = self.settle(part, *complete)?
        {
            return Ok(copied);
        }
        self.observe(&Event::PartStarted { part, attempt });
        self.attempt(part, complete)
    }

    /// Asks the target whether the part is durable, and if so, says what was copied. Every
    /// attempt reads the same rows, so the counts of any that came as far as its commit hold.
    fn settle(&self, part: &Part, complete: Option<Copied>) -> Result<Option<Copied>> {
        let target = &self.runner.target;
        let question = target.durable(std::slice::from_ref(part));
        let [Some(mark)] = *self.wait(&self.stop, Side::Target, question)? else {
            return Ok(None);
        };
        let copied = complete.unwrap_or_else(|| {
            let message =
                format!("{part} was made durable by another worker; its rows are not counted");
            self.observe(&Event::Notice {
                severity: Severity::Warning,
                message: &message,
            });
            Copied {
                bytes: mark.0,
                ..Copied::default()
            }
        });
        Ok(Some(Copied { mark, ..copied }))
    }
}
