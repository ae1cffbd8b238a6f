//! Locales, collations and encodings: whether the target can have the source's.

use std::collections::BTreeSet;

use pghaul_extract::{SourceFacts, UserCollation};
use pghaul_load::{Locale, TargetFacts};
use pghaul_stage::{Check, Database, Finding, Result, Side};

/// The checks of locales; asks the target which of libc's it has.
pub(super) async fn compare(
    source: &SourceFacts,
    target: &TargetFacts,
    overwrite: bool,
) -> Result<Vec<Finding>> {
    // A database that is dropped first says nothing about the one that replaces it.
    let kept = target.database.as_ref().filter(|_| !overwrite);
    let user = source.user_collations.iter();
    let mut needed: BTreeSet<String> = user.flat_map(|one| one.locales.clone()).collect();
    if kept.is_none() {
        needed.insert(source.database.collate.clone());
        needed.insert(source.database.ctype.clone());
    }
    let missing = target.missing_locales(&needed).await?;
    Ok(vec![
        match kept {
            Some(kept) => present(&source.database, kept),
            None => absent(&source.database, target.version, target.icu, &missing),
        },
        built_in(&source.collations, &target.collations),
        user_defined(
            &source.user_collations,
            target.version,
            target.icu,
            &missing,
        ),
        encoding(
            &source.database.encoding,
            kept.map(|kept| kept.encoding.as_str()),
            |from, to| {
                let pair = (from.to_owned(), to.to_owned());
                target.conversions.contains(&pair)
            },
        ),
    ])
}

/// The first version of a locale provider, and what it is called.
fn provider(code: &str) -> (&'static str, u32) {
    match code {
        "i" => ("icu", 150_000),
        "b" => ("builtin", 170_000),
        _ => ("libc", 0),
    }
}

/// A database that will be created with the source's locale.
fn absent(source: &Database, version: u32, icu: bool, missing: &BTreeSet<String>) -> Finding {
    let (check, side) = (Check::DatabaseLocale, Side::Target);
    let (name, since) = provider(&source.provider);
    let remedy = "install the locale on the target's host, or create the database there yourself \
                  with another one";
    if version < since || (name == "icu" && !icu) {
        let message = format!("the target does not have the source's locale provider {name}");
        return Finding::failed(check, side, message, remedy);
    }
    let names = BTreeSet::from([&source.collate, &source.ctype]);
    let lacking: Vec<&String> = names
        .into_iter()
        .filter(|name| missing.contains(*name))
        .collect();
    if !lacking.is_empty() {
        let message = "the target's host does not have the database's locale";
        return Finding::failed(check, side, message, remedy).on(lacking);
    }
    let message = format!("{} of {name} is there", locale(source));
    Finding::succeeded(check, side, message)
}

fn locale(database: &Database) -> String {
    match &database.locale {
        Some(locale) => format!("{locale:?}"),
        None => format!("{:?}", database.collate),
    }
}

/// A database that is there already.
fn present(source: &Database, target: &Locale) -> Finding {
    let (check, side) = (Check::DatabaseLocale, Side::Target);
    let same = (
        &target.collate,
        &target.ctype,
        &target.provider,
        &target.locale,
    ) == (
        &source.collate,
        &source.ctype,
        &source.provider,
        &source.locale,
    );
    if same {
        return Finding::succeeded(check, side, "the database has the source's locale");
    }
    Finding::warning(
        check,
        side,
        format!(
            "text sorts by another locale on the target: lc_collate {:?}, lc_ctype {:?}, provider \
             {}, instead of {:?}, {:?}, {}",
            target.collate,
            target.ctype,
            provider(&target.provider).0,
            source.collate,
            source.ctype,
            provider(&source.provider).0,
        ),
        "drop the target database: pghaul creates it with the source's locale",
    )
}

fn built_in(used: &[String], there: &BTreeSet<String>) -> Finding {
    let (check, side) = (Check::Collations, Side::Target);
    let missing: Vec<&String> = used.iter().filter(|name| !there.contains(*name)).collect();
    if missing.is_empty() {
        return Finding::succeeded(
            check,
            side,
            "the target has every built-in collation in use",
        );
    }
    Finding::failed(
        check,
        side,
        "columns use collations of the source's host that the target does not have",
        "install the locales on the target's host and run pg_import_system_collations there",
    )
    .on(missing)
}

fn user_defined(
    collations: &[UserCollation],
    version: u32,
    icu: bool,
    missing: &BTreeSet<String>,
) -> Finding {
    let (check, side) = (Check::UserCollations, Side::Target);
    let impossible: Vec<&str> = collations
        .iter()
        .filter(|one| {
            // Collations had ICU before databases did.
            let provider = match one.provider.as_str() {
                "i" => icu,
                "b" => version >= 170_000,
                _ => true,
            };
            !provider || one.locales.iter().any(|locale| missing.contains(locale))
        })
        .map(|one| one.name.as_str())
        .collect();
    if impossible.is_empty() {
        let message = format!("the target can have all {}", collations.len());
        return Finding::succeeded(check, side, message);
    }
    Finding::failed(
        check,
        side,
        "the target does not have the locale or the provider of these collations",
        "install the locales on the target's host, or change the collations on the source",
    )
    .on(impossible)
}

