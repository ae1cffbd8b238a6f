//! A selection as one server understands it: patterns become conditions in SQL on exact objects.
//!
//! Patterns match what they match in pg_dump: a table pattern without a schema means the tables
//! that can be seen without one under the search path of the role and the database.

use pghaul_stage::{Error, Kind, Result, Selection, Side};

use crate::{Client, pattern, server_error};

/// Kinds of relations that a table pattern can match.
const RELATIONS: &str = "c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p')";

/// Schemas in which nothing can be selected.
const FOREIGN: &str = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pghaul')";

/// What an invalid regular expression is answered with.
const BAD_EXPRESSION: &str = "2201B";

/// A selection resolved on one server, under one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    tables: Option<Vec<u32>>,
    exclude_tables: Vec<u32>,
    schemas: Option<Vec<u32>>,
    exclude_schemas: Vec<u32>,
    exclude_rows: Vec<u32>,
    exclude_extensions: Vec<u32>,
    /// Whether relations are left out, be it on the other side only, where there are such.
    partial: bool,
    schema_only: bool,
}

/// The search path that sessions of this role begin with, under which patterns are resolved.
///
/// # Errors
///
/// What the server said.
pub async fn search_path(client: &Client) -> Result<String> {
    let sql = "SELECT s.reset_val FROM pg_catalog.pg_settings s WHERE s.name = 'search_path'";
    let row = client.query_one(sql, &[]).await;
    let row = row.map_err(|error| server_error(client.side(), error))?;
    Ok(row.get::<_, Option<String>>(0).unwrap_or_default())
}

impl Chosen {
    /// Resolves a selection in a session that is inside a transaction, under a search path.
    ///
    /// # Errors
    ///
    /// Kind input for a pattern that cannot be one or that matches nothing, naming it; in a
    /// `lenient` resolution a pattern may match nothing.
    pub async fn resolve(
        client: &Client,
        selection: &Selection,
        search_path: &str,
        lenient: bool,
    ) -> Result<Chosen> {
        let failed = |error| server_error(client.side(), error).on("the selection");
        let sql = "SELECT pg_catalog.current_setting('search_path'), pg_catalog.current_database()";
        let row = client.query_one(sql, &[]).await.map_err(failed)?;
        let (before, database): (String, String) = (row.get(0), row.get(1));
        let path = "SELECT pg_catalog.set_config('search_path', $1, true)";
        client.query(path, &[&search_path]).await.map_err(failed)?;
        let resolver = Resolver {
            client,
            database,
            lenient,
        };
        let chosen = resolver.all(selection).await;
        if chosen.is_ok() {
            client.query(path, &[&before]).await.map_err(failed)?;
        }
        chosen
    }

    /// The condition for relations that are selected, those whose row of `pg_class` is `alias`.
    pub fn relations(&self, alias: &str) -> String {
        let mut conditions = Vec::new();
        match (&self.tables, &self.schemas) {
            (Some(tables), _) => conditions.push(one_of(alias, "oid", tables)),
            (None, Some(schemas)) => conditions.push(one_of(alias, "relnamespace", schemas)),
            (None, None) => {}
        }
        if self.tables.is_none() {
            conditions.extend(none_of(alias, "relnamespace", &self.exclude_schemas));
        }
        conditions.extend(none_of(alias, "oid", &self.exclude_tables));
        all(&conditions)
    }

    /// The condition for relations of which the rows, or the value, are selected as well; one on
    /// top of [`Chosen::relations`].
    pub fn rows(&self, alias: &str) -> String {
        if self.schema_only {
            return "false".to_owned();
        }
        all(&Vec::from_iter(none_of(alias, "oid", &self.exclude_rows)))
    }

    /// The condition for sequences that are selected: those of selected tables too.
    pub fn sequences(&self, alias: &str) -> String {
        if self.is_of_all_relations() {
            return "true".to_owned();
        }
        let owner = |kinds: &str, condition: &str| {
            format!(
                "EXISTS (SELECT FROM pg_catalog.pg_depend sd \
                   JOIN pg_catalog.pg_class so ON so.oid = sd.refobjid \
                  WHERE sd.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                    AND sd.objid = {alias}.oid AND sd.objsubid = 0 \
                    AND sd.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                    AND sd.refobjsubid > 0 AND sd.deptype IN ({kinds}) AND {condition})"
            )
        };
        // An identity column's sequence is part of its table, whatever is said of the sequence.
        format!(
            "({} OR {} AND NOT {})",
            owner("'a', 'i'", &self.relations("so")),
            self.relations(alias),
            owner("'i'", "true"),
        )
    }

