//! The binary under test: run it, stop it, kill it, and read what it said.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::network::{Network, enter};
use super::pg;

/// One call of `pghaul`, in an environment without any PG* variable, `~/.pgpass` or service file.
pub(crate) struct Pghaul {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    network: Option<PathBuf>,
    timeout: Duration,
}

/// A `pghaul` that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
    /// Its home folder, with what it writes to stdout and stderr in it.
    home: TempDir,
    timeout: Duration,
}

/// What a finished `pghaul` left.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code; minus the signal's number when a signal ended it.
    pub(crate) code: i32,
    /// Everything on stdout.
    pub(crate) stdout: String,
    /// Everything on stderr.
    pub(crate) stderr: String,
}

impl Pghaul {
    /// A call with these arguments and nothing in the environment.
    pub(crate) fn new(args: &[&str]) -> Self {
        let args = args.iter().map(OsString::from).collect();
        Self {
            args,
            env: Vec::new(),
            network: None,
            timeout: Duration::from_secs(120),
        }
    }

    /// Sets PGHAUL_SOURCE.
    pub(crate) fn source(self, dsn: &str) -> Self {
        self.env("PGHAUL_SOURCE", dsn)
    }

    /// Sets PGHAUL_TARGET.
    pub(crate) fn target(self, dsn: &str) -> Self {
        self.env("PGHAUL_TARGET", dsn)
    }

    /// Sets a variable of the environment; the last value counts.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it in a network.
    pub(crate) fn network(self, network: &Network) -> Self {
        self.network_at(&network.path())
    }

    /// Runs it in the network that this file stands for.
    pub(crate) fn network_at(mut self, network: &Path) -> Self {
        self.network = Some(network.to_owned());
        self
    }

    /// How long it may run before it is killed and the test fails; two minutes unless told.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Output {
        self.spawn().wait()
    }

    /// Starts it. It dies with the calling thread.
    pub(crate) fn spawn(self) -> Running {
        let home = tempfile::Builder::new()
            .prefix(&format!("pghaul-home-{}-", std::process::id()))
            .tempdir()
            .expect("a folder");
        let file = |name| fs::File::create(home.path().join(name)).expect("a file");
        // setpriv becomes the binary, so the process id is the binary's own.
        let mut command = enter(self.network.as_deref(), "setpriv");
        pg::clean(&mut command);
        let child = command
            .args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_pghaul")])
            .args(self.args)
            .env("HOME", home.path())
            .env("RUST_BACKTRACE", "1")
            .envs(self.env)
            .current_dir(home.path())
            .stdin(std::process::Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("setpriv starts: it is in the package util-linux");
        Running {
            child,
            home,
            timeout: self.timeout,
        }
    }
}

impl Running {
    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name: `KILL`, `STOP`, `CONT`, `INT`, `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        pg::signal(self.pid(), name);
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// What it has written to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What it has written to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// Waits until it ends; fails with its output when that takes longer than the timeout.
    pub(crate) fn wait(mut self) -> Output {
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(status) = self.ended() {
                let signal = status.signal().map(|number| -number);
                let code = status.code().or(signal).expect("a code or a signal");
                return Output {
                    code,
                    stdout: self.stdout(),
                    stderr: self.stderr(),
                };
            }
            assert!(
                Instant::now() < deadline,
                "pghaul still runs after {:?}\nstdout:\n{}\nstderr:\n{}",
                self.timeout,
                self.stdout(),
                self.stderr()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the binary can be waited for")
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.home.path().join(name)).expect("the file is there");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Output {
    /// Fails with everything it said unless it ended with this exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "exit code\nstdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }
}
