//! What the source holds, against what the target can hold: extensions, types, tablespaces.

use std::collections::{BTreeMap, BTreeSet};

use pghaul_extract::Extension;
use pghaul_load::{Available, TargetFacts};
use pghaul_stage::{Check, Finding, Side};

/// The five checks of extensions.
pub(super) fn extensions(
    source: &[Extension],
    preloaded: &[String],
    target: &TargetFacts,
) -> Vec<Finding> {
    vec![
        allowed(source, target.allowed.as_deref()),
        libraries(source, preloaded, target.preloaded.as_deref()),
        available(source, target.available.as_ref()),
        versions(source, target.available.as_ref()),
        postgis(source, target.available.as_ref()),
    ]
}

fn allowed(source: &[Extension], allowed: Option<&[String]>) -> Finding {
    let (check, side) = (Check::ExtensionAllowed, Side::Target);
    let Some(allowed) = allowed else {
        return Finding::succeeded(check, side, "the target has no list of allowed extensions");
    };
    let listed = |name: &str| allowed.iter().any(|one| one.eq_ignore_ascii_case(name));
    let refused: Vec<&str> = names(source).filter(|name| !listed(name)).collect();
    if refused.is_empty() {
        return Finding::succeeded(check, side, "the target's administrator allows all of them");
    }
    Finding::failed(
        check,
        side,
        "the target's administrator has not allowed these extensions",
        "add them to azure.extensions or rds.allowed_extensions of the target",
    )
    .on(refused)
}

/// A library that the source loads at its start and that bears an extension's name.
fn libraries(source: &[Extension], preloaded: &[String], target: Option<&[String]>) -> Finding {
    let (check, side) = (Check::ExtensionPreloaded, Side::Target);
    let Some(target) = target else {
        return Finding::succeeded(
            check,
            side,
            "the role may not see which libraries are loaded",
        );
    };
    let missing: Vec<&str> = names(source)
        .filter(|name| preloaded.iter().any(|library| library == name))
        .filter(|name| !target.iter().any(|library| library == name))
        .collect();
    if missing.is_empty() {
        return Finding::succeeded(check, side, "no extension lacks its library");
    }
    Finding::warning(
        check,
        side,
        "the source loads the libraries of these extensions at its start, the target does not",
        "add them to shared_preload_libraries of the target, and restart it",
    )
    .on(missing)
}

fn available(source: &[Extension], offered: Option<&BTreeMap<String, Available>>) -> Finding {
    let (check, side) = (Check::ExtensionAvailable, Side::Target);
    let Some(offered) = offered else {
        return unknown(check);
    };
    let missing: Vec<&str> = names(source)
        .filter(|name| !offered.contains_key(*name))
        .collect();
    if !missing.is_empty() {
        return Finding::failed(
            check,
            side,
            "the target's server does not have these extensions",
            "install their packages on the target's host, or drop them from the source",
        )
        .on(missing);
    }
    let forbidden: Vec<&str> = names(source)
        .filter(|name| offered.get(*name).is_some_and(|one| !one.permitted))
        .collect();
    if forbidden.is_empty() {
        let message = format!("all {} are available", source.len());
        return Finding::succeeded(check, side, message);
    }
    // Managed services let their administrators create some all the same.
    Finding::warning(
        check,
        side,
        "by the server's own rules only a superuser may create these extensions",
        "let a superuser run what the report of the migration says of them, or connect as a role whom \
         the service lets do it",
    )
    .on(forbidden)
}

fn versions(source: &[Extension], offered: Option<&BTreeMap<String, Available>>) -> Finding {
    let (check, side) = (Check::ExtensionVersion, Side::Target);
    let Some(offered) = offered else {
        return unknown(check);
    };
    let other: Vec<String> = source
        .iter()
        .filter(|extension| {
            offered
                .get(&extension.name)
                .is_some_and(|one| !one.versions.contains(&extension.version))
        })
        .map(|extension| format!("{} {}", extension.name, extension.version))
        .collect();
    if other.is_empty() {
        return Finding::succeeded(check, side, "the target offers the source's versions");
    }
    Finding::warning(
        check,
        side,
        "the target offers these extensions in other versions only",
        "read the extensions' notes on upgrades; ALTER EXTENSION … UPDATE on the source makes \
         both equal where the versions allow it",
    )
    .on(other)
}

