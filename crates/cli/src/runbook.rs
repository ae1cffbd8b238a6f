//! What to do after a migration: the switch from source to target, step by step.

use pghaul_stage::{Content, Omission, Selection};
use pghaul_wire::Conninfo;
use pghaul_wire::quote::ident;

use crate::{databases, selection};

/// How the object of an omission begins that is a password.
const PASSWORD: &str = "password of role ";

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// In one sentence.
    pub(crate) what: String,
    /// What to run, if it is a command or a statement.
    pub(crate) run: Option<String>,
}

/// Where the rows of a migration came from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// The source itself.
    Source(&'a Conninfo),
    /// A spool at this place.
    Spool(&'a str),
}

/// The steps of this migration. `database` is its name, where it is one of several; `selection` what
/// of it was carried over; `compared` says that source and target were compared already.
pub(crate) fn steps(
    origin: Origin<'_>,
    target: &Conninfo,
    database: Option<&str>,
    selection: &Selection,
    omissions: &[Omission],
    compared: bool,
) -> Vec<Step> {
    let new = place(target);
    // The connection strings of several databases name the servers.
    let of_these = database.map(|name| format!(" --databases {}", databases::listed(name)));
    let of_these = of_these.unwrap_or_default();
    let step = |what: String, run: Option<String>| Step { what, run };
    let again = match selection.content {
        // Whoever has brought the schema would not want it dropped.
        Content::DataOnly => "clean up and migrate again with --truncate",
        _ => "migrate again with --overwrite",
    };
    let (old, first, verify, compare) = match origin {
        Origin::Source(source) => (
            place(source),
            step(
                format!(
                    "Stop the application's writes to {}. What was written there since the \
                     migration began is not on the target: if there was anything, {again}.",
                    place(source)
                ),
                Some(format!(
                    "ALTER DATABASE {} SET default_transaction_read_only = on;",
                    ident(source.dbname())
                )),
            ),
            match (selection.has_rows(), compared) {
                (true, true) => {
                    "Compare once more if the application could write meanwhile: rows, sequences, \
                     large objects."
                }
                (true, false) => "Compare source and target: rows, sequences, large objects.",
                (false, true) => "Compare once more if definitions could change meanwhile.",
                (false, false) => "Compare the definitions of source and target.",
            },
            format!("pghaul verify{of_these}{}", selection::flags(selection)),
        ),
        Origin::Spool(spool) => (
            "the source".to_owned(),
            step(
                "Make sure that nothing was written to the source since the extraction began: it \
                 is not on the target. If there was anything, extract and load again."
                    .to_owned(),
                None,
            ),
            match compared {
                true => "Compare once more if anything could write to the target meanwhile.",
                false => "Compare the target with what was extracted.",
            },
            format!("pghaul verify --spool {spool}"),
        ),
    };
    // Without rows there is nothing to switch to yet.
    let switch = step(
        format!("Switch the application's connection strings from {old} to {new}."),
        None,
    );
    let [first, switch] = [first, switch].map(|step| Some(step).filter(|_| selection.has_rows()));
    let mut steps = Vec::from_iter(first);
    let place = format!("database {}", ident(target.dbname()));
    steps.extend(make_up(omissions, &place));
    // What is missing until then would be a difference.
    steps.push(step(verify.to_owned(), Some(compare)));
    steps.extend(switch);
    steps.push(step(
        "Remove what pghaul left: the record of the migration and the memberships of its role."
            .to_owned(),
        Some(format!("pghaul cleanup{of_these}")),
    ));
    steps
}

/// The steps that make up for what the target lacks, in this place.
pub(crate) fn make_up(omissions: &[Omission], place: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let remedies = omissions.iter().filter(|one| one.remedy.is_some()).count();
    if remedies > 0 {
        steps.push(Step {
            what: format!(
                "Let an administrator of the target run the statements of {remedies} omissions in \
                 {place}, in the order of the list."
            ),
            run: None,
        });
    }
    let roles: Vec<&str> = omissions
        .iter()
        .filter_map(|one| one.object.strip_prefix(PASSWORD))
        .collect();
    if !roles.is_empty() {
        steps.push(Step {
            what: format!("Set the passwords of these roles: {}.", roles.join(", ")),
            run: Some("\\password ROLE".to_owned()),
        });
    }
    steps
}

/// A database and where it is, for people.
fn place(info: &Conninfo) -> String {
    let hosts: Vec<String> = info.hosts().iter().map(ToString::to_string).collect();
    format!("{} on {}", ident(info.dbname()), hosts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_name_this_migration() {
        let environment = pghaul_wire::Environment::default();
        let info = |text| Conninfo::parse_with(text, &environment).expect("a connection string");
        let (source, target) = (
            info("postgres://u@old:5433/shop"),
            info("postgres://u@new/shop"),
        );
        let texts = |omissions: &[Omission], compared| -> Vec<String> {
            let all = Selection::default();
            let from = Origin::Source(&source);
            let steps = steps(from, &target, None, &all, omissions, compared);
            steps.into_iter().map(|step| step.what).collect()
        };
        let plain = texts(&[], true);
        assert_eq!(plain.len(), 4, "{plain:?}");
        assert!(plain[0].contains("\"shop\" on old:5433"), "{plain:?}");
        assert!(plain[2].contains("to \"shop\" on new"), "{plain:?}");
        let omissions = [
            Omission::new("password of role \"app\"", "hidden"),
            Omission::new("event trigger e", "no").remedy("CREATE EVENT TRIGGER e"),
        ];
        let more = texts(&omissions, false);
        assert_eq!(more.len(), 6, "{more:?}");
        assert!(more[2].contains("\"app\""), "{more:?}");

        let run = |database, selection: &Selection| -> Vec<String> {
            let from = Origin::Source(&source);
            let steps = steps(from, &target, database, selection, &[], false);
            steps.into_iter().filter_map(|step| step.run).collect()
        };
        let all = Selection::default();
        assert_eq!(run(None, &all)[1..], ["pghaul verify", "pghaul cleanup"]);
        let of_several = run(Some("it's, \"so\""), &all);
        let list = r#"--databases '"it'\''s, ""so"""'"#;
        for (run, verb) in of_several[1..].iter().zip(["verify", "cleanup"]) {
            assert_eq!(*run, format!("pghaul {verb} {list}"));
        }
        let part = Selection {
            exclude_tables: vec!["log".into(), "\"it's\"*".into()],
            content: Content::SchemaOnly,
            role_map: [("a".into(), "b c".into())].into(),
            ..Selection::default()
        };
        assert_eq!(
            run(None, &part)[0],
            r#"pghaul verify --exclude-table log --exclude-table '"it'\''s"*' --schema-only --role-map 'a=b c'"#
        );
    }
}
