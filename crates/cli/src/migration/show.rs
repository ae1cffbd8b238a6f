//! `pghaul migration show`.

use chrono::Utc;
use pghaul_server::job::Endpoint;
use pghaul_server::model::{
    DbDetails, Migration, ValidationDetails, ValidationMessage, ValidationState,
};
use pghaul_stage::Result;

use super::args::Show;
use super::table::{self, plain};
use super::{read, watch};
use crate::Outcome;
use crate::output::{bytes, count, duration, say};

/// Shows a migration.
pub(super) async fn run(args: &Show) -> Result<Outcome> {
    let client = args.remote.client()?;
    let name = args.name.get();
    if args.watch {
        return watch::run(&client, name, args.output.form).await;
    }
    let answer = client.get(&["migrations", name], &[]).await?;
    if !super::print(args.output.form, &answer)? {
        print(&read(&answer)?);
    }
    Ok(Outcome::Done)
}

/// How much of all databases is copied, from 0 to 1.
pub(super) fn fraction(migration: &Migration) -> f64 {
    let databases = &migration
        .current_status
        .current_sub_state_details
        .db_details;
    let weight = |one: &DbDetails| one.bytes_expected.max(1) as f64;
    let whole: f64 = databases.values().map(weight).sum();
    if whole == 0.0 {
        return 0.0;
    }
    databases
        .values()
        .map(|one| one.fraction * weight(one))
        .sum::<f64>()
        / whole
}

/// Prints a migration for people.
pub(super) fn print(migration: &Migration) {
    let status = &migration.current_status;
    let details = &status.current_sub_state_details;
    let field = |name: &str, value: &str| say(&format!("{name:<13}{value}"));
    field("name", &migration.name);
    field("id", &migration.migration_id.to_string());
    field("state", &state(migration));
    let kind = format!(
        "{}, {}",
        migration.migration_mode, migration.migration_option
    );
    field("kind", &kind);
    field("source", &end(migration.source.as_ref()));
    field("target", &end(migration.target.as_ref()));
    let by = format!(
        "{} by {}",
        table::time(Some(migration.created_at)),
        plain(&migration.created_by)
    );
    field("created", &by);
    if migration.started_at.is_some() {
        let took = table::elapsed(migration.started_at, migration.ended_at, Utc::now());
        field(
            "started",
            &format!("{}, {took}", table::time(migration.started_at)),
        );
    }
    if let Some(limit) = migration.bytes_per_second {
        field("limit", &format!("{} a second", bytes(limit)));
    }
    match migration.verified {
        Some(true) => field("verified", "source and target are the same"),
        Some(false) => field("verified", "source and target DIFFER"),
        None => {}
    }
    if !details.db_details.is_empty() {
        say("");
        let heads = [
            "database", "state", "doing", "tables", "rows", "bytes", "copied", "speed", "left",
        ];
        table::print(heads, details.db_details.values().map(database).collect());
    }
    if let Some(validation) = &details.validation_details {
        print_checks(validation);
    }
    if let Some(error) = &status.error {
        say("");
        say(&format!("failed: {}", plain(&error.message)));
        for cause in &error.causes {
            say(&format!("  because: {}", plain(cause)));
        }
        if let Some(remedy) = &error.remedy {
            say(&format!("  remedy: {}", plain(remedy)));
        }
    }
}

/// The state in words, as exactly as it is known.
pub(super) fn state(migration: &Migration) -> String {
    let status = &migration.current_status;
    let mut text = status.state.to_string();
    if status.state.is_active() {
        text += &format!(", {}", status.current_sub_state_details.current_sub_state);
    }
    if let Some(before) = migration.queue_position {
        text += &format!(", place {before} in the queue");
    }
    if migration.paused {
        text += ", paused";
    }
    text
}

fn end(end: Option<&Endpoint>) -> String {
    end.map_or_else(
        || "connected by agents".to_owned(),
        |end| {
            format!(
                "{}@{}:{}, sslmode {}",
                plain(&end.user),
                plain(&end.host),
                end.port,
                end.ssl_mode.libpq()
            )
        },
    )
}

fn database(one: &DbDetails) -> [String; 9] {
    let tables = one.full_load_queued_tables
        + one.full_load_loading_tables
        + one.full_load_completed_tables
        + one.full_load_errored_tables;
    let left = one.eta_seconds.filter(|eta| eta.is_finite() && *eta >= 0.0);
    let left = left.and_then(|eta| std::time::Duration::try_from_secs_f64(eta).ok());
    [
        plain(&one.database_name),
        one.migration_state.to_string(),
        plain(&one.migration_operation),
        format!(
            "{}/{}",
            count(one.full_load_completed_tables),
            count(tables)
        ),
        count(one.rows),
        bytes(one.bytes),
        table::percent(one.fraction),
        format!("{}/s", bytes(one.bytes_per_second.max(0.0) as u64)),
        left.map_or_else(|| "-".to_owned(), duration),
    ]
}

/// The checks that found something.
fn print_checks(validation: &ValidationDetails) {
    say("");
    say(&format!("checks: {}", validation.status));
    for group in &validation.server_level_validation_details {
        print_messages(&group.messages, None);
    }
    for database in &validation.db_level_validation_details {
        for group in &database.summary {
            print_messages(&group.messages, Some(&database.database_name));
        }
    }
}

fn print_messages(messages: &[ValidationMessage], database: Option<&str>) {
    for message in messages {
        if message.state == ValidationState::Succeeded {
            continue;
        }
        let place = database.map(|name| format!("database {}: ", plain(name)));
        let place = place.unwrap_or_default();
        say(&format!(
            "  {} {}: {place}{}",
            message.state,
            message.code,
            plain(&message.message)
        ));
        for object in &message.objects {
            say(&format!("    {}", plain(object)));
        }
        if let Some(remedy) = &message.remedy {
            say(&format!("    remedy: {}", plain(remedy)));
        }
    }
}
