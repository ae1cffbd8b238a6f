//! Why an entry cannot be restored: what the target does not have, and what its role may not do.

use crate::archive::Entry;
use crate::entry::is_elsewhere;
use crate::foresight::{ABSENT_OR_CLOSED, quoted};
use crate::power::Power;
use crate::present::Present;
use crate::statement::tokens;
use crate::{label, role_map, secret};

/// The first version without postfix operators.
const PREFIX_ONLY: u32 = 140_000;

/// What an entry cannot be without, which the target does not have; whoever restores it.
pub(crate) fn lack(entry: &Entry, present: &Present) -> Option<String> {
    match entry.desc.as_str() {
        "POLICY" | "USER MAPPING" => {
            let mut absent = role_map::roles(&entry.desc, &entry.definition);
            absent.retain(|role| !present.has_role(role));
            let roles = quoted(&absent);
            (!absent.is_empty()).then(|| format!("the target has no role {roles}"))
        }
        "DEFAULT ACL" if entry.owner != present.power.name && !present.may_own(&entry.owner) => {
            Some(ABSENT_OR_CLOSED.to_owned())
        }
        "FUNCTION" | "PROCEDURE" => parameters(&entry.definition).find_map(|name| {
            let reason = present.power.refuses_parameter(&name)?;
            Some(format!("{reason}, {name}"))
        }),
        "OPERATOR" if is_postfix(entry, present) => {
            Some("postfix operators ended with PostgreSQL 13".to_owned())
        }
        "SECURITY LABEL" if !is_elsewhere(entry) => {
            let provider = label::provider(&entry.definition)?;
            present.power.lacks_provider(&provider)
        }
        _ => None,
    }
}

/// What an aggregate calls the types of its states.
const STATES: [&str; 2] = ["STYPE", "MSTYPE"];

/// Why the role may not restore an entry; `None` if nothing speaks against it.
///
/// Source: PostgreSQL's manual, the notes of each CREATE command.
/// `foreign` says that no other entry creates what it needs; of a cast, one of its types.
pub(crate) fn refusal(entry: &Entry, present: &Present, foreign: bool) -> Option<&'static str> {
    let power = &present.power;
    const SUPERUSER: &str = "only a superuser may create it";
    const FOREIGN: &str = "the object belongs to the server or to an extension";
    let text = entry.definition.as_str();
    match entry.desc.as_str() {
        "EVENT TRIGGER" | "FOREIGN DATA WRAPPER" if !power.may_create(&entry.desc) => {
            Some(SUPERUSER)
        }
        "ACCESS METHOD"
        | "OPERATOR CLASS"
        | "OPERATOR FAMILY"
        | "TEXT SEARCH PARSER"
        | "TEXT SEARCH TEMPLATE"
        | "PROCEDURAL LANGUAGE"
        // Only who owns its functions may, and these are in C.
        | "TRANSFORM"
        | "SHELL TYPE" => Some(SUPERUSER),
        "TYPE" if is_base_type(text) => Some(SUPERUSER),
        "CAST" if has(text, &["WITHOUT", "FUNCTION"]) => Some(SUPERUSER),
        "CAST" if foreign => Some("only the owner of one of its types may create it"),
        "AGGREGATE" if STATES.iter().any(|state| has(text, &[state, "=", "internal"])) => {
            Some(SUPERUSER)
        }
        "FUNCTION" | "PROCEDURE" if is_privileged_function(text, power) => Some(SUPERUSER),
        "PUBLICATION"
            if has(text, &["FOR", "ALL", "TABLES"]) && !power.may_create("PUBLICATION") =>
        {
            Some("only a superuser may publish all tables")
        }
        "PUBLICATION TABLES IN SCHEMA" if !power.may_create("PUBLICATION") => {
            Some("only a superuser may publish the tables of a schema")
        }
        "SUBSCRIPTION" if !power.may_subscribe() => Some("the role may not create subscriptions"),
        // One that was withheld was there.
        "SUBSCRIPTION" if !secret::holds(entry) && secret::withheld(text).is_none() => {
            Some("only a superuser may create one without a password in its connection string")
        }
        "SUBSCRIPTION" if has(text, &["password_required", "=", "false"]) => Some(SUPERUSER),
        "EXTENSION" if !power.may_extend(&entry.tag) => {
            Some("only a superuser may create this extension")
        }
        "ACL" | "COMMENT" | "SECURITY LABEL" if entry.tag == "SCHEMA public" => {
            present.public_of.as_ref().map(|_| FOREIGN)
        }
        "ACL" | "COMMENT" | "SECURITY LABEL" if foreign && !is_elsewhere(entry) => Some(FOREIGN),
        _ => None,
    }
}

/// The words and signs of a text outside of quotes and comments, without white space.
fn words(text: &str) -> impl Iterator<Item = &str> {
    tokens(text)
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty())
}

/// Whether these words follow each other.
pub(crate) fn has(text: &str, sequence: &[&str]) -> bool {
    let words: Vec<&str> = words(text).collect();
    words.windows(sequence.len()).any(|window| {
        window
            .iter()
            .zip(sequence)
            .all(|(word, wanted)| word.eq_ignore_ascii_case(wanted))
    })
}

/// Whether it is an operator behind its only operand, on a target that knows none.
pub(crate) fn is_postfix(entry: &Entry, present: &Present) -> bool {
    entry.desc == "OPERATOR"
        && present.power.version >= PREFIX_ONLY
        && !has(&entry.definition, &["RIGHTARG", "="])
}

/// `CREATE TYPE name (…)`, or without anything for a type yet to be defined; all others say AS
/// first.
fn is_base_type(text: &str) -> bool {
    words(text)
        .find(|word| ["(", ";"].contains(word) || word.eq_ignore_ascii_case("AS"))
        .is_none_or(|word| word.len() == 1)
}

/// In C or another untrusted language, leakproof, or with a support function.
fn is_privileged_function(text: &str, power: &Power) -> bool {
    let mut language = false;
    for word in properties_of_function(text) {
        if language {
            let name = word.trim_matches('"').to_ascii_lowercase();
            if !power.trusts(&name) {
                return true;
            }
            language = false;
        } else if ["LEAKPROOF", "SUPPORT"]
            .iter()
            .any(|one| word.eq_ignore_ascii_case(one))
        {
            return true;
        } else {
            language = word.eq_ignore_ascii_case("LANGUAGE");
        }
    }
    false
}

/// The parameters that a function sets while it runs.
fn parameters(text: &str) -> impl Iterator<Item = String> {
    let mut words = properties_of_function(text);
    std::iter::from_fn(move || {
        words.find(|word| word.eq_ignore_ascii_case("SET"))?;
        let name = words.next()?;
        let quoted = name
            .strip_prefix('"')
            .and_then(|name| name.strip_suffix('"'));
        Some(quoted.unwrap_or(name).replace("\"\"", "\""))
    })
}

/// The words of a function's definition that are neither within parentheses nor its body.
fn properties_of_function(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    let is_end = |word: &str| {
        let mut ends = ["AS", "BEGIN", "RETURN"].iter();
        ends.any(|end| word.eq_ignore_ascii_case(end))
    };
    let outside = words(text).filter(move |word| {
        match *word {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    });
    outside.take_while(move |word| !is_end(word))
}
