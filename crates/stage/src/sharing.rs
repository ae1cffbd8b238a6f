//! One copy of what many tables have alike: names, and lists of columns.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use crate::{Catalog, Column, Plan, TableId, Work};

/// Gives equal things the same memory.
///
/// A source that reads its catalog shares what it can as it goes. A catalog and a plan that were
/// stored come back with a copy of a name wherever it stands, which for a hundred thousand tables is
/// most of their size; this undoes it.
///
/// ```
/// use std::sync::Arc;
///
/// use pghaul_stage::Sharing;
///
/// let mut sharing = Sharing::default();
/// let (one, other) = (sharing.name("id"), sharing.name("id"));
/// assert!(Arc::ptr_eq(&one, &other));
/// ```
#[derive(Debug, Default)]
pub struct Sharing {
    names: HashSet<Arc<str>>,
    columns: HashSet<Arc<[Column]>>,
    tables: HashSet<TableId>,
}

impl Sharing {
    /// The name.
    pub fn name(&mut self, name: &str) -> Arc<str> {
        one_of(&mut self.names, name)
    }

    /// The columns.
    pub fn columns(&mut self, columns: &[Column]) -> Arc<[Column]> {
        one_of(&mut self.columns, columns)
    }

    fn table(&mut self, table: &TableId) -> TableId {
        if let Some(known) = self.tables.get(table) {
            return known.clone();
        }
        let table = TableId::new(self.name(&table.schema), &*table.name);
        self.tables.insert(table.clone());
        table
    }

    /// Shares what is alike within a catalog and the plan made of it.
    pub fn within(catalog: &mut Catalog, plan: &mut Plan) {
        let mut sharing = Sharing::default();
        sharing.catalog(catalog);
        sharing.plan(plan);
    }

    fn catalog(&mut self, catalog: &mut Catalog) {
        catalog.tables.change(|table| {
            let columns = table.columns.iter().map(|column| Column {
                name: self.name(&column.name),
                type_name: self.name(&column.type_name),
            });
            let columns: Vec<Column> = columns.collect();
            table.columns = self.columns(&columns);
            table.id = self.table(&table.id);
        });
        for index in &mut catalog.indexes {
            let table = self.table(&index.table);
            Arc::make_mut(index).table = table;
        }
        for sequence in &mut catalog.sequences {
            sequence.id = self.table(&sequence.id);
        }
    }

    fn plan(&mut self, plan: &mut Plan) {
        for part in &mut plan.parts {
            if let Work::Rows(slices) = &mut part.work {
                for slice in Arc::make_mut(slices) {
                    slice.table = self.table(&slice.table);
                }
            }
        }
    }
}

/// The one that is equal to this, or a new one.
pub fn one_of<T: ?Sized + Eq + Hash>(known: &mut HashSet<Arc<T>>, value: &T) -> Arc<T>
where
    for<'a> Arc<T>: From<&'a T>,
{
    if let Some(known) = known.get(value) {
        return Arc::clone(known);
    }
    let value = Arc::from(value);
    known.insert(Arc::clone(&value));
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoding, Index, Lsn, Part, PartId, Range, Shape, Slice, Table, Tables};

    fn column(name: &str) -> Column {
        Column {
            name: name.into(),
            type_name: "integer".into(),
        }
    }

    #[test]
    fn what_was_stored_is_the_same_afterwards_and_shares_names_and_columns() {
        let table = |name: &str| Table {
            id: TableId::new("s", name),
            columns: [column("a"), column("b")].into(),
            ..Table::default()
        };
        let index = Index {
            oid: 1,
            name: "i".into(),
            table: TableId::new("s", "t"),
            definition: "".into(),
            constraint: None,
            constraint_type: None,
            separable: false,
            bytes: 0,
        };
        let before = Catalog {
            tables: Tables::from_iter([table("t"), table("u")]),
            indexes: vec![Arc::new(index)],
            ..Catalog::default()
        };
        let slice = Slice {
            table: TableId::new("s", "t"),
            range: Range::All,
            encoding: Encoding::Binary,
            shape: Shape::Whole,
        };
        let planned = Plan {
            start: Lsn(0),
            visible: String::new(),
            parts: vec![Part {
                id: PartId(0),
                work: Work::Rows([slice].into()),
                rows: 0,
                bytes: 0,
            }],
        };
        let (mut catalog, mut plan) = (before.clone(), planned.clone());
        Sharing::within(&mut catalog, &mut plan);
        assert_eq!(catalog.tables, before.tables);
        assert_eq!(catalog.indexes, before.indexes);
        assert_eq!(plan, planned);

        let [one, other] = &*catalog.tables else {
            panic!("two tables");
        };
        assert!(Arc::ptr_eq(&one.columns, &other.columns));
        let names = |table: &TableId| std::ptr::from_ref(&**table);
        assert_eq!(names(&one.id), names(&catalog.indexes[0].table));
        assert_eq!(names(&one.id), names(&plan.parts[0].slices()[0].table));
    }
}
