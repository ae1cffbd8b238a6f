//! `pghaul cleanup`: lists and removes what pghaul left on either side.

use pghaul_load::{Leftover, leftovers, remove};
use pghaul_stage::{Error, Result};
use serde_json::json;
use tokio::runtime::Handle;

use crate::args::{Cleanup, Form};
use crate::{Outcome, output};

/// Runs the command.
pub(crate) fn run(args: &Cleanup) -> Result<Outcome> {
    let source = args.connections.source_if_given()?;
    let target = args.connections.target_if_given()?;
    if source.is_none() && target.is_none() {
        return Err(Error::input("neither source nor target is given")
            .remedy("set PGHAUL_SOURCE, PGHAUL_TARGET, or both"));
    }
    Handle::current().block_on(async {
        let found = leftovers(source.as_ref(), target.as_ref()).await?;
        for leftover in &found {
            show(leftover, args);
        }
        if found.is_empty() && args.output.output == Form::Text {
            output::say("nothing of pghaul's is left");
        }
        if !args.dry_run {
            remove(source.as_ref(), target.as_ref(), &found, args.force).await?;
        }
        Ok(Outcome::Done)
    })
}

fn show(leftover: &Leftover, args: &Cleanup) {
    if args.output.output == Form::Json {
        output::print_json(&json!({
            "event": "leftover", "leftover": leftover, "dry_run": args.dry_run,
        }));
    } else {
        let verb = if args.dry_run {
            "would remove"
        } else {
            "removing"
        };
        output::say(&format!("{verb} {leftover}"));
    }
}
