//! Privileges as the catalog stores them, turned into GRANT and REVOKE.

use std::collections::{BTreeMap, BTreeSet};

use pghaul_stage::{Error, Kind, Result, Selection, Side};
use pghaul_wire::quote;

/// One item of an access control list: what one role was granted by another.
///
/// Source: PostgreSQL's manual, section 5.8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Who holds the privileges; `None` is PUBLIC.
    grantee: Option<String>,
    /// The privileges, by letter, with whether they may be granted on.
    privileges: Vec<(char, bool)>,
    /// Who granted them.
    grantor: String,
}

/// Statements that bring an object's privileges to a given state, and roles they would need.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    /// To be run in order, in one transaction.
    pub(crate) statements: Vec<String>,
    /// What is left out because those who would get it do not exist.
    pub(crate) lost: BTreeMap<String, Vec<String>>,
    /// Grantors that do not exist; the owner grants in their place.
    pub(crate) absent: BTreeSet<String>,
    /// What grantors would grant for whom nobody may act; the owner does it in their place.
    pub(crate) closed: BTreeMap<String, Vec<String>>,
}

/// What can be done with a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nothing: there is no such role.
    Absent,
    /// It can be granted something.
    Closed,
    /// It can grant, because the session may act for it.
    Open,
}

impl Item {
    /// The same item under the names that roles have on the target.
    #[must_use]
    pub(crate) fn renamed(mut self, selection: &Selection) -> Item {
        self.grantee = self.grantee.map(|name| selection.role(&name).to_owned());
        self.grantor = selection.role(&self.grantor).to_owned();
        self
    }

    /// Reads one item as `aclitem` prints it, for example `"My role"=r*w/owner`.
    ///
    /// # Errors
    ///
    /// Kind protocol if the text is no such item.
    pub(crate) fn parse(text: &str) -> Result<Item> {
        let broken = || {
            Error::new(Kind::Protocol, format!("{text:?} is no access privilege")).at(Side::Source)
        };
        let (grantee, rest) = name(text).ok_or_else(broken)?;
        let rest = rest.strip_prefix('=').ok_or_else(broken)?;
        let (letters, grantor) = rest.split_once('/').ok_or_else(broken)?;
        let (grantor, "") = name(grantor).ok_or_else(broken)? else {
            return Err(broken());
        };
        let mut privileges: Vec<(char, bool)> = Vec::new();
        for letter in letters.chars() {
            if letter != '*' {
                privileges.push((letter, false));
            } else if let Some(last) = privileges.last_mut() {
                last.1 = true;
            } else {
                return Err(broken());
            }
        }
        Ok(Item {
            grantee: (!grantee.is_empty()).then_some(grantee),
            privileges,
            grantor,
        })
    }
}

/// A role name at the start of `text`, unquoted, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['=', '/']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        return Some((name.to_owned(), rest));
    };
    let mut name = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => match characters.as_str().strip_prefix('"') {
                Some(rest) => {
                    name.push('"');
                    characters = rest.chars();
                }
                None => return Some((name, characters.as_str())),
            },
            character => name.push(character),
        }
    }
}

/// The privilege's name in GRANT, for the kinds of objects handled here: databases and large
/// objects.
fn privilege(letter: char) -> Option<&'static str> {
    Some(match letter {
        'r' => "SELECT",
        'w' => "UPDATE",
        'C' => "CREATE",
        'c' => "CONNECT",
        'T' => "TEMPORARY",
        _ => return None,
    })
}

