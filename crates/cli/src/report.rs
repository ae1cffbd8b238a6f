//! What is printed at the end: a table per table, the time of each step, the differences.

mod markdown;

use std::collections::BTreeMap;
use std::time::Duration;

use pghaul_load::Report;
use pghaul_relay::{Progress, StepReport, Summary, TableReport};
use pghaul_spool::Spool;
use pghaul_stage::{Omission, Scope};
use pghaul_wire::Conninfo;
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use markdown::ReportFile;

use crate::args::Form;
use crate::databases::label;
use crate::migrate::Finished;
use crate::output::{bytes, count, duration, of_database, print_json, rate, say};
use crate::runbook::{self, Origin, Step};

/// Tables listed one by one; the smallest beyond that share a line.
const TABLES: usize = 40;

/// Differences printed one by one.
const DIFFERENCES: usize = 50;

/// Lines of a remedy printed one by one.
const REMEDY: usize = 6;

/// A migration that ended.
pub(crate) struct Migration<'a> {
    /// The database's name, where it is one of several.
    pub(crate) database: Option<&'a str>,
    pub(crate) finished: &'a Finished,
    pub(crate) origin: Origin<'a>,
    pub(crate) target: &'a Conninfo,
    pub(crate) progress: &'a Progress,
    pub(crate) elapsed: Duration,
}

/// The line of JSON about a migration.
#[derive(Serialize)]
struct Told<'a> {
    event: &'a str,
    database: &'a str,
    source_version: u32,
    tables: Vec<TableReport>,
    steps: Vec<StepReport>,
    copy: &'a Summary,
    carried: &'a BTreeMap<String, u64>,
    omissions: Vec<Omission>,
    next: Vec<Value>,
    seconds: f64,
}

/// The line of JSON about a comparison.
#[derive(Serialize)]
struct Compared<'a> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(rename = "match")]
    matches: bool,
    report: &'a Report,
}

impl Migration<'_> {
    /// What the target lacks. Of several databases, none tells what the server lacks: that is
    /// told once, at the end.
    fn omissions(&self) -> Vec<Omission> {
        let mut omissions = self.progress.omissions();
        omissions.retain(|one| self.database.is_none() || one.scope == Scope::Database);
        omissions
    }
}

/// Prints the report of a migration.
pub(crate) fn print(form: Form, migration: &Migration<'_>) {
    let Finished {
        catalog,
        summary,
        carried,
        ..
    } = migration.finished;
    if form == Form::Json {
        let next = next(migration).into_iter();
        print_json(&Told {
            event: "summary",
            database: &catalog.database.name,
            source_version: catalog.server.version,
            tables: migration.progress.tables(),
            steps: migration.progress.steps(),
            copy: summary,
            carried,
            omissions: migration.omissions(),
            next: next
                .map(|step| json!({ "what": step.what, "run": step.run }))
                .collect(),
            seconds: migration.elapsed.as_secs_f64(),
        });
    } else {
        if let Some(database) = migration.database {
            say("");
            say(&format!("database {}", label(database)));
        }
        for line in tables(migration.progress.tables()) {
            say(&line);
        }
        say("");
        for line in steps(&migration.progress.steps(), summary) {
            say(&line);
        }
        say("");
        if !carried.is_empty() {
            let kinds = carried.iter();
            let kinds: Vec<String> = kinds
                .map(|(kind, n)| format!("{kind} {}", count(*n)))
                .collect();
            say(&format!("carried over: {}", kinds.join(", ")));
            say("");
        }
        for line in omissions("not carried over:", &migration.omissions()) {
            say(&line);
        }
        say("what to do next:");
        for (at, step) in next(migration).iter().enumerate() {
            say(&format!("  {}. {}", at + 1, step.what));
            if let Some(run) = &step.run {
                say(&format!("     {run}"));
            }
        }
        say("");
        say(&total("migrated", summary, migration.elapsed));
    }
    if let Some(comparison) = migration.finished.comparison() {
        print_comparison(form, comparison, migration.database);
    }
}

/// Prints the report of an extraction; `database` names which, if there are several.
pub(crate) fn print_extraction(
    form: Form,
    database: Option<&str>,
    progress: &Progress,
    summary: &Summary,
    spool: &Spool,
    elapsed: Duration,
) {
    let lacking = progress.omissions();
    if form == Form::Json {
        let line = json!({
            "event": "summary",
            "spool": spool.place(),
            "migration": spool.header().migration,
            "tables": progress.tables(),
            "steps": progress.steps(),
            "copy": summary,
            "omissions": lacking,
            "seconds": elapsed.as_secs_f64(),
        });
        return print_json(&of_database(line, database));
    }
    if let Some(database) = database {
        say("");
        say(&format!("database {}", label(database)));
    }
    for line in tables(progress.tables()) {
        say(&line);
    }
    say("");
    for line in steps(&progress.steps(), summary) {
        say(&line);
    }
    say("");
    for line in omissions("not extracted:", &lacking) {
        say(&line);
    }
    if database.is_none() {
        print_next(spool.place());
    }
    say(&total("extracted", summary, elapsed));
}

/// Says what is to be done after an extraction into this place.
pub(crate) fn print_next(place: &str) {
    say("what to do next:");
    say("  on a host that reaches the target and the spool:");
    say(&format!("     pghaul load --spool {place}"));
    say("");
}

/// Prints what the target's server lacks after the migration of several databases.
pub(crate) fn print_server(lacking: &[Omission]) {
    for line in omissions(
        "not carried over of the server, for all databases:",
        lacking,
    ) {
        say(&line);
    }
    for step in runbook::make_up(lacking, "any database") {
        say(&step.what);
    }
}