    /// The condition for schemas that are selected with all kinds of objects in them, by the
    /// expression of their identifier.
    pub fn schemas(&self, oid: &str) -> String {
        if self.tables.is_some() {
            return "false".to_owned();
        }
        let mut conditions = Vec::new();
        if let Some(schemas) = &self.schemas {
            conditions.push(format!("{oid} IN ({})", list(schemas)));
        }
        if !self.exclude_schemas.is_empty() {
            conditions.push(format!("{oid} NOT IN ({})", list(&self.exclude_schemas)));
        }
        all(&conditions)
    }

    /// The condition for extensions that are not excluded, those whose row is `alias`.
    pub fn extensions(&self, alias: &str) -> String {
        all(&Vec::from_iter(none_of(
            alias,
            "oid",
            &self.exclude_extensions,
        )))
    }

    /// Whether what is in no schema, and large objects, are selected.
    pub fn is_of_everything(&self) -> bool {
        self.tables.is_none() && self.schemas.is_none()
    }

    /// Whether no relation is left out; the same on both sides.
    pub fn is_of_all_relations(&self) -> bool {
        !self.partial
    }

    /// Whether relations were chosen by name.
    pub fn is_of_tables(&self) -> bool {
        self.tables.is_some()
    }

    /// Whether there are rows, and large objects, at all.
    pub fn has_large_objects(&self) -> bool {
        self.is_of_everything() && !self.schema_only
    }
}

fn all(conditions: &[String]) -> String {
    match conditions {
        [] => "true".to_owned(),
        conditions => format!("({})", conditions.join(" AND ")),
    }
}

/// A subquery is hashed by every version; a long list would be searched for each row by old ones.
fn list(oids: &[u32]) -> String {
    let oids: Vec<String> = oids.iter().map(u32::to_string).collect();
    format!(
        "SELECT pg_catalog.unnest('{{{}}}'::pg_catalog.oid[])",
        oids.join(",")
    )
}

fn one_of(alias: &str, column: &str, oids: &[u32]) -> String {
    format!("{alias}.{column} IN ({})", list(oids))
}

fn none_of(alias: &str, column: &str, oids: &[u32]) -> Option<String> {
    (!oids.is_empty()).then(|| format!("{alias}.{column} NOT IN ({})", list(oids)))
}

/// A pattern's parts, each as a regular expression.
struct Pattern {
    /// The database, which can only be the one that is read.
    database: Option<String>,
    /// The schema; without one, names that can be seen without their schema are meant.
    schema: Option<String>,
    name: String,
}

impl Pattern {
    /// Reads `[[database.]schema.]name`, or `[database.]name` for what is in no schema.
    fn read(text: &str, in_schema: bool) -> Result<Pattern> {
        let mut parts = pattern::parts(text);
        let name = parts.pop().unwrap_or_default();
        let schema = if in_schema { parts.pop() } else { None };
        let database = parts.pop();
        if parts.is_empty() {
            return Ok(Pattern {
                database,
                schema,
                name,
            });
        }
        Err(
            Error::input(format!("the pattern {text} has too many parts"))
                .remedy("put a name that has a dot in it between double quotes"),
        )
    }
}

struct Resolver<'a> {
    client: &'a Client,
    database: String,
    lenient: bool,
}

