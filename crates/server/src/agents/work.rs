//! What both sides have done of a migration, as their events tell.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::protocol::{Ending, Task};
use crate::spool::Side;

/// What is done of the task that was begun last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// What is to be done; `None` before anything was begun.
    pub(super) task: Option<Task>,
    /// The databases, in their order; empty until the source's side has said them.
    pub(super) databases: Vec<String>,
    source: Done,
    target: Done,
    error: Option<Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Done {
    begun: BTreeSet<String>,
    finished: BTreeMap<String, Ending>,
}

impl Work {
    /// Nothing is done yet of these databases; none if only the source's server knows them.
    pub(super) fn new(databases: Vec<String>) -> Self {
        Self {
            databases,
            ..Self::default()
        }
    }

    /// Takes note of an event.
    pub(super) fn fold(&mut self, event: &Value) {
        let kind = event["event"].as_str().unwrap_or_default();
        if kind == "attempt" {
            // Which databases there are holds for what comes after the checks, too.
            *self = Self {
                task: Task::deserialize(&event["command"]).ok(),
                ..Self::new(std::mem::take(&mut self.databases))
            };
        }
        if kind == "databases_chosen" && self.databases.is_empty() {
            let names = event["databases"].as_array().into_iter().flatten();
            self.databases = names.filter_map(Value::as_str).map(str::to_owned).collect();
        }
        let done = match event["side"].as_str() {
            Some("source") => &mut self.source,
            Some("target") => &mut self.target,
            _ => return,
        };
        let Some(database) = event["database"].as_str() else {
            return;
        };
        match kind {
            "planned" => {
                done.begun.insert(database.to_owned());
            }
            "database_ended" | "database_validated" => {
                let error = &event["error"];
                if self.error.is_none() && !error.is_null() {
                    self.error = Some(error.clone());
                }
                if let Ok(ending) = serde_json::from_value(event["ending"].clone()) {
                    done.finished.insert(database.to_owned(), ending);
                }
            }
            _ => {}
        }
    }

    /// The first error that a database ended with.
    pub(super) fn error(&self) -> Option<Value> {
        self.error.clone()
    }

