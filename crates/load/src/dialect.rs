//! What pg_dump writes, in the words of the target's server.
//!
//! pg_dump writes for servers of its own version and newer ones. Where only a newer one is at
//! hand, these are its words for things that an older target has under another name, or has in
//! one form only. And where pg_dump is older than the source, it may take for a user's what is the
//! server's own.

use std::borrow::Cow;

use pghaul_wire::quote::ident;

use crate::archive::Entry;
use crate::statement::split;

/// The first version whose sequences may be unlogged.
const UNLOGGED_SEQUENCES: u32 = 150_000;

/// The first version that says FUNCTION where it was PROCEDURE before.
const FUNCTION: u32 = 110_000;

/// What a newer pg_dump says of subscriptions that are as they have always been, and the first
/// version that knows the words.
const OPTIONS: [(&str, u32); 2] = [
    (", streaming = off", 140_000),
    (", run_as_owner = true", 160_000),
];

/// A note that servers keep for themselves among the options of columns, since 15.20 and the minor
/// versions of other majors of that time. Their own pg_dump leaves it out, an older one does not, and
/// an older server does not know it.
const NOTE: &str = "pg_attver=";

/// The statements of an entry for a server of this version.
pub(crate) fn definition(entry: &Entry, version: u32) -> String {
    let text = &entry.definition;
    if text.contains(NOTE) {
        return split(text).into_iter().filter_map(without_note).collect();
    }
    match entry.desc.as_str() {
        "SEQUENCE" if version < UNLOGGED_SEQUENCES => text.replacen("\n    LOGGED\n", "\n", 1),
        "OPERATOR" if version < FUNCTION => {
            text.replacen("(\n    FUNCTION = ", "(\n    PROCEDURE = ", 1)
        }
        "EVENT TRIGGER" if version < FUNCTION => {
            text.replacen("\n   EXECUTE FUNCTION ", "\n   EXECUTE PROCEDURE ", 1)
        }
        "SUBSCRIPTION" => subscription(text, version),
        _ => text.clone(),
    }
}

fn subscription(text: &str, version: u32) -> String {
    // The connection string comes before.
    let (head, options) = text.split_at(text.rfind(" WITH (").unwrap_or(text.len()));
    let unknown = OPTIONS.iter().filter(|(_, since)| version < *since);
    let options = unknown.fold(options.to_owned(), |options, (option, _)| {
        options.replacen(option, "", 1)
    });
    head.to_owned() + &options
}

/// A statement that sets options of a column, without the server's note; `None` if it sets nothing
/// else.
fn without_note(statement: &str) -> Option<Cow<'_, str>> {
    let all = Some(Cow::Borrowed(statement));
    let sets_options = || {
        let (head, options) = statement.rsplit_once(" SET (")?;
        let options = options.strip_suffix(");")?;
        // After a quote it would be in a string or a name that began before.
        let is_plain =
            statement.trim_start().starts_with("ALTER ") && !options.contains(['\'', '"']);
        is_plain.then_some((head, options))
    };
    let Some((head, options)) = sets_options() else {
        return all;
    };
    let options = options.split(", ");
    let (notes, kept): (Vec<_>, Vec<_>) = options.partition(|option| option.starts_with(NOTE));
    match (notes.is_empty(), kept.is_empty()) {
        (true, _) => all,
        (false, true) => None,
        (false, false) => Some(Cow::Owned(format!("{head} SET ({});", kept.join(", ")))),
    }
}

