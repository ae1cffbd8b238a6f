//! Throwaway PostgreSQL clusters: cheap to start, gone when dropped or when the test dies.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::network::{Network, enter};
use super::pg;
use super::pghaul::Pghaul;
use super::tls::Certificate;

/// How long a server may take to start or stop, crash recovery included.
const PATIENCE: Duration = Duration::from_secs(60);

/// Settings of every cluster: what was committed survives a crash of the server, but not one of
/// the machine.
const SETTINGS: &str = "\
listen_addresses = '127.0.0.1'
fsync = off
full_page_writes = off
shared_buffers = '64MB'
max_wal_size = '1GB'
max_prepared_transactions = 10
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %a %q%u@%d '
";

/// A running PostgreSQL server with its own data directory, socket and TCP port.
///
/// Start it in the thread that keeps it: the kernel stops the server when that thread ends,
/// which is how nothing outlives a killed test.
pub(crate) struct Cluster {
    /// Where the server's programs are.
    server_bin: PathBuf,
    /// Where the client programs for it are.
    client_bin: PathBuf,
    folder: PathBuf,
    port: u16,
    env: Vec<(String, String)>,
    network: Option<PathBuf>,
    server: Option<Child>,
}

/// How a cluster differs from the usual one.
#[derive(Default)]
pub(crate) struct Builder {
    version: Option<u32>,
    settings: String,
    hba: String,
    initdb: Vec<String>,
    env: Vec<(String, String)>,
    network: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    client_authority: Option<PathBuf>,
}

impl Cluster {
    /// The superuser's password, needed over TCP. Its characters must be escaped in a URI.
    pub(crate) const PASSWORD: &str = "hidden:pa/ss w@rd";

    /// A cluster with the usual settings.
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    /// A cluster with other settings.
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// A URI of this database through the Unix socket, where no password is asked.
    pub(crate) fn dsn(&self, db: &str) -> String {
        let host = pg::percent_encode(self.folder.to_str().expect("paths here are UTF-8"));
        format!(
            "postgresql://postgres@{host}:{}/{}",
            self.port,
            pg::percent_encode(db)
        )
    }

    /// A URI of this database over TCP, with the superuser's password in it.
    pub(crate) fn tcp_dsn(&self, db: &str) -> String {
        self.dsn_at("127.0.0.1", db)
    }

    /// As [`Self::tcp_dsn`], at this address.
    pub(crate) fn dsn_at(&self, address: &str, db: &str) -> String {
        let password = pg::percent_encode(Self::PASSWORD);
        let db = pg::percent_encode(db);
        format!(
            "postgresql://postgres:{password}@{address}:{}/{db}",
            self.port
        )
    }

    /// The server's major version.
    pub(crate) fn version(&self) -> u32 {
        let version = self.psql("postgres", "SHOW server_version_num");
        version.parse::<u32>().expect("a number") / 10_000
    }

    /// The port, of TCP and of the socket's name.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket.
    pub(crate) fn socket_dir(&self) -> &Path {
        &self.folder
    }

