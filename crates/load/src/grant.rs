//! Privileges of the archive whose grantor or grantee the target does not have.

use std::collections::BTreeSet;

use crate::archive::Entry;
use crate::present::Present;
use crate::{role_map, statement};

/// How the statement begins after which somebody else grants, and the one that ends that.
const BY: [&str; 2] = ["SET SESSION AUTHORIZATION ", "RESET SESSION AUTHORIZATION"];

/// The statements of an entry of privileges.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grants {
    /// Those that can be.
    pub(crate) possible: String,
    /// Those that cannot, because a role they are for is not there.
    pub(crate) lost: String,
    /// These roles.
    pub(crate) grantees: BTreeSet<String>,
    /// Roles that are not there in whose place the owner grants.
    pub(crate) absent: BTreeSet<String>,
    /// Roles in whose place the owner grants because nobody may act for them.
    pub(crate) closed: BTreeSet<String>,
    /// What these would grant.
    pub(crate) theirs: String,
}

impl Grants {
    /// Sorts the statements of an entry; `acts` tells for which of the roles that are there whoever
    /// runs them may act.
    pub(crate) fn of(entry: &Entry, present: &Present, acts: impl Fn(&str) -> bool) -> Grants {
        let mut grants = Grants::default();
        // Whether the owner grants in the place of somebody, who may be there.
        let (mut replaced, mut closed) = (false, false);
        for piece in statement::split(&entry.definition) {
            let text = piece.trim_start();
            let by = text.starts_with(BY[0]);
            let mut absent = role_map::roles(&entry.desc, piece);
            if by {
                let grantors: Vec<String> = absent.iter().cloned().collect();
                closed = grantors
                    .iter()
                    .all(|role| present.has_role(role) && !acts(role));
                replaced = closed || grantors.iter().any(|role| !present.has_role(role));
                let named = match closed {
                    true => &mut grants.closed,
                    false => &mut grants.absent,
                };
                named.extend(grantors.into_iter().filter(|_| replaced));
            }
            absent.retain(|role| !present.has_role(role));
            let ends = text.starts_with(BY[1]);
            if closed && (by || ends || absent.is_empty()) {
                grants.theirs += piece;
            }
            if by || ends {
                if !replaced {
                    grants.possible += piece;
                }
            } else if absent.is_empty() {
                grants.possible += piece;
            } else {
                grants.lost += piece;
                grants.grantees.append(&mut absent);
            }
            if ends {
                (replaced, closed) = (false, false);
            }
        }
        grants
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn who_is_absent_gets_nothing_and_gives_nothing() {
        let entry = Entry {
            desc: "ACL".into(),
            definition: "GRANT SELECT ON TABLE s.t TO here;\n\
                         GRANT SELECT ON TABLE s.t TO gone;\n\
                         SET SESSION AUTHORIZATION \"Gone too\";\n\
                         GRANT UPDATE ON TABLE s.t TO here;\n\
                         RESET SESSION AUTHORIZATION;\n\
                         GRANT ALL ON TABLE s.t TO PUBLIC;\n"
                .into(),
            ..Entry::default()
        };
        let present = Present {
            coming: HashSet::from(["here".to_owned()]),
            ..Present::default()
        };
        let grants = Grants::of(&entry, &present, |_| true);
        let lines = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.is_empty());
            lines.map(str::to_owned).collect()
        };
        assert_eq!(
            lines(&grants.possible),
            [
                "GRANT SELECT ON TABLE s.t TO here;",
                "GRANT UPDATE ON TABLE s.t TO here;",
                "GRANT ALL ON TABLE s.t TO PUBLIC;",
            ]
        );
        assert_eq!(lines(&grants.lost), ["GRANT SELECT ON TABLE s.t TO gone;"]);
        assert_eq!(grants.grantees, BTreeSet::from(["gone".to_owned()]));
        assert_eq!(grants.absent, BTreeSet::from(["Gone too".to_owned()]));
    }
}
