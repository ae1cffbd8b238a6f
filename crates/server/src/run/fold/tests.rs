use serde_json::json;

use super::*;

/// Adds events, each a second after the one before.
fn fold(events: &[Value]) -> Fold {
    let mut fold = Fold::default();
    for (second, event) in events.iter().enumerate() {
        let mut event = event.as_object().unwrap().clone();
        event.insert(
            "time".into(),
            json!(format!("2026-01-01T00:00:{second:02}Z")),
        );
        fold.add(&event);
    }
    fold
}

fn progress(bytes: u64, fraction: f64) -> Value {
    json!({
        "event": "progress", "database": "a", "rows": bytes, "bytes": bytes, "fraction": fraction,
        "remaining": 2.5, "steps": [{"step": "index", "subject": "i", "elapsed": 1.5}],
    })
}

fn table(name: &str, state: &str) -> Value {
    json!({
        "table": name, "state": state, "rows": 1, "bytes": 2, "rowsExpected": 3,
        "bytesExpected": 4,
    })
}

fn begun() -> Vec<Value> {
    vec![
        json!({"event": "attempt", "command": "migrate", "bytesPerSecond": 9}),
        json!({"event": "databases_chosen", "databases": ["a", "b"]}),
        json!({"event": "database_started", "database": "a"}),
        json!({
            "event": "planned", "database": "a", "rows_estimate": 10, "bytes_estimate": 1000,
        }),
        json!({
            "event": "tables", "database": "a",
            "tables": [table("s.x", "queued"), table("s.y", "loading"), table("s.z", "completed")],
        }),
        progress(100, 0.1),
    ]
}

#[test]
fn a_database_is_what_was_told_of_it() {
    let mut events = begun();
    events.push(progress(300, 0.3));
    let fold = fold(&events);
    let databases = fold.databases();
    assert_eq!(databases["b"], DbDetails::new("b"));
    let a = &databases["a"];
    let tables = (
        a.full_load_queued_tables,
        a.full_load_loading_tables,
        a.full_load_completed_tables,
    );
    assert_eq!(tables, (1, 1, 1));
    assert_eq!(
        (a.rows_expected, a.bytes_expected, a.bytes),
        (10, 1000, 300)
    );
    assert_eq!((a.fraction, a.eta_seconds), (0.3, Some(2.5)));
    assert_eq!(a.running_steps[0].subject, "i");
    assert!(a.bytes_per_second > 0.0);
    let seen = fold.seen(true);
    assert_eq!(seen.attempt, Some(Command::Migrate));
    assert_eq!((seen.told_rate, seen.copying), (Some(9), Some(true)));
}

#[test]
fn how_databases_end_and_that_they_were_compared_is_kept() {
    let mut events = begun();
    events.extend([
        json!({"event": "comparison", "database": "a", "match": true}),
        json!({"event": "database_ended", "database": "a", "state": "migrated"}),
        json!({"event": "database_ended", "database": "b", "state": "failed"}),
        json!({"event": "ended", "command": "migrate", "outcome": "failed", "error": null}),
    ]);
    let done = fold(&events);
    let databases = done.databases();
    assert_eq!(databases["a"].migration_state, DbState::Succeeded);
    assert_eq!(databases["a"].full_load_completed_tables, 3);
    assert_eq!(databases["b"].migration_state, DbState::Failed);
    assert_eq!(done.verified(), None, "b was not compared");
    assert_eq!(done.seen(false).ended.unwrap().outcome, Outcome::Failed);
    assert_eq!(done.seen(false).copying, Some(false));

    // The next process goes on with what is not done.
    events.push(json!({"event": "attempt", "command": "migrate", "bytesPerSecond": null}));
    let again = fold(&events);
    assert_eq!(again.databases()["a"].migration_state, DbState::Succeeded);
    assert_eq!(again.databases()["b"].migration_state, DbState::InProgress);
    assert_eq!(
        (again.seen(false).ended, again.seen(false).told_rate),
        (None, None)
    );
}

#[test]
fn commands_count_until_the_next_process() {
    let mut events = begun();
    events.push(json!({"event": "control", "action": "pause"}));
    events.push(json!({"event": "control", "action": "throttle", "bytesPerSecond": 5}));
    let seen = fold(&events).seen(true);
    assert_eq!((seen.told_pause, seen.told_rate), (true, Some(5)));
    events.push(json!({"event": "control", "action": "resume"}));
    events.push(json!({"event": "control", "action": "throttle", "bytesPerSecond": null}));
    let seen = fold(&events).seen(true);
    assert_eq!((seen.told_pause, seen.told_rate), (false, None));
}

#[test]
fn tables_come_in_pages() {
    let fold = fold(&begun());
    let any = Wanted {
        state: None,
        name: "",
        after: "",
        limit: 2,
    };
    let names = |wanted: Wanted<'_>| {
        let tables = fold.tables("a", &wanted).unwrap();
        let names: Vec<_> = tables.value.into_iter().map(|table| table.table).collect();
        (names.join(" "), tables.more, tables.total)
    };
    let told = |names: &str, more, total| (names.to_owned(), more, total);
    assert_eq!(names(any), told("s.x s.y", true, 3));
    let after = "s.y";
    assert_eq!(names(Wanted { after, ..any }), told("s.z", false, 3));
    let state = Some(TableState::Loading);
    assert_eq!(names(Wanted { state, ..any }), told("s.y", false, 1));
    let name = "S.Z";
    assert_eq!(names(Wanted { name, ..any }), told("s.z", false, 1));
    assert!(fold.tables("c", &any).is_none());
}

#[test]
fn what_is_no_event_adds_nothing() {
    let mut events = begun();
    let before = fold(&events).databases();
    events.extend([
        json!({"event": "progress", "database": "a", "rows": "many"}),
        json!({"event": "tables", "database": "a", "tables": [{"table": 7}, 8]}),
        json!({"event": "unheard of", "database": "a"}),
        json!({"rows": 5}),
    ]);
    assert_eq!(fold(&events).databases(), before);
}

#[test]
fn rows_that_are_on_their_way_are_still_copied() {
    let mut all = begun();
    all.push(json!({"event": "databases_chosen", "databases": ["a"]}));
    all.retain(|event| event["databases"] != json!(["a", "b"]));
    let copying = |done| {
        let mut last = progress(1000, 1.0);
        (last["parts"], last["parts_done"]) = (json!(3), json!(done));
        fold(&[&all[..], &[last]].concat()).seen(true).copying
    };
    assert_eq!((copying(2), copying(3)), (Some(true), Some(false)));
}

#[test]
fn samples_are_sums_over_all_databases() {
    let planned = |database, bytes| json!({"event": "planned", "database": database, "bytes_estimate": bytes});
    let progress = |database, bytes: u64, fraction: f64| {
        json!({"event": "progress", "database": database, "rows": bytes / 10, "bytes": bytes,
            "fraction": fraction, "remaining": null, "steps": []})
    };
    let events = [
        json!({"event": "databases_chosen", "databases": ["a", "b"]}),
        planned("a", 100),
        progress("a", 50, 0.5),
        planned("b", 300),
        progress("b", 100, 0.25),
        progress("a", 100, 1.0),
    ];
    let fold = fold(&events);
    let told: Vec<_> = fold
        .samples()
        .iter()
        .map(|one| (one.rows, one.bytes, one.fraction))
        .collect();
    // The first came before b had a plan.
    let expected = [(5, 50, 0.0), (15, 150, 0.3125), (20, 200, 0.4375)];
    assert_eq!(told, expected);
}
