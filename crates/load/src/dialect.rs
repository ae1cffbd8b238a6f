//! What a newer pg_dump writes, in the words of an older server.
//!
//! pg_dump writes for servers of its own version and newer ones. Where only a newer one is at
//! hand, these are its words for things that an older target has under another name, or has in
//! one form only.

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

/// The statements of an entry for a server of this version.
pub(crate) fn definition(entry: &Entry, version: u32) -> String {
    let text = &entry.definition;
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