/// Statements in which somebody else grants, in the words of a session that is no superuser's.
/// `owner` grants the rest: a session that may act for several roles with the right to grant would
/// grant in the name of any of them.
pub(crate) fn by_role(sql: &str, owner: Option<&str>) -> String {
    let back = owner.map_or("RESET ROLE".to_owned(), |owner| {
        format!("SET ROLE {}", ident(owner))
    });
    let piece = |piece: &str| {
        let text = piece.trim_start();
        if let Some(rest) = text.strip_prefix("SET SESSION AUTHORIZATION ") {
            format!("\nSET ROLE {rest}")
        } else if let Some(rest) = text.strip_prefix("RESET SESSION AUTHORIZATION") {
            format!("\n{back}{rest}")
        } else {
            piece.to_owned()
        }
    };
    let body: String = split(sql).into_iter().map(piece).collect();
    match owner {
        None => body,
        Some(_) => format!(
            "{back};\n{};\nRESET ROLE;",
            body.trim_end().trim_end_matches(';')
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grantor_is_assumed_as_a_role() {
        assert_eq!(
            by_role(
                "SET SESSION AUTHORIZATION a;\nGRANT SELECT ON t TO \"SET SESSION\";\n\
                 RESET SESSION AUTHORIZATION;\n",
                None
            ),
            "\nSET ROLE a;\nGRANT SELECT ON t TO \"SET SESSION\";\nRESET ROLE;\n"
        );
    }

    #[test]
    fn what_a_server_notes_of_columns_is_no_option() {
        let entry = Entry {
            desc: "TABLE".into(),
            definition: "CREATE TABLE s.t (\n    a integer DEFAULT f(' SET (pg_attver=1);')\n);\n\
                 ALTER TABLE ONLY s.t ALTER COLUMN a SET (pg_attver=22158952);\n\
                 ALTER TABLE ONLY s.t ALTER COLUMN \"x SET (pg_attver=1);\" SET STATISTICS 5;\n\
                 ALTER TABLE ONLY s.t ALTER COLUMN b SET (pg_attver=1, n_distinct=-0.5);\n\
                 ALTER TABLE ONLY s.t ALTER COLUMN c SET (n_distinct=7, pg_attver=22);\n"
                .into(),
            ..Entry::default()
        };
        assert_eq!(
            definition(&entry, 150_000),
            "CREATE TABLE s.t (\n    a integer DEFAULT f(' SET (pg_attver=1);')\n);\n\
             ALTER TABLE ONLY s.t ALTER COLUMN \"x SET (pg_attver=1);\" SET STATISTICS 5;\n\
             ALTER TABLE ONLY s.t ALTER COLUMN b SET (n_distinct=-0.5);\n\
             ALTER TABLE ONLY s.t ALTER COLUMN c SET (n_distinct=7);\n"
        );
    }

    #[test]
    fn words_change_for_servers_that_do_not_know_them() {
        let entry = |desc: &str, text: &str| Entry {
            desc: desc.into(),
            definition: text.into(),
            ..Entry::default()
        };
        for (desc, new, old, since) in [
            (
                "SEQUENCE",
                "(\n    SEQUENCE NAME s\n    LOGGED\n    START",
                "(\n    SEQUENCE NAME s\n    START",
                150_000,
            ),
            (
                "OPERATOR",
                "CREATE OPERATOR s.+ (\n    FUNCTION = f,",
                "CREATE OPERATOR s.+ (\n    PROCEDURE = f,",
                110_000,
            ),
            (
                "EVENT TRIGGER",
                "CREATE EVENT TRIGGER e ON sql_drop\n   EXECUTE FUNCTION f();",
                "CREATE EVENT TRIGGER e ON sql_drop\n   EXECUTE PROCEDURE f();",
                110_000,
            ),
            (
                "SUBSCRIPTION",
                "CREATE SUBSCRIPTION s CONNECTION ', streaming = off' PUBLICATION p WITH (connect = false, streaming = off);",
                "CREATE SUBSCRIPTION s CONNECTION ', streaming = off' PUBLICATION p WITH (connect = false);",
                140_000,
            ),
            (
                "SUBSCRIPTION",
                "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false, run_as_owner = true);",
                "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false);",
                160_000,
            ),
        ] {
            assert_eq!(definition(&entry(desc, new), since), new);
            assert_eq!(definition(&entry(desc, new), since - 1), old);
            assert_eq!(definition(&entry("TABLE", new), since - 1), new);
        }
    }
}
