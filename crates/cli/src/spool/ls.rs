//! `pghaul spool ls`: what a spool holds.

use pghaul_spool::{FileEncoding, Spool, contents};
use pghaul_stage::Result;
use serde_json::json;

use super::Look;
use crate::Outcome;
use crate::args::Form;
use crate::output::{bytes, count, of_database, print_json, say};
use crate::report::align;

pub(super) async fn run(look: &Look) -> Result<Outcome> {
    for held in look.place.spools().await? {
        held.head(look);
        if let Some(spool) = &held.spool {
            list(look, held.database.as_deref(), spool).await?;
        }
    }
    Ok(Outcome::Done)
}

async fn list(look: &Look, database: Option<&str>, spool: &Spool) -> Result<()> {
    let print = |line| print_json(&of_database(line, database));
    let contents = contents(spool).await?;
    let header = spool.header();
    let parts = contents.plan.iter().flat_map(|plan| &plan.parts);
    let entry = |part| contents.sealed.iter().find(|entry| entry.part == part);
    let state = |part| match (entry(part), contents.loaded.contains(&part)) {
        (None, _) => "missing",
        (Some(_), false) => "sealed",
        (Some(_), true) => "loaded",
    };
    if look.output.output == Form::Json {
        for part in parts {
            let entry = entry(part.id);
            print(json!({
                "event": "part", "part": part.id, "subject": part.to_string(),
                "state": state(part.id),
                "rows": entry.map(|entry| entry.rows()),
                "bytes": entry.map(|entry| entry.mark.0),
                "stored_bytes": entry.map(|entry| entry.size()),
                "files": entry.map(|entry| &entry.files),
            }));
        }
        print(json!({
            "event": "spool", "place": spool.place(), "header": header, "complete": contents.complete,
            "planned": contents.plan.is_some(), "sealed_parts": contents.sealed.len(),
            "loaded_parts": contents.loaded.len(), "stored_bytes": contents.bytes,
        }));
        return Ok(());
    }
    let mut rows = vec![["part", "state", "rows", "copy", "stored", "files"].map(str::to_owned)];
    for part in parts {
        let entry = entry(part.id);
        let number = |of: fn(&pghaul_spool::Entry) -> u64| entry.map(|entry| of(entry));
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        rows.push([
            format!("{} {part}", part.id),
            state(part.id).to_owned(),
            text(number(pghaul_spool::Entry::rows).map(count)),
            text(number(|entry| entry.mark.0).map(bytes)),
            text(number(pghaul_spool::Entry::size).map(bytes)),
            text(number(|entry| entry.files.len() as u64).map(count)),
        ]);
    }
    for line in align(&rows) {
        say(&line);
    }
    say("");
    let encoding = match header.encoding {
        FileEncoding::Typed => "typed",
        FileEncoding::Copy => "copy",
    };
    say(&format!(
        "migration {}, {encoding}{}, {}: {} in files",
        header.migration,
        if spool.is_encrypted() {
            ", encrypted"
        } else {
            ""
        },
        if contents.complete {
            "complete"
        } else {
            "not complete"
        },
        bytes(contents.bytes),
    ));
    Ok(())
}
