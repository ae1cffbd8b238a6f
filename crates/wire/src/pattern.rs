//! Patterns for names, in the language of psql and pg_dump, as regular expressions for a server.
//!
//! Source: PostgreSQL's manual, psql, "Patterns".

use pghaul_stage::{Error, Result};

/// What a regular expression gives a meaning.
const SPECIAL: &str = "|*+?()[]{}.^$\\";

/// The regular expressions for the parts of a pattern, which dots separate: one for a plain name,
/// two for a name within a schema. Each matches the whole name or nothing.
///
/// ```
/// use pghaul_wire::pattern;
///
/// assert_eq!(pattern::parts("Shop_*"), ["^(shop_.*)$"]);
/// assert_eq!(pattern::parts(r#"public."T.1""#), ["^(public)$", r"^(T\.1)$"]);
/// ```
pub fn parts(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '.' && !quoted {
            parts.push(String::new());
            continue;
        }
        let Some(part) = parts.last_mut() else {
            continue;
        };
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            // Unlike in other regular expressions, the dollar sign is always itself.
            '$' => part.push_str("\\$"),
            special if quoted && SPECIAL.contains(special) => {
                part.push('\\');
                part.push(special);
            }
            other if quoted => part.push(other),
            '*' => part.push_str(".*"),
            '?' => part.push('.'),
            '[' if characters.peek() == Some(&']') => {
                characters.next();
                part.push_str("\\[\\]");
            }
            // Like pg_dump in UTF-8: only letters of ASCII fold.
            other => part.push(other.to_ascii_lowercase()),
        }
    }
    parts.iter().map(|part| format!("^({part})$")).collect()
}

/// The regular expression for a pattern of names that are in nothing else, as databases are.
///
/// # Errors
///
/// Kind input if dots separate it into several parts.
pub fn name(pattern: &str) -> Result<String> {
    match <[String; 1]>::try_from(parts(pattern)) {
        Ok([part]) => Ok(part),
        Err(_) => Err(
            Error::input("a pattern for one name has a dot, which separates several")
                .on(format!("pattern {pattern}"))
                .remedy("put the dot in double quotes"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_take_every_meaning_away() {
        assert_eq!(parts(r#"a"B*""c?"d"#), [r#"^(aB\*"c\?d)$"#]);
        assert_eq!(parts("A?b*"), ["^(a.b.*)$"]);
        assert_eq!(parts("x[0-9]+|y"), ["^(x[0-9]+|y)$"]);
        assert_eq!(parts("a$b"), [r"^(a\$b)$"]);
        assert_eq!(parts(r#""a$b""#), [r"^(a\$b)$"]);
        assert_eq!(parts("int[]"), [r"^(int\[\])$"]);
    }

    #[test]
    fn a_name_has_one_part() {
        assert_eq!(name(r#"a"."b"#).unwrap(), r"^(a\.b)$");
        assert!(name("a.b").unwrap_err().hint().is_some());
    }
}
