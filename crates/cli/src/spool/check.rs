//! `pghaul spool check`: reads everything a load would.

use pghaul_stage::{Error, Kind, Result, Side};
use serde_json::json;

use super::{Held, Look};
use crate::Outcome;
use crate::args::Form;
use crate::output::{count, of_database, print_json, say};

pub(super) async fn run(look: &Look) -> Result<Outcome> {
    let mut damaged = false;
    for held in look.place.spools().await? {
        damaged |= check(look, &held).await?;
    }
    if !damaged {
        return Ok(Outcome::Done);
    }
    Err(Error::new(Kind::Permanent, "the spool is damaged")
        .at(Side::Link)
        .on(look.place.spool.clone())
        .remedy(
            "`pghaul spool repair` extracts damaged parts again while the source can be reached",
        ))
}

/// Says what is damaged in the spool of a database, and whether anything is.
async fn check(look: &Look, held: &Held) -> Result<bool> {
    held.head(look);
    let Some(spool) = &held.spool else {
        return Ok(false);
    };
    let form = look.output.output;
    let print = |line| print_json(&of_database(line, held.database.as_deref()));
    let mut whole = 0u64;
    let damage = spool.check(|_| whole += 1).await?;
    for one in &damage {
        match form {
            Form::Json => print(json!({
                "event": "damage", "part": one.part, "subject": one.error.subject(),
                "message": one.error.message(), "remedy": one.error.hint(),
            })),
            Form::Text => say(&format!("damaged: {}", one.error)),
        }
        // What helps a part is told once, at the end.
        if let (Form::Text, None, Some(remedy)) = (form, one.part, one.error.hint()) {
            say(&format!("  {remedy}"));
        }
    }
    let complete = spool.end().await.ok().flatten().is_some();
    match form {
        Form::Json => print(json!({
            "event": "checked", "whole_parts": whole, "damaged": damage.len(),
            "complete": complete,
        })),
        Form::Text => say(&format!(
            "{} parts are whole, {} objects are damaged; the extraction is {}",
            count(whole),
            count(damage.len() as u64),
            if complete { "complete" } else { "not complete" }
        )),
    }
    Ok(!damage.is_empty())
}
