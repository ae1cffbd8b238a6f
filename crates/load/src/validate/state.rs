//! Whether the target is empty and takes writes.

use pghaul_stage::{Check, Finding, Result, Side};

use super::{Intent, TargetFacts};
use crate::inspect::{State, look};

pub(super) async fn target_empty(
    facts: &TargetFacts,
    name: &str,
    intent: Intent,
) -> Result<Finding> {
    let state = match facts.database {
        None => State::Absent,
        Some(_) => look(&facts.client).await?,
    };
    Ok(judge(&state, name, intent))
}

fn judge(state: &State, name: &str, intent: Intent) -> Finding {
    let succeeded = |message: String| Finding::succeeded(Check::TargetEmpty, Side::Target, message);
    let failed = |message: String, remedy: &'static str| {
        Finding::failed(Check::TargetEmpty, Side::Target, message, remedy)
    };
    if intent.data_only {
        return match state {
            State::Absent => failed(
                format!("the database {name:?} does not exist, and --data-only needs its schema"),
                "create it with the schema first, for example with --schema-only",
            ),
            State::Migration(_) => failed(
                format!("the database {name:?} holds a migration"),
                "go on with --resume if it is unfinished, or remove its record with `pghaul cleanup`",
            ),
            _ => succeeded(format!("the database {name:?} is there")),
        };
    }
    match state {
        State::Absent => succeeded(format!(
            "the database {name:?} is absent and will be created"
        )),
        State::Empty => succeeded(format!("the database {name:?} is there and empty")),
        _ if intent.overwrite => succeeded(format!(
            "the database {name:?} will be dropped first, as --overwrite asks"
        )),
        State::Occupied(occupied) => failed(
            match occupied.count {
                1 => format!("the database {name:?} holds an object"),
                many => format!("the database {name:?} holds {many} objects"),
            },
            "name an empty or absent database, or let --overwrite drop this one",
        )
        .on(occupied.sample.iter()),
        State::Migration(saved) if saved.complete => failed(
            format!("the database {name:?} holds a complete migration"),
            "compare both sides with `pghaul verify`, or start again with --overwrite",
        ),
        State::Migration(_) => failed(
            format!("the database {name:?} holds an unfinished migration"),
            "go on with --resume, or start again with --overwrite",
        ),
    }
}

pub(super) fn writable(facts: &TargetFacts) -> Finding {
    if facts.in_recovery {
        return Finding::failed(
            Check::Writable,
            Side::Target,
            "the target is a standby, which takes no writes",
            "name the primary, for example with target_session_attrs=read-write and all hosts",
        );
    }
    if facts.read_only {
        return Finding::warning(
            Check::Writable,
            Side::Target,
            "default_transaction_read_only is on: pghaul turns it off for its own sessions, the \
             application's would still be read-only",
            "set default_transaction_read_only = off for the server, the database and the roles",
        );
    }
    Finding::succeeded(Check::Writable, Side::Target, "the target takes writes")
}