/// A dump of newer PostGIS may name functions that older ones do not have.
fn postgis(source: &[Extension], offered: Option<&BTreeMap<String, Available>>) -> Finding {
    let (check, side) = (Check::PostgisVersion, Side::Target);
    let Some(installed) = source.iter().find(|one| one.name == "postgis") else {
        return Finding::succeeded(check, side, "the source does not use PostGIS");
    };
    let Some(offered) = offered.and_then(|offered| offered.get("postgis")) else {
        return unknown(check);
    };
    let newest = offered.versions.iter().max_by_key(|text| numbers(text));
    match newest {
        Some(newest) if numbers(newest) < numbers(&installed.version) => Finding::warning(
            check,
            side,
            format!(
                "the source has PostGIS {}, the target at most {newest}",
                installed.version
            ),
            "install a newer PostGIS on the target",
        ),
        _ => Finding::succeeded(
            check,
            side,
            format!("the target has PostGIS {} or newer", installed.version),
        ),
    }
}

/// The numbers of a version, so that 3.10 comes after 3.9.
fn numbers(version: &str) -> Vec<u32> {
    let parts = version.split(|character: char| !character.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

fn unknown(check: Check) -> Finding {
    Finding::succeeded(
        check,
        Side::Target,
        "the target does not list its extensions",
    )
}

fn names(source: &[Extension]) -> impl Iterator<Item = &str> {
    source.iter().map(|extension| extension.name.as_str())
}

/// Types of pg_catalog that columns use; a newer server may have dropped some.
pub(super) fn types(used: &[&str], known: &BTreeSet<String>) -> Finding {
    let (check, side) = (Check::Types, Side::Target);
    let missing: Vec<&str> = used
        .iter()
        .copied()
        .filter(|name| !known.contains(*name))
        .collect();
    if missing.is_empty() {
        return Finding::succeeded(check, side, "the target knows every built-in type in use");
    }
    Finding::failed(
        check,
        side,
        "columns use built-in types that the target does not have",
        "change these columns to other types on the source (timestamptz for abstime, interval for \
         reltime)",
    )
    .on(missing)
}

pub(super) fn binary(obstacles: &[String]) -> Finding {
    let (check, side) = (Check::BinaryTypes, Side::Link);
    if obstacles.is_empty() {
        return Finding::succeeded(check, side, "every table can travel in binary");
    }
    let message = "tables with columns of some types travel as text";
    Finding::succeeded(check, side, message).on(obstacles)
}

pub(super) fn with_oids(tables: &[String]) -> Finding {
    let (check, side) = (Check::WithOids, Side::Source);
    if tables.is_empty() {
        return Finding::succeeded(check, side, "there are none");
    }
    Finding::warning(
        check,
        side,
        "the system column oid of these tables is not carried over",
        "run ALTER TABLE … SET WITHOUT OIDS, after copying the numbers into a column if they matter",
    )
    .on(tables)
}

pub(super) fn tablespaces(
    used: &[String],
    there: &BTreeSet<String>,
    map: &[(String, String)],
) -> Finding {
    let (check, side) = (Check::Tablespaces, Side::Target);
    let mapped = |name| map.iter().find(|(old, _)| old == name);
    let missing: Vec<&String> = used
        .iter()
        .map(|name| mapped(name).map_or(name, |(_, new)| new))
        .filter(|name| !there.contains(*name))
        .collect();
    if missing.is_empty() {
        return Finding::succeeded(check, side, "the target lacks none that is used");
    }
    Finding::warning(
        check,
        side,
        "the target lacks these tablespaces: what is in them goes to the database's own",
        "create them on the target (CREATE TABLESPACE), or name others with --tablespace-map, if the \
         place matters",
    )
    .on(missing)
}

#[cfg(test)]
mod tests {
    use pghaul_stage::Verdict::{Failed, Succeeded, Warning};

    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn hstore() -> Vec<Extension> {
        vec![Extension {
            name: "hstore".to_owned(),
            version: "1.8".to_owned(),
        }]
    }

    fn offer(versions: &[&str], permitted: bool) -> BTreeMap<String, Available> {
        let available = Available {
            versions: owned(versions).into_iter().collect(),
            permitted,
        };
        BTreeMap::from([("hstore".to_owned(), available)])
    }

    #[test]
    fn an_extension_must_be_there_and_may_have_another_version() {
        let absent = BTreeMap::new();
        let (same, older) = (offer(&["1.7", "1.8"], true), offer(&["1.7"], true));
        assert_eq!(available(&hstore(), Some(&absent)).verdict(), Failed);
        assert_eq!(available(&hstore(), Some(&same)).verdict(), Succeeded);
        assert_eq!(available(&hstore(), None).verdict(), Succeeded);
        let forbidden = offer(&["1.8"], false);
        assert_eq!(available(&hstore(), Some(&forbidden)).verdict(), Warning);
        assert_eq!(versions(&hstore(), Some(&same)).verdict(), Succeeded);
        assert_eq!(versions(&hstore(), Some(&absent)).verdict(), Succeeded);
        let other = versions(&hstore(), Some(&older));
        assert_eq!(other.verdict(), Warning);
        assert_eq!(other.objects(), ["hstore 1.8"]);
    }

    #[test]
    fn an_older_postgis_is_warned_of() {
        let source = vec![Extension {
            name: "postgis".to_owned(),
            version: "3.10.1".to_owned(),
        }];
        let offered = |version: &str| {
            let available = Available {
                versions: owned(&["2.5.0", version]).into_iter().collect(),
                permitted: true,
            };
            BTreeMap::from([("postgis".to_owned(), available)])
        };
        assert_eq!(postgis(&source, Some(&offered("3.9.9"))).verdict(), Warning);
        assert_eq!(
            postgis(&source, Some(&offered("3.10.1"))).verdict(),
            Succeeded
        );
        assert_eq!(postgis(&hstore(), None).verdict(), Succeeded);
    }

    #[test]
    fn a_managed_service_lists_what_it_allows() {
        assert_eq!(allowed(&hstore(), None).verdict(), Succeeded);
        let list = owned(&["HSTORE"]);
        assert_eq!(allowed(&hstore(), Some(&list)).verdict(), Succeeded);
        let list = owned(&["postgis"]);
        assert_eq!(allowed(&hstore(), Some(&list)).verdict(), Failed);
    }

    #[test]
    fn a_library_matters_if_the_source_loads_it_for_an_extension() {
        let loaded = owned(&["hstore", "auto_explain"]);
        let verdict = |source: &[String], target| libraries(&hstore(), source, target).verdict();
        assert_eq!(verdict(&loaded, Some(&[])), Warning);
        assert_eq!(verdict(&loaded, Some(&loaded)), Succeeded);
        assert_eq!(verdict(&[], Some(&[])), Succeeded);
        assert_eq!(verdict(&loaded, None), Succeeded);
    }

    #[test]
    fn types_and_tablespaces_are_looked_up_by_name() {
        let known: BTreeSet<String> = owned(&["int4", "text"]).into_iter().collect();
        assert_eq!(types(&["int4"], &known).verdict(), Succeeded);
        let missing = types(&["abstime", "int4"], &known);
        assert_eq!(missing.verdict(), Failed);
        assert_eq!(missing.objects(), ["abstime"]);
        assert_eq!(
            tablespaces(&owned(&["fast"]), &known, &[]).verdict(),
            Warning
        );
        assert_eq!(tablespaces(&[], &known, &[]).verdict(), Succeeded);
        assert_eq!(with_oids(&owned(&["public.t"])).verdict(), Warning);
        assert_eq!(binary(&owned(&["because"])).verdict(), Succeeded);
    }
}
