//! Whether rows that were copied under an earlier snapshot are still the same.

use std::collections::{HashMap, HashSet};

use futures_util::future::try_join_all;
use pghaul_stage::{
    Catalog, Error, Kind, Part, PartId, Plan, Range, Result, Side, Slice, Table, TableId, Tables,
    Work,
};
use pghaul_wire::Client;

use crate::PgSource;
use crate::catalog::Inventory;
use crate::session::{rows, size};
use crate::statement::{condition, name, objects};

/// Transaction identifiers in rows wrap around after this many.
const XID_CYCLE: u64 = 1 << 32;

/// Something that is no longer what an earlier run copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The table; `None` for large objects.
    pub table: Option<TableId>,
    /// The part whose rows differ; `None` if the table itself does.
    pub part: Option<PartId>,
    /// How that is known, as a clause about the table.
    pub why: String,
}

impl PgSource {
    /// Which of the durable parts of an earlier plan hold other rows under this source's
    /// snapshot than they did under the plan's, and which tables differ in themselves (see
    /// [`PgSource::schema_changes`]). Nothing means that the durable parts together with the
    /// unfinished ones, read now, are one consistent state.
    ///
    /// `durable` lists the parts with the rows recorded for them. They are counted again, and
    /// searched for rows that were written by a transaction the earlier snapshot did not see.
    /// The answer is exact except that, while the earlier snapshot was taken, other transactions
    /// were writing: rows which had been written between the beginning of the oldest of those
    /// and the snapshot then count as changed, since a subtransaction's number does not tell
    /// whose it was.
    ///
    /// # Errors
    ///
    /// [`Kind::Identity`] if this is not the server or database of the earlier run, or one that
    /// has been set back in time.
    pub async fn changed_since(
        &self,
        plan: &Plan,
        catalog: &Catalog,
        durable: &[(PartId, u64)],
    ) -> Result<Vec<Changed>> {
        self.same_database(catalog)?;
        let snapshot = self.snapshot()?;
        let since = Since::between(&plan.visible, snapshot.visible())?;
        let mut changed = self.schema_changes(catalog).await?;
        let different: HashSet<TableId> = changed
            .iter()
            .filter_map(|changed| changed.table.clone())
            .collect();

        let recorded: HashMap<PartId, u64> = durable.iter().copied().collect();
        let parts: Vec<(&Part, u64)> = plan
            .parts
            .iter()
            .filter_map(|part| Some((part, *recorded.get(&part.id)?)))
            .collect();
        if parts.is_empty() {
            return Ok(changed);
        }
        let inventory = self.inventory().await?;
        let lanes = usize::try_from(self.config.jobs)
            .unwrap_or(1)
            .clamp(1, parts.len());
        let work = (0..lanes).map(|lane| {
            let (parts, before, different) = (&parts, &catalog.tables, &different);
            let snapshot = &snapshot;
            async move {
                let client = snapshot.session(&self.info).await?;
                let mut changed = Vec::new();
                for (part, recorded) in parts.iter().skip(lane).step_by(lanes) {
                    let check = Check {
                        client: &client,
                        inventory,
                        since,
                        before,
                        different,
                    };
                    changed.append(&mut check.part(part, *recorded).await?);
                }
                Ok::<_, Error>(changed)
            }
        });
        changed.extend(try_join_all(work).await?.into_iter().flatten());
        Ok(changed)
    }

    /// How the tables differ from those of an earlier catalog: tables that came, went or were
    /// created anew, and columns whose names, types or order differ.
    pub async fn schema_changes(&self, earlier: &Catalog) -> Result<Vec<Changed>> {
        let inventory = self.inventory().await?;
        Ok(compare(&earlier.tables, &inventory.catalog.tables))
    }

    fn same_database(&self, earlier: &Catalog) -> Result<()> {
        let differs = |what: &str, before: u64, now: u64| {
            Err(Error::new(
                Kind::Identity,
                format!("the earlier run read {what} {before}, but this is {what} {now}"),
            )
            .at(Side::Source)
            .remedy("connect to the source of the earlier run, or start a new migration"))
        };
        let (before, now) = (earlier.server.system, self.system());
        if before != 0 && now != 0 && before != now {
            return differs("the server with system identifier", before, now);
        }
        let (before, now) = (earlier.database.oid, self.database_oid());
        if before != now {
            return differs("the database with oid", before.into(), now.into());
        }
        Ok(())
    }
}

/// The transactions that one snapshot may see and an earlier one did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since {
    /// The first of them.
    from: u64,
    /// How many there are.
    count: u64,
}

