//! The keys that libpq knows, and a set of values for them.

use std::collections::BTreeMap;

use pghaul_stage::{Error, Result};

/// Every key of libpq with the environment variable that completes it.
///
/// Source: PostgreSQL's manual, sections 32.1.2 and 32.15.
pub(super) const KEYS: &[(&str, Option<&str>)] = &[
    ("application_name", Some("PGAPPNAME")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("client_encoding", Some("PGCLIENTENCODING")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("dbname", Some("PGDATABASE")),
    ("fallback_application_name", None),
    ("gssdelegation", Some("PGGSSDELEGATION")),
    ("gssencmode", Some("PGGSSENCMODE")),
    ("gsslib", Some("PGGSSLIB")),
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("keepalives", None),
    ("keepalives_count", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("krbsrvname", Some("PGKRBSRVNAME")),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    ("max_protocol_version", Some("PGMAXPROTOCOLVERSION")),
    ("min_protocol_version", Some("PGMINPROTOCOLVERSION")),
    ("options", Some("PGOPTIONS")),
    ("passfile", Some("PGPASSFILE")),
    ("password", Some("PGPASSWORD")),
    ("port", Some("PGPORT")),
    ("replication", None),
    ("require_auth", Some("PGREQUIREAUTH")),
    ("requirepeer", Some("PGREQUIREPEER")),
    ("service", Some("PGSERVICE")),
    ("servicefile", Some("PGSERVICEFILE")),
    ("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION")),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslcertmode", Some("PGSSLCERTMODE")),
    ("sslcompression", Some("PGSSLCOMPRESSION")),
    ("sslcrl", Some("PGSSLCRL")),
    ("sslcrldir", Some("PGSSLCRLDIR")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("sslpassword", None),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslsni", Some("PGSSLSNI")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("tcp_user_timeout", None),
    ("user", Some("PGUSER")),
];

/// Values by key; a key may be present with an empty value, which then hides the defaults.
#[derive(Clone, Default)]
pub(super) struct Parameters(BTreeMap<&'static str, String>);

impl Parameters {
    /// Sets a key, refusing one that libpq does not know.
    pub(super) fn set(&mut self, key: &str, value: impl Into<String>) -> Result<()> {
        let value = value.into();
        if value.contains('\0') {
            return Err(Error::input("a connection option holds a zero byte").on(key));
        }
        match KEYS.iter().find(|(name, _)| *name == key) {
            Some((name, _)) => {
                self.0.insert(name, value);
                Ok(())
            }
            None => Err(Error::input(format!("unknown connection option \"{key}\""))
                .remedy("use the parameter key words of libpq")),
        }
    }

    /// Sets a key unless it is present already.
    pub(super) fn complete(&mut self, key: &str, value: impl Into<String>) -> Result<()> {
        if self.0.contains_key(key) {
            Ok(())
        } else {
            self.set(key, value)
        }
    }

    /// The value of a key; an empty one counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Takes a value out, so that it is neither shown nor exported from here.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key).filter(|value| !value.is_empty())
    }

    /// A whole number, in libpq's spelling: spaces around it are allowed.
    pub(super) fn number(&self, key: &str) -> Result<Option<i64>> {
        self.get(key)
            .map(|text| {
                text.trim()
                    .parse()
                    .map_err(|_| Error::input(format!("\"{text}\" is not a whole number")).on(key))
            })
            .transpose()
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&str, T)],
        default: T,
    ) -> Result<T> {
        let Some(text) = self.get(key) else {
            return Ok(default);
        };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                Err(Error::input(format!("\"{text}\" is not a valid value"))
                    .on(key)
                    .remedy(format!("use one of {}", words.join(", "))))
            }
        }
    }
}

impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.0.iter().filter(|(key, _)| !key.ends_with("password"));
        f.debug_map().entries(shown).finish()
    }
}
