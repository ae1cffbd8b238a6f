//! Cuts SQL text into statements, as psql and the server's own grammar see them.

/// Cuts text after every semicolon that ends a statement. Joined, the pieces are the text;
/// white space and comments belong to the statement they precede.
///
/// Semicolons inside quotes, dollar quotes, comments, parentheses and the bodies of SQL
/// functions (`BEGIN ATOMIC … END`) end nothing.
///
/// Source: PostgreSQL's manual, sections 4.1.1, 4.1.2 and 4.1.5.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut depth) = (0, Depth::default());
    let mut scanner = Scanner { text, at: 0 };
    while let Some(token) = scanner.next() {
        match token {
            Token::Symbol(';') if depth.is_outside() => {
                if let Some(piece) = text.get(start..scanner.at) {
                    pieces.push(piece);
                }
                start = scanner.at;
                depth = Depth::default();
            }
            Token::Symbol('(') => depth.parentheses += 1,
            Token::Symbol(')') => depth.parentheses = depth.parentheses.saturating_sub(1),
            Token::Symbol(_) | Token::Other => {}
            Token::Word(word) => depth.word(word),
        }
    }
    if let Some(rest) = text.get(start..).filter(|rest| !rest.is_empty()) {
        pieces.push(rest);
    }
    pieces
}

/// What follows the last parenthesis of a statement that is outside of quotes and comments,
/// without its semicolon.
pub(crate) fn tail(statement: &str) -> &str {
    let mut scanner = Scanner {
        text: statement,
        at: 0,
    };
    let (mut from, mut to) = (0, statement.len());
    while let Some(token) = scanner.next() {
        match token {
            Token::Symbol(')') => (from, to) = (scanner.at, statement.len()),
            Token::Symbol(';') => to = scanner.at - 1,
            _ => {}
        }
    }
    statement.get(from..to).unwrap_or_default().trim()
}

/// The tokens of a text with where they begin; joined, they are the text.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut scanner = Scanner { text, at: 0 };
    std::iter::from_fn(move || {
        let start = scanner.at;
        scanner.next()?;
        Some((start, text.get(start..scanner.at)?))
    })
}

#[derive(Default)]
struct Depth {
    parentheses: usize,
    /// Open `BEGIN ATOMIC` and the `CASE`s within.
    blocks: usize,
    /// Whether the word before was `BEGIN`.
    begin: bool,
}

impl Depth {
    fn is_outside(&self) -> bool {
        self.parentheses == 0 && self.blocks == 0
    }

    fn word(&mut self, word: &str) {
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        if self.blocks == 0 {
            self.blocks = usize::from(self.begin && is("atomic"));
        } else if is("case") {
            self.blocks += 1;
        } else if is("end") {
            self.blocks -= 1;
        }
        self.begin = is("begin");
    }
}

enum Token<'a> {
    /// A punctuation character.
    Symbol(char),
    /// A word that is not quoted.
    Word(&'a str),
    /// Anything that means nothing here: space, comments, quoted text.
    Other,
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        let rest = self.text.get(self.at..)?;
        let first = rest.chars().next()?;
        let (length, token) = match first {
            '\'' => (quoted(rest, '\'', false), Token::Other),
            '"' => (quoted(rest, '"', false), Token::Other),
            '-' if rest.starts_with("--") => (
                rest.find('\n').map_or(rest.len(), |end| end + 1),
                Token::Other,
            ),
            '/' if rest.starts_with("/*") => (comment(rest), Token::Other),
            '$' => (dollar(rest).unwrap_or(1), Token::Other),
            'e' | 'E' if rest.get(1..2) == Some("'") => {
                (1 + quoted(rest.get(1..)?, '\'', true), Token::Other)
            }
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                (end, Token::Word(rest.get(..end)?))
            }
            _ if first.is_ascii_digit() => (
                rest.find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(rest.len()),
                Token::Other,
            ),
            _ => (first.len_utf8(), Token::Symbol(first)),
        };
        self.at += length;
        Some(token)
    }
}

