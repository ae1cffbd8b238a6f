//! Which servers the user means: flags first, then the environment; never a password in argv.

use std::env;

use pghaul_stage::{Error, Kind, Result, Side};
use pghaul_wire::{Conninfo, Reach};
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;

use crate::args::{Connections, SourceDsn, TargetDsn};

impl SourceDsn {
    /// Parses the connection string.
    pub(crate) fn conninfo(&self) -> Result<Conninfo> {
        match &self.known {
            Some(known) => parse(Side::Source, known.expose_secret()),
            None => resolve(Side::Source, self.source.as_deref()),
        }
    }

    fn is_given(&self) -> bool {
        self.known.is_some() || given(Side::Source, self.source.as_deref()).is_some()
    }
}

impl TargetDsn {
    /// Parses the connection string.
    pub(crate) fn conninfo(&self) -> Result<Conninfo> {
        match &self.known {
            Some(known) => parse(Side::Target, known.expose_secret()),
            None => resolve(Side::Target, self.target.as_deref()),
        }
    }

    fn is_given(&self) -> bool {
        self.known.is_some() || given(Side::Target, self.target.as_deref()).is_some()
    }
}

/// The variable by which the runtime server says where its processes may connect: patterns of
/// [`Reach`] with commas between them. Set and empty, it is the least that holds for a server.
const REACH: &str = "PGHAUL_ALLOW_HOST";

impl Connections {
    /// Connections to what these strings, which may hold passwords, name.
    pub(crate) fn known(source: SecretString, target: SecretString) -> Self {
        Self {
            source: SourceDsn {
                source: None,
                known: Some(source),
            },
            target: TargetDsn {
                target: None,
                known: Some(target),
            },
        }
    }

    /// Parses the source's connection string.
    pub(crate) fn source(&self) -> Result<Conninfo> {
        self.source.conninfo()
    }

    /// Parses the target's connection string.
    pub(crate) fn target(&self) -> Result<Conninfo> {
        self.target.conninfo()
    }

    /// Parses the source's connection string if there is one.
    pub(crate) fn source_if_given(&self) -> Result<Option<Conninfo>> {
        self.source.is_given().then(|| self.source()).transpose()
    }

    /// Parses the target's connection string if there is one.
    pub(crate) fn target_if_given(&self) -> Result<Option<Conninfo>> {
        self.target.is_given().then(|| self.target()).transpose()
    }
}

fn variable(side: Side) -> &'static str {
    if side == Side::Target {
        "PGHAUL_TARGET"
    } else {
        "PGHAUL_SOURCE"
    }
}

/// The text that counts: the flag, else the variable.
fn given(side: Side, flag: Option<&str>) -> Option<String> {
    flag.map(str::to_owned)
        .or_else(|| env::var(variable(side)).ok())
        .filter(|dsn| !dsn.is_empty())
}

fn resolve(side: Side, flag: Option<&str>) -> Result<Conninfo> {
    let variable = variable(side);
    if flag.is_some_and(Conninfo::has_password_in) {
        return Err(Error::input(format!("--{side} holds a password, which every user of this host can read in the process list"))
            .remedy(format!("give the connection string in the environment variable {variable}, or leave the password to PGPASSFILE or ~/.pgpass")));
    }
    let text = given(side, flag).ok_or_else(|| {
        Error::input(format!("no {side} is given"))
            .remedy(format!("set {variable} or --{side} to a connection string such as postgres://user@host/database"))
    })?;
    parse(side, &text)
}

fn parse(side: Side, text: &str) -> Result<Conninfo> {
    let info = Conninfo::parse(text).and_then(|info| match env::var(REACH) {
        Err(env::VarError::NotPresent) => Ok(info),
        patterns => pin(&info, &patterns.unwrap_or_default()),
    });
    info.map_err(|error| error.at(side))
}

/// The same servers at the addresses they have now, if all of these are allowed. Whoever connects
/// later, pg_dump included, does not look a name up again.
fn pin(info: &Conninfo, patterns: &str) -> Result<Conninfo> {
    let patterns = patterns.split(',').filter(|pattern| !pattern.is_empty());
    let reach = Reach::new(patterns)?;
    let runtime = Handle::try_current().map_err(|error| {
        Error::new(Kind::Permanent, "there is nobody to look up names").because(error)
    })?;
    runtime.block_on(reach.pin(info))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_argv_is_refused_with_the_remedy() {
        for dsn in [
            "postgres://u:hunter2@h/d",
            "host=h password=hunter2",
            "postgres://h/d?password=hunter2",
        ] {
            let error = resolve(Side::Source, Some(dsn)).unwrap_err();
            assert!(error.hint().unwrap().contains("PGHAUL_SOURCE"), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
