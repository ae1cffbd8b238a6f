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
    let mut parts = 0;
    for held in handle.block_on(cancel.until(repair.look.place.spools()))? {
        let Some(spool) = &held.spool else {
            continue;
        };
        let damaged = handle.block_on(cancel.until(examine(spool)))?;
        if !damaged.is_empty() {
            extract::again(repair, &held, spool, &damaged, &handle, cancel)?;
            parts += damaged.len() as u64;
        }
    }
    if repair.look.output.output == Form::Text {
        say(&match parts {
            0 => "nothing is damaged".to_owned(),
            parts => format!("{} parts were extracted again", count(parts)),
        });
    }
    Ok(Outcome::Done)
}

/// The damaged parts, unless anything else is damaged.
async fn examine(spool: &Arc<Spool>) -> Result<BTreeSet<PartId>> {
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
    Ok(parts)
}
