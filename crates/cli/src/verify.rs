//! `pghaul verify`: compares two databases and prints what differs.

use std::sync::Arc;

use pghaul_load::{Report, VerifyOptions};
use pghaul_relay::Cancel;
use pghaul_stage::{Kind, Observer, Result, Side};
use pghaul_wire::Conninfo;
use serde_json::json;
use tokio::runtime::Handle;

use crate::args::{Form, Verify};
use crate::copying::jobs;
use crate::migrate::Request;
use crate::output::{Screen, print_json, say};
use crate::spool::Place;
use crate::{Outcome, digest, report, signal};

/// Runs the command.
pub(crate) fn run(args: &Verify) -> Result<Outcome> {
    let options = VerifyOptions {
        jobs: jobs(args.jobs),
        rows: args.rows,
        selection: args.selecting.selection(),
        ..VerifyOptions::default()
    };
    let cancel = Cancel::new();
    signal::cancel_on_interrupt(cancel.clone());
    let (connections, form) = (&args.connections, args.output.output);
    if let Some(path) = &args.record {
        return digest::record(&connections.source()?, path, options, form, &cancel);
    }
    if let Some(path) = &args.digest {
        return digest::compare(&connections.target()?, path, options, form, &cancel);
    }
    if let Some(spool) = &args.spool {
        let place = Place {
            spool: spool.clone(),
            encrypt_key_file: args.encrypt_key_file.clone(),
            admission: args.admission.clone(),
        };
        return digest::compare_spool(&connections.target()?, &place, options, form, &cancel);
    }
    let (source, target) = (connections.source()?, connections.target()?);
    if args.databases.are_several() {
        return several(args, &source, &target, &options, &cancel);
    }
    one(form, &cancel, |observer| {
        pghaul_load::verify(&source, &target, options, observer)
    })
}

/// Compares one database, and prints what was found.
pub(crate) fn one<C: Future<Output = Result<Report>>>(
    form: Form,
    cancel: &Cancel,
    compare: impl FnOnce(Arc<dyn Observer>) -> C,
) -> Result<Outcome> {
    let screen = Screen::open(form);
    let comparison = compare(screen.observer());
    let comparison = Handle::current().block_on(cancel.until(comparison))?;
    drop(screen);
    report::print_comparison(form, &comparison, None);
    Ok(Outcome::of(&comparison))
}

/// Compares one database after another, each on all connections that --jobs allows.
fn several(
    args: &Verify,
    source: &Conninfo,
    target: &Conninfo,
    options: &VerifyOptions,
    cancel: &Cancel,
) -> Result<Outcome> {
    let form = args.output.output;
    let screen = Screen::open(form);
    let choice = args.databases.choose(source, Side::Source);
    let chosen = Handle::current().block_on(cancel.until(choice))?;
    chosen.tell(&screen, form);
    each(&chosen.names, form, screen, cancel, |name, observer| {
        let (source, target) = (source.with_dbname(name), target.with_dbname(name));
        let options = options.clone();
        async move { pghaul_load::verify(&source, &target, options, observer).await }
    })
}

/// Compares these databases, and prints what was found of each, and how all ended.
pub(crate) fn each<C: Future<Output = Result<Report>>>(
    names: &[String],
    form: Form,
    screen: Screen,
    cancel: &Cancel,
    compare: impl Fn(&str, Arc<dyn Observer>) -> C,
) -> Result<Outcome> {
    let handle = Handle::current();
    let mut ends = Vec::new();
    for name in names {
        let comparison = compare(name, screen.observer_of(name));
        let end = match handle.block_on(cancel.until(comparison)) {
            Ok(report) => {
                screen.report(|| report::print_comparison(form, &report, Some(name)));
                if report.is_match() { "same" } else { "differs" }
            }
            Err(error) if error.kind() == Kind::Cancelled => return Err(error),
            Err(error) => {
                screen.report(|| crate::report(&error, form, Some(name)));
                "failed"
            }
        };
        ends.push((name, end));
    }
    drop(screen);
    let count = |wanted: &str| ends.iter().filter(|(_, end)| *end == wanted).count();
    let [same, differ, failed] = ["same", "differs", "failed"].map(count);
    if form == Form::Json {
        let ends = ends.iter();
        let databases: Vec<_> = ends
            .map(|(name, end)| json!({ "database": name, "state": end }))
            .collect();
        print_json(&json!({ "event": "databases", "databases": databases }));
    } else {
        say(&format!(
            "{same} databases are the same, {differ} differ, {failed} could not be compared"
        ));
    }
    Ok(match (failed, differ) {
        (0, 0) => Outcome::Done,
        (0, _) => Outcome::Differs,
        _ => Outcome::Failed,
    })
}

/// Compares the two ends of a migration.
pub(crate) async fn compare(request: &Request<'_>, options: VerifyOptions) -> Result<Report> {
    let observer = Arc::clone(&request.observer);
    pghaul_load::verify(&request.source, &request.target, options, observer).await
}
