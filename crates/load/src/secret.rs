//! Keeps secrets of the schema out of the record of a migration.
//!
//! User mappings, foreign servers and subscriptions may carry passwords, and the record stores
//! the archive that their statements come from. What is stored has no such value: the statement
//! is the same without them, and a comment behind it names what it lacks. A run that goes on
//! with the stored archive takes the values from the source again.

use std::collections::{HashMap, HashSet};

use pghaul_stage::{Packed, Result};
use pghaul_wire::quote;

use crate::archive::{Archive, Entry};
use crate::statement::tokens;

/// Begins the comment that names what a definition lacks.
const MARK: &str = "-- pghaul keeps no secrets; withheld: ";

/// Options of user mappings that are known to be none; of all others it is not known.
const HARMLESS: [&str; 4] = [
    "user",
    "username",
    "password_required",
    "use_remote_estimate",
];

/// What names of secret options have in them.
const SECRET: [&str; 7] = [
    "pass",
    "pwd",
    "secret",
    "token",
    "credential",
    "private",
    "scram_",
];

/// The archive as it may be stored: without the secrets in its statements.
///
/// # Errors
///
/// Kind input if these bytes are no archive.
pub fn withhold(archive: &Packed) -> Result<Packed> {
    if archive.is_empty() {
        return Ok(Packed::default());
    }
    Archive::rewrite(archive, without_secrets)
}

/// The stored archive with the secrets that a fresh one of the same source has. What the source
/// does not have any more stays withheld.
///
/// # Errors
///
/// Kind input if one of them is no archive.
pub fn reveal(stored: &Packed, fresh: &Packed) -> Result<Packed> {
    if stored.is_empty() || fresh.is_empty() {
        return Ok(stored.clone());
    }
    let kept = Archive::parse(stored.clone())?;
    let lacking: HashSet<_> = kept
        .entries()
        .filter(|entry| withheld(&entry.definition).is_some())
        .map(|entry| key(&entry))
        .collect();
    if lacking.is_empty() {
        return Ok(stored.clone());
    }
    let fresh = Archive::parse(fresh.clone())?;
    let known: HashMap<_, String> = fresh
        .entries()
        .filter(|entry| lacking.contains(&key(entry)))
        .map(|entry| (key(&entry), entry.definition))
        .collect();
    Archive::rewrite(stored, |entry| {
        withheld(&entry.definition)?;
        known.get(&key(entry)).cloned()
    })
}

/// Whether an entry's definition has a secret.
pub(crate) fn holds(entry: &Entry) -> bool {
    without_secrets(entry).is_some()
}

/// What a definition lacks, by name, if something was withheld from it.
pub(crate) fn withheld(definition: &str) -> Option<&str> {
    let (_, names) = definition.rsplit_once(MARK)?;
    Some(names.trim())
}

fn key(entry: &Entry) -> (String, String, String) {
    let Entry {
        desc, schema, tag, ..
    } = entry;
    (desc.clone(), schema.clone(), tag.clone())
}

/// An entry's definition without secrets; `None` if it has none.
fn without_secrets(entry: &Entry) -> Option<String> {
    let definition = entry.definition.as_str();
    let (text, names) = match entry.desc.as_str() {
        "USER MAPPING" => options(definition, |name| !HARMLESS.contains(&name))?,
        "SERVER" | "FOREIGN DATA WRAPPER" | "FOREIGN TABLE" => options(definition, is_secret)?,
        "SUBSCRIPTION" => (connection(definition)?, vec!["password".to_owned()]),
        _ => return None,
    };
    let names: Vec<String> = names
        .iter()
        .map(|name| name.escape_debug().to_string())
        .collect();
    Some(format!("{}\n{MARK}{}\n", text.trim_end(), names.join(", ")))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRET.iter().any(|part| name.contains(part)) || (name != "key" && name.ends_with("key"))
}

