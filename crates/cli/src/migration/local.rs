//! A migration in this process, where there is no runtime server.

use std::io::Write;

use clap::Parser;
use pghaul_server::Job;
use pghaul_server::job::{Endpoint, Topology};
use pghaul_stage::{Error, Kind, Result};
use tempfile::NamedTempFile;

use super::args::{Create, Form};
use crate::args::{self, Cli, Connections};
use crate::{Outcome, migrate, validate};

/// Does a job as `pghaul migrate` or `pghaul validate` with the same options would.
pub(super) fn run(args: &Create, job: &Job) -> Result<Outcome> {
    let nobody = "no runtime server is given, and this process cannot do it: ";
    let refuse = |reason: &str| {
        Error::input(format!("{nobody}{reason}"))
            .remedy("start `pghaul serve`, and name it with --server or PGHAUL_SERVER")
    };
    if job.topology == Topology::Agents {
        return Err(refuse("agents need a server to meet at"));
    }
    if job.start_at.is_some() || job.window.is_some() {
        return Err(refuse("it begins at once, and waits for no time"));
    }
    let (Some(source), Some(target)) = (&job.source, &job.target) else {
        return Err(Error::input("source or target is missing"));
    };
    // They live as long as the connections may be made.
    let authorities = [authorities(source)?, authorities(target)?];
    let path = |file: &Option<NamedTempFile>| file.as_ref().map(|file| file.path().to_owned());
    let [of_source, of_target] = authorities.each_ref().map(path);
    let connections = Connections::known(
        source.conninfo(of_source.as_deref()),
        target.conninfo(of_target.as_deref()),
    );
    let mut arguments = vec!["pghaul".to_owned()];
    arguments.extend(job.arguments());
    if args.output.form != Form::Table {
        arguments.push("--output=json".to_owned());
    }
    let cli = Cli::try_parse_from(arguments).map_err(|error| {
        Error::new(Kind::Permanent, "the job is no command").because(error.to_string())
    })?;
    match cli.command {
        args::Command::Migrate(mut command) => {
            command.connections = connections;
            migrate::run(&command, None)
        }
        args::Command::Validate(mut command) => {
            command.connections = connections;
            validate::run(&command, None)
        }
        _ => Err(Error::new(Kind::Permanent, "the job is another command")),
    }
}

/// The certificates that an end brings along, in a file, which is how connections read them.
fn authorities(end: &Endpoint) -> Result<Option<NamedTempFile>> {
    let Some(pem) = &end.ca_certificate else {
        return Ok(None);
    };
    let write = || {
        let mut file = NamedTempFile::new()?;
        file.write_all(pem.as_bytes())?;
        file.flush()?;
        Ok(Some(file))
    };
    write().map_err(|error: std::io::Error| {
        Error::new(Kind::Permanent, "cannot write certificates to a file").because(error)
    })
}
