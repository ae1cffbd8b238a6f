//! `pghaul decommission`: takes a runtime server out of use, once nothing depends on it any more.

use std::time::Duration;

use clap::Args;
use pghaul_server::decommission::{Decommissioning, Left, Remains, Stage};
use pghaul_stage::{Error, Kind, Result};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::Outcome;
use crate::migration::{Client, Output, Remote, plain, print};
use crate::output::{bytes, say};

/// How often to look how far it is.
const POLL: Duration = Duration::from_millis(500);

/// `pghaul decommission`.
#[derive(Debug, Args)]
pub(crate) struct Decommission {
    #[command(flatten)]
    pub(crate) remote: Remote,

    #[command(flatten)]
    pub(crate) output: Output,

    /// Only list what is left
    #[arg(long, conflicts_with = "force")]
    pub(crate) dry_run: bool,

    /// Also where a migration is not complete and verified; what is lost is listed
    #[arg(long)]
    pub(crate) force: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Decommission) -> Result<Outcome> {
    Handle::current().block_on(async {
        let client = args.remote.client()?;
        if args.dry_run {
            return list(args, &client).await;
        }
        remove(args, &client).await
    })
}

/// Says what is left, and what is in the way.
async fn list(args: &Decommission, client: &Client) -> Result<Outcome> {
    let answer = client.get(&["decommission"], &[]).await?;
    let remains: Remains = read(&answer)?;
    if !print(args.output.form, &answer)? {
        for one in &remains.migrations {
            let state = one.reason.as_deref().map_or_else(
                || "complete and verified".to_owned(),
                |reason| format!("in the way: {}", plain(reason)),
            );
            say(&format!("migration {}: {state}", plain(&one.name)));
        }
        tell("left: ", &remains.left);
        if remains.migrations.is_empty() && remains.left.is_empty() {
            say("nothing is left");
        }
    }
    Ok(if remains.complete {
        Outcome::Done
    } else {
        Outcome::Failed
    })
}

/// Removes it.
async fn remove(args: &Decommission, client: &Client) -> Result<Outcome> {
    let body = json!({ "force": args.force });
    let begin = client.ask(Method::POST, &["decommission"], &[], Some(&body));
    let mut course: Decommissioning = read(&begin.await?)?;
    while course.state == Stage::Running {
        tokio::time::sleep(POLL).await;
        course = read(&client.get(&["decommission", "progress"], &[]).await?)?;
    }
    let (done, error) = (course.result.unwrap_or_default(), course.error);
    if course.state == Stage::Idle {
        return Err(Error::new(
            Kind::Transient,
            "the runtime server was started anew before it was done",
        )
        .remedy("do it again: what is gone is gone"));
    }
    // Also if it failed in the middle: what is gone is gone.
    if !print(args.output.form, &json!(done))? {
        tell("removed: ", &done.removed);
        for one in &done.lost {
            say(&format!("LOST: {}", plain(one)));
        }
        for one in &done.kept {
            say(&format!("kept: {}", plain(one)));
        }
        if error.is_none() {
            say("the runtime server holds nothing any more; it can be stopped");
        }
    }
    error.map_or(Ok(Outcome::Done), |error| {
        let failed = Error::new(Kind::Permanent, error.message);
        Err(failed.remedy(error.remedy.unwrap_or_default()))
    })
}

fn tell(verb: &str, all: &[Left]) {
    for one in all {
        let size = one
            .bytes
            .map(|size| format!(", {}", bytes(size)))
            .unwrap_or_default();
        say(&format!(
            "{verb}{} of {}: {}{size}",
            one.kind,
            plain(&one.migration),
            plain(&one.place)
        ));
    }
}

fn read<T: DeserializeOwned>(answer: &Value) -> Result<T> {
    serde_json::from_value(answer.clone()).map_err(|error| {
        Error::new(
            Kind::Protocol,
            "the runtime server's answer is not understood",
        )
        .because(error)
        .remedy("use a command and a server of the same version")
    })
}