/// The text without the options for which `secret` holds, in every `OPTIONS (…)` of it, and
/// their names; `None` if there are none.
fn options(text: &str, secret: impl Fn(&str) -> bool) -> Option<(String, Vec<String>)> {
    let tokens: Vec<(usize, &str)> = words(text).collect();
    let opens = |next: usize| matches!(tokens.get(next), Some((_, "(")));
    let (mut out, mut names, mut copied) = (String::new(), Vec::new(), 0);
    let mut next = 0;
    while let Some((start, word)) = tokens.get(next) {
        next += 1;
        if !word.eq_ignore_ascii_case("OPTIONS") || !opens(next) {
            continue;
        }
        next += 1;
        let mut kept = Vec::new();
        let mut some = false;
        // A name, a value, and what separates them from the next two or ends the list.
        while let Some([(_, name), (_, value), (end, mark)]) = tokens.get(next..next + 3) {
            let plain = unquoted(name);
            if secret(&plain) {
                names.push(plain);
                some = true;
            } else {
                kept.push(format!("{name} {value}"));
            }
            next += 3;
            if *mark != ")" {
                continue;
            }
            if some {
                out += text.get(copied..*start)?;
                if !kept.is_empty() {
                    out += &format!("OPTIONS ({})", kept.join(", "));
                }
                copied = end + 1;
            }
            break;
        }
    }
    if names.is_empty() {
        return None;
    }
    out += text.get(copied..)?;
    Some((out, names))
}

/// The tokens of a text that are no white space.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    tokens(text).filter(|(_, token)| !token.chars().all(char::is_whitespace))
}

/// The statement of a subscription without its connection's passwords.
fn connection(text: &str) -> Option<String> {
    let mut words = words(text);
    words.find(|(_, word)| word.eq_ignore_ascii_case("CONNECTION"))?;
    let (start, literal) = words.next()?;
    let plain = literal
        .strip_prefix('\'')
        .and_then(|literal| literal.strip_suffix('\''))
        .map(|literal| literal.replace("''", "'"));
    let open = match plain.as_deref().map(without_password) {
        Some(Some(same)) if Some(same.as_str()) == plain.as_deref() => return None,
        Some(Some(open)) => open,
        // Whatever cannot be understood may hold anything.
        _ => String::new(),
    };
    let (before, after) = (text.get(..start)?, text.get(start + literal.len()..)?);
    Some(format!("{before}{}{after}", quote::literal(&open)))
}

/// A connection string without its passwords; `None` if it is not understood.
///
/// Source: PostgreSQL's manual, section 34.1.1.
fn without_password(text: &str) -> Option<String> {
    let scheme = ["postgresql://", "postgres://"]
        .into_iter()
        .find(|scheme| text.starts_with(scheme));
    match scheme {
        Some(scheme) => uri(scheme, text.get(scheme.len()..)?),
        None => keywords(text),
    }
}

fn uri(scheme: &str, rest: &str) -> Option<String> {
    let (head, query) = rest
        .split_once('?')
        .map_or((rest, None), |(a, b)| (a, Some(b)));
    let end = head.find('/').unwrap_or(head.len());
    let (authority, path) = head.split_at_checked(end)?;
    let authority = match authority.rsplit_once('@') {
        Some((user, hosts)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{user}@{hosts}")
        }
        None => authority.to_owned(),
    };
    // An escaped name could be any.
    let open = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        !name.contains('%') && !is_secret(name)
    };
    let query: Option<Vec<&str>> = query.map(|query| query.split('&').filter(open).collect());
    let query = query.filter(|query| !query.is_empty());
    let query = query.map_or(String::new(), |query| format!("?{}", query.join("&")));
    Some(format!("{scheme}{authority}{path}{query}"))
}

fn keywords(text: &str) -> Option<String> {
    let mut kept = Vec::new();
    let mut dropped = false;
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let value = value.trim_start();
        let length = length_of_value(value)?;
        let (this, after) = value.split_at_checked(length)?;
        let name = name.trim();
        if is_secret(name) {
            dropped = true;
        } else {
            kept.push(format!("{name}={this}"));
        }
        rest = after.trim_start();
    }
    Some(if dropped {
        kept.join(" ")
    } else {
        text.to_owned()
    })
}

