use serde_json::{Value, json};

use super::*;

/// So many seconds after a moment.
fn at(seconds: i64) -> Time {
    Time::UNIX_EPOCH + TimeDelta::seconds(1_000_000 + seconds)
}

fn job(more: Value) -> Job {
    let mut job = json!({
        "source": {"host": "a", "user": "u"}, "target": {"host": "b", "user": "u"},
    });
    for (key, value) in more.as_object().unwrap() {
        job[key] = value.clone();
    }
    Job::from_json(job.to_string().as_bytes()).unwrap()
}

fn any() -> Job {
    job(json!({}))
}

fn alive(command: Command) -> Seen {
    Seen {
        alive: true,
        attempt: Some(command),
        ..Seen::default()
    }
}

fn ended(command: Command, outcome: Outcome) -> Seen {
    let error = None;
    Seen {
        attempt: Some(command),
        ended: Some(Ended { outcome, error }),
        ..Seen::default()
    }
}

fn dead(command: Command) -> Seen {
    Seen {
        attempt: Some(command),
        ..Seen::default()
    }
}

/// The state with which it finishes.
fn finish(step: Step) -> State {
    match step {
        Step::Finish(state, _) => state,
        other => panic!("{other:?}"),
    }
}

const NOW: i64 = 0;

#[test]
fn the_checks_come_first_and_then_the_copy() {
    let mut status = Status::new(&any());
    let next = |status: &Status, seen: &Seen| status.next(&any(), seen, at(NOW));
    assert_eq!(
        next(&status, &Seen::default()),
        Step::Start(Command::Validate)
    );
    assert_eq!(next(&status, &alive(Command::Validate)), Step::Wait);
    let checked = ended(Command::Validate, Outcome::Done);
    assert_eq!(next(&status, &checked), Step::Validated);
    status.phase = Phase::Validated;
    assert_eq!(next(&status, &checked), Step::Start(Command::Migrate));
    assert_eq!(next(&status, &alive(Command::Migrate)), Step::Wait);
    let done = ended(Command::Migrate, Outcome::Done);
    assert_eq!(finish(next(&status, &done)), State::Succeeded);
    status.phase = Phase::Ended(State::Succeeded);
    assert_eq!(next(&status, &done), Step::Wait);
}

#[test]
fn the_option_says_how_far_to_go() {
    let only_checks = job(json!({"option": "validate"}));
    let status = Status::new(&only_checks);
    let checked = ended(Command::Validate, Outcome::Done);
    assert_eq!(
        finish(status.next(&only_checks, &checked, at(NOW))),
        State::Succeeded
    );
    let no_checks = job(json!({"option": "migrate"}));
    let status = Status::new(&no_checks);
    let step = status.next(&no_checks, &Seen::default(), at(NOW));
    assert_eq!(step, Step::Start(Command::Migrate));
}

#[test]
fn bad_ends_have_their_states() {
    let status = Status::new(&any());
    for (command, outcome, state) in [
        (Command::Validate, Outcome::Invalid, State::ValidationFailed),
        (Command::Validate, Outcome::Failed, State::Failed),
        (Command::Migrate, Outcome::Failed, State::Failed),
        (Command::Migrate, Outcome::Differs, State::Failed),
    ] {
        let step = status.next(&any(), &ended(command, outcome), at(NOW));
        assert_eq!(finish(step), state, "{command:?} {outcome:?}");
    }
}

#[test]
fn a_dead_process_is_replaced_after_growing_pauses_and_not_for_ever() {
    let mut status = Status::new(&any());
    status.phase = Phase::Validated;
    let gone = dead(Command::Migrate);
    assert_eq!(status.next(&any(), &gone, at(NOW)), Step::Crashed);
    let mut pauses = Vec::new();
    for crashes in 1..ATTEMPTS {
        status.crashes = crashes;
        status.crashed_at = Some(at(NOW));
        let starts = |seconds: &i64| {
            status.next(&any(), &gone, at(*seconds)) == Step::Start(Command::Migrate)
        };
        pauses.push((0..1000).find(starts).unwrap());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64]);
    status.crashes = ATTEMPTS;
    assert_eq!(finish(status.next(&any(), &gone, at(1000))), State::Failed);
}

