//! Findings on a page: what did not succeed first, then everything.

use pghaul_stage::{Finding, Verdict};

use super::escape;

/// What was found of one thing, which the heading names if there are several; `took` is how long or
/// when, in words.
pub fn section(heading: Option<&str>, findings: &[Finding], took: &str) -> String {
    let heading = heading.map_or_else(String::new, |heading| {
        format!("<h2>{}</h2>\n", escape(heading))
    });
    let count = |verdict| {
        let found = findings.iter();
        found.filter(|finding| finding.verdict() == verdict).count()
    };
    let [succeeded, warnings, failed] =
        [Verdict::Succeeded, Verdict::Warning, Verdict::Failed].map(count);
    let verdict = match (failed, warnings) {
        (0, 0) => "Nothing is in the way.",
        (0, _) => "The migration works; look at the warnings.",
        _ => "The migration would fail.",
    };
    let troubles = findings.iter();
    let troubles = troubles.filter(|finding| finding.verdict() != Verdict::Succeeded);
    let troubles: String = troubles.map(trouble).collect();
    let rows: String = findings.iter().map(row).collect();
    format!(
        "{heading}<p class=\"verdict\"><strong>{verdict}</strong><br>{succeeded} succeeded, \
         {warnings} warnings, {failed} failed {}</p>\n{troubles}<table>\n<tr><th>Code</th>\
         <th>Side</th><th>Check</th><th>Outcome</th><th>Finding</th></tr>\n{rows}</table>\n",
        escape(took),
    )
}

/// What did not succeed, with every object and what to do.
fn trouble(finding: &Finding) -> String {
    let objects = finding.objects().iter();
    let objects: String = objects
        .map(|object| format!("<li>{}</li>\n", escape(object)))
        .collect();
    let objects = match finding.objects().len() {
        0 => String::new(),
        _ => format!("<ul>\n{objects}</ul>\n"),
    };
    format!(
        "<h3><span class=\"{verdict}\">{verdict}</span> {}, {}</h3>\n<p>{}</p>\n{objects}\
         <p><strong>Remedy:</strong> {}</p>\n",
        escape(&finding.check().to_string()),
        finding.place(),
        escape(finding.message()),
        escape(finding.remedy().unwrap_or_default()),
        verdict = finding.verdict(),
    )
}

fn row(finding: &Finding) -> String {
    format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{verdict}\">{verdict}</td>\
         <td>{}</td></tr>\n",
        finding.check().code(),
        finding.place(),
        escape(finding.check().name()),
        escape(&finding.to_string()),
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