/// Prints the result of a comparison; `database` names it where it is one of several.
pub(crate) fn print_comparison(form: Form, report: &Report, database: Option<&str>) {
    if form == Form::Json {
        return print_json(&Compared {
            event: "comparison",
            database,
            matches: report.is_match(),
            report,
        });
    }
    for difference in report.differences.iter().take(DIFFERENCES) {
        say(&format!("differs: {difference}"));
    }
    if let Some(more) = report
        .differences
        .len()
        .checked_sub(DIFFERENCES)
        .filter(|more| *more > 0)
    {
        say(&format!(
            "differs: {} more; --output json lists all",
            count(more as u64)
        ));
    }
    let rows = report.tables.iter();
    let rows = rows
        .filter_map(|table| table.source_rows)
        .fold(0, u64::saturating_add);
    let objects: u64 = report.objects.iter().map(|kind| kind.source).sum();
    say(&format!(
        "compared {} rows in {} tables, {} large objects and {} other objects in {}: {}",
        count(rows),
        count(report.tables.len() as u64),
        count(report.large_objects.source),
        count(objects),
        duration(report.elapsed),
        match report.differences.len() {
            0 => "source and target are the same".to_owned(),
            1 => "1 difference".to_owned(),
            many => format!("{} differences", count(many as u64)),
        }
    ));
}

/// The steps of the switch.
fn next(migration: &Migration<'_>) -> Vec<Step> {
    runbook::steps(
        migration.origin,
        migration.target,
        migration.database,
        &migration.finished.catalog.selection,
        &migration.omissions(),
        migration.finished.comparison().is_some(),
    )
}

/// What the target lacks, and the statements that make up for it.
fn omissions(heading: &str, omissions: &[Omission]) -> Vec<String> {
    let mut lines = Vec::new();
    if omissions.is_empty() {
        return lines;
    }
    lines.push(heading.to_owned());
    for omission in omissions {
        lines.push(format!("  {omission}"));
        let remedy: Vec<&str> = omission
            .remedy
            .iter()
            .flat_map(|text| text.lines())
            .collect();
        let shown = remedy.iter().take(REMEDY);
        lines.extend(shown.map(|line| format!("    {line}")));
        if let Some(more @ 1..) = remedy.len().checked_sub(REMEDY) {
            lines.push(format!(
                "    … and {} more lines, which --report FILE or --output json would have",
                count(more as u64)
            ));
        }
    }
    lines.push(String::new());
    lines
}

fn total(done: &str, summary: &Summary, elapsed: Duration) -> String {
    let mut line = format!(
        "{done} {} rows, {} in {} ({} rows/s, {}/s while copying)",
        count(summary.rows),
        bytes(summary.bytes),
        duration(elapsed),
        count(rate(summary.rows, summary.copying)),
        bytes(rate(summary.bytes, summary.copying)),
    );
    if summary.skipped > 0 {
        line += &format!("; {} parts were durable before", count(summary.skipped));
    }
    if summary.elsewhere > 0 {
        line += &format!("; other processes did {} parts", count(summary.elsewhere));
    }
    if summary.retries > 0 {
        line += &format!("; {} retries", count(summary.retries));
    }
    line
}

/// The largest tables one by one, the others together.
fn tables(mut tables: Vec<TableReport>) -> Vec<String> {
    tables.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.table.cmp(&b.table)));
    let small = tables.split_off(tables.len().min(TABLES));
    let mut rows =
        vec![["table", "rows", "bytes", "copy", "index", "format", "parts"].map(str::to_owned)];
    rows.extend(tables.iter().map(|table| {
        let name = table.table.as_ref().map(ToString::to_string);
        row(name.unwrap_or_else(|| "large objects".to_owned()), table)
    }));
    if !small.is_empty() {
        let mut sum = TableReport::default();
        for table in &small {
            sum.rows += table.rows;
            sum.bytes += table.bytes;
            sum.parts += table.parts;
            sum.copying += table.copying;
            sum.indexing += table.indexing;
        }
        rows.push(row(
            format!("{} smaller tables", count(small.len() as u64)),
            &sum,
        ));
    }
    align(&rows)
}

fn row(name: String, table: &TableReport) -> [String; 7] {
    [
        name,
        count(table.rows),
        bytes(table.bytes),
        duration(table.copying),
        duration(table.indexing),
        table
            .encoding
            .map_or_else(|| "-".to_owned(), |encoding| encoding.to_string()),
        count(table.parts),
    ]
}

fn steps(steps: &[StepReport], summary: &Summary) -> Vec<String> {
    let mut rows = vec![["step", "times", "time"].map(str::to_owned)];
    rows.push([
        "copy".to_owned(),
        count(summary.parts),
        duration(summary.copying),
    ]);
    rows.extend(steps.iter().map(|step| {
        [
            step.step.to_string(),
            count(step.count),
            duration(step.elapsed),
        ]
    }));
    align(&rows)
}

/// Columns as wide as their widest cell; the first to the left, the others to the right.
pub(crate) fn align<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    rows.iter()
        .map(|row| {
            let cells = row
                .iter()
                .zip(widths)
                .enumerate()
                .map(|(column, (cell, width))| {
                    if column == 0 {
                        format!("{cell:<width$}")
                    } else {
                        format!("{cell:>width$}")
                    }
                });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns_line_up() {
        let rows = [["table", "rows"], ["é", "12,345"]].map(|row| row.map(str::to_owned));
        assert_eq!(align(&rows), ["table    rows", "é      12,345"]);
    }
}
