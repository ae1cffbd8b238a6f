//! The report of a migration as a Markdown file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pghaul_stage::{Error, Omission, Result};

use super::{Migration, next, steps, tables, total};
use crate::output::count;
use crate::runbook::{self, Step};

/// The file; with several databases, each has a section in it.
#[derive(Debug)]
pub(crate) struct ReportFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl ReportFile {
    /// Creates it, or empties the one that is there.
    ///
    /// # Errors
    ///
    /// Kind input if it cannot be written.
    pub(crate) fn create(path: &Path) -> Result<ReportFile> {
        let file = File::create(path).map_err(|error| failed(path, error))?;
        Ok(ReportFile {
            path: path.to_owned(),
            file: Mutex::new(file),
        })
    }

    /// Adds the report of one database.
    ///
    /// # Errors
    ///
    /// Kind input if it cannot be written.
    pub(crate) fn add(&self, migration: &Migration<'_>) -> Result<()> {
        self.write(&text(migration))
    }

    /// Adds what the server lacks after the migration of several databases.
    ///
    /// # Errors
    ///
    /// Kind input if it cannot be written.
    pub(crate) fn add_server(&self, lacking: &[Omission]) -> Result<()> {
        let mut out = "# The server, for all databases\n".to_owned();
        out += &not_carried(lacking, "any database");
        out += &numbered(&runbook::make_up(lacking, "any database"));
        self.write(&out)
    }

    fn write(&self, text: &str) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|error| failed(&self.path, error))
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::input("the report cannot be written")
        .on(path.display().to_string())
        .because(error)
}

fn text(migration: &Migration<'_>) -> String {
    let catalog = &migration.finished.catalog;
    let mut out = format!(
        "# Migration of database {}\n\n{}.\n\n",
        code(&catalog.database.name),
        total("migrated", &migration.finished.summary, migration.elapsed)
    );
    out += "## Carried over\n\n| kind | number |\n|---|---:|\n";
    for (kind, number) in &migration.finished.carried {
        out += &format!("| {kind} | {} |\n", count(*number));
    }
    out += &not_carried(&migration.omissions(), "the target database");
    out += &numbered(&next(migration));
    let preformatted = |lines: Vec<String>| format!("\n```text\n{}\n```\n", lines.join("\n"));
    out += "\n## Tables and steps\n";
    out += &preformatted(tables(migration.progress.tables()));
    out += &preformatted(steps(
        &migration.progress.steps(),
        &migration.finished.summary,
    ));
    out + "\n"
}

fn not_carried(omissions: &[Omission], place: &str) -> String {
    let mut out = "\n## Not carried over\n\n".to_owned();
    if omissions.is_empty() {
        out += "Nothing was left out.\n";
    } else {
        out += &format!(
            "The statements are for an administrator of the target, to be run in {place} in this \
             order.\n"
        );
    }
    for omission in omissions {
        out += &entry(omission);
    }
    out
}

fn numbered(steps: &[Step]) -> String {
    let mut out = "\n## What to do next\n\n".to_owned();
    for (at, step) in steps.iter().enumerate() {
        out += &format!("{}. {}\n", at + 1, step.what);
        if let Some(run) = &step.run {
            out += &format!("\n   {}\n\n", code(run));
        }
    }
    out
}

fn entry(omission: &Omission) -> String {
    let mut out = format!("\n* {}: {}\n", code(&omission.object), omission.reason);
    if let Some(remedy) = &omission.remedy {
        let fence = "`".repeat(longest_run(remedy).max(2) + 1);
        out += &format!("\n  {fence}sql\n");
        for line in remedy.lines() {
            out += &format!("  {line}\n");
        }
        out += &format!("  {fence}\n");
    }
    out
}

/// Text as code, whatever is in it.
fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text) + 1);
    let text = text.replace(['\n', '\r'], " ");
    if text.starts_with('`') || text.ends_with('`') {
        format!("{fence} {text} {fence}")
    } else {
        format!("{fence}{text}{fence}")
    }
}

/// The longest run of backticks, which ends code unless its fence is longer.
fn longest_run(text: &str) -> usize {
    let runs = text.split(|c| c != '`').map(str::len);
    runs.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_code() {
        assert_eq!(code("a|b\nc"), "`a|b c`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`a`"), "`` `a` ``");
        let text = entry(&Omission::new("x", "y").remedy("SELECT '```'"));
        assert!(text.contains("````sql\n  SELECT '```';\n  ````"), "{text}");
    }
}
