//! Which tables of both sides are compared with one another.

use std::cmp::Ordering;

use pghaul_stage::{Result, TableId};

use super::{Relation, Table, Tables};
use crate::verify::report::{Difference, Report};

/// The tables of both sides, put together by name as they are read.
#[derive(Debug)]
pub(in crate::verify) struct Pairs<'a> {
    source: Ahead<'a>,
    target: Ahead<'a>,
    has_schema: bool,
}

/// The tables of one side, and the first of those that have not met their partner.
#[derive(Debug)]
struct Ahead<'a> {
    tables: Tables<'a>,
    first: Option<(TableId, Table)>,
}

impl<'a> Pairs<'a> {
    /// Of these tables; `has_schema` if objects are compared, too.
    pub(in crate::verify) fn new(source: Tables<'a>, target: Tables<'a>, has_schema: bool) -> Self {
        let [source, target] = [source, target].map(|tables| Ahead {
            tables,
            first: None,
        });
        Self {
            source,
            target,
            has_schema,
        }
    }

    /// The next tables that can be compared, at most so many; none only at the end. The others are
    /// reported: as unread, and with the reason unless they are in the report as objects.
    pub(in crate::verify) async fn next(
        &mut self,
        at_most: usize,
        report: &mut Report,
    ) -> Result<Vec<Relation>> {
        let mut relations = Vec::new();
        while relations.len() < at_most {
            tokio::try_join!(self.source.look(), self.target.look())?;
            let order = match (&self.source.first, &self.target.first) {
                (Some((ours, _)), Some((theirs, _))) => ours.cmp(theirs),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let ours = self.source.first.take_if(|_| order.is_le());
            let theirs = self.target.first.take_if(|_| order.is_ge());
            match (ours, theirs) {
                (Some((id, ours)), Some((_, theirs))) => match self.unlike(&ours, &theirs) {
                    None => relations.push(Relation {
                        recorded: ours.recorded.clone(),
                        sizes: [ours.size, theirs.size],
                        ..Relation::alone(&id, &ours)
                    }),
                    Some(reason) => unread(id, Some(reason), report),
                },
                (Some((id, ours)), None) => unread(id, self.absent(&ours), report),
                (None, Some((id, _))) if self.has_schema => unread(id, None, report),
                (None, _) => {}
            }
        }
        Ok(relations)
    }

    /// Why a table that only the source has is not compared, unless that is in the report.
    fn absent(&self, ours: &Table) -> Option<&'static str> {
        if ours.of_extension {
            return Some(
                "no extension of the target has it for users' rows, or the role may not read it",
            );
        }
        (!self.has_schema).then_some("the target does not have it")
    }

    /// Why the rows of a table that both sides have cannot be compared.
    fn unlike(&self, ours: &Table, theirs: &Table) -> Option<&'static str> {
        let names = |table: &Table| {
            let mut names: Vec<_> = table.columns.iter().map(|c| c.name.clone()).collect();
            names.sort();
            names
        };
        let (here, there) = (names(ours), names(theirs));
        // Rows alone were loaded by name, and the target may have more columns.
        let comparable = here == there
            || !self.has_schema && here.iter().all(|name| there.binary_search(name).is_ok());
        if !comparable {
            return Some("its columns differ");
        }
        // What was recorded is no source of SQL, so the target's word must be the same.
        (ours.recorded.is_some() && ours.condition != theirs.condition)
            .then_some("its extension takes other rows for users'")
    }
}

impl Ahead<'_> {
    /// Reads the first, unless it was read before.
    async fn look(&mut self) -> Result<()> {
        if self.first.is_none() {
            self.first = self.tables.next().await?;
        }
        Ok(())
    }
}

fn unread(table: TableId, reason: Option<&str>, report: &mut Report) {
    if let Some(reason) = reason {
        report.differ(Difference::Unchecked {
            of: format!("table {table}"),
            reason: reason.to_owned(),
        });
    }
    report.add_unread(table);
}
