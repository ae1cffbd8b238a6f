//! What a dump leaves out although a statement can make it.

use pghaul_stage::{Omission, Supplement};

use crate::entry::{FORBIDDEN, Unit};
use crate::power::Power;

/// The units that make them, for when everything else stands.
pub(crate) fn units(supplements: &[Supplement], power: &Power) -> impl Iterator<Item = Unit> {
    let needed = supplements.iter().filter(|one| is_needed(one, power));
    let possible = needed.filter(|one| is_possible(one, power));
    possible.map(|supplement| Unit {
        step: format!("supplement {}", supplement.subject),
        subject: supplement.subject.clone(),
        sql: supplement.sql.clone(),
        tolerated: FORBIDDEN,
        ..Unit::default()
    })
}

/// Those that the loading role may not make.
pub(crate) fn omissions(supplements: &[Supplement], power: &Power) -> Vec<Omission> {
    let needed = supplements.iter().filter(|one| is_needed(one, power));
    let impossible = needed.filter(|one| !is_possible(one, power));
    impossible
        .map(|supplement| {
            Omission::new(supplement.subject.as_str(), "only a superuser may do it")
                .remedy(supplement.sql.as_str())
        })
        .collect()
}

fn is_needed(supplement: &Supplement, power: &Power) -> bool {
    supplement.until.is_none_or(|until| power.version < until)
}

fn is_possible(supplement: &Supplement, power: &Power) -> bool {
    power.superuser || !supplement.superuser
}
