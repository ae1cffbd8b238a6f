//! Quoting of identifiers and literals for SQL text.

/// An identifier in double quotes, always quoted so that no keyword list is needed.
///
/// Source: PostgreSQL's manual, section 4.1.1.
pub fn ident(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for character in name.chars() {
        if character == '"' {
            quoted.push('"');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// A string literal that reads the same under either setting of `standard_conforming_strings`.
///
/// A value with a backslash becomes an escape string with a leading space, so that it cannot
/// join an identifier written before it.
///
/// Source: PostgreSQL's manual, section 4.1.2.2.
pub fn literal(value: &str) -> String {
    let escapes = value.contains('\\');
    let mut quoted = String::with_capacity(value.len() + 4);
    quoted.push_str(if escapes { " E'" } else { "'" });
    for character in value.chars() {
        if character == '\'' || character == '\\' {
            quoted.push(character);
        }
        quoted.push(character);
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_always_quoted() {
        assert_eq!(ident("orders"), "\"orders\"");
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(ident(""), "\"\"");
    }

    #[test]
    fn literals_survive_quotes_and_backslashes() {
        assert_eq!(literal("plain"), "'plain'");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
    }
}
