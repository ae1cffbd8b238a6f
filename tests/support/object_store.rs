//! Object stores that speak the protocols of clouds, started like a cluster: gone when dropped, or
//! when the test dies. `scripts/stores` installs them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::cluster::free_port;
use super::installed;
use super::network::{Network, enter};
use super::pg;
use super::pghaul::Pghaul;

/// How long a store may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The bucket, or container, of every store.
const BUCKET: &str = "spools";

/// A program that acts as an object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emulator {
    /// S3 with conditional creation; objects are files. It takes any credentials.
    Localbucket,
    /// S3 that checks signatures, and overwrites whatever the condition.
    Nanio,
    /// Azure Blob Storage. It checks signatures.
    Azurite,
    /// Localbucket, with the condition by which Google Cloud Storage creates objects only if absent:
    /// of the programs that act as that store, none has its XML API and honours the condition. It
    /// takes any credentials.
    Gcs,
}

/// A running object store with one bucket.
pub(crate) struct ObjectStore {
    emulator: Emulator,
    folder: TempDir,
    address: String,
    port: u16,
    network: Option<PathBuf>,
    server: Option<Child>,
}

impl ObjectStore {
    /// The account of every store.
    pub(crate) const ACCOUNT: &str = "haulier";

    /// The account's secret key, in the form that Azure demands.
    pub(crate) const SECRET: &str = "c2VjcmV0LWtleS1vZi10aGUtaGF1bGllcg==";

    /// A store at this host alone.
    pub(crate) fn start(emulator: Emulator) -> Self {
        Self::start_at(emulator, "127.0.0.1", None)
    }

    /// A store in a network, where it listens on every address; clients use this one.
    pub(crate) fn start_in(emulator: Emulator, network: &Network, address: &str) -> Self {
        Self::start_at(emulator, address, Some(network.path()))
    }

