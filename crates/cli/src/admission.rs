//! The flags by which a runtime server lets one in.

use std::path::PathBuf;

use clap::Args;
use pghaul_spool::{Access, Seat};
use pghaul_stage::{Error, Result};

/// How a runtime server lets one in, and how one knows that it is the right one.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Runtime server")]
pub(crate) struct Admission {
    /// File with the token for a runtime server [default: PGHAUL_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Certificates that vouch for a runtime server, in PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Certificate to show to a runtime server, and its private key, in one file in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) client_cert: Option<PathBuf>,

    /// Speak to a runtime server on another host without encryption
    #[arg(long)]
    pub(crate) plain_http: bool,

    /// The seat that the agent has whose child this is
    #[arg(long, value_name = "AGENT/EPOCH", hide = true, value_parser = parse_seat)]
    pub(crate) seat: Option<Seat>,
}

impl Admission {
    /// What these flags say, and the environment where they say nothing.
    ///
    /// # Errors
    ///
    /// Kind input for a file of a token that cannot be read.
    pub(crate) fn access(&self) -> Result<Access> {
        let token = self.token_file.as_deref().map(|path| {
            let token = std::fs::read_to_string(path).map_err(|error| {
                Error::input("the token cannot be read")
                    .on(path.display().to_string())
                    .because(error)
            })?;
            Ok(token.into())
        });
        Ok(Access {
            token: token.transpose()?,
            authority: self.ca_file.clone(),
            certificate: self.client_cert.clone(),
            plain: self.plain_http,
        })
    }
}

fn parse_seat(text: &str) -> Result<Seat, String> {
    let parsed = text.split_once('/').and_then(|(agent, epoch)| {
        Some(Seat {
            agent: agent.parse().ok()?,
            epoch: epoch.parse().ok()?,
        })
    });
    parsed.ok_or_else(|| "a seat is an agent and an epoch".to_owned())
}
