//! What a check found.

use std::borrow::Cow;
use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::{Check, Side};

/// How many objects a finding names in text; all are in its JSON.
const NAMED: usize = 5;

/// The outcome of one check on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    check: Check,
    side: Side,
    verdict: Verdict,
    objects: Vec<String>,
    message: String,
    remedy: Option<Cow<'static, str>>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Verdict {
    /// Nothing is in the way.
    Succeeded,
    /// The migration works, but something needs a look.
    Warning,
    /// The migration would fail, or lose something.
    Failed,
}

impl Finding {
    /// All is well; the message says what was found, in one lower-case clause.
    pub fn succeeded(check: Check, side: Side, message: impl Into<String>) -> Self {
        Self::new(check, side, Verdict::Succeeded, message.into(), None)
    }

    /// Something needs a look; the remedy says what can be done.
    pub fn warning(
        check: Check,
        side: Side,
        message: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self::new(check, side, Verdict::Warning, message.into(), remedy)
    }

    /// A migration would fail; the remedy says what must be done.
    pub fn failed(
        check: Check,
        side: Side,
        message: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self::new(check, side, Verdict::Failed, message.into(), remedy)
    }

    fn new(
        check: Check,
        side: Side,
        verdict: Verdict,
        message: String,
        remedy: Option<Cow<'static, str>>,
    ) -> Self {
        Self {
            check,
            side,
            verdict,
            objects: Vec::new(),
            message,
            remedy,
        }
    }

    /// Names the objects it is about.
    #[must_use]
    pub fn on<T: Into<String>>(mut self, objects: impl IntoIterator<Item = T>) -> Self {
        self.objects = objects.into_iter().map(Into::into).collect();
        self
    }

    /// Which check.
    pub fn check(&self) -> Check {
        self.check
    }

    /// Where; [`Side::Link`] is what lies between both servers: this machine, and how they fit.
    pub fn side(&self) -> Side {
        self.side
    }

    /// How it ended.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The objects it is about, by name.
    pub fn objects(&self) -> &[String] {
        &self.objects
    }

    /// What was found.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do; present unless the check succeeded.
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// What the output calls the side.
    pub fn place(&self) -> &'static str {
        match self.side {
            Side::Source => "source",
            Side::Target => "target",
            Side::Link => "runtime",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Succeeded => "succeeded",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
        })
    }
}

/// The message and the first objects.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for (index, object) in self.objects.iter().take(NAMED).enumerate() {
            f.write_str(if index == 0 { ": " } else { ", " })?;
            f.write_str(object)?;
        }
        match self.objects.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Finding", 7)?;
        fields.serialize_field("side", self.place())?;
        fields.serialize_field("code", &self.check.code())?;
        fields.serialize_field("check", self.check.name())?;
        fields.serialize_field("severity", &self.verdict)?;
        fields.serialize_field("objects", &self.objects)?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("remedy", &self.remedy)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_objects_are_named_and_the_rest_counted() {
        let finding = Finding::failed(Check::Readable, Side::Source, "may not read", "grant it");
        assert_eq!(finding.to_string(), "may not read");
        let finding = finding.on((1..=7).map(|number| format!("t{number}")));
        assert_eq!(
            finding.to_string(),
            "may not read: t1, t2, t3, t4, t5 and 2 more"
        );
        assert_eq!(finding.remedy(), Some("grant it"));
    }
}
