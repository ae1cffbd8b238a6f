//! `pghaul migration list`.

use chrono::Utc;
use pghaul_server::model::Migration;
use pghaul_stage::Result;
use serde_json::Value;

use super::args::{Filter, List};
use super::{print, read, table};
use crate::Outcome;
use crate::output::say;

/// Lists migrations.
pub(super) async fn run(args: &List) -> Result<Outcome> {
    let filter = match args.filter {
        Filter::Active => "active",
        Filter::All => "all",
    };
    let client = args.remote.client()?;
    let answer = client.get(&["migrations"], &[("filter", filter)]).await?;
    if print(args.output.form, &answer)? {
        return Ok(Outcome::Done);
    }
    let list = answer.get("value").and_then(Value::as_array);
    let rows: Vec<_> = list
        .into_iter()
        .flatten()
        .map(|one| read(one).map(|migration| row(&migration)))
        .collect::<Result<_>>()?;
    if rows.is_empty() {
        say(match args.filter {
            Filter::Active => "no migration is active; --filter all lists those that have ended",
            Filter::All => "there are no migrations",
        });
    } else {
        let heads = [
            "name",
            "status",
            "mode",
            "option",
            "source",
            "databases",
            "copied",
            "started",
            "duration",
        ];
        table::print(heads, rows);
    }
    Ok(Outcome::Done)
}

fn row(migration: &Migration) -> [String; 9] {
    let status = &migration.current_status;
    let details = &status.current_sub_state_details;
    let databases = match (migration.dbs_to_migrate.len(), details.db_details.len()) {
        (0, 0) => "all".to_owned(),
        (asked, known) => asked.max(known).to_string(),
    };
    let source = migration.source.as_ref();
    [
        migration.name.clone(),
        status.state.to_string(),
        migration.migration_mode.to_string(),
        migration.migration_option.to_string(),
        source.map_or_else(|| "agents".to_owned(), |end| table::plain(&end.host)),
        databases,
        table::percent(super::show::fraction(migration)),
        table::time(migration.started_at),
        table::elapsed(migration.started_at, migration.ended_at, Utc::now()),
    ]
}