fn encoding(source: &str, target: Option<&str>, converts: impl Fn(&str, &str) -> bool) -> Finding {
    let (check, side) = (Check::Encoding, Side::Target);
    let Some(target) = target.filter(|target| *target != source) else {
        let message = format!("the encoding is {source} on both sides");
        return Finding::succeeded(check, side, message);
    };
    let message = format!("the source's encoding is {source}, the target's {target}");
    let remedy = "drop the target database: pghaul creates it with the source's encoding";
    let unchecked = [source, target].contains(&"SQL_ASCII");
    if !unchecked && !converts(source, target) {
        let message = format!("{message}, and the target cannot convert between them");
        return Finding::failed(check, side, message, remedy);
    }
    if !unchecked && target == "UTF8" {
        return Finding::succeeded(
            check,
            side,
            format!("{message}, which holds every character"),
        );
    }
    let consequence = if unchecked {
        "bytes are taken as they are, and refused where they are not valid"
    } else {
        "characters that it does not have make the copy fail"
    };
    Finding::warning(check, side, format!("{message}: {consequence}"), remedy)
}

#[cfg(test)]
mod tests {
    use pghaul_stage::Verdict::{self, Failed, Succeeded, Warning};

    use super::*;

    fn database(provider: &str, collate: &str) -> Database {
        Database {
            collate: collate.to_owned(),
            ctype: "C".to_owned(),
            provider: provider.to_owned(),
            ..Database::default()
        }
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_new_database_needs_its_provider_and_its_locale() {
        let verdict = |source: &Database, version, icu| {
            absent(source, version, icu, &set(&["xx_XX"])).verdict()
        };
        assert_eq!(verdict(&database("c", "C"), 100_000, false), Succeeded);
        assert_eq!(verdict(&database("c", "xx_XX"), 150_000, true), Failed);
        assert_eq!(verdict(&database("i", "C"), 150_000, true), Succeeded);
        assert_eq!(verdict(&database("i", "C"), 150_000, false), Failed);
        assert_eq!(verdict(&database("i", "C"), 140_000, true), Failed);
        assert_eq!(verdict(&database("b", "C"), 160_000, true), Failed);
        assert_eq!(verdict(&database("b", "C"), 170_000, true), Succeeded);
    }

    #[test]
    fn another_locale_of_an_existing_database_is_warned_of() {
        let target = Locale {
            oid: 5,
            encoding: "UTF8".to_owned(),
            collate: "C".to_owned(),
            ctype: "C".to_owned(),
            provider: "c".to_owned(),
            locale: None,
        };
        assert_eq!(present(&database("c", "C"), &target).verdict(), Succeeded);
        assert_eq!(present(&database("c", "de"), &target).verdict(), Warning);
        assert_eq!(present(&database("i", "C"), &target).verdict(), Warning);
    }

    #[test]
    fn collations_need_their_names_providers_and_locales() {
        let used = ["de_DE".to_owned()];
        assert_eq!(built_in(&used, &set(&["de_DE"])).verdict(), Succeeded);
        assert_eq!(built_in(&used, &set(&["C"])).verdict(), Failed);
        let collation = |provider: &str, locale: &str| UserCollation {
            name: "public.mine".to_owned(),
            provider: provider.to_owned(),
            locales: vec![locale.to_owned()],
        };
        let verdict =
            |one, version, icu| user_defined(&[one], version, icu, &set(&["xx_XX"])).verdict();
        assert_eq!(verdict(collation("c", "C"), 100_000, false), Succeeded);
        assert_eq!(verdict(collation("c", "xx_XX"), 180_000, true), Failed);
        assert_eq!(verdict(collation("i", ""), 100_000, true), Succeeded);
        assert_eq!(verdict(collation("i", ""), 180_000, false), Failed);
        assert_eq!(verdict(collation("b", ""), 160_000, true), Failed);
    }

    #[test]
    fn encodings_that_differ_may_work() {
        let verdict = |source, target: &str, converts: bool| -> Verdict {
            encoding(source, Some(target), |_, _| converts).verdict()
        };
        assert_eq!(encoding("UTF8", None, |_, _| false).verdict(), Succeeded);
        assert_eq!(verdict("LATIN1", "LATIN1", false), Succeeded);
        assert_eq!(verdict("LATIN1", "UTF8", true), Succeeded);
        assert_eq!(verdict("UTF8", "LATIN1", true), Warning);
        assert_eq!(verdict("SQL_ASCII", "UTF8", false), Warning);
        assert_eq!(verdict("LATIN1", "EUC_KR", false), Failed);
    }
}
