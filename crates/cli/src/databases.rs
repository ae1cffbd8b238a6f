//! Which databases of a server a command is about.

mod ending;
mod several;

use std::collections::HashSet;

use pghaul_extract::Listed;
use pghaul_stage::{Error, Result, Side};
use pghaul_wire::Conninfo;
use serde_json::json;

use crate::args::{Databases, Form};
use crate::output::{Screen, note, print_json};

pub(crate) use ending::{Row, State};
pub(crate) use several::{One, Several};

/// Databases that managed services keep for themselves.
const RESERVED: [&str; 5] = [
    "azure_maintenance",
    "azure_sys",
    "cloudsqladmin",
    "rdsadmin",
    "alloydbadmin",
];

/// The databases that were chosen, and those that were not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Largest first.
    pub(crate) names: Vec<String>,
    /// With the reason.
    skipped: Vec<(String, &'static str)>,
}

impl Databases {
    /// Whether the connection strings name servers, and these flags the databases.
    pub(crate) fn are_several(&self) -> bool {
        self.all_databases || !self.databases.is_empty()
    }

    /// Asks a server for its databases and chooses among them.
    ///
    /// # Errors
    ///
    /// Kind input for a database that is not there, for a pattern that matches none, and if
    /// nothing is left.
    pub(crate) async fn choose(&self, info: &Conninfo, side: Side) -> Result<Chosen> {
        let listed = pghaul_extract::databases(info, side, &self.exclude_database).await?;
        self.choose_among(listed, side)
    }

    fn choose_among(&self, mut listed: Vec<Listed>, side: Side) -> Result<Chosen> {
        let wanted = self.listed()?;
        let there: HashSet<&str> = listed.iter().map(|one| one.name.as_str()).collect();
        let missing: Vec<String> = wanted
            .iter()
            .filter(|name| !there.contains(name.as_str()))
            .map(|name| format!("{name:?}"))
            .collect();
        if !missing.is_empty() {
            return Err(
                Error::input(format!("the server has no database {}", missing.join(", ")))
                    .at(side)
                    .remedy(
                        "names are taken as they are, capital letters too; those with a comma \
                             in them go in double quotes",
                    ),
            );
        }
        listed.retain(|one| self.all_databases || wanted.contains(&one.name));
        // The large ones first, so that no lane is left alone with one at the end.
        listed.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        let (mut names, mut skipped) = (Vec::new(), Vec::new());
        for one in listed {
            match reason(&one) {
                Some(reason) => skipped.push((one.name, reason)),
                None => names.push(one.name),
            }
        }
        if names.is_empty() {
            return Err(Error::input("no database is left").at(side));
        }
        Ok(Chosen { names, skipped })
    }

    /// The names in the lists, each once.
    fn listed(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for list in &self.databases {
            for name in split(list)? {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }
}

impl Chosen {
    /// Those that were chosen before.
    pub(crate) fn again(names: Vec<String>) -> Self {
        let skipped = Vec::new();
        Self { names, skipped }
    }

    /// Says what is skipped, and why; to programs also what is chosen.
    pub(crate) fn tell(&self, screen: &Screen, form: Form) {
        if form == Form::Json {
            print_json(&json!({ "event": "databases_chosen", "databases": self.names }));
        }
        for (name, reason) in &self.skipped {
            let message = format!("skipped, because {reason}");
            note(&*screen.observer_of(name), &message);
        }
    }
}

fn reason(one: &Listed) -> Option<&'static str> {
    if one.template {
        Some("it is a template")
    } else if !one.connectable {
        Some("it allows no connections")
    } else if RESERVED.contains(&one.name.as_str()) {
        Some("it belongs to the service")
    } else if one.matched {
        Some("--exclude-database matches it")
    } else {
        None
    }
}

/// The names in a list: separated by commas, and in double quotes where one begins with a quote or
/// holds a comma; a quote within quotes is doubled. Otherwise names are taken as they are.
fn split(list: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = list;
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or_else(|| {
                Error::input("a quoted name does not end")
                    .on("--databases")
                    .remedy("a double quote in a name is written twice")
            })?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                (name.to_owned(), after)
            }
        };
        if name.is_empty() {
            return Err(Error::input("a name in the list is empty").on("--databases"));
        }
        names.push(name);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(names),
            None => {
                return Err(Error::input("something follows a quoted name").on("--databases"));
            }
        }
    }
}

/// A name as the list of `--databases`, for a shell.
pub(crate) fn listed(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    quoted(&format!("\"{}\"", name.replace('"', "\"\"")))
}

/// A word in quotes for a shell.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The name up to its closing quote, and what follows.
pub(crate) fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (piece, after) = rest.split_once('"')?;
        name.push_str(piece);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, after)),
        }
    }
}

/// A name for people: as it is, or with escapes where it would not stay on its line.
pub(crate) fn label(name: &str) -> String {
    if name.chars().any(char::is_control) || name.is_empty() {
        format!("{name:?}")
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, bytes: u64) -> Listed {
        Listed {
            name: name.to_owned(),
            template: name.starts_with("template"),
            connectable: name != "closed",
            bytes,
            matched: name == "matched",
        }
    }

    fn server() -> Vec<Listed> {
        [
            "a",
            "B",
            "closed",
            "matched",
            "postgres",
            "rdsadmin",
            "template1",
        ]
        .iter()
        .zip(1..)
        .map(|(name, bytes)| listed(name, bytes))
        .collect()
    }

    fn flags(databases: &[&str]) -> Databases {
        Databases {
            databases: databases.iter().map(|&list| list.to_owned()).collect(),
            all_databases: databases.is_empty(),
            exclude_database: Vec::new(),
        }
    }

    #[test]
    fn lists_are_split_at_commas_outside_quotes() {
        assert_eq!(split("a,B c").unwrap(), ["a", "B c"]);
        assert_eq!(
            split(r#""a,b","say ""hi""",x"y"#).unwrap(),
            ["a,b", r#"say "hi""#, r#"x"y"#]
        );
        assert_eq!(split("a\nb,🐘").unwrap(), ["a\nb", "🐘"]);
        for wrong in ["", "a,", ",a", r#""a"#, r#""a"b"#] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_are_all_but_those_that_cannot_be_or_shall_not_be() {
        let chosen = flags(&[]).choose_among(server(), Side::Source).unwrap();
        assert_eq!(chosen.names, ["postgres", "B", "a"]);
        let skipped: Vec<_> = chosen
            .skipped
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(skipped, ["template1", "rdsadmin", "matched", "closed"]);
    }

    #[test]
    fn a_list_names_what_is_there_each_once() {
        let chosen = |lists: &[&str]| flags(lists).choose_among(server(), Side::Source);
        assert_eq!(chosen(&["a,B", "a"]).unwrap().names, ["B", "a"]);
        let missing = chosen(&["a,b,C"]).unwrap_err();
        assert_eq!(missing.kind(), pghaul_stage::Kind::Input);
        assert!(missing.message().contains(r#""b", "C""#), "{missing}");
        assert!(chosen(&["closed"]).is_err(), "nothing is left");
    }
}
