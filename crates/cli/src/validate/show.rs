//! Findings as text and as JSON lines.

use pghaul_stage::{Finding, Verdict};
use serde_json::{Value, json};

use super::Findings;
use crate::args::Form;
use crate::databases::label;
use crate::output::{duration, of_database, print_json, say};

/// Tells programs that checks begin.
pub(super) fn begin(form: Form, database: Option<&str>) {
    if form == Form::Json {
        let line = json!({ "event": "validation_started" });
        print_json(&of_database(line, database));
    }
}

/// Prints every finding, grouped by side, and the sum; `database` names it where it is one of
/// several.
pub(super) fn all(form: Form, found: &Findings, database: Option<&str>) {
    let [succeeded, warnings, failed] =
        [Verdict::Succeeded, Verdict::Warning, Verdict::Failed].map(|one| found.count(one));
    if form == Form::Json {
        for finding in &found.findings {
            print_json(&of_database(object(finding), database));
        }
        let sum = json!({
            "event": "validation",
            "succeeded": succeeded,
            "warnings": warnings,
            "failed": failed,
            "seconds": found.elapsed.as_secs_f64(),
        });
        return print_json(&of_database(sum, database));
    }
    if let Some(database) = database {
        say("");
        say(&format!("database {}", label(database)));
    }
    let mut place = "";
    for finding in &found.findings {
        if finding.place() != place {
            if !place.is_empty() {
                say("");
            }
            place = finding.place();
            say(place);
        }
        for line in lines(finding) {
            say(&line);
        }
    }
    say("");
    say(&format!(
        "{succeeded} succeeded, {warnings} {}, {failed} failed in {}",
        if warnings == 1 { "warning" } else { "warnings" },
        duration(found.elapsed)
    ));
}

/// Prints what did not succeed: as JSON on standard output, or as text on standard error.
pub(super) fn troubles(form: Form, found: &Findings, database: Option<&str>) {
    let troubles = found.findings.iter();
    for finding in troubles.filter(|finding| finding.verdict() != Verdict::Succeeded) {
        match form {
            Form::Json => print_json(&of_database(object(finding), database)),
            Form::Text => {
                let of = database.map(|name| format!("database {}: ", label(name)));
                eprintln!(
                    "{}{} {}, {}: {finding}",
                    of.unwrap_or_default(),
                    finding.verdict(),
                    finding.check(),
                    finding.place()
                );
                if let Some(remedy) = finding.remedy() {
                    eprintln!("  remedy: {remedy}");
                }
            }
        }
    }
}

fn object(finding: &Finding) -> Value {
    let mut value = json!(finding);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("event".to_owned(), json!("finding"));
    }
    value
}

/// One line of a table, and the remedy below it.
fn lines(finding: &Finding) -> Vec<String> {
    const CODE: usize = 6;
    const NAME: usize = 25;
    const VERDICT: usize = 9;
    let (check, verdict) = (finding.check(), finding.verdict());
    let mut lines = vec![format!(
        "  {:CODE$}  {verdict:VERDICT$}  {:NAME$}  {finding}",
        check.code(),
        check.name()
    )];
    let indent = 2 + CODE + 2 + VERDICT + 2;
    lines.extend(
        finding
            .remedy()
            .map(|remedy| format!("{:indent$}remedy: {remedy}", "")),
    );
    lines
}

#[cfg(test)]
mod tests {
    use pghaul_stage::{Check, Side};

    use super::*;

    #[test]
    fn a_finding_has_its_columns_and_its_remedy_below() {
        let finding = Finding::failed(Check::Readable, Side::Source, "no right", "grant it");
        let finding = finding.on(["table a.b"]);
        assert_eq!(
            lines(&finding),
            [
                "  603110  failed     readable tables            no right: table a.b",
                "                     remedy: grant it"
            ]
        );
        assert_eq!(
            object(&finding),
            json!({
                "event": "finding", "side": "source", "code": 603110, "check": "readable tables",
                "severity": "Failed", "objects": ["table a.b"], "message": "no right",
                "remedy": "grant it",
            })
        );
    }
}
