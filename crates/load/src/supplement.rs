//! What a dump leaves out although a statement can make it.

use pghaul_stage::{Omission, Supplement};

use crate::entry::{LABEL, Unit};
use crate::power::Power;

/// May not; an option or its file is not known to the server.
const UNFIT: &[&str] = &["42501", "22023", "F0000"];

/// The units that make them: the `early` ones before the rows, others when everything else stands.
pub(crate) fn units(
    supplements: &[Supplement],
    power: &Power,
    early: bool,
) -> impl Iterator<Item = Unit> {
    let now = supplements.iter().filter(move |one| one.early == early);
    let needed = now.filter(|one| is_needed(one, power));
    let possible = needed.filter(|one| obstacle(one, power).is_none());
    possible.map(|supplement| Unit {
        step: format!("supplement {}", supplement.subject),
        subject: supplement.subject.clone(),
        sql: supplement.sql.clone(),
        tolerated: match supplement.provider {
            Some(_) => LABEL,
            None => UNFIT,
        },
        ..Unit::default()
    })
}

/// Those that cannot be made.
pub(crate) fn omissions(supplements: &[Supplement], power: &Power) -> Vec<Omission> {
    let needed = supplements.iter().filter(|one| is_needed(one, power));
    let omission = |supplement: &Supplement| {
        let omission = Omission::new(supplement.subject.as_str(), obstacle(supplement, power)?);
        Some(omission.remedy(supplement.sql.as_str()))
    };
    needed.filter_map(omission).collect()
}

fn is_needed(supplement: &Supplement, power: &Power) -> bool {
    supplement.until.is_none_or(|until| power.version < until)
}

/// Why the loading role cannot make it; `None` if it can.
fn obstacle(supplement: &Supplement, power: &Power) -> Option<String> {
    if supplement.superuser && !power.superuser {
        return Some("only a superuser may do it".to_owned());
    }
    power.lacks_provider(supplement.provider.as_deref()?)
}