impl Resolver<'_> {
    async fn all(&self, selection: &Selection) -> Result<Chosen> {
        let some = |patterns: &[String], found| (!patterns.is_empty()).then_some(found);
        let tables = self.tables(&selection.tables).await?;
        let schemas = self.schemas(&selection.schemas).await?;
        Ok(Chosen {
            tables: some(&selection.tables, tables),
            exclude_tables: self.tables(&selection.exclude_tables).await?,
            schemas: some(&selection.schemas, schemas),
            exclude_schemas: self.schemas(&selection.exclude_schemas).await?,
            exclude_rows: self.tables(&selection.exclude_table_data).await?,
            exclude_extensions: self.extensions(&selection.exclude_extensions).await?,
            partial: [
                &selection.tables,
                &selection.schemas,
                &selection.exclude_tables,
                &selection.exclude_schemas,
            ]
            .iter()
            .any(|patterns| !patterns.is_empty()),
            schema_only: !selection.has_rows(),
        })
    }

    async fn tables(&self, patterns: &[String]) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for text in patterns {
            let pattern = Pattern::read(text, true)?;
            // Without a schema the third parameter is as good as any.
            let (within, schema) = match &pattern.schema {
                Some(schema) => (
                    r#"n.nspname::pg_catalog.text COLLATE pg_catalog."default" ~ $2"#,
                    schema.as_str(),
                ),
                None => ("pg_catalog.pg_table_is_visible(c.oid) AND $2 <> ''", "x"),
            };
            let sql = format!(
                "SELECT c.oid FROM pg_catalog.pg_class c \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE {RELATIONS} AND {FOREIGN} AND c.relpersistence <> 't' \
                    AND c.relname::pg_catalog.text COLLATE pg_catalog.\"default\" ~ $1 AND {within} ORDER BY 1"
            );
            found.extend(
                self.matches("table", text, &pattern, &sql, Some(schema))
                    .await?,
            );
        }
        Ok(found)
    }

    async fn schemas(&self, patterns: &[String]) -> Result<Vec<u32>> {
        let sql = format!(
            "SELECT n.oid FROM pg_catalog.pg_namespace n WHERE {FOREIGN} AND n.nspname::pg_catalog.text COLLATE pg_catalog.\"default\" ~ $1 ORDER BY 1"
        );
        let mut found = Vec::new();
        for text in patterns {
            let pattern = Pattern::read(text, false)?;
            found.extend(self.matches("schema", text, &pattern, &sql, None).await?);
        }
        Ok(found)
    }

    async fn extensions(&self, patterns: &[String]) -> Result<Vec<u32>> {
        let sql = "SELECT e.oid FROM pg_catalog.pg_extension e \
                    WHERE e.extname::pg_catalog.text COLLATE pg_catalog.\"default\" ~ $1 ORDER BY 1";
        let mut found = Vec::new();
        for text in patterns {
            let pattern = Pattern::read(text, false)?;
            found.extend(self.matches("extension", text, &pattern, sql, None).await?);
        }
        Ok(found)
    }

    async fn matches(
        &self,
        kind: &str,
        text: &str,
        pattern: &Pattern,
        sql: &str,
        schema: Option<&str>,
    ) -> Result<Vec<u32>> {
        self.same_database(text, pattern).await?;
        let answer = match schema {
            Some(schema) => self.client.query(sql, &[&pattern.name, &schema]).await,
            None => self.client.query(sql, &[&pattern.name]).await,
        };
        let rows = answer.map_err(|error| self.failed(text, error))?;
        if rows.is_empty() && !self.lenient {
            return Err(
                Error::input(format!("no {kind} matches the pattern {text}"))
                    .at(self.client.side())
                    .remedy(
                        "patterns are those of pg_dump: upper case needs double quotes, and a \
                         table in another schema than those of the search path its schema",
                    ),
            );
        }
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// A pattern can name the database, but not another one.
    async fn same_database(&self, text: &str, pattern: &Pattern) -> Result<()> {
        let Some(database) = &pattern.database else {
            return Ok(());
        };
        let sql = "SELECT $1 ~ $2";
        let same = self
            .client
            .query_one(sql, &[&self.database, database])
            .await;
        let same = same.map_err(|error| self.failed(text, error))?;
        if same.get(0) || self.client.side() == Side::Target {
            return Ok(());
        }
        Err(Error::input(format!(
            "the pattern {text} is about another database than {}",
            self.database
        )))
    }

    fn failed(&self, text: &str, error: tokio_postgres::Error) -> Error {
        let error = server_error(self.client.side(), error);
        if error.code() == Some(BAD_EXPRESSION) {
            return Error::new(
                Kind::Input,
                format!("the pattern {text} is none: {}", error.message()),
            );
        }
        error.on("the selection")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_outrank_schemas_and_exclusion_outranks_both() {
        let chosen = Chosen {
            tables: Some(vec![1, 2]),
            schemas: Some(vec![3]),
            exclude_schemas: vec![4],
            exclude_tables: vec![2],
            ..Chosen::default()
        };
        assert_eq!(
            chosen.relations("c"),
            "(c.oid IN (SELECT pg_catalog.unnest('{1,2}'::pg_catalog.oid[])) \
             AND c.oid NOT IN (SELECT pg_catalog.unnest('{2}'::pg_catalog.oid[])))"
        );
        assert_eq!(chosen.schemas("n.oid"), "false");
        assert_eq!(Chosen::default().relations("c"), "true");
        assert!(Chosen::default().has_large_objects());
        assert!(!chosen.has_large_objects());
    }
}
