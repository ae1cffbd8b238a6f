//! Creates and drops the target database.

use pghaul_stage::{Database, Error, Kind, Result, Side};
use pghaul_wire::{Client, Conninfo, quote};

use crate::session::{failed, open};
use crate::tablespace;

/// Databases that every server has, from which others are created and dropped.
pub(crate) const MAINTENANCE: [&str; 2] = ["postgres", "template1"];

/// Creates the database that `conninfo` names, empty, with the encoding and the locale of
/// `source`, in `tablespace` if the target has it. Its other properties follow at the end of the
/// migration.
///
/// # Errors
///
/// Kind permanent, with the remedy, where the target cannot have this encoding or locale.
pub async fn create(conninfo: &Conninfo, source: &Database, tablespace: &str) -> Result<()> {
    let client = maintenance(conninfo).await?;
    let version = version(&client).await?;
    let mut statement = statement(conninfo.dbname(), source, version)?;
    if tablespace::is_choice(&client, tablespace).await? {
        statement += &format!(" TABLESPACE {}", quote::ident(tablespace));
    }
    client.batch_execute(&statement).await.map_err(|error| {
        let error = failed(error).on(subject(conninfo));
        match error.code() {
            // Wrong locale names, and encodings that do not go with them.
            Some("42809" | "22023" | "42704" | "42P17" | "22004" | "0A000") => {
                error.remedy(format!(
                    "install the locale (lc_collate {:?}, lc_ctype {:?}{}) on the target's host, \
                     or create the database there yourself with another one, then run again",
                    source.collate,
                    source.ctype,
                    source
                        .locale
                        .as_ref()
                        .map(|locale| format!(", locale {locale:?}"))
                        .unwrap_or_default(),
                ))
            }
            Some("42501") => error.remedy(
                "grant CREATEDB to the target's role (and CREATE on the tablespace, if one is named), or create \
                 the database there yourself",
            ),
            _ => error,
        }
    })
}

