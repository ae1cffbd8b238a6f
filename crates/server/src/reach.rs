//! Whether the ends of a job may be connected to.

use std::path::Path;

use pghaul_stage::Kind;
use pghaul_wire::{Conninfo, Environment};
use secrecy::ExposeSecret;

use crate::Job;
use crate::app::App;
use crate::job::{Endpoint, Fault};
use crate::problem::Problem;

impl App {
    /// The parameters of a connection to this end, at the addresses its host has now. Nothing of
    /// this process's environment gets into them. `authorities` is the file that holds the end's
    /// certificates, if they matter.
    ///
    /// # Errors
    ///
    /// Kind input if the end may not be connected to, transient if its name cannot be looked up.
    pub async fn pin(
        &self,
        end: &Endpoint,
        authorities: Option<&Path>,
    ) -> pghaul_stage::Result<Conninfo> {
        let text = end.conninfo(authorities);
        let info = Conninfo::parse_with(text.expose_secret(), &Environment::default())?;
        self.reach().pin(&info).await
    }

    /// Refuses a job that would connect where this server may not. A name that nobody knows yet is
    /// looked up again by the process, and refused there if it must be.
    pub(crate) async fn check_reach(&self, job: &Job) -> Result<(), Problem> {
        let mut faults = Vec::new();
        for (side, end) in [("source", &job.source), ("target", &job.target)] {
            let Some(end) = end else {
                continue;
            };
            if let Err(error) = self.pin(end, None).await
                && error.kind() == Kind::Input
            {
                faults.push(Fault {
                    key: format!("{side}.host"),
                    message: error.message().to_owned(),
                });
            }
        }
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Problem::faults(faults)
                .remedy("the server allows hosts by --allow-host when it is started")),
        }
    }
}
