//! Sequences, and their values outside the snapshot.

use std::collections::HashSet;

use pghaul_stage::{Result, Sequence, SequenceValue, TableId};
use pghaul_wire::quote::ident;
use pghaul_wire::{Chosen, Client};

use super::tables::{FROM, copied};
use crate::session::{field, rows};

/// Sequences asked for in one statement.
const PER_STATEMENT: usize = 500;

/// Every sequence whose value is to be carried over, those of identity columns too.
pub(crate) async fn read(client: &Client, chosen: &Chosen) -> Result<Vec<Sequence>> {
    let sql = format!(
        "SELECT c.oid, n.nspname, c.relname FROM {FROM} WHERE {} AND {} \
          ORDER BY n.nspname, c.relname",
        copied('S', chosen),
        chosen.rows("c")
    );
    rows(client, "the catalog of sequences", &sql)
        .await?
        .iter()
        .map(|row| {
            Ok(Sequence {
                oid: field(row, 0)?,
                id: TableId::new(field::<&str>(row, 1)?, field::<&str>(row, 2)?),
            })
        })
        .collect()
}

/// The present values of those of `known` that still exist.
pub(crate) async fn values(client: &Client, known: &[Sequence]) -> Result<Vec<SequenceValue>> {
    let present: HashSet<u32> = read(client, &Chosen::default())
        .await?
        .into_iter()
        .map(|sequence| sequence.oid)
        .collect();
    let known: Vec<&Sequence> = known.iter().filter(|s| present.contains(&s.oid)).collect();
    let mut values = Vec::with_capacity(known.len());
    for chunk in known.chunks(PER_STATEMENT) {
        let selects: Vec<String> = (0..)
            .zip(chunk)
            .map(|(index, Sequence { id, .. }): (i32, _)| {
                let (schema, name) = (ident(&id.schema), ident(&id.name));
                format!("SELECT {index}::int4, last_value, is_called FROM {schema}.{name}")
            })
            .collect();
        let sql = selects.join(" UNION ALL ");
        for row in &rows(client, "the values of sequences", &sql).await? {
            let index = usize::try_from(field::<i32>(row, 0)?).unwrap_or(usize::MAX);
            if let Some(sequence) = chunk.get(index) {
                values.push(SequenceValue {
                    id: sequence.id.clone(),
                    last_value: field(row, 1)?,
                    is_called: field(row, 2)?,
                });
            }
        }
    }
    Ok(values)
}