/// Whether a word can go on with this character; a `$` is such a one.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// Length of a quoted text with its quotes; doubled quotes are part of it.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if escapes && c == '\\' {
            characters.next();
        } else if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// Length of a block comment; they nest.
fn comment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (at, depth) = (at + 2, depth + 1),
            Some(b"*/") => {
                (at, depth) = (at + 2, depth - 1);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

/// Length of a dollar-quoted text, if one begins here.
fn dollar(text: &str) -> Option<usize> {
    let name = text.get(1..)?.find(|c: char| !is_word(c) || c == '$')?;
    let tag = text.get(..name + 2).filter(|tag| tag.ends_with('$'))?;
    if tag.get(1..2)?.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let body = text.get(tag.len()..)?;
    Some(
        body.find(tag)
            .map_or(text.len(), |end| tag.len() + end + tag.len()),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_semicolon_ends_a_statement_only_outside() {
        let cases = [
            ("SELECT 1; SELECT 2;", 2),
            ("SELECT ';'; SELECT 2", 2),
            (r"SELECT 'a\'; SELECT 2", 2),
            (r"SELECT E'a\';' ; SELECT 2", 2),
            ("SELECT 'it''s;' ; x", 2),
            (r#"SELECT 1 AS "a;""b;" ; x"#, 2),
            ("SELECT $$;$$; x", 2),
            ("SELECT $a$ $$ ; $b$ ; $a$; x", 2),
            ("SELECT $1; x", 2),
            ("SELECT a$b$; $b$ ; x", 2),
            ("SELECT 1 -- ;\n; x", 2),
            ("SELECT /* ; /* ; */ ; */ 1; x", 2),
            (
                "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); x",
                2,
            ),
            (
                "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a THEN 1 END; END; x",
                2,
            ),
            ("BEGIN; SELECT 1; COMMIT;", 3),
            ("SELECT end; SELECT 2", 2),
            ("SELECT 1;\n\n", 2),
            ("", 0),
        ];
        for (text, count) in cases {
            assert_eq!(split(text).len(), count, "{text}");
        }
    }

    #[test]
    fn the_tail_of_a_constraint_is_its_deferrable_clause() {
        let cases = [
            (
                "ALTER TABLE t ADD CONSTRAINT c UNIQUE (a) DEFERRABLE INITIALLY DEFERRED;\n",
                "DEFERRABLE INITIALLY DEFERRED",
            ),
            (
                "ALTER TABLE t ADD CONSTRAINT c PRIMARY KEY (a) WITH (fillfactor='80');",
                "",
            ),
            (
                "ALTER TABLE t ADD CONSTRAINT \"c)\" PRIMARY KEY (\"x) y\") DEFERRABLE",
                "DEFERRABLE",
            ),
        ];
        for (statement, expected) in cases {
            assert_eq!(tail(statement), expected, "{statement}");
        }
    }

    proptest! {
        #[test]
        fn joined_pieces_are_the_text(text in r#"([ -~\n]|['"$;()é]|--|/\*|\*/|\$a\$|BEGIN ATOMIC|CASE|END){0,60}"#) {
            prop_assert_eq!(split(&text).concat(), text.as_str());
            prop_assert_eq!(tokens(&text).map(|(_, token)| token).collect::<String>(), text.as_str());
            prop_assert!(text.contains(tail(&text)));
        }

        #[test]
        fn quoted_text_never_ends_a_statement(body in r#"[ -~\n]{0,30}"#) {
            for quoted in [
                format!("'{}'", body.replace('\'', "''")),
                format!("\"{}\"", body.replace('"', "\"\"")),
                format!("$q${}$q$", body.replace('$', "")),
                format!("E'{}'", body.replace('\\', "\\\\").replace('\'', "\\'")),
            ] {
                let text = format!("SELECT {quoted}; SELECT 2;");
                prop_assert_eq!(split(&text).len(), 2, "{}", text);
            }
        }
    }
}
