//! What a newer pg_dump writes, in the words of an older server.
//!
//! pg_dump writes for servers of its own version and newer ones. Where only a newer one is at
//! hand, these are its words for things that an older target has under another name, or has in
//! one form only.

use crate::archive::Entry;

/// The first version whose sequences may be unlogged.
const UNLOGGED_SEQUENCES: u32 = 150_000;

/// The first version that says FUNCTION where it was PROCEDURE before.
const FUNCTION: u32 = 110_000;

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
        _ => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(definition(&entry(desc, new), since), new);
            assert_eq!(definition(&entry(desc, new), since - 1), old);
            assert_eq!(definition(&entry("TABLE", new), since - 1), new);
        }
    }
}
