//! Which of the relations of extensions hold what users added, by the extensions' own word
//! (`pg_extension_config_dump`). Everything else in an extension is the extension's.

use pghaul_wire::Chosen;

/// The condition for relations `c` that belong to the user, as a whole or in part; sequences that
/// the columns of such tables own do, too.
///
/// Only a whole database brings what users added along, and nobody can compare what this role may
/// not read.
pub(super) fn holds_users_rows(chosen: &Chosen) -> String {
    let marked = if chosen.is_of_everything() {
        format!(
            "c.oid IN (SELECT unnest(e.extconfig) FROM pg_extension e WHERE {extensions}
                       UNION SELECT d.objid FROM pg_depend d
                         JOIN pg_extension e ON d.refobjid = ANY (e.extconfig) AND {extensions}
                        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = d.classid
                          AND d.deptype IN ('a', 'i'))
             AND has_table_privilege(c.oid, 'SELECT')",
            extensions = chosen.extensions("e")
        )
    } else {
        "false".to_owned()
    };
    format!(
        "(NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                         AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e')
          OR {marked})"
    )
}

/// The clause (`WHERE …`, or nothing) that picks users' rows from relation `c`; NULL where all rows
/// are users'.
pub(super) const CLAUSE: &str = "(SELECT e.extcondition[array_position(e.extconfig, c.oid)]
      FROM pg_extension e WHERE c.oid = ANY (e.extconfig) LIMIT 1)";

/// The condition of such a clause.
pub(super) fn condition(clause: &str) -> Option<String> {
    let clause = clause.trim();
    let (word, condition) = clause.split_at_checked(5)?;
    let condition = condition.trim();
    (word.eq_ignore_ascii_case("where") && !condition.is_empty()).then(|| condition.to_owned())
}

#[cfg(test)]
mod tests {
    use super::condition;

    #[test]
    fn a_clause_has_a_condition_or_nothing() {
        assert_eq!(condition("WHERE NOT a ").as_deref(), Some("NOT a"));
        assert_eq!(condition("where\nb").as_deref(), Some("b"));
        assert_eq!(condition(""), None);
    }
}