impl Since {
    fn between(earlier: &str, later: &str) -> Result<Since> {
        let (Some((from, end)), Some((_, now))) = (bounds(earlier), bounds(later)) else {
            return Err(Error::new(
                Kind::Identity,
                format!("{earlier:?} is not a snapshot that this source could have taken"),
            )
            .at(Side::Source));
        };
        if now < end {
            return Err(Error::new(
                Kind::Identity,
                format!(
                    "the source has seen {now} transactions, fewer than the {end} of the earlier \
                     run: it was set back in time"
                ),
            )
            .at(Side::Source)
            .remedy("start a new migration"));
        }
        Ok(Since {
            from,
            count: now - from,
        })
    }

    /// Whether transaction identifiers of rows, which are cut off at 32 bits, tell them apart.
    fn countable(self) -> bool {
        self.count < XID_CYCLE / 2
    }

    /// An SQL condition for rows that one of them wrote. Identifiers below 3 are not of
    /// ordinary transactions.
    fn wrote(self, column: &str) -> String {
        let from = self.from % XID_CYCLE;
        let xid = format!("{column}::text::pg_catalog.int8");
        format!(
            "{xid} >= 3 AND ({xid} - {from} + {XID_CYCLE}) % {XID_CYCLE} < {}",
            self.count
        )
    }
}

/// The oldest running transaction and the first unassigned one of `xmin:xmax:xip,…`.
fn bounds(visible: &str) -> Option<(u64, u64)> {
    let mut fields = visible.split(':');
    let (xmin, xmax) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (fields.next().is_some() && xmin <= xmax).then_some((xmin, xmax))
}

fn compare(before: &Tables, now: &Tables) -> Vec<Changed> {
    let change = |table: &Table, why: String| Changed {
        table: Some(table.id.clone()),
        part: None,
        why,
    };
    let mut changed: Vec<Changed> = before
        .iter()
        .filter_map(|table| match now.named(&table.id) {
            None => Some(change(table, "no longer exists".into())),
            Some(found) if found.oid != table.oid => {
                Some(change(table, "was dropped and created again".into()))
            }
            Some(found) if found.columns != table.columns => {
                Some(change(table, "has other columns now".into()))
            }
            Some(_) => None,
        })
        .collect();
    let came = now.iter().filter(|table| before.named(&table.id).is_none());
    changed.extend(came.map(|table| change(table, "did not exist then".into())));
    changed
}

/// What is needed to check a part.
struct Check<'a> {
    client: &'a Client,
    inventory: &'a Inventory,
    since: Since,
    before: &'a Tables,
    /// Tables of which it is known already that they differ.
    different: &'a HashSet<TableId>,
}

/// Rows to be counted: whose they are, and the FROM clause that selects them.
type Count<'a> = (Option<&'a TableId>, String);

impl Check<'_> {
    async fn part(&self, part: &Part, recorded: u64) -> Result<Vec<Changed>> {
        match &part.work {
            Work::Rows(slices) => self.tables(part.id, slices, recorded).await,
            Work::LargeObjects { from, to } => self.objects(part.id, *from, *to, recorded).await,
            _ => Ok(Vec::new()),
        }
    }

    async fn tables(&self, part: PartId, slices: &[Slice], recorded: u64) -> Result<Vec<Changed>> {
        let mut changed = Vec::new();
        let mut counts = Vec::new();
        for Slice {
            table: id, range, ..
        } in slices
        {
            let Some((table, _)) = self.inventory.table(id) else {
                continue;
            };
            let before = self.before.named(id);
            let rewritten = before.is_some_and(|before| before.filenode != table.filenode);
            if self.different.contains(id) {
                continue;
            } else if !self.since.countable() {
                changed.push(change(part, Some(id), TOO_LONG_AGO));
            } else if rewritten && matches!(range, Range::Blocks { .. }) {
                changed.push(change(
                    part,
                    Some(id),
                    "was rewritten, so its rows lie elsewhere",
                ));
            } else {
                let condition = condition(range).map(|condition| format!(" WHERE {condition}"));
                let from = format!("ONLY {}{}", name(table), condition.unwrap_or_default());
                counts.push((Some(id), from));
            }
        }
        // The record is of all slices together, so it says something only of all of them.
        let recorded = (counts.len() == slices.len()).then_some(recorded);
        changed.append(&mut self.count(part, &counts, recorded).await?);
        Ok(changed)
    }

    async fn objects(
        &self,
        part: PartId,
        from: Option<u32>,
        to: Option<u32>,
        recorded: u64,
    ) -> Result<Vec<Changed>> {
        if !self.since.countable() {
            return Ok(vec![change(part, None, TOO_LONG_AGO)]);
        }
        if !self.inventory.large_objects.readable {
            let why = "cannot be checked: this role cannot read pg_largeobject";
            return Ok(vec![change(part, None, why)]);
        }
        let of = |table: &str, column: &str| {
            (
                None,
                format!("pg_catalog.{table}{}", objects(column, from, to)),
            )
        };
        let counts = [
            of("pg_largeobject_metadata", "oid"),
            of("pg_largeobject", "loid"),
        ];
        self.count(part, &counts, Some(recorded)).await
    }

    /// Counts all rows and those written since, in one query; `recorded` is how many there were.
    async fn count(
        &self,
        part: PartId,
        counts: &[Count<'_>],
        recorded: Option<u64>,
    ) -> Result<Vec<Changed>> {
        if counts.is_empty() {
            return Ok(Vec::new());
        }
        let written = self.since.wrote("xmin");
        let selects: Vec<String> = (0..)
            .zip(counts)
            .map(|(index, (_, from)): (i32, _)| {
                format!("SELECT {index}, count(*), count(*) FILTER (WHERE {written}) FROM {from}")
            })
            .collect();
        let sql = format!("{} ORDER BY 1", selects.join(" UNION ALL "));
        let mut changed = Vec::new();
        let mut found = 0;
        let answer = rows(self.client, "the check for changed rows", &sql).await?;
        for (row, (table, _)) in answer.iter().zip(counts) {
            found += size(row, 1)?;
            let new = size(row, 2)?;
            if new > 0 {
                let why =
                    format!("{new} rows were written since, or while, the snapshot was taken");
                changed.push(change(part, *table, why));
            }
        }
        if let Some(recorded) = recorded.filter(|recorded| changed.is_empty() && *recorded != found)
        {
            let why = format!("held {recorded} rows when it was copied, and holds {found} now");
            match counts {
                [(table, _)] | [(table @ None, _), ..] => changed.push(change(part, *table, why)),
                several => changed.extend(several.iter().map(|(table, _)| {
                    change(part, *table, format!("or a table read with it {why}"))
                })),
            }
        }
        Ok(changed)
    }
}

