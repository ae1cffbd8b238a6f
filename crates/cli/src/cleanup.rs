//! `pghaul cleanup`: lists and removes what pghaul left on either side.

use std::collections::HashSet;

use pghaul_load::{Leftover, leftovers, refuse, remove};
use pghaul_stage::{Error, Result, Side};
use pghaul_wire::Conninfo;
use serde_json::json;
use tokio::runtime::Handle;

use crate::args::{Cleanup, Form};
use crate::databases::label;
use crate::output::Screen;
use crate::{Outcome, output};

/// Runs the command.
pub(crate) fn run(args: &Cleanup) -> Result<Outcome> {
    let source = args.connections.source_if_given()?;
    let target = args.connections.target_if_given()?;
    if source.is_none() && target.is_none() {
        return Err(Error::input("neither source nor target is given")
            .remedy("set PGHAUL_SOURCE, PGHAUL_TARGET, or both"));
    }
    let (source, target) = (source.as_ref(), target.as_ref());
    Handle::current().block_on(async {
        if args.databases.are_several() {
            return several(args, source, target).await;
        }
        let found = leftovers(source, target).await?;
        for leftover in &found {
            show(leftover, args, None);
        }
        if found.is_empty() && args.output.output == Form::Text {
            output::say("nothing of pghaul's is left");
        }
        if !args.dry_run {
            remove(source, target, &found, args.force).await?;
        }
        Ok(Outcome::Done)
    })
}

/// Cleans several databases, wherever each of them exists; removes nothing if something in one
/// of them has to stay.
async fn several(
    args: &Cleanup,
    source: Option<&Conninfo>,
    target: Option<&Conninfo>,
) -> Result<Outcome> {
    let sides = [(source, Side::Source), (target, Side::Target)];
    let mut chosen: Option<Vec<String>> = None;
    let mut places: Vec<(Conninfo, Side, String)> = Vec::new();
    for (info, side) in sides {
        let Some(info) = info else { continue };
        // The source, if there is one, says which databases these are.
        let names = match &chosen {
            Some(names) => {
                let there = pghaul_extract::databases(info, side, &[]).await?;
                let there: HashSet<String> = there.into_iter().map(|one| one.name).collect();
                names
                    .iter()
                    .filter(|name| there.contains(*name))
                    .cloned()
                    .collect()
            }
            None => {
                let choice = args.databases.choose(info, side).await?;
                choice.tell(&Screen::open(args.output.output), args.output.output);
                chosen.insert(choice.names).clone()
            }
        };
        places.extend(
            names
                .into_iter()
                .map(|name| (info.with_dbname(&name), side, name)),
        );
    }
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for (info, side, name) in &places {
        let (source, target) = match side {
            Side::Target => (None, Some(info)),
            _ => (Some(info), None),
        };
        let mut here = leftovers(source, target).await?;
        // Slots and origins are listed by every database of their server.
        here.retain(|leftover| !seen.contains(leftover));
        seen.extend(here.iter().filter(|one| one.is_servers()).cloned());
        for leftover in &here {
            show(leftover, args, Some(name));
        }
        if !args.dry_run {
            refuse(&here, args.force)
                .map_err(|error| error.on(format!("database {}", label(name))))?;
        }
        found.push((source, target, here));
    }
    if found.iter().all(|(_, _, here)| here.is_empty()) && args.output.output == Form::Text {
        output::say("nothing of pghaul's is left");
    }
    if !args.dry_run {
        for (source, target, here) in &found {
            remove(*source, *target, here, args.force).await?;
        }
    }
    Ok(Outcome::Done)
}

fn show(leftover: &Leftover, args: &Cleanup, database: Option<&str>) {
    if args.output.output == Form::Json {
        let object = json!({
            "event": "leftover", "leftover": leftover, "description": leftover.to_string(),
            "dry_run": args.dry_run,
        });
        output::print_json(&output::of_database(object, database));
    } else {
        let verb = if args.dry_run {
            "would remove"
        } else {
            "removing"
        };
        let of = database.map(|name| format!("database {}: ", label(name)));
        output::say(&format!("{}{verb} {leftover}", of.unwrap_or_default()));
    }
}
