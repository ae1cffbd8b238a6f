//! Columns whose values ask for a compression that the target was built without.

use pghaul_stage::Omission;

use crate::archive::Entry;
use crate::statement::split;

/// How pg_dump ends the statement that asks for it.
const LZ4: &str = " SET COMPRESSION lz4;";

/// The statements of an entry without those that ask for it: the columns compress as others do.
pub(crate) fn without(sql: &str) -> String {
    if !sql.contains(LZ4) {
        return sql.to_owned();
    }
    let pieces = split(sql).into_iter();
    pieces.filter(|piece| !asks(piece)).collect()
}

/// What the target then lacks of an entry.
pub(crate) fn omission(entry: &Entry) -> Option<Omission> {
    if !entry.definition.contains(LZ4) {
        return None;
    }
    let pieces = split(&entry.definition).into_iter();
    let lost: Vec<&str> = pieces.filter(|piece| asks(piece)).map(str::trim).collect();
    let omission = Omission::new(
        format!("compression of columns of {}", entry.subject()),
        "the target's server was built without lz4; they compress as others do",
    );
    (!lost.is_empty()).then(|| omission.remedy(lost.join("\n")))
}

fn asks(statement: &str) -> bool {
    statement.trim_start().starts_with("ALTER ") && statement.ends_with(LZ4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statements_that_ask_for_it_are_left_out() {
        let entry = Entry {
            desc: "TABLE".into(),
            schema: "s".into(),
            tag: "t".into(),
            definition:
                "CREATE TABLE s.t (\n    a text DEFAULT ' SET COMPRESSION lz4;'::text\n);\n\
                         ALTER TABLE ONLY s.t ALTER COLUMN a SET COMPRESSION lz4;\n\
                         ALTER TABLE ONLY s.t ALTER COLUMN b SET COMPRESSION pglz;\n"
                    .into(),
            ..Entry::default()
        };
        assert_eq!(
            without(&entry.definition),
            "CREATE TABLE s.t (\n    a text DEFAULT ' SET COMPRESSION lz4;'::text\n);\n\
             ALTER TABLE ONLY s.t ALTER COLUMN b SET COMPRESSION pglz;\n"
        );
        let omission = omission(&entry).expect("an omission");
        assert_eq!(omission.object, "compression of columns of table s.t");
        assert_eq!(
            omission.remedy.as_deref(),
            Some("ALTER TABLE ONLY s.t ALTER COLUMN a SET COMPRESSION lz4;")
        );
    }
}
