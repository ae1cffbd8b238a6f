//! Starts the process of a migration.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use secrecy::ExposeSecret;

use super::RunDir;
use crate::Job;
use crate::job::{Endpoint, Extent, SslMode};
use crate::machine;

/// What a process is given of this one's environment. Nothing in it is a credential, and no
/// variable of libpq is, which would be taken for what a job leaves out.
const KEPT: [&str; 7] = [
    "PATH",
    "PGHAUL_PG_BINDIR",
    "LANG",
    "TMPDIR",
    "PGHAUL_LOG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The program that migrates: this one, as a rule.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    /// The hosts it may connect to, as patterns with commas between them.
    allow_host: String,
}

impl Program {
    /// The program that runs now. It is opened by the name it had when it was started, so a newer
    /// one that took its place is used from then on.
    pub(crate) fn this(allow_host: &[String]) -> io::Result<Self> {
        Ok(Self {
            path: std::env::current_exe()?,
            allow_host: allow_host.join(","),
        })
    }

    /// Starts a process for a migration, in a process group of its own, so that what ends this
    /// one does not end it.
    pub(crate) fn start(
        &self,
        run: &RunDir,
        job: &Job,
        command: machine::Command,
        rate: Option<u64>,
    ) -> io::Result<Child> {
        let mut process = self.command(run, job)?;
        process.args(arguments(run, job, command, rate));
        let mut options = OpenOptions::new();
        let log = options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(run.log())?;
        process
            .current_dir(run.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
    }

    /// This program, with the connections of a job in its environment and nothing of this one's
    /// that could be a credential.
    pub(crate) fn command(&self, run: &RunDir, job: &Job) -> io::Result<Command> {
        let mut process = Command::new(&self.path);
        process.env_clear();
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                process.env(name, value);
            }
        }
        process.env("PGPASSFILE", "/dev/null");
        // Set in any case: the process then connects nowhere but where a server may.
        process.env("PGHAUL_ALLOW_HOST", &self.allow_host);
        for (variable, end) in [
            ("PGHAUL_SOURCE", &job.source),
            ("PGHAUL_TARGET", &job.target),
        ] {
            if let Some(end) = end {
                let authorities = authorities(run, variable, end)?;
                let conninfo = end.conninfo(authorities.as_deref());
                process.env(variable, conninfo.expose_secret());
            }
        }
        Ok(process)
    }
}

/// Where the certificates to trust are.
fn authorities(run: &RunDir, side: &str, end: &Endpoint) -> io::Result<Option<PathBuf>> {
    match (&end.ca_certificate, end.ssl_mode) {
        (Some(pem), _) => {
            let path = run.path().join(format!("{side}.pem"));
            fs::write(&path, pem)?;
            Ok(Some(path))
        }
        // To libpq, this is no file but what the host trusts.
        (None, SslMode::VerifyFull) => Ok(Some(PathBuf::from("system"))),
        _ => Ok(None),
    }
}

/// What the job is to a process that does this much of it.
fn arguments(
    run: &RunDir,
    job: &Job,
    command: machine::Command,
    rate: Option<u64>,
) -> Vec<OsString> {
    let migrates = command == machine::Command::Migrate;
    let job = Job {
        option: if migrates {
            job.option
        } else {
            Extent::Validate
        },
        bytes_per_second: rate,
        ..job.clone()
    };
    let mut arguments: Vec<OsString> = job.arguments().into_iter().map(OsString::from).collect();
    let mut add = |flag: &str, path: PathBuf| arguments.extend([flag.into(), path.into()]);
    add("--run-dir", run.path().to_owned());
    if migrates {
        add("--report", run.report());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_process_does_its_half_of_a_job() {
        let job = json!({
            "source": {"host": "a", "user": "u", "password": "hunter2"},
            "target": {"host": "b", "user": "u", "password": "hunter3"},
            "databases": ["a"], "bytesPerSecond": 7,
        });
        let job = Job::from_json(job.to_string().as_bytes()).unwrap();
        let run = RunDir::new("/state/runs/1".into());
        let flags = |command, rate| {
            let flags = arguments(&run, &job, command, rate);
            let flags = flags.iter().map(|flag| flag.to_string_lossy());
            flags.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            flags(machine::Command::Migrate, Some(5)),
            "migrate --verify --databases=\"a\" --rate-limit=5 --run-dir /state/runs/1 \
             --report /state/runs/1/report.md"
        );
        assert_eq!(
            flags(machine::Command::Validate, Some(5)),
            "validate --databases=\"a\" --run-dir /state/runs/1"
        );
    }
}