/// What brings `object` (as GRANT names it) to exactly `items`, in their order.
///
/// `owner` is the owner on the source and `standing` the one on the target; they differ where
/// the source's owner does not exist here. `reach` tells of all roles. `assume` is for a session
/// that acts for the owner without being it or a superuser's: it would grant in the name of any
/// role that it acts for and that may.
///
/// # Errors
///
/// Kind permanent for a privilege that such objects do not have.
pub(crate) fn grants(
    object: &str,
    owner: &str,
    standing: &str,
    items: &[Item],
    assume: bool,
    reach: impl Fn(&str) -> Reach,
) -> Result<Grants> {
    let mut grants = Grants::default();
    let here = |role: &str| {
        if role == owner {
            standing.to_owned()
        } else {
            role.to_owned()
        }
    };
    let back = match assume {
        true => format!("SET ROLE {}", quote::ident(standing)),
        false => "RESET ROLE".to_owned(),
    };
    if assume {
        grants.statements.push(back.clone());
    }
    for role in ["PUBLIC".to_owned(), quote::ident(standing)] {
        grants
            .statements
            .push(format!("REVOKE ALL ON {object} FROM {role}"));
    }
    for item in items {
        let grantee = item.grantee.as_deref().map(here);
        let grantor = here(&item.grantor);
        let to = grantee
            .as_deref()
            .map_or_else(|| "PUBLIC".to_owned(), quote::ident);
        let mut own = Vec::new();
        for (grantable, suffix) in [(false, ""), (true, " WITH GRANT OPTION")] {
            let mut names = Vec::new();
            for (letter, _) in item
                .privileges
                .iter()
                .filter(|(_, option)| *option == grantable)
            {
                names.push(privilege(*letter).ok_or_else(|| {
                    Error::new(Kind::Permanent, format!("unknown privilege {letter:?}"))
                        .at(Side::Source)
                        .on(object.to_owned())
                })?);
            }
            if !names.is_empty() {
                let names = names.join(", ");
                own.push(format!("GRANT {names} ON {object} TO {to}{suffix}"));
            }
        }
        if let Some(role) = grantee.filter(|role| reach(role) == Reach::Absent) {
            grants.lost.entry(role).or_default().append(&mut own);
            continue;
        }
        // The owner grants by default; anyone else has to do it in person.
        if grantor == standing {
            grants.statements.append(&mut own);
            continue;
        }
        let role = quote::ident(&grantor);
        match reach(&grantor) {
            Reach::Absent => drop(grants.absent.insert(grantor)),
            Reach::Closed => {
                let theirs = grants.closed.entry(grantor).or_default();
                theirs.push(format!("SET SESSION AUTHORIZATION {role}"));
                theirs.extend(own.iter().cloned());
                theirs.push("RESET SESSION AUTHORIZATION".to_owned());
            }
            Reach::Open => {
                own.insert(0, format!("SET ROLE {role}"));
                own.push(back.clone());
            }
        }
        grants.statements.append(&mut own);
    }
    if assume {
        grants.statements.push("RESET ROLE".to_owned());
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(texts: &[&str]) -> Vec<Item> {
        texts
            .iter()
            .map(|text| Item::parse(text).unwrap())
            .collect()
    }

    #[test]
    fn items_are_read_as_the_server_prints_them() {
        let item = Item::parse(r#""a ""b"" = /c"=r*w/o"#).unwrap();
        assert_eq!(item.grantee.as_deref(), Some(r#"a "b" = /c"#));
        assert_eq!(item.privileges, [('r', true), ('w', false)]);
        assert_eq!(item.grantor, "o");
        let public = Item::parse("=Tc/postgres").unwrap();
        assert_eq!(public.grantee, None);
        assert_eq!(Item::parse("a=/b").unwrap().privileges, []);
        for broken in ["", "a", "a=r", "\"a=r/b", "a=*r/b", "a=r/\"b\"x"] {
            assert!(Item::parse(broken).is_err(), "{broken}");
        }
    }

    fn reach(role: &str) -> Reach {
        match role {
            "gone" => Reach::Absent,
            "closed" => Reach::Closed,
            _ => Reach::Open,
        }
    }

    #[test]
    fn the_owner_grants_in_the_place_of_whom_nobody_may_act_for() {
        let items = items(&["a=r/gone", "b=r*/closed"]);
        let grants = grants("LARGE OBJECT 5", "o", "o", &items, false, reach).unwrap();
        assert_eq!(
            grants.statements[2..],
            [
                r#"GRANT SELECT ON LARGE OBJECT 5 TO "a""#,
                r#"GRANT SELECT ON LARGE OBJECT 5 TO "b" WITH GRANT OPTION"#,
            ]
        );
        assert_eq!(grants.absent, BTreeSet::from(["gone".to_owned()]));
        assert_eq!(
            grants.closed["closed"],
            [
                r#"SET SESSION AUTHORIZATION "closed""#,
                r#"GRANT SELECT ON LARGE OBJECT 5 TO "b" WITH GRANT OPTION"#,
                "RESET SESSION AUTHORIZATION",
            ]
        );
    }

    #[test]
    fn grants_follow_the_items() {
        let items = items(&["=c/o", "o=CTc/o", "a=c*T/o", "b=c/a", "gone=c/o"]);
        let grants = grants("DATABASE \"d\"", "o", "o", &items, false, reach).unwrap();
        assert_eq!(
            grants.statements,
            [
                r#"REVOKE ALL ON DATABASE "d" FROM PUBLIC"#,
                r#"REVOKE ALL ON DATABASE "d" FROM "o""#,
                r#"GRANT CONNECT ON DATABASE "d" TO PUBLIC"#,
                r#"GRANT CREATE, TEMPORARY, CONNECT ON DATABASE "d" TO "o""#,
                r#"GRANT TEMPORARY ON DATABASE "d" TO "a""#,
                r#"GRANT CONNECT ON DATABASE "d" TO "a" WITH GRANT OPTION"#,
                r#"SET ROLE "a""#,
                r#"GRANT CONNECT ON DATABASE "d" TO "b""#,
                "RESET ROLE",
            ]
        );
        let lost = vec!["GRANT CONNECT ON DATABASE \"d\" TO \"gone\"".to_owned()];
        assert_eq!(grants.lost, BTreeMap::from([("gone".to_owned(), lost)]));
    }

    #[test]
    fn a_session_that_is_not_the_owner_assumes_its_role() {
        let items = items(&["a=c*/o", "b=c/a"]);
        let grants = grants("DATABASE d", "o", "o", &items, true, reach).unwrap();
        assert_eq!(
            grants.statements,
            [
                r#"SET ROLE "o""#,
                "REVOKE ALL ON DATABASE d FROM PUBLIC",
                r#"REVOKE ALL ON DATABASE d FROM "o""#,
                r#"GRANT CONNECT ON DATABASE d TO "a" WITH GRANT OPTION"#,
                r#"SET ROLE "a""#,
                r#"GRANT CONNECT ON DATABASE d TO "b""#,
                r#"SET ROLE "o""#,
                "RESET ROLE",
            ]
        );
    }

    #[test]
    fn a_missing_owner_is_replaced_by_the_standing_one() {
        let items = items(&["o=rw/o", "a=r/o"]);
        let grants = grants("LARGE OBJECT 5", "o", "me", &items, false, reach).unwrap();
        assert_eq!(
            grants.statements[2..],
            [
                r#"GRANT SELECT, UPDATE ON LARGE OBJECT 5 TO "me""#,
                r#"GRANT SELECT ON LARGE OBJECT 5 TO "a""#,
            ]
        );
    }
}
