//! `pghaul spool repair`: extracts damaged parts again.

use std::collections::BTreeSet;
use std::sync::Arc;

use pghaul_relay::Cancel;
use pghaul_spool::Spool;
use pghaul_stage::{Error, Kind, PartId, Result, Side};
use tokio::runtime::Handle;

use super::Repair;
use crate::args::Form;
use crate::output::{count, say};
use crate::{Outcome, extract};

pub(super) fn run(repair: &Repair, cancel: &Cancel) -> Result<Outcome> {
    let handle = Handle::current();
    let found = handle.block_on(cancel.until(examine(repair)))?;
    let Some((spool, parts)) = found else {
        if repair.look.output.output == Form::Text {
            say("nothing is damaged");
        }
        return Ok(Outcome::Done);
    };
    extract::again(repair, &spool, &parts, &handle, cancel)?;
    if repair.look.output.output == Form::Text {
        say(&format!(
            "{} parts were extracted again",
            count(parts.len() as u64)
        ));
    }
    Ok(Outcome::Done)
}

/// The damaged parts, if there are any and nothing else is damaged.
async fn examine(repair: &Repair) -> Result<Option<(Arc<Spool>, BTreeSet<PartId>)>> {
    let spool = repair.look.place.open().await?;
    let mut parts = BTreeSet::new();
    for damage in spool.check(|_| {}).await? {
        match damage.part {
            Some(part) => {
                parts.insert(part);
            }
            None => {
                return Err(Error::new(
                    Kind::Permanent,
                    "what describes the extraction is damaged, so its parts cannot be told",
                )
                .at(Side::Link)
                .on(damage.error.subject().unwrap_or_default().to_owned())
                .remedy("see `pghaul spool check`; where that knows no help, extract again, into an empty place"));
            }
        }
    }
    Ok((!parts.is_empty()).then_some((spool, parts)))
}