    /// The postmaster's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().expect("the server is running").id()
    }

    /// What `psql` prints for these commands, unaligned and without headers.
    ///
    /// Panics with the server's message when one fails.
    pub(crate) fn psql(&self, db: &str, sql: &str) -> String {
        self.try_psql(db, sql)
            .unwrap_or_else(|error| panic!("{error}\nin: {sql}"))
    }

    /// As [`Self::psql`], for a failure that is expected.
    pub(crate) fn try_psql(&self, db: &str, sql: &str) -> Result<String, String> {
        let mut output = pg::run_with_input(&mut self.client("psql", db), sql)?;
        output.truncate(output.trim_end_matches('\n').len());
        Ok(output)
    }

    /// Runs a file of psql commands with these psql variables set.
    pub(crate) fn psql_file(&self, db: &str, file: &Path, variables: &[(&str, &str)]) {
        let mut command = self.client("psql", db);
        for (name, value) in variables {
            command.arg("-v").arg(format!("{name}={value}"));
        }
        pg::run(command.arg("-f").arg(file)).unwrap_or_else(|error| panic!("{error}"));
    }

    /// One of PostgreSQL's client programs, pointed at this database.
    pub(crate) fn client(&self, program: &str, db: &str) -> Command {
        let mut command = pg::program_in(&self.client_bin, program);
        if program == "psql" {
            command.args(["-XAtq", "-v", "ON_ERROR_STOP=1"]);
        }
        command.arg("-d").arg(self.dsn(db));
        command
    }

    /// Creates an empty database.
    pub(crate) fn create_db(&self, name: &str) {
        let name = name.replace('"', "\"\"");
        self.psql(
            "postgres",
            &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"),
        );
    }

    /// The names of the databases, templates aside.
    pub(crate) fn databases(&self) -> Vec<String> {
        let sql = "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1";
        self.psql("postgres", sql)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Everything the server has logged so far.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Stops the server as a power cut would, as far as its clients can tell.
    pub(crate) fn stop_immediate(&mut self) {
        let mut server = self.server.take().expect("the server is running");
        pg::signal(server.id(), "QUIT");
        server.wait().expect("the server can be waited for");
    }

    /// Stops the server as an administrator does: nothing is lost, not even unlogged rows.
    pub(crate) fn stop(&mut self) {
        let mut server = self.server.take().expect("the server is running");
        pg::signal(server.id(), "INT");
        server.wait().expect("the server can be waited for");
    }

    /// Whether nobody has stopped it.
    pub(crate) fn is_running(&self) -> bool {
        self.server.is_some()
    }

    /// Starts a stopped server on the same data and port, through crash recovery if need be.
    pub(crate) fn start_again(&mut self) {
        assert!(self.server.is_none(), "the server is running already");
        let data = self.folder.join("data");
        let deadline = Instant::now() + PATIENCE;
        let mut server = self.launch();
        loop {
            let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            let mut lines = state.lines();
            if lines.next() == Some(&server.id().to_string())
                && lines
                    .last()
                    .is_some_and(|status| ["ready", "standby"].contains(&status.trim()))
            {
                self.server = Some(server);
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the server does not start:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
            if server
                .try_wait()
                .expect("the server can be waited for")
                .is_some()
            {
                // Children of a killed postmaster, or of the port's last owner, may still be there.
                let log = self.log();
                let last = log.lines().rev().take(5).collect::<Vec<_>>().join("\n");
                let passing = ["still in use", "already in use", "postmaster.pid"];
                assert!(
                    passing.iter().any(|reason| last.contains(reason)),
                    "no server:\n{log}"
                );
                thread::sleep(Duration::from_millis(200));
                server = self.launch();
            }
        }
    }

    /// Starts the postmaster; the kernel sends it SIGQUIT when the calling thread ends.
    fn launch(&self) -> Child {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .expect("a log file");
        let mut command = enter(self.network.as_deref(), "setpriv");
        as_server_user(&mut command, &["--pdeathsig", "QUIT"]);
        command
            .arg(self.server_bin.join("postgres"))
            .arg("-D")
            .arg(self.folder.join("data"))
            .arg("-p")
            .arg(self.port.to_string())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(process::Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("setpriv starts: it is in the package util-linux")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.len().saturating_sub(20);
            eprintln!(
                "end of the log of {}:\n{}",
                self.folder.display(),
                lines[tail..].join("\n")
            );
        }
        if let Some(mut server) = self.server.take()
            && matches!(server.try_wait(), Ok(None))
        {
            pg::signal(server.id(), "QUIT");
            drop(server.wait());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Builder {
    /// A server of this major version, as `scripts/servers` has installed it, and the newest
    /// client programs, instead of the distribution's.
    pub(crate) fn version(mut self, major: u32) -> Self {
        self.version = Some(major);
        self
    }

    /// Sets a server parameter.
    pub(crate) fn conf(mut self, name: &str, value: &str) -> Self {
        let value = value.replace('\'', "''");
        self.settings.push_str(&format!("{name} = '{value}'\n"));
        self
    }

    /// Adds a line to pg_hba.conf; these lines come before the usual ones, in this order.
    pub(crate) fn hba(mut self, line: &str) -> Self {
        self.hba.push_str(&format!("{line}\n"));
        self
    }

    /// Adds an argument of initdb.
    pub(crate) fn initdb(mut self, argument: &str) -> Self {
        self.initdb.push(argument.to_owned());
        self
    }

    /// Sets a variable of the server's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts the server into a network, where it listens on every address. Its Unix socket does not
    /// care about networks.
    pub(crate) fn network(mut self, network: &Network) -> Self {
        self.network = Some(network.path());
        self.conf("listen_addresses", "*")
            .hba("host all all all scram-sha-256")
    }

    /// Turns TLS on with this certificate.
    pub(crate) fn tls(mut self, certificate: &Certificate) -> Self {
        self.certificate = Some((certificate.cert.clone(), certificate.key.clone()));
        self
    }

    /// Trusts client certificates that this authority has signed.
    pub(crate) fn client_authority(mut self, root: PathBuf) -> Self {
        self.client_authority = Some(root);
        self
    }

    /// Makes the cluster and waits until it answers.
    pub(crate) fn start(self) -> Cluster {
        sweep();
        let (server_bin, client_bin) = match self.version {
            Some(major) => (pg::server(major), pg::newest_client()),
            None => (pg::bindir().to_owned(), pg::bindir().to_owned()),
        };
        let folder = new_folder();
        let mut command = Command::new("cp");
        command
            .args(["-a", "--reflink=auto"])
            .arg(template(&server_bin, &self.initdb))
            .arg(folder.join("data"));
        pg::run(&mut command).unwrap_or_else(|error| panic!("{error}"));

        let data = folder.join("data");
        let mut settings = format!(
            "{SETTINGS}unix_socket_directories = '{}'\n",
            folder.display()
        );
        for (name, file) in [("cert", "server.crt"), ("key", "server.key")] {
            if let Some((cert, key)) = &self.certificate {
                install(if name == "cert" { cert } else { key }, &data.join(file));
                settings.push_str(&format!("ssl = on\nssl_{name}_file = '{file}'\n"));
            }
        }
        if let Some(root) = &self.client_authority {
            install(root, &data.join("root.crt"));
            settings.push_str("ssl_ca_file = 'root.crt'\n");
        }
        settings.push_str(&self.settings);
        let mut file = OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .expect("a file");
        file.write_all(settings.as_bytes())
            .expect("settings are written");
        let hba = format!(
            "{}local all all trust\nlocal replication all trust\n\
             host all all 127.0.0.1/32 scram-sha-256\n\
             host replication all 127.0.0.1/32 scram-sha-256\n",
            self.hba
        );
        fs::write(data.join("pg_hba.conf"), hba).expect("pg_hba.conf is written");

        let mut cluster = Cluster {
            server_bin,
            client_bin,
            folder,
            port: free_port(),
            env: self.env,
            network: self.network,
            server: None,
        };
        cluster.start_again();
        cluster
    }
}

/// A source and a target.
pub(crate) struct Pair {
    /// The server that is read.
    pub(crate) source: Cluster,
    /// The server that is written.
    pub(crate) target: Cluster,
}

impl Pair {
    /// Two clusters with the usual settings.
    pub(crate) fn start() -> Self {
        Self {
            source: Cluster::start(),
            target: Cluster::start(),
        }
    }

    /// Two clusters of these major versions.
    pub(crate) fn of_versions(source: u32, target: u32) -> Self {
        Self {
            source: Cluster::builder().version(source).start(),
            target: Cluster::builder().version(target).start(),
        }
    }

    /// `pghaul` with these arguments, from the source's database to the target's of that name.
    pub(crate) fn pghaul(&self, db: &str, args: &[&str]) -> Pghaul {
        Pghaul::new(args)
            .env("PGHAUL_PG_BINDIR", &self.source.client_bin)
            .source(&self.source.dsn(db))
            .target(&self.target.dsn(db))
    }
}

/// Makes a call of setpriv run a program as a user whom the server accepts.
fn as_server_user(setpriv: &mut Command, options: &[&str]) {
    pg::clean(setpriv);
    setpriv.current_dir("/").args(options);
    if pg::is_root() {
        setpriv.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    setpriv.arg("--");
}

/// Servers before 14 store the password in the form that this asks for, md5 unless told otherwise.
const AUTHENTICATION: [&str; 2] = ["--auth-local=trust", "--auth-host=scram-sha-256"];

/// The data directory that clusters with these arguments of initdb are copied from.
///
/// It lives in the build's target folder, is made once, and is guarded by a lock file, because
/// every test may be a process of its own.
fn template(bin: &Path, initdb: &[String]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (bin, initdb, SETTINGS, AUTHENTICATION).hash(&mut hasher);
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let template = cache.join(format!("cluster-{:016x}", hasher.finish()));
    fs::create_dir_all(cache).expect("the target folder is writable");
    let lock = File::create(template.with_extension("lock")).expect("a lock file");
    lock.lock().expect("the lock is granted");
    if !template.exists() {
        let folder = new_folder();
        let password = folder.join("password");
        fs::write(&password, Cluster::PASSWORD).expect("the password is written");
        let mut command = Command::new("setpriv");
        as_server_user(&mut command, &[]);
        command
            .arg(bin.join("initdb"))
            .args(["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"]);
        command
            .args(AUTHENTICATION)
            .arg("--no-sync")
            .arg("--pwfile")
            .arg(&password)
            .args(initdb);
        command.arg("-D").arg(folder.join("data"));
        pg::run(&mut command).unwrap_or_else(|error| panic!("{error}"));
        // Copied aside and renamed, so that a killed test leaves no half template.
        let aside = template.with_extension("aside");
        drop(fs::remove_dir_all(&aside));
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(folder.join("data")).arg(&aside);
        pg::run(&mut copy).unwrap_or_else(|error| panic!("{error}"));
        fs::rename(&aside, &template).expect("the template is renamed");
        fs::remove_dir_all(&folder).expect("the folder is removed");
    }
    template
}

/// A new folder that the server's user may write, with a path short enough for a socket.
fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = parent().join(format!("pghaul-{}-{number}", process::id()));
    fs::create_dir(&folder).expect("a new folder");
    if pg::is_root() {
        pg::run(Command::new("chown").arg("postgres:").arg(&folder))
            .unwrap_or_else(|error| panic!("{error}"));
    }
    folder
}

/// Where the folders of clusters are made: a socket's path has at most 107 bytes.
fn parent() -> PathBuf {
    let folder = std::env::temp_dir();
    if folder.as_os_str().len() <= 60 {
        folder
    } else {
        PathBuf::from("/tmp")
    }
}

/// Removes the folders that killed tests have left.
fn sweep() {
    for entry in fs::read_dir(parent()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            let name = name.strip_prefix("pghaul-")?;
            let name = name.strip_prefix("home-").unwrap_or(name);
            name.split_once('-')?.0.parse::<u32>().ok()
        });
        let server = fs::read_to_string(entry.path().join("data/postmaster.pid"))
            .ok()
            .and_then(|text| text.lines().next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !pg::is_alive(pid)) && !server.is_some_and(pg::is_alive) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// A TCP port that nobody listens on, below those the kernel gives to outgoing connections.
pub(super) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let attempt = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = 20_000 + (process::id().wrapping_mul(7) + attempt) % 12_000;
        let port = u16::try_from(number).expect("a port number");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Copies a file for the server alone to read.
fn install(from: &Path, to: &Path) {
    let mut command = Command::new("install");
    command.args(["-m", "0600"]);
    if pg::is_root() {
        command.args(["-o", "postgres", "-g", "postgres"]);
    }
    pg::run(command.arg(from).arg(to)).unwrap_or_else(|error| panic!("{error}"));
}
