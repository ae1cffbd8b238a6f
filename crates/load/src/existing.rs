//! Whether rows alone can be loaded into tables that are there: looked at before anything changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pghaul_stage::{Catalog, Error, Plan, Range, Result, Side, Table, TableId};
use pghaul_wire::{Client, Conninfo};

use crate::copy::qualified;
use crate::session::{failed, open};
use crate::truncate;

/// How many problems an error lists.
const LISTED: usize = 20;

/// How many tables one statement looks into; each one takes a lock until it ends.
const TABLES: usize = 500;

/// Makes triggers and foreign keys rest in a session; ends with it, so a crash leaves nothing.
pub(crate) const QUIET: &str = "SET session_replication_role = replica";

/// The tables of a plan, with their object identifiers on the target.
pub(crate) struct Loaded {
    /// All of them.
    pub(crate) all: BTreeMap<TableId, u32>,
    /// Those that are loaded as a whole: not those of extensions, which may hold rows of their own.
    pub(crate) own: BTreeMap<TableId, u32>,
}

impl Loaded {
    /// Looks the tables up; what is not an ordinary table of the target is missing.
    pub(crate) async fn find(client: &Client, plan: &Plan) -> Result<Loaded> {
        let slices = || plan.parts.iter().flat_map(|part| part.slices());
        let names: BTreeSet<&TableId> = slices().map(|slice| &slice.table).collect();
        let own: BTreeSet<&TableId> = slices()
            .filter(|slice| !matches!(slice.range, Range::Condition(_)))
            .map(|slice| &slice.table)
            .collect();
        let all = find(client, names, "r").await?;
        Ok(Loaded {
            own: all
                .iter()
                .filter(|(table, _)| own.contains(table))
                .map(|(table, oid)| (table.clone(), *oid))
                .collect(),
            all,
        })
    }
}

/// Fails unless the target takes the rows of `plan` as it is, saying everything that is in the
/// way; changes nothing. Of large objects it is asked separately; see [`large_objects`].
///
/// # Errors
///
/// Kind input for what the target lacks, holds already, or would do with the rows.
pub async fn check_existing(conninfo: &Conninfo, catalog: &Catalog, plan: &Plan) -> Result<()> {
    let client = open(conninfo, None).await?;
    quiet(&client).await?;
    let loaded = Loaded::find(&client, plan).await?;
    let unfit = unfit(&client, catalog, plan, &loaded).await?;
    refuse(
        "the target does not have what the rows need",
        &unfit,
        "create or alter these on the target, or select without them",
    )?;
    refuse(
        "these would fire in spite of session_replication_role = replica",
        &firing(&client, &loaded).await?,
        "disable them (ALTER TABLE … DISABLE) while rows are loaded, or select without their tables",
    )?;
    if catalog.selection.truncate {
        return refuse(
            "tables that are not selected refer to tables that would be emptied",
            &truncate::references(&client, &loaded).await?,
            "select these tables too, or empty the tables yourself",
        );
    }
    refuse(
        "these tables hold rows already",
        &filled(&client, &loaded).await?,
        "empty them, let --truncate do so, or select without them",
    )
}

/// The object identifiers of the target's large objects.
///
/// # Errors
///
/// Those of connecting and reading the catalog.
pub async fn large_objects(conninfo: &Conninfo) -> Result<Vec<u32>> {
    let client = open(conninfo, None).await?;
    let sql = "SELECT oid FROM pg_catalog.pg_largeobject_metadata";
    let rows = client.query(sql, &[]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Makes the session's triggers rest.
async fn quiet(client: &Client) -> Result<()> {
    let Err(error) = client.batch_execute(QUIET).await.map_err(failed) else {
        return Ok(());
    };
    if error.code() != Some("42501") {
        return Err(error);
    }
    Err(forbidden(error))
}

/// The error of a role that may not make triggers rest.
pub(crate) fn forbidden(error: Error) -> Error {
    Error::input("the role may not set session_replication_role, so triggers would fire")
        .at(Side::Target)
        .remedy(
            "run GRANT SET ON PARAMETER session_replication_role TO the target's role (PostgreSQL \
             15 and newer), or connect as a superuser",
        )
        .because(error)
}

fn refuse(message: &str, problems: &[String], remedy: &'static str) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let listed = problems.get(..LISTED).unwrap_or(problems);
    let more = match problems.len() - listed.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Err(
        Error::input(format!("{message}: {}{more}", listed.join("; ")))
            .at(Side::Target)
            .remedy(remedy),
    )
}

/// The relations of these names and of a kind that are there.
async fn find(
    client: &Client,
    names: impl IntoIterator<Item = &TableId>,
    kind: &str,
) -> Result<BTreeMap<TableId, u32>> {
    let (schemas, relations): (Vec<&str>, Vec<&str>) = names
        .into_iter()
        .map(|table| (&*table.schema, &*table.name))
        .unzip();
    let sql = "SELECT n.nspname::text, c.relname::text, c.oid
         FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))
              AS w (schema, name)
         JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema
         JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name
         WHERE c.relkind::text = $3";
    let rows = client
        .query(sql, &[&schemas, &relations, &kind])
        .await
        .map_err(failed)?;
    let found = rows.iter().map(|row| {
        let id = TableId::new(row.get::<_, &str>(0), row.get::<_, &str>(1));
        (id, row.get(2))
    });
    Ok(found.collect())
}

/// A column of the target.
struct Column {
    type_name: String,
    generated: bool,
    /// Whether a row that says nothing of it is refused.
    required: bool,
}

