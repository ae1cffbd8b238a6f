//! Names of tables.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A table's qualified name, unquoted, exactly as the catalog stores it. Copies share it, because
/// many lists name each of what may be a hundred thousand tables.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableId(Arc<QualifiedName>);

/// What a [`TableId`] says.
#[derive(Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QualifiedName {
    /// The schema; shared, because many tables are in one.
    pub schema: Arc<str>,
    /// The table in it.
    pub name: Box<str>,
}

impl TableId {
    /// The table `name` in `schema`.
    pub fn new(schema: impl Into<Arc<str>>, name: impl Into<Box<str>>) -> Self {
        Self(Arc::new(QualifiedName {
            schema: schema.into(),
            name: name.into(),
        }))
    }
}

impl Deref for TableId {
    type Target = QualifiedName;

    fn deref(&self) -> &QualifiedName {
        &self.0
    }
}

impl fmt::Debug for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// For people: parts that are not plain lower-case names are quoted, control characters
/// escaped, so that a hostile name cannot imitate other output. Not for SQL.
impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn part(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if !name.is_empty() && name.chars().all(plain) {
                f.write_str(name)
            } else {
                write!(f, "{name:?}")
            }
        }
        part(f, &self.schema)?;
        f.write_str(".")?;
        part(f, &self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::TableId;

    #[test]
    fn hostile_names_are_escaped_for_people() {
        assert_eq!(
            TableId::new("public", "orders").to_string(),
            "public.orders"
        );
        assert_eq!(
            TableId::new("A", "x\ny\u{1b}[2J").to_string(),
            r#""A"."x\ny\u{1b}[2J""#
        );
    }
}
