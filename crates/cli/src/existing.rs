//! Whether the target's own schema takes the rows of the source.

use pghaul_extract::PgSource;
use pghaul_stage::{Catalog, Error, Plan, Result, Side};
use pghaul_wire::Conninfo;

/// How many large objects an error names.
const NAMED: usize = 5;

/// Fails unless rows alone can be loaded as the plan says; changes nothing.
///
/// # Errors
///
/// Kind input for what is in the way.
pub(crate) async fn check(
    target: &Conninfo,
    source: &PgSource,
    catalog: &Catalog,
    plan: &Plan,
) -> Result<()> {
    pghaul_load::check_existing(target, catalog, plan).await?;
    if catalog.large_objects == 0 {
        return Ok(());
    }
    let there = pghaul_load::large_objects(target).await?;
    let both = source.large_objects_among(&there).await?;
    if both.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = both.iter().take(NAMED).map(u32::to_string).collect();
    let more = match both.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Error::input(format!(
        "large objects of the source are there already: {}{more}",
        named.join(", ")
    ))
    .at(Side::Target)
    .remedy("unlink them on the target, or select schemas or tables, which leaves all of them out"))
}
