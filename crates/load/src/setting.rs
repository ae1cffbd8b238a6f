//! Values of `ALTER DATABASE … SET` and `ALTER ROLE … SET`, as SQL.

use pghaul_wire::quote;

/// Parameters whose stored value is a list of names in double quotes. Written back as one
/// literal, such a list would become a single name with commas in it.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// `name TO value`, for a parameter and its value as `pg_db_role_setting` stores it.
pub(crate) fn assignment(name: &str, value: &str) -> String {
    // A parameter of an extension has a qualified name, each part of which is an identifier.
    let target = name
        .split('.')
        .map(quote::ident)
        .collect::<Vec<_>>()
        .join(".");
    let value = if LISTS.contains(&name.to_ascii_lowercase().as_str()) {
        let elements = elements(value);
        if elements.is_empty() {
            "''".to_owned()
        } else {
            elements
                .iter()
                .map(|element| quote::literal(element))
                .collect::<Vec<_>>()
                .join(", ")
        }
    } else {
        quote::literal(value)
    };
    format!("{target} TO {value}")
}

/// The elements of a list; those in double quotes are unquoted.
pub(crate) fn elements(list: &str) -> Vec<String> {
    let mut elements = Vec::new();
    let mut element = String::new();
    let mut quoted = false;
    let mut some = false;
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                element.push('"');
            }
            '"' => {
                quoted = !quoted;
                some = true;
            }
            ',' if !quoted => {
                elements.push(std::mem::take(&mut element));
                some = false;
            }
            ' ' | '\t' | '\n' | '\r' if !quoted => {}
            other => {
                element.push(other);
                some = true;
            }
        }
    }
    if some || !elements.is_empty() {
        elements.push(element);
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_stay_lists() {
        assert_eq!(
            assignment("search_path", r#""$user", public, "a, ""b""""#),
            r#""search_path" TO '$user', 'public', 'a, "b"'"#
        );
        assert_eq!(assignment("search_path", r#""""#), r#""search_path" TO ''"#);
        assert_eq!(assignment("search_path", ""), r#""search_path" TO ''"#);
    }

    #[test]
    fn others_are_one_literal() {
        assert_eq!(
            assignment("DateStyle", "SQL, DMY"),
            r#""DateStyle" TO 'SQL, DMY'"#
        );
        assert_eq!(
            assignment("my.setting", "it's"),
            r#""my"."setting" TO 'it''s'"#
        );
    }
}
