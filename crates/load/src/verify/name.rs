//! Names as every version of PostgreSQL would print them.

/// Takes the quotes off identifiers that need them only where they are keywords, because which
/// words are changes from version to version. What stands between single quotes stays.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\'']) {
        let (before, quoted) = rest.split_at(at);
        let (inside, after) = cut(quoted);
        plain.push_str(before);
        if quoted.starts_with('"') && is_simple(inside) {
            plain.push_str(inside);
        } else {
            plain.push_str(quoted.strip_suffix(after).unwrap_or(quoted));
        }
        rest = after;
    }
    plain.push_str(rest);
    plain
}

/// What is inside the quotes with which a text begins, and what comes after them.
fn cut(quoted: &str) -> (&str, &str) {
    let quote = quoted.chars().next().unwrap_or_default();
    let mut at = 1;
    while let Some(next) = quoted.get(at..).and_then(|rest| rest.find(quote)) {
        at += next + 1;
        // Twice the same quote stands for itself.
        if quoted.get(at..).is_some_and(|rest| rest.starts_with(quote)) {
            at += 1;
        } else {
            let inside = quoted.get(1..at - 1).unwrap_or_default();
            return (inside, quoted.get(at..).unwrap_or_default());
        }
    }
    ("", "")
}

/// Whether an identifier reads the same without quotes, unless it is a keyword.
fn is_simple(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn only_what_may_be_a_keyword_loses_its_quotes() {
        for (text, expected) in [
            (r#"zoo."json""#, "zoo.json"),
            (r#""select"."A b".x"#, r#"select."A b".x"#),
            (r#""a""b" "ab""#, r#""a""b" ab"#),
            (r#"'"ab"' 'it''s "ab"' "ab""#, r#"'"ab"' 'it''s "ab"' ab"#),
            (r#""1a" "" "é""#, r#""1a" "" "é""#),
            (r#""open"#, r#""open"#),
            (r#"""#, r#"""#),
            ("", ""),
        ] {
            assert_eq!(plain(text), expected);
        }
    }
}