    fn of(&self, side: Side) -> &Done {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// The databases that a side has begun to carry over.
    pub(super) fn begun(&self, side: Side) -> Vec<String> {
        self.of(side).begun.iter().cloned().collect()
    }

    /// Those that it is done with.
    pub(super) fn finished(&self, side: Side) -> BTreeMap<String, Ending> {
        self.of(side).finished.clone()
    }

    /// Whether a side is done with all.
    pub(super) fn is_done(&self, side: Side) -> bool {
        let finished = &self.of(side).finished;
        !self.databases.is_empty() && self.databases.iter().all(|one| finished.contains_key(one))
    }

    /// Those that a side need not go on with, because the other one gave them up. What is wrong
    /// with one side says nothing about the other, so checks go on.
    pub(super) fn abandoned(&self, side: Side) -> Vec<String> {
        let other = match side {
            Side::Source => &self.target,
            Side::Target => &self.source,
        };
        let given_up = other.finished.iter().filter(|(_, ending)| match self.task {
            Some(Task::Validate) => **ending > Ending::Invalid,
            _ => **ending > Ending::Differs,
        });
        let names = given_up.map(|(database, _)| database.clone());
        names
            .filter(|name| !self.of(side).finished.contains_key(name))
            .collect()
    }

    /// How it ended: the worst of what either side says of any database, once the target's side is
    /// done with all; of checks, once both are.
    pub(super) fn ending(&self) -> Option<Ending> {
        if self.databases.is_empty() {
            return None;
        }
        if self.task == Some(Task::Validate) && !self.is_done(Side::Source) {
            return None;
        }
        let mut worst = Ending::Done;
        for database in &self.databases {
            let target = self.target.finished.get(database)?;
            let source = self.source.finished.get(database);
            // Who loaded everything has seen the extraction's end, whatever its agent still tells.
            worst = worst
                .max(*target)
                .max(source.copied().unwrap_or(Ending::Done));
        }
        Some(worst)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(side: &str, database: &str, ending: &str) -> Value {
        json!({ "event": "database_ended", "side": side, "database": database, "ending": ending })
    }

    #[test]
    fn the_source_says_which_databases_there_are_unless_the_job_did() {
        let event =
            json!({ "event": "databases_chosen", "side": "source", "databases": ["a", "b"] });
        let mut open = Work::new(Vec::new());
        open.fold(&event);
        assert_eq!(open.databases, ["a", "b"]);
        let mut said = Work::new(vec!["c".to_owned()]);
        said.fold(&event);
        assert_eq!(said.databases, ["c"]);
    }

    #[test]
    fn it_ends_when_the_target_is_done_with_all() {
        let mut work = Work::new(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(work.ending(), None);
        work.fold(&ended("source", "a", "done"));
        work.fold(&ended("source", "b", "done"));
        work.fold(&ended("target", "a", "done"));
        assert_eq!(work.ending(), None);
        let mut differs = work.clone();
        work.fold(&ended("target", "b", "done"));
        assert_eq!(work.ending(), Some(Ending::Done));
        differs.fold(&ended("target", "b", "differs"));
        assert_eq!(differs.ending(), Some(Ending::Differs));
        assert_eq!(work.finished(Side::Source).len(), 2);
    }

    #[test]
    fn what_one_side_gives_up_the_other_one_abandons() {
        let mut work = Work::new(vec!["a".to_owned(), "b".to_owned()]);
        work.fold(&ended("source", "a", "failed"));
        assert_eq!(work.abandoned(Side::Target), ["a"]);
        assert_eq!(work.abandoned(Side::Source), Vec::<String>::new());
        work.fold(&ended("target", "a", "failed"));
        assert_eq!(work.abandoned(Side::Target), Vec::<String>::new());
        work.fold(&ended("target", "b", "done"));
        assert_eq!(work.ending(), Some(Ending::Failed));
    }

    fn validated(side: &str, ending: &str) -> Value {
        let event = "database_validated";
        json!({ "event": event, "side": side, "database": "a", "ending": ending })
    }

    #[test]
    fn checks_end_when_both_sides_are_done_and_the_migration_begins_anew() {
        let mut work = Work::new(Vec::new());
        work.fold(&json!({ "event": "attempt", "command": "validate" }));
        let chosen = json!({ "event": "databases_chosen", "databases": ["a"] });
        work.fold(&chosen);
        work.fold(&validated("target", "done"));
        assert_eq!(work.ending(), None, "the source is not checked yet");
        work.fold(&validated("source", "invalid"));
        assert_eq!(work.ending(), Some(Ending::Invalid));
        work.fold(&json!({ "event": "attempt", "command": "migrate" }));
        assert_eq!(work.task, Some(Task::Migrate));
        assert_eq!(work.databases, ["a"], "they are known already");
        assert_eq!((work.ending(), work.is_done(Side::Source)), (None, false));
    }

    #[test]
    fn one_side_is_checked_though_the_other_is_invalid() {
        let mut work = Work::new(vec!["a".to_owned()]);
        work.fold(&json!({ "event": "attempt", "command": "validate" }));
        work.fold(&validated("source", "invalid"));
        assert_eq!(work.abandoned(Side::Target), Vec::<String>::new());
        work.fold(&validated("source", "failed"));
        assert_eq!(work.abandoned(Side::Target), ["a"]);
    }

    #[test]
    fn a_database_is_begun_when_its_plan_stands() {
        let mut work = Work::new(vec!["a".to_owned()]);
        work.fold(&json!({ "event": "planned", "side": "target", "database": "a" }));
        work.fold(&json!({ "event": "planned", "database": "a" }));
        assert_eq!(work.begun(Side::Target), ["a"]);
        assert_eq!(work.begun(Side::Source), Vec::<String>::new());
    }
}