/// Drops the database that `conninfo` names, with everything in it, ending its sessions.
///
/// # Errors
///
/// Kind input for the databases that a server cannot do without.
pub async fn drop_database(conninfo: &Conninfo) -> Result<()> {
    let name = conninfo.dbname();
    if ["template0", "template1"].contains(&name) {
        return Err(Error::input("a template database is not dropped")
            .at(Side::Target)
            .on(subject(conninfo)));
    }
    let client = maintenance(conninfo).await?;
    let database = quote::ident(name);
    // What the source's database is a template for, the target's is no more.
    let template = format!(
        "SELECT FROM pg_catalog.pg_database WHERE datname = {} AND datistemplate",
        quote::literal(name)
    );
    let template = client.query_opt(&template, &[]).await.map_err(failed)?;
    let no_template = template.map(|_| format!("ALTER DATABASE {database} IS_TEMPLATE false"));
    let statements = if version(&client).await? >= 130_000 {
        vec![format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")]
    } else {
        vec![
            // The limit keeps ordinary sessions from coming back in between.
            format!("ALTER DATABASE {database} CONNECTION LIMIT 0"),
            format!(
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
                 WHERE datname = {} AND pid <> pg_catalog.pg_backend_pid()",
                quote::literal(name)
            ),
            format!("DROP DATABASE {database}"),
        ]
    };
    for statement in no_template.into_iter().chain(statements) {
        client.batch_execute(&statement).await.map_err(|error| {
            let error = failed(error).on(subject(conninfo));
            match error.code() {
                Some("55006") => error.remedy(
                    "end its sessions and prepared transactions, drop its subscriptions and \
                     replication slots, then run again",
                ),
                Some("42501") => error.remedy("connect as the database's owner"),
                _ => error,
            }
        })?;
    }
    Ok(())
}

fn subject(conninfo: &Conninfo) -> String {
    format!("database {}", conninfo.dbname())
}

/// `server_version_num` of the server that `conninfo` names, whether or not it has the database.
///
/// # Errors
///
/// Those of connecting to the databases every server has.
pub async fn server_version(conninfo: &Conninfo) -> Result<u32> {
    version(&maintenance(conninfo).await?).await
}

/// A session in a database other than the one named.
pub(crate) async fn maintenance(conninfo: &Conninfo) -> Result<Client> {
    let mut first = None;
    for name in MAINTENANCE
        .into_iter()
        .filter(|name| *name != conninfo.dbname())
    {
        match open(&conninfo.with_dbname(name), None).await {
            Ok(client) => return Ok(client),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first
        .unwrap_or_else(|| Error::new(Kind::Permanent, "no maintenance database"))
        .remedy("let the target's role connect to the database postgres or template1"))
}

/// `server_version_num` of a session's server.
pub(crate) async fn version(client: &Client) -> Result<u32> {
    let row = client
        .query_one(
            "SELECT pg_catalog.current_setting('server_version_num')",
            &[],
        )
        .await
        .map_err(failed)?;
    row.get::<_, String>(0).parse().map_err(|error| {
        Error::new(Kind::Protocol, "the server's version is no number")
            .at(Side::Target)
            .because(error)
    })
}

/// The statement that creates `name` on a server of this version.
///
/// Source: PostgreSQL's manual, CREATE DATABASE.
fn statement(name: &str, source: &Database, version: u32) -> Result<String> {
    let mut statement = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {}",
        quote::ident(name),
        quote::literal(&source.encoding)
    );
    for (option, value) in [("LC_COLLATE", &source.collate), ("LC_CTYPE", &source.ctype)] {
        if !value.is_empty() {
            statement.push_str(&format!(" {option} {}", quote::literal(value)));
        }
    }
    let (provider, locale, since) = match source.provider.as_str() {
        "i" => ("icu", "ICU_LOCALE", 150_000),
        "b" => ("builtin", "BUILTIN_LOCALE", 170_000),
        // The only provider before version 15, and not necessarily the template's after it.
        _ if version < 150_000 => return Ok(statement),
        _ => {
            statement.push_str(" LOCALE_PROVIDER libc");
            return Ok(statement);
        }
    };
    if version < since {
        return Err(Error::new(
            Kind::Permanent,
            format!("the target is too old for the source's locale provider {provider}"),
        )
        .at(Side::Target)
        .on(format!("database {name}"))
        .remedy(
            "create the database there yourself with a locale of your choice, then run again",
        ));
    }
    statement.push_str(&format!(" LOCALE_PROVIDER {provider}"));
    if let Some(value) = &source.locale {
        statement.push_str(&format!(" {locale} {}", quote::literal(value)));
    }
    if let (Some(rules), true) = (&source.icu_rules, version >= 160_000) {
        statement.push_str(&format!(" ICU_RULES {}", quote::literal(rules)));
    }
    Ok(statement)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(provider: &str) -> Database {
        Database {
            encoding: "UTF8".into(),
            collate: "C".into(),
            ctype: "C".into(),
            provider: provider.into(),
            locale: (provider != "c").then(|| "de".into()),
            icu_rules: (provider == "i").then(|| "&a < b".into()),
            ..Database::default()
        }
    }

    #[test]
    fn the_provider_follows_the_target_version() {
        let base =
            r#"CREATE DATABASE "d" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"#;
        let of = |provider: &str, version| statement("d", &source(provider), version);
        assert_eq!(of("c", 140_000).unwrap(), base);
        assert_eq!(
            of("c", 150_000).unwrap(),
            format!("{base} LOCALE_PROVIDER libc")
        );
        assert_eq!(
            of("i", 150_000).unwrap(),
            format!("{base} LOCALE_PROVIDER icu ICU_LOCALE 'de'")
        );
        assert_eq!(
            of("i", 160_000).unwrap(),
            format!("{base} LOCALE_PROVIDER icu ICU_LOCALE 'de' ICU_RULES '&a < b'")
        );
        assert_eq!(
            of("b", 170_000).unwrap(),
            format!("{base} LOCALE_PROVIDER builtin BUILTIN_LOCALE 'de'")
        );
        assert!(of("i", 140_000).is_err());
        assert!(of("b", 160_000).is_err());
    }
}