const TOO_LONG_AGO: &str = "cannot be checked: too many transactions have passed since";

fn change(part: PartId, table: Option<&TableId>, why: impl Into<String>) -> Changed {
    Changed {
        table: table.cloned(),
        part: Some(part),
        why: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use pghaul_stage::Column;

    use super::*;

    #[test]
    fn snapshots_are_read() {
        assert_eq!(bounds("10:20:10,14,15"), Some((10, 20)));
        assert_eq!(bounds("10:10:"), Some((10, 10)));
        for wrong in ["", "10", "10:20", "20:10:", "a:b:", "-1:5:"] {
            assert_eq!(bounds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_ran_during_the_earlier_snapshot_counts() {
        let since = Since::between("10:20:10,14", "25:30:25").unwrap();
        assert_eq!(
            since,
            Since {
                from: 10,
                count: 20
            }
        );
        let none = Since::between("20:20:", "20:20:").unwrap();
        assert_eq!(none.count, 0);
    }

    #[test]
    fn a_source_that_went_back_in_time_is_refused() {
        let error = Since::between("10:20:", "15:15:").unwrap_err();
        assert_eq!(error.kind(), Kind::Identity);
        assert!(error.message().contains("back in time"), "{error}");
        assert_eq!(
            Since::between("", "15:15:").unwrap_err().kind(),
            Kind::Identity
        );
    }

    #[test]
    fn half_a_cycle_of_transactions_is_too_many() {
        assert!(
            Since {
                from: 3,
                count: XID_CYCLE / 2 - 1
            }
            .countable()
        );
        assert!(
            !Since {
                from: 3,
                count: XID_CYCLE / 2
            }
            .countable()
        );
    }

    fn table(name: &str, oid: u32, columns: &[&str]) -> Table {
        Table {
            id: TableId::new("public", name),
            oid,
            filenode: oid,
            columns: columns
                .iter()
                .map(|name| Column {
                    name: (*name).into(),
                    type_name: "text".into(),
                })
                .collect(),
            ..Table::default()
        }
    }

    #[test]
    fn tables_are_compared_by_name_identity_and_columns() {
        let before = Tables::from_iter([
            table("same", 1, &["a"]),
            table("gone", 2, &["a"]),
            table("anew", 3, &["a"]),
            table("altered", 4, &["a"]),
        ]);
        let now = Tables::from_iter([
            table("same", 1, &["a"]),
            table("anew", 30, &["a"]),
            table("altered", 4, &["a", "b"]),
            table("came", 5, &["a"]),
        ]);
        let changed: Vec<String> = compare(&before, &now)
            .into_iter()
            .map(|changed| format!("{} {}", changed.table.unwrap(), changed.why))
            .collect();
        assert_eq!(
            changed,
            [
                "public.altered has other columns now",
                "public.anew was dropped and created again",
                "public.gone no longer exists",
                "public.came did not exist then",
            ]
        );
    }
}
