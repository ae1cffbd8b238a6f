//! `pghaul spool check`: reads everything a load would.

use pghaul_stage::{Error, Kind, Result, Side};
use serde_json::json;

use super::Look;
use crate::Outcome;
use crate::args::Form;
use crate::output::{count, print_json, say};

pub(super) async fn run(look: &Look) -> Result<Outcome> {
    let spool = look.place.open().await?;
    let form = look.output.output;
    let mut whole = 0u64;
    let damage = spool.check(|_| whole += 1).await?;
    for one in &damage {
        match form {
            Form::Json => print_json(&json!({
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
        Form::Json => print_json(&json!({
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
    if damage.is_empty() {
        return Ok(Outcome::Done);
    }
    Err(Error::new(Kind::Permanent, "the spool is damaged")
        .at(Side::Link)
        .on(look.place.spool.clone())
        .remedy(
            "`pghaul spool repair` extracts damaged parts again while the source can be reached",
        ))
}
