//! Whether the source's lock table has room, and whether a standby lets long queries run.

use std::collections::HashMap;

use pghaul_stage::{Check, Finding, Result, Side};
use pghaul_wire::{Chosen, Client, checkup};

use crate::catalog::tables::{FROM, copied};
use crate::session::{field, row, rows, size};

/// Locks that sessions other than those on tables take: catalogs, transactions, other clients.
const OTHER_LOCKS: u64 = 100;

/// Settings that decide, as the server has them.
struct Settings(HashMap<String, String>);

impl Settings {
    fn is(&self, name: &str, value: &str) -> bool {
        self.0.get(name).is_some_and(|is| is == value)
    }
}

pub(super) async fn check(client: &Client, chosen: &Chosen, standby: bool) -> Result<Vec<Finding>> {
    let what = "the settings";
    let sql = "SELECT s.name, s.setting FROM pg_catalog.pg_settings s \
                WHERE s.name IN ('max_standby_streaming_delay', 'hot_standby_feedback')";
    let mut settings = HashMap::new();
    for row in &rows(client, what, sql).await? {
        settings.insert(field(row, 0)?, field(row, 1)?);
    }
    let settings = Settings(settings);
    let sql = format!(
        "SELECT count(*) FROM {FROM} WHERE {} OR {}",
        copied('r', chosen),
        copied('p', chosen)
    );
    let tables = size(&row(client, "the number of tables", &sql).await?, 0)?;
    Ok(vec![
        locks(tables, checkup::lock_room(client).await?),
        standby_delay(standby, &settings),
    ])
}

fn locks(tables: u64, room: u64) -> Finding {
    let message = format!("{tables} tables are locked at once, and there is room for {room} locks");
    if tables + OTHER_LOCKS <= room {
        return Finding::succeeded(Check::Locks, Side::Source, message);
    }
    Finding::failed(
        Check::Locks,
        Side::Source,
        message,
        "raise max_locks_per_transaction on the source, and restart it",
    )
}

fn standby_delay(standby: bool, settings: &Settings) -> Finding {
    let succeeded = |message: &str| Finding::succeeded(Check::Standby, Side::Source, message);
    if !standby {
        return succeeded("the source is no standby");
    }
    if settings.is("max_standby_streaming_delay", "-1") || settings.is("hot_standby_feedback", "on")
    {
        return succeeded("the standby lets long queries run");
    }
    Finding::warning(
        Check::Standby,
        Side::Source,
        "the source is a standby, which cancels long queries when its primary removes old rows",
        "set max_standby_streaming_delay = -1 or hot_standby_feedback = on on the standby while \
         rows are copied",
    )
}

#[cfg(test)]
mod tests {
    use pghaul_stage::Verdict;

    use super::*;

    fn settings(list: &[(&str, &str)]) -> Settings {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Settings(list.iter().map(owned).collect())
    }

    #[test]
    fn every_table_needs_a_lock() {
        let room = 64 * 122;
        assert_eq!(locks(7_000, room).verdict(), Verdict::Succeeded);
        assert_eq!(locks(7_800, room).verdict(), Verdict::Failed);
    }

    #[test]
    fn only_a_standby_that_cancels_is_warned_of() {
        let impatient = settings(&[("max_standby_streaming_delay", "30000")]);
        let patient = settings(&[("max_standby_streaming_delay", "-1")]);
        assert_eq!(standby_delay(true, &impatient).verdict(), Verdict::Warning);
        assert_eq!(
            standby_delay(false, &impatient).verdict(),
            Verdict::Succeeded
        );
        assert_eq!(standby_delay(true, &patient).verdict(), Verdict::Succeeded);
    }
}