/// What is missing on the target, or is not as the rows need it.
async fn unfit(
    client: &Client,
    catalog: &Catalog,
    plan: &Plan,
    loaded: &Loaded,
) -> Result<Vec<String>> {
    let columns = columns(client, loaded).await?;
    let slices = plan.parts.iter().flat_map(|part| part.slices());
    let wanted: BTreeSet<&TableId> = slices.map(|slice| &slice.table).collect();
    let mut problems = Vec::new();
    for table in &catalog.tables {
        if !wanted.contains(&table.id) {
            continue;
        }
        match loaded.all.get(&table.id) {
            Some(oid) => {
                let none = BTreeMap::new();
                compare(table, columns.get(oid).unwrap_or(&none), &mut problems);
            }
            None => problems.push(format!("table {} is missing", table.id)),
        }
    }
    let sequences = catalog.sequences.iter().map(|sequence| &sequence.id);
    let found = find(client, sequences.clone(), "S").await?;
    let missing = sequences.filter(|id| !found.contains_key(id));
    problems.extend(missing.map(|id| format!("sequence {id} is missing")));
    let found = find(client, &catalog.populated, "m").await?;
    let missing = catalog
        .populated
        .iter()
        .filter(|id| !found.contains_key(id));
    problems.extend(missing.map(|id| format!("materialized view {id} is missing")));
    Ok(problems)
}

/// Compares the columns that COPY moves with those of the target, by name.
fn compare(table: &Table, columns: &BTreeMap<String, Column>, problems: &mut Vec<String>) {
    let mut problem = |name: &str, what: String| {
        problems.push(format!("column {name:?} of table {} {what}", table.id));
    };
    for column in &*table.columns {
        match columns.get(&*column.name) {
            None => problem(&column.name, "is missing".to_owned()),
            Some(there) if there.generated => problem(
                &column.name,
                "is generated on the target, and not on the source".to_owned(),
            ),
            Some(there) if *there.type_name != *column.type_name => problem(
                &column.name,
                format!("is {} instead of {}", there.type_name, column.type_name),
            ),
            Some(_) => {}
        }
    }
    for name in &table.generated {
        match columns.get(name) {
            None => problem(name, "is missing".to_owned()),
            Some(there) if !there.generated => problem(
                name,
                "is generated on the source, and not on the target".to_owned(),
            ),
            Some(_) => {}
        }
    }
    for (name, column) in columns {
        let known =
            table.generated.contains(name) || table.columns.iter().any(|one| *one.name == **name);
        if !known && column.required {
            problem(
                name,
                "is NOT NULL without a default, and the source does not have it".to_owned(),
            );
        }
    }
}

/// The columns of the target's tables, by table.
async fn columns(
    client: &Client,
    loaded: &Loaded,
) -> Result<HashMap<u32, BTreeMap<String, Column>>> {
    let version = "SELECT pg_catalog.current_setting('server_version_num')::int";
    let row = client.query_one(version, &[]).await.map_err(failed)?;
    let generated = if row.get::<_, i32>(0) >= 120_000 {
        "a.attgenerated <> ''"
    } else {
        "false"
    };
    let sql = format!(
        "SELECT a.attrelid, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
                {generated}, a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
         FROM pg_catalog.pg_attribute AS a
         WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped"
    );
    let tables: Vec<u32> = loaded.all.values().copied().collect();
    let mut columns: HashMap<u32, BTreeMap<String, Column>> = HashMap::new();
    for row in client.query(&sql, &[&tables]).await.map_err(failed)? {
        let column = Column {
            type_name: row.get(2),
            generated: row.get(3),
            required: row.get(4),
        };
        columns
            .entry(row.get(0))
            .or_default()
            .insert(row.get(1), column);
    }
    Ok(columns)
}

/// Triggers and rules that fire in every session, or in those of replicas.
async fn firing(client: &Client, loaded: &Loaded) -> Result<Vec<String>> {
    let sql = "SELECT 'trigger', t.tgname::text, n.nspname::text, c.relname::text
         FROM pg_catalog.pg_trigger AS t
         JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE t.tgrelid = ANY ($1::oid[]) AND NOT t.tgisinternal AND t.tgenabled IN ('A', 'R')
         UNION ALL
         SELECT 'rule', w.rulename::text, n.nspname::text, c.relname::text
         FROM pg_catalog.pg_rewrite AS w
         JOIN pg_catalog.pg_class AS c ON c.oid = w.ev_class
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE w.ev_class = ANY ($1::oid[]) AND w.ev_enabled IN ('A', 'R')
         ORDER BY 3, 4, 1, 2";
    let tables: Vec<u32> = loaded.all.values().copied().collect();
    let rows = client.query(sql, &[&tables]).await.map_err(failed)?;
    let named = rows.iter().map(|row| {
        let (kind, name): (&str, &str) = (row.get(0), row.get(1));
        let table = TableId::new(row.get::<_, &str>(2), row.get::<_, &str>(3));
        format!("{kind} {name:?} of table {table}")
    });
    Ok(named.collect())
}

/// The tables that hold a row.
async fn filled(client: &Client, loaded: &Loaded) -> Result<Vec<String>> {
    let tables: Vec<&TableId> = loaded.own.keys().collect();
    let mut filled = Vec::new();
    for chunk in tables.chunks(TABLES) {
        let parts: Vec<String> = (0_i32..)
            .zip(chunk)
            .map(|(at, table)| {
                let table = qualified(table);
                format!("SELECT {at} WHERE EXISTS (SELECT FROM ONLY {table})")
            })
            .collect();
        let rows = client
            .query(&parts.join(" UNION ALL "), &[])
            .await
            .map_err(failed)?;
        let found = rows
            .iter()
            .filter_map(|row| chunk.get(usize::try_from(row.get::<_, i32>(0)).ok()?));
        filled.extend(found.map(ToString::to_string));
    }
    Ok(filled)
}
