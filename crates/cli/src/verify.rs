//! `pghaul verify`: compares two databases and prints what differs.

use std::sync::Arc;

use pghaul_load::{Report, VerifyOptions};
use pghaul_relay::Cancel;
use pghaul_stage::Result;
use tokio::runtime::Handle;

use crate::args::Verify;
use crate::migrate::{Request, jobs};
use crate::output::Screen;
use crate::{Outcome, report, signal};

/// Runs the command.
pub(crate) fn run(args: &Verify) -> Result<Outcome> {
    let (source, target) = (args.connections.source()?, args.connections.target()?);
    let options = VerifyOptions {
        jobs: jobs(args.jobs),
        rows: args.rows,
        ..VerifyOptions::default()
    };
    let screen = Screen::open(args.output.output);
    let cancel = Cancel::new();
    signal::cancel_on_interrupt(cancel.clone());
    let comparison = pghaul_load::verify(&source, &target, options, screen.observer());
    let comparison = Handle::current().block_on(cancel.until(comparison))?;
    drop(screen);
    report::print_comparison(args.output.output, &comparison);
    Ok(if comparison.is_match() {
        Outcome::Done
    } else {
        Outcome::Differs
    })
}

/// Compares the two ends of a migration.
pub(crate) async fn compare(request: &Request<'_>, options: VerifyOptions) -> Result<Report> {
    let observer = Arc::clone(&request.observer);
    pghaul_load::verify(&request.source, &request.target, options, observer).await
}
