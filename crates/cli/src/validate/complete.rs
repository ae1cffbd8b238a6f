//! Whether everything will arrive: what the target will lack, by the code that decides it while
//! restoring.

use std::sync::Arc;

use pghaul_extract::PgSource;
use pghaul_load::{Foreseen, State, inspect};
use pghaul_relay::Progress;
use pghaul_stage::{Catalog, Check, Finding, Kind, Observer, Result, Side, Source};

use pghaul_wire::Conninfo;

use super::Scope;
use crate::existing;

/// Both findings. The source's schema is dumped for them, so nothing must have failed before.
pub(super) async fn check(scope: &Scope<'_>, target_version: u32) -> Result<Vec<Finding>> {
    let (Some(source), Some(target)) = (scope.source, scope.target) else {
        return Ok(Vec::new());
    };
    let config = pghaul_extract::Config {
        target_version: Some(target_version),
        selection: scope.selection.clone(),
        ..pghaul_extract::Config::default()
    };
    let observer: Arc<dyn Observer> = Arc::new(Progress::new());
    let opened = PgSource::open(source.clone(), config, observer).await?;
    let catalog = opened.catalog().await?;
    if !scope.selection.has_schema() {
        let plan = opened.plan().await?;
        let checked = existing::check(target, &opened, &catalog, &plan).await;
        opened.close().await?;
        return Ok(vec![fits(checked)?]);
    }
    opened.close().await?;
    foreseen(scope, target, catalog).await
}

/// Both findings of a source whose catalog is known.
pub(super) async fn foreseen(
    scope: &Scope<'_>,
    target: &Conninfo,
    mut catalog: Catalog,
) -> Result<Vec<Finding>> {
    let anew = scope.overwrite || matches!(inspect(target).await?, State::Absent);
    catalog.tablespace_map = scope.tablespace_map.iter().cloned().collect();
    let foreseen = pghaul_load::foresee(target, &catalog, anew).await?;
    let all = catalog.omitted.iter().chain(&foreseen.omissions);
    let lost = all.map(ToString::to_string).collect();
    Ok(vec![tables(&foreseen), complete(lost, scope.strict)])
}

/// What was found of a schema that is to take rows alone.
fn fits(checked: Result<()>) -> Result<Finding> {
    let (check, side) = (Check::Complete, Side::Target);
    match checked {
        Ok(()) => Ok(Finding::succeeded(
            check,
            side,
            "the target's tables take the rows",
        )),
        Err(error) if error.kind() == Kind::Input => Ok(Finding::failed(
            check,
            side,
            error.message(),
            error.hint().unwrap_or_default().to_owned(),
        )),
        Err(error) => Err(error),
    }
}

fn tables(foreseen: &Foreseen) -> Finding {
    let (check, side) = (Check::SuperuserOnly, Side::Target);
    if foreseen.blocked.is_empty() {
        return Finding::succeeded(check, side, "no table needs what the role may not create");
    }
    Finding::failed(
        check,
        side,
        "these tables need what only a superuser can create on the target",
        "connect to the target as a superuser, or let an administrator of the target create it in \
         another way and drop it from the source",
    )
    .on(foreseen.blocked.clone())
}

fn complete(lost: Vec<String>, strict: bool) -> Finding {
    let (check, side) = (Check::Complete, Side::Target);
    if lost.is_empty() {
        return Finding::succeeded(check, side, "everything will be carried over");
    }
    let message = format!("{} things will not be carried over", lost.len());
    let remedy = "read the list with --output json; the report of the migration has the statements \
                  that an administrator of the target could run";
    let finding = if strict {
        Finding::failed(check, side, message, remedy)
    } else {
        Finding::warning(check, side, message, remedy)
    };
    finding.on(lost)
}