/// Bytes of a value, in quotes or up to white space; a backslash escapes what follows it.
fn length_of_value(text: &str) -> Option<usize> {
    let quoted = text.starts_with('\'');
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '\'' if quoted => return Some(at + 1),
            space if !quoted && space.is_whitespace() => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(text.len())
}

fn unquoted(name: &str) -> String {
    match name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
    {
        Some(name) => name.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(desc: &str, definition: &str) -> Option<String> {
        without_secrets(&Entry {
            desc: desc.into(),
            definition: definition.into(),
            ..Entry::default()
        })
    }

    #[test]
    fn a_user_mapping_keeps_only_what_is_known_to_be_harmless() {
        let full = "CREATE USER MAPPING FOR a SERVER \"options (\" OPTIONS (\n    \
                    password 'it''s, (x)',\n    \"user\" 'scott',\n    \"odd \"\"name\" 'x'\n);\n";
        assert_eq!(
            of("USER MAPPING", full).unwrap(),
            "CREATE USER MAPPING FOR a SERVER \"options (\" OPTIONS (\"user\" 'scott');\n\
             -- pghaul keeps no secrets; withheld: password, odd \\\"name\n"
        );
        let none = "CREATE USER MAPPING FOR a SERVER s OPTIONS (\n    \"user\" 'scott'\n);\n";
        assert_eq!(of("USER MAPPING", none), None);
        let only = "CREATE USER MAPPING FOR a SERVER s OPTIONS (\n    password 'x'\n);\n";
        let without = of("USER MAPPING", only).unwrap();
        assert!(
            without.starts_with("CREATE USER MAPPING FOR a SERVER s ;\n--"),
            "{without}"
        );
        assert_eq!(withheld(&without), Some("password"));
        assert_eq!(withheld(only), None);
    }

    #[test]
    fn a_foreign_table_keeps_all_but_what_sounds_secret() {
        let table = "CREATE FOREIGN TABLE s.t (\n    a integer OPTIONS (\n    key 'true'\n    )\n)\n\
                     SERVER x\nOPTIONS (\n    api_key 'hidden',\n    \"table\" 't'\n);\n";
        let without = of("FOREIGN TABLE", table).unwrap();
        assert!(!without.contains("hidden"), "{without}");
        assert!(without.contains("key 'true'"), "{without}");
        assert!(without.contains("OPTIONS (\"table\" 't');"), "{without}");
    }

    #[test]
    fn connections_lose_their_passwords_in_every_form() {
        let cases = [
            ("host=h password=x dbname=d", "host=h dbname=d"),
            (
                r"host = h password = 'a \' b' sslpassword=\ x user=u",
                "host=h user=u",
            ),
            ("host=h dbname='password=x'", "host=h dbname='password=x'"),
            (
                "postgresql://u:p@h:5,h2/d?sslmode=require&password=x",
                "postgresql://u@h:5,h2/d?sslmode=require",
            ),
            ("postgres://h/d?pass%77ord=x", "postgres://h/d"),
            ("postgres:///d", "postgres:///d"),
        ];
        for (full, open) in cases {
            assert_eq!(without_password(full).as_deref(), Some(open), "{full}");
        }
        assert_eq!(without_password("nonsense"), None);
        assert_eq!(without_password("host='open"), None);
        let statement = |conninfo: &str| {
            format!("CREATE SUBSCRIPTION \"CONNECTION\" CONNECTION {conninfo} PUBLICATION p;\n")
        };
        let without = of("SUBSCRIPTION", &statement("'host=h password=''x'''")).unwrap();
        assert!(without.starts_with(&statement("'host=h'")), "{without}");
        let without = of("SUBSCRIPTION", &statement("'nonsense'")).unwrap();
        assert!(without.starts_with(&statement("''")), "{without}");
        assert_eq!(of("SUBSCRIPTION", &statement("'host=h'")), None);
    }
}
