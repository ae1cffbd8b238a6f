//! `pghaul migration update`, `delete` and `check-name-availability`.

use pghaul_stage::{Error, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::args::{CheckName, Delete, Update};
use super::{print, read, show, watch};
use crate::Outcome;
use crate::output::say;

/// Tells a migration what to do.
pub(super) async fn run(args: &Update) -> Result<Outcome> {
    let client = args.remote.client()?;
    let name = args.name.get();
    let action = json!({
        "action": action(args)?,
        "bytesPerSecond": args.throttle,
    });
    let path = ["migrations", name];
    let answer = client.ask(Method::PATCH, &path, &[], Some(&action)).await?;
    if args.watch {
        return watch::run(&client, name, args.output.form).await;
    }
    if !print(args.output.form, &answer)? {
        show::print(&read(&answer)?);
    }
    Ok(Outcome::Done)
}

/// The server's word for what is asked.
fn action(args: &Update) -> Result<&'static str> {
    let actions = [
        (args.cutover, "cutover"),
        (args.cancel, "cancel"),
        (args.pause, "pause"),
        (args.resume, "resume"),
        (args.throttle.is_some() || args.no_throttle, "throttle"),
    ];
    let mut asked = actions.iter().filter(|(asked, _)| *asked);
    let (_, action) = asked.next().ok_or_else(|| Error::input("say what to do"))?;
    Ok(action)
}

/// Deletes a migration.
pub(super) async fn delete(args: &Delete) -> Result<Outcome> {
    let client = args.remote.client()?;
    let name = args.name.get();
    client
        .ask(Method::DELETE, &["migrations", name], &[], None)
        .await?;
    say(&format!("migration {name} is deleted"));
    Ok(Outcome::Done)
}

/// Asks whether a name is free.
pub(super) async fn check_name(args: &CheckName) -> Result<Outcome> {
    let client = args.remote.client()?;
    let name = args.name.get();
    let path = ["check-name-availability"];
    let answer = client
        .ask(Method::POST, &path, &[], Some(&json!({ "name": name })))
        .await?;
    let free = answer.get("nameAvailable").and_then(Value::as_bool) == Some(true);
    if !print(args.output.form, &answer)? {
        let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
        if free {
            say(&format!("{name} is free"));
        } else {
            say(&super::table::plain(&format!(
                "{name} is not free: {} ({})",
                text("message"),
                text("reason")
            )));
        }
    }
    Ok(if free { Outcome::Done } else { Outcome::Failed })
}
