//! Security labels of what no archive of one database describes.

use std::collections::BTreeMap;

use pghaul_stage::{Omission, Result, SecurityLabel, Selection, Side, Supplement};
use pghaul_wire::{Chosen, Client, security_label, server_error};

use crate::session::{field, rows};

const WHAT: &str = "the security labels";

/// What is labelled in a database, as the statement calls it, without what belongs to all.
///
/// An aggregate is called a function, which needs no word of how its arguments are put in order.
const LABELLED: &str = "SELECT CASE WHEN i.type LIKE '% column' THEN 'COLUMN' \
           WHEN i.type = 'aggregate' THEN 'FUNCTION' ELSE pg_catalog.upper(i.type) END, \
         i.identity, s.provider, s.label \
    FROM pg_catalog.pg_seclabel s, \
         pg_catalog.pg_identify_object(s.classoid, s.objoid, s.objsubid) i";

/// The first identifier of what is no part of every database.
const FIRST_OWN: u32 = 16_384;

/// Those of all roles, databases or tablespaces, by their names; `catalog` says which.
pub(super) async fn shared(
    client: &Client,
    catalog: &str,
) -> Result<BTreeMap<String, Vec<SecurityLabel>>> {
    let labels = security_label::shared(client, catalog).await;
    labels.map_err(|error| server_error(Side::Source, error).on(WHAT))
}

/// Those that pg_dump passes over: of large objects, of columns of composite types, of types and
/// functions that come with another object, and of members of extensions.
pub(super) async fn supplements(client: &Client, chosen: &Chosen) -> Result<Vec<Supplement>> {
    let sql = format!(
        "{LABELLED} WHERE s.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass AND {large} \
          OR s.objoid >= {FIRST_OWN} AND ({everything} AND EXISTS ( \
               SELECT FROM pg_catalog.pg_depend e WHERE e.classid = s.classoid \
                  AND e.objid = s.objoid AND e.deptype = 'e') \
          OR s.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND EXISTS ( \
               SELECT FROM pg_catalog.pg_class c WHERE c.oid = s.objoid AND c.relkind = 'c' \
                  AND {relations}) \
          OR s.classoid = 'pg_catalog.pg_type'::pg_catalog.regclass AND EXISTS ( \
               SELECT FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid \
                WHERE t.oid = s.objoid AND {types} AND (t.typtype = 'm' OR c.relkind <> 'c' \
                   OR EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid))) \
          OR s.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND EXISTS ( \
               SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_depend d ON d.objid = p.oid \
                  AND d.classid = s.classoid AND d.deptype = 'i' \
                WHERE p.oid = s.objoid AND {functions})) \
          ORDER BY 1, 2, 3",
        large = chosen.has_large_objects(),
        everything = chosen.is_of_everything(),
        relations = chosen.schemas("c.relnamespace"),
        types = chosen.schemas("t.typnamespace"),
        functions = chosen.schemas("p.pronamespace"),
    );
    let labels = read(client, &sql).await?;
    let supplement = |(subject, provider, sql): (String, String, String)| Supplement {
        subject,
        sql: sql + ";",
        superuser: false,
        until: None,
        provider: Some(provider),
        early: false,
    };
    Ok(labels.into_iter().map(supplement).collect())
}

/// Those that are not carried: of what every database has, and where there is rows alone, of large
/// objects. The former may be thousands, and are one omission.
pub(super) async fn uncarried(
    client: &Client,
    selection: &Selection,
    chosen: &Chosen,
) -> Result<Vec<Omission>> {
    let large = "s.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass";
    if !selection.has_schema() {
        let large = format!(
            "{LABELLED} WHERE {large} AND {} ORDER BY 1, 2, 3",
            chosen.has_large_objects()
        );
        let omission = |(subject, _, sql): (String, String, String)| {
            Omission::new(subject, "only rows are copied").remedy(sql)
        };
        return Ok(Vec::from_iter(
            read(client, &large).await?.into_iter().map(omission),
        ));
    }
    if !chosen.is_of_everything() {
        return Ok(Vec::new());
    }
    let built_in = format!(
        "{LABELLED} WHERE s.objoid < {FIRST_OWN} AND NOT {large} \
            AND s.objoid <> 'public'::pg_catalog.regnamespace ORDER BY 1, 2, 3"
    );
    let mut statements: Vec<String> = read(client, &built_in)
        .await?
        .into_iter()
        .map(|(_, _, statement)| statement)
        .collect();
    if !selection.no_roles {
        for (role, labels) in shared(client, "pg_authid").await? {
            let predefined = labels.iter().filter(|_| role.starts_with("pg_"));
            statements.extend(predefined.map(|label| security_label::of_role(&role, label)));
        }
    }
    if statements.is_empty() {
        return Ok(Vec::new());
    }
    let omission = Omission::new(
        format!(
            "{} security labels of what every database has",
            statements.len()
        ),
        "it is the server's, and stays as it is",
    );
    Ok(vec![omission.remedy(statements.join(";\n"))])
}

/// What each label is, for people, its provider, and the statement that makes it.
async fn read(client: &Client, sql: &str) -> Result<Vec<(String, String, String)>> {
    let rows = rows(client, WHAT, sql).await?;
    let labels = rows.iter().map(|row| {
        let [kind, name, provider, label]: [&str; 4] = [
            field(row, 0)?,
            field(row, 1)?,
            field(row, 2)?,
            field(row, 3)?,
        ];
        Ok((
            format!(
                "security label of {} {name} for {provider}",
                kind.to_lowercase()
            ),
            provider.to_owned(),
            security_label::statement(&format!("{kind} {name}"), provider, Some(label)),
        ))
    });
    labels.collect()
}
