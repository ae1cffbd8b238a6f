//! Findings as a page: what did not succeed first, then everything.

use std::path::{Path, PathBuf};

use pghaul_stage::{Finding, Result, Verdict};

use super::Findings;
use crate::databases::label;
use crate::output::{duration, html};

/// A page that grows with each database.
pub(super) struct Page {
    path: PathBuf,
    body: String,
}

impl Page {
    /// Creates the file, so that a place that cannot be written is known before anything else.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let page = Self {
            path: path.to_owned(),
            body: String::from("<h1>Validation</h1>\n"),
        };
        page.write()?;
        Ok(page)
    }

    /// Adds what was found; `database` names where, if there are several.
    pub(super) fn add(&mut self, found: &Findings, database: Option<&str>) -> Result<()> {
        self.body += &section(found, database);
        self.write()
    }

    fn write(&self) -> Result<()> {
        html::write(&self.path, "pghaul validate", &self.body)
    }
}

fn section(found: &Findings, database: Option<&str>) -> String {
    let heading = database.map_or_else(String::new, |name| {
        format!("<h2>Database {}</h2>\n", html::escape(&label(name)))
    });
    let [succeeded, warnings, failed] =
        [Verdict::Succeeded, Verdict::Warning, Verdict::Failed].map(|one| found.count(one));
    let verdict = match (failed, warnings) {
        (0, 0) => "Nothing is in the way.",
        (0, _) => "The migration works; look at the warnings.",
        _ => "The migration would fail.",
    };
    let troubles = found.findings.iter();
    let troubles = troubles.filter(|finding| finding.verdict() != Verdict::Succeeded);
    let troubles: String = troubles.map(trouble).collect();
    let rows: String = found.findings.iter().map(row).collect();
    format!(
        "{heading}<p class=\"verdict\"><strong>{verdict}</strong><br>{succeeded} succeeded, \
         {warnings} warnings, {failed} failed in {}</p>\n{troubles}<table>\n<tr><th>Code</th>\
         <th>Side</th><th>Check</th><th>Outcome</th><th>Finding</th></tr>\n{rows}</table>\n",
        html::escape(&duration(found.elapsed)),
    )
}

/// What did not succeed, with every object and what to do.
fn trouble(finding: &Finding) -> String {
    let objects = finding.objects().iter();
    let objects: String = objects
        .map(|object| format!("<li>{}</li>\n", html::escape(object)))
        .collect();
    let objects = match finding.objects().len() {
        0 => String::new(),
        _ => format!("<ul>\n{objects}</ul>\n"),
    };
    format!(
        "<h3><span class=\"{verdict}\">{verdict}</span> {}, {}</h3>\n<p>{}</p>\n{objects}\
         <p><strong>Remedy:</strong> {}</p>\n",
        html::escape(&finding.check().to_string()),
        finding.place(),
        html::escape(finding.message()),
        html::escape(finding.remedy().unwrap_or_default()),
        verdict = finding.verdict(),
    )
}

fn row(finding: &Finding) -> String {
    format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{verdict}\">{verdict}</td>\
         <td>{}</td></tr>\n",
        finding.check().code(),
        finding.place(),
        html::escape(finding.check().name()),
        html::escape(&finding.to_string()),
        verdict = finding.verdict(),
    )
}

#[cfg(test)]
mod tests {
    use pghaul_stage::{Check, Side};

    use super::*;

    #[test]
    fn names_from_a_database_are_text() {
        let finding = Finding::failed(Check::Readable, Side::Source, "no right", "grant <it>")
            .on(["table \"<img src=x onerror=alert(1)>\""]);
        for html in [trouble(&finding), row(&finding)] {
            assert!(!html.contains("<img"), "{html}");
            assert!(html.contains("&lt;img"), "{html}");
        }
        assert!(trouble(&finding).contains("grant &lt;it&gt;"));
    }
}
