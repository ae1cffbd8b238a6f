//! The password file.
//!
//! Source: PostgreSQL's manual, section 32.16.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use secrecy::SecretString;

/// The lines of a password file, read once.
#[derive(Default, Debug)]
pub(super) struct Passfile(Vec<Line>);

#[derive(Debug)]
struct Line {
    /// Host, port, database, user.
    fields: [String; 4],
    password: SecretString,
}

impl Passfile {
    /// Reads the file. One that others may read is ignored with a warning, one that is absent
    /// silently, as libpq does.
    pub(super) fn read(path: &Path) -> Passfile {
        let Ok(metadata) = std::fs::metadata(path) else {
            return Passfile::default();
        };
        let shown = path.display();
        if !metadata.is_file() {
            tracing::warn!("password file {shown} is not a plain file, so it is ignored");
            return Passfile::default();
        }
        if metadata.mode() & 0o077 != 0 {
            tracing::warn!(
                "password file {shown} has group or world access, so it is ignored; \
                 permissions should be u=rw (0600) or less"
            );
            return Passfile::default();
        }
        match std::fs::read_to_string(path) {
            Ok(text) => Passfile::parse(&text),
            Err(error) => {
                tracing::warn!("password file {shown} cannot be read: {error}");
                Passfile::default()
            }
        }
    }

    fn parse(text: &str) -> Passfile {
        Passfile(text.lines().filter_map(Line::parse).collect())
    }

    /// The password of the first line that matches.
    pub(super) fn find(&self, wanted: [&str; 4]) -> Option<&SecretString> {
        self.0
            .iter()
            .find(|line| {
                line.fields
                    .iter()
                    .zip(wanted)
                    .all(|(pattern, value)| pattern == WILDCARD || *pattern == value)
            })
            .map(|line| &line.password)
    }
}

/// An unescaped star; a zero byte keeps it apart from an escaped one.
const WILDCARD: &str = "\0";

impl Line {
    fn parse(line: &str) -> Option<Line> {
        let mut rest = line.trim_end_matches('\r');
        if rest.starts_with('#') {
            return None;
        }
        let mut fields = [const { String::new() }; 4];
        for field in &mut fields {
            let raw = &rest[..colon(rest)?];
            rest = &rest[raw.len() + 1..];
            *field = if raw == "*" {
                WILDCARD.to_owned()
            } else {
                unescape(raw)
            };
        }
        Some(Line {
            fields,
            password: unescape(rest).into(),
        })
    }
}

/// Where the first colon is that no backslash hides.
fn colon(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let found = byte == b':' && !escaped;
        escaped = byte == b'\\' && !escaped;
        found
    })
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character == '\\' {
            plain.extend(rest.next());
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn find(file: &Passfile, wanted: [&str; 4]) -> Option<String> {
        file.find(wanted)
            .map(|password| password.expose_secret().to_owned())
    }

    #[test]
    fn the_first_matching_line_wins() {
        let file = Passfile::parse(
            "#h:1:d:u:comment\nh:1:d:u:exact\n*:*:d:u:any\nh\\:x:1:d:a\\\\b:p\\:q:r\nbroken:line\n",
        );
        assert_eq!(find(&file, ["h", "1", "d", "u"]).unwrap(), "exact");
        assert_eq!(find(&file, ["x", "2", "d", "u"]).unwrap(), "any");
        assert_eq!(find(&file, ["h:x", "1", "d", "a\\b"]).unwrap(), "p:q:r");
        assert_eq!(find(&file, ["h", "1", "other", "u"]), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_ignored() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        std::fs::write(&path, "*:*:*:*:secret\n").unwrap();
        for (mode, found) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let file = Passfile::read(&path);
            assert_eq!(
                find(&file, ["h", "1", "d", "u"]).is_some(),
                found,
                "{mode:o}"
            );
        }
    }
}
