//! The tables of a catalog, in one piece.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Table, TableId};

/// Tables in the order of their names. There may be a hundred thousand, and all who look for one by
/// its name share this list of them: copies are cheap, and nobody needs a map.
///
/// ```
/// use pghaul_stage::{Table, TableId, Tables};
///
/// let table = |name| Table {
///     id: TableId::new("public", name),
///     ..Table::default()
/// };
/// let tables = Tables::from_iter([table("b"), table("a")]);
/// assert_eq!(tables.place(&TableId::new("public", "b")), Some(1));
/// assert_eq!(tables.named(&TableId::new("public", "c")), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables(Arc<[Table]>);

impl Tables {
    /// The table of this name.
    pub fn named(&self, id: &TableId) -> Option<&Table> {
        self.0.get(self.place(id)?)
    }

    /// Where the table of this name is among all of them.
    pub fn place(&self, id: &TableId) -> Option<usize> {
        self.0.binary_search_by(|table| table.id.cmp(id)).ok()
    }

    /// Changes each table.
    pub fn change(&mut self, change: impl FnMut(&mut Table)) {
        let mut tables = self.0.to_vec();
        tables.iter_mut().for_each(change);
        *self = tables.into();
    }
}

impl Deref for Tables {
    type Target = [Table];

    fn deref(&self) -> &[Table] {
        &self.0
    }
}

impl From<Vec<Table>> for Tables {
    fn from(mut tables: Vec<Table>) -> Self {
        tables.sort_by(|one, other| one.id.cmp(&other.id));
        Self(tables.into())
    }
}

impl FromIterator<Table> for Tables {
    fn from_iter<I: IntoIterator<Item = Table>>(tables: I) -> Self {
        tables.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a Tables {
    type Item = &'a Table;
    type IntoIter = std::slice::Iter<'a, Table>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Serialize for Tables {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}