    fn start_at(emulator: Emulator, address: &str, network: Option<PathBuf>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("pghaul-home-{}-", std::process::id()))
            .tempdir()
            .expect("a folder");
        fs::create_dir_all(folder.path().join("data").join(BUCKET)).expect("a bucket");
        let mut store = Self {
            emulator,
            folder,
            address: address.to_owned(),
            port: free_port(),
            network,
            server: None,
        };
        store.start_again();
        if emulator == Emulator::Azurite {
            store.create_container();
        }
        store
    }

    /// Where its objects are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The address and port for clients.
    pub(crate) fn address(&self) -> (&str, u16) {
        (&self.address, self.port)
    }

    /// A URL of a spool in it.
    pub(crate) fn url(&self, prefix: &str) -> String {
        match self.emulator {
            Emulator::Azurite => format!("az://{BUCKET}/{prefix}"),
            Emulator::Gcs => format!("gs://{BUCKET}/{prefix}"),
            _ => format!("s3://{BUCKET}/{prefix}"),
        }
    }

    /// `pghaul` with these arguments and this spool, and the environment that leads to it.
    pub(crate) fn pghaul(&self, args: &[&str], prefix: &str) -> Pghaul {
        self.pghaul_at(args, &self.url(prefix))
    }

    /// As [`Self::pghaul`], with the spool of this URL.
    pub(crate) fn pghaul_at(&self, args: &[&str], url: &str) -> Pghaul {
        let call = Pghaul::new(&[args, &["--spool", url]].concat());
        let env = self.env().into_iter();
        env.fold(call, |call, (name, value)| call.env(name, value))
    }

    /// The environment that leads to it.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        let endpoint = format!("http://{}:{}", self.address, self.port);
        match self.emulator {
            Emulator::Azurite => vec![
                ("AZURE_STORAGE_USE_EMULATOR", "true".to_owned()),
                ("AZURITE_BLOB_STORAGE_URL", endpoint),
                ("AZURE_STORAGE_ACCOUNT_NAME", Self::ACCOUNT.to_owned()),
                ("AZURE_STORAGE_ACCOUNT_KEY", Self::SECRET.to_owned()),
            ],
            Emulator::Gcs => {
                let key = serde_json::json!({
                    "gcs_base_url": endpoint, "disable_oauth": true, "client_email": Self::ACCOUNT,
                    "private_key_id": "1", "private_key": Self::SECRET,
                });
                vec![
                    ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
                    ("GOOGLE_SERVICE_ACCOUNT_KEY", key.to_string()),
                ]
            }
            _ => vec![
                ("AWS_ENDPOINT", endpoint),
                ("AWS_ALLOW_HTTP", "true".to_owned()),
                ("AWS_REGION", "us-east-1".to_owned()),
                ("AWS_ACCESS_KEY_ID", Self::ACCOUNT.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", Self::SECRET.to_owned()),
            ],
        }
    }

    /// Ends it in the middle of whatever it does. Azurite keeps its list of objects in memory, and
    /// writes it only when it is told to end, so it is; what it acknowledged is there again.
    pub(crate) fn stop(&mut self) {
        let mut server = self.server.take().expect("the store is running");
        let signal = match self.emulator {
            Emulator::Azurite => "TERM",
            _ => "KILL",
        };
        pg::signal(server.id(), signal);
        server.wait().expect("the store can be waited for");
    }

    /// Ends it and starts it again once somebody has missed it, whose connection breaks.
    pub(crate) fn interrupt(&mut self) {
        self.stop();
        let vacant = TcpListener::bind((self.address.as_str(), self.port)).expect("the port");
        drop(vacant.accept().expect("a client"));
        drop(vacant);
        self.start_again();
    }

    /// Starts a stopped store on the same port, with its objects.
    pub(crate) fn start_again(&mut self) {
        assert!(self.server.is_none(), "the store is running already");
        let log = self.folder.path().join("log");
        let file = File::create(&log).expect("a log file");
        let mut command = enter(self.network.as_deref(), "setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        self.describe(&mut command);
        let mut server = command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("setpriv starts: it is in the package util-linux");
        let ready = match self.emulator {
            Emulator::Localbucket | Emulator::Gcs => "serving",
            Emulator::Nanio => "running on",
            Emulator::Azurite => "successfully listens",
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.contains(ready) {
                break;
            }
            let ended = server.try_wait().expect("the store can be waited for");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "no object store:\n{said}"
            );
            thread::sleep(Duration::from_millis(20));
        }
        self.server = Some(server);
    }

    /// The program and its arguments.
    fn describe(&self, command: &mut Command) {
        let host = match self.network {
            Some(_) => "0.0.0.0",
            None => "127.0.0.1",
        };
        let (data, port) = (self.data(), self.port.to_string());
        match self.emulator {
            Emulator::Localbucket | Emulator::Gcs => command
                .env("PYTHONPATH", store("s3"))
                .arg("python3")
                .args(match self.emulator {
                    Emulator::Gcs => vec![support("gcs.py")],
                    _ => vec!["-m".into(), "localbucket".into()],
                })
                .args(["--host", host])
                .args(["--port", &port])
                .arg(data),
            Emulator::Nanio => command
                .env("PYTHONPATH", store("s3"))
                .env("NANIO_ACCESS_KEY", Self::ACCOUNT)
                .env("NANIO_SECRET_KEY", Self::SECRET)
                .args(["python3", "-m", "nanio", "serve", "--host", host])
                .args(["--port", &port, "--data-dir"])
                .arg(data),
            Emulator::Azurite => command
                .env(
                    "AZURITE_ACCOUNTS",
                    format!("{}:{}", Self::ACCOUNT, Self::SECRET),
                )
                .arg("node")
                .arg(store("azurite").join("node_modules/azurite/dist/src/blob/main.js"))
                .args(["--blobHost", host, "--blobPort", &port])
                .args(["--disableTelemetry", "--skipApiVersionCheck", "--location"])
                .arg(data),
        };
    }

    /// Creates the container by a signed request.
    fn create_container(&self) {
        let script = support("container.js");
        let url = format!(
            "http://{}:{}/{}/{BUCKET}",
            self.address,
            self.port,
            Self::ACCOUNT
        );
        let mut node = enter(self.network.as_deref(), "node");
        pg::run(node.arg(script).args([&url, Self::ACCOUNT, Self::SECRET]))
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.len().saturating_sub(20);
            eprintln!("end of the log of the store:\n{}", lines[tail..].join("\n"));
        }
        if let Some(mut server) = self.server.take() {
            drop(server.kill());
            drop(server.wait());
        }
    }
}

/// A script beside this file.
fn support(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/support")
        .join(name)
}

/// The folder of a store.
fn store(name: &str) -> PathBuf {
    installed(&format!("stores/{name}"), "scripts/stores")
}