#[test]
fn what_was_stopped_from_outside_goes_on() {
    let mut status = Status::new(&any());
    status.phase = Phase::Validated;
    let stopped = ended(Command::Migrate, Outcome::Canceled);
    assert_eq!(
        status.next(&any(), &stopped, at(NOW)),
        Step::Start(Command::Migrate)
    );
}

#[test]
fn cancel_is_told_then_insisted_on_and_ends_what_never_began() {
    let mut status = Status::new(&any());
    status.canceled_at = Some(at(NOW));
    let next = |seen: &Seen, seconds| status.next(&any(), seen, at(seconds));
    assert_eq!(finish(next(&Seen::default(), 0)), State::Canceled);
    assert_eq!(next(&alive(Command::Migrate), 1), Step::Tell(Order::Cancel));
    assert_eq!(next(&alive(Command::Migrate), 91), Step::Kill);
    assert_eq!(finish(next(&dead(Command::Migrate), 92)), State::Canceled);
    let stopped = ended(Command::Migrate, Outcome::Canceled);
    assert_eq!(finish(next(&stopped, 2)), State::Canceled);
    // It was done before it heard of it.
    let done = ended(Command::Migrate, Outcome::Done);
    assert_eq!(finish(next(&done, 2)), State::Succeeded);
    let checked = ended(Command::Validate, Outcome::Done);
    assert_eq!(finish(next(&checked, 2)), State::Canceled);
}

#[test]
fn pause_and_limit_are_told_until_they_hold() {
    let mut status = Status::new(&any());
    status.phase = Phase::Validated;
    status.paused = true;
    status.bytes_per_second = Some(7);
    let mut seen = alive(Command::Migrate);
    let next = |status: &Status, seen: &Seen| status.next(&any(), seen, at(NOW));
    assert_eq!(next(&status, &seen), Step::Tell(Order::Pause));
    seen.told_pause = true;
    assert_eq!(next(&status, &seen), Step::Tell(Order::Throttle(Some(7))));
    seen.told_rate = Some(7);
    assert_eq!(next(&status, &seen), Step::Wait);
    status.paused = false;
    assert_eq!(next(&status, &seen), Step::Tell(Order::Resume));
    // What is paused is not started either, also not again.
    status.paused = true;
    assert_eq!(next(&status, &Seen::default()), Step::Wait);
    status.crashes = 1;
    status.crashed_at = Some(at(NOW - 1000));
    assert_eq!(next(&status, &dead(Command::Migrate)), Step::Wait);
}

#[test]
fn a_schedule_and_a_window_are_kept() {
    let timed = job(json!({
        "startAt": at(10), "window": {"from": at(20), "to": at(30)},
    }));
    let mut status = Status::new(&timed);
    let none = Seen::default();
    assert_eq!(status.next(&timed, &none, at(9)), Step::Wait);
    assert_eq!(
        status.states(&timed, &none, at(9)).1,
        SubState::WaitingForDataMigrationScheduling
    );
    // The checks may come before the window.
    assert_eq!(
        status.next(&timed, &none, at(10)),
        Step::Start(Command::Validate)
    );
    status.phase = Phase::Validated;
    let checked = ended(Command::Validate, Outcome::Done);
    assert_eq!(status.next(&timed, &checked, at(19)), Step::Wait);
    let (state, sub) = status.states(&timed, &checked, at(19));
    assert_eq!(
        (state, sub),
        (State::InProgress, SubState::WaitingForDataMigrationWindow)
    );
    assert_eq!(
        status.next(&timed, &checked, at(20)),
        Step::Start(Command::Migrate)
    );
    let mut seen = alive(Command::Migrate);
    assert_eq!(status.next(&timed, &seen, at(29)), Step::Wait);
    assert_eq!(status.next(&timed, &seen, at(30)), Step::Tell(Order::Pause));
    seen.told_pause = true;
    assert_eq!(status.next(&timed, &seen, at(31)), Step::Wait);
    let (state, sub) = status.states(&timed, &seen, at(31));
    assert_eq!(
        (state, sub),
        (
            State::WaitingForUserAction,
            SubState::WaitingForDataMigrationWindow
        )
    );
    status.window_ignored = true;
    assert_eq!(
        status.next(&timed, &seen, at(31)),
        Step::Tell(Order::Resume)
    );
}
