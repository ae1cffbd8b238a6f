//! Starts the server and stops it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use pghaul_stage::{Error, Kind, Result};
use pghaul_wire::Reach;
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::access::{Access, FirstAdmin, Hosts, Settings};
use crate::agents::Agents;
use crate::app::{App, Parts};
use crate::decommission::Course;
use crate::listen::{Listener, Tls, TlsFiles};
use crate::router::router;
use crate::run::{Program, SOCKET};
use crate::spool::Spools;
use crate::store::Store;
use crate::supervisor::{self, Setup};
use crate::vault::Vault;

/// Bytes of the longest path of a socket.
const LONGEST: usize = 107;

/// How long requests may take that are under way when the server stops.
const FAREWELL: Duration = Duration::from_secs(3);

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The directory for all state. One server at a time uses it.
    pub state: PathBuf,
    /// Migrations that run at the same time.
    pub max_running: usize,
    /// The key for secrets at rest; `STATE/key`, which is made at the first start, if not given.
    pub key_file: Option<PathBuf>,
    /// Whether migrations go on when the server is stopped. They do when it is killed.
    pub detach_on_stop: bool,
    /// The certificate; without it, only this host may connect.
    pub tls: Option<TlsFiles>,
    /// Whether others may connect without TLS.
    pub insecure: bool,
    /// Names by which this server may be called, besides its address and this host's own names.
    pub allowed_hosts: Vec<String>,
    /// The servers that may be connected to, as patterns of [`Reach`].
    pub allow_host: Vec<String>,
    /// The first admin's password, for a server that has no users yet.
    pub admin_password: Option<SecretString>,
    /// Where spools of agents are kept, by URL; `STATE/spool` if not given.
    pub spool_store: Option<String>,
    /// Bytes that the spools of a migration may take; as much as there is if not given.
    pub spool_quota: Option<u64>,
}

/// How a server can be reached that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    /// Whether by TLS.
    pub tls: bool,
    /// Who can log in, if nobody could before.
    pub first: FirstAdmin,
}

/// Serves until `shutdown` is ready. `listening` is told how to connect, once that is possible.
///
/// # Errors
///
/// Kind input if the state cannot be used, is used already, or the address is taken.
pub async fn serve(
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
    listening: impl FnOnce(Listening) + Send,
) -> Result<()> {
    let tls = match options.tls.clone() {
        Some(files) => Some(Arc::new(blocking(|| Tls::read(files)).await?)),
        None => None,
    };
    let listener = Listener::bind(options.listen, tls.clone(), options.insecure).await?;
    let address = listener.address().unwrap_or(options.listen);
    let reach = Reach::new(&options.allow_host)?;
    let hosts = Hosts::new(&options.allowed_hosts)?;
    let preparing = options.clone();
    let (lock, setup, first, spools) = blocking(move || prepare(&preparing)).await?;
    let (store, program) = (setup.store.clone(), setup.program.clone());
    let access = Access::new(
        store.clone(),
        &Settings {
            hosts,
            tls: tls.is_some(),
            certified_agents: tls.as_ref().is_some_and(|tls| tls.certifies_agents()),
            ..Settings::default()
        },
    )?;
    let (desk, supervisor) = blocking(|| supervisor::start(setup)).await?;
    let (quota, migrations) = (options.spool_quota, Arc::new(desk.clone()));
    let agents = Agents::open(migrations, store.clone(), quota).await?;
    let spools = Arc::new(Spools::new(spools, Arc::clone(&agents) as _, quota));
    // What is left of an upload takes room, and nothing else.
    if let Err(error) = spools.sweep().await {
        tracing::warn!(%error, "what uploads have left cannot be removed");
    }
    let watched = Arc::clone(&agents);
    let watching = tokio::spawn(async move { watched.watch().await });
    let app = App::new(Parts {
        desk: desk.clone(),
        store,
        access: access.clone(),
        agents,
        spools,
        reach,
        program,
        state: options.state,
        max_running: options.max_running,
        course: Course::default(),
    });
    let routes = router(app, access)?;
    listening(Listening {
        address,
        tls: tls.is_some(),
        first,
    });
    if let Some(tls) = tls {
        tokio::spawn(renew(tls));
    }

    let (stop, stopping) = watch::channel(());
    let stopped = |mut stopping: watch::Receiver<()>| async move {
        // Whether it is told or dropped, it is time.
        let _told = stopping.changed().await.is_ok();
    };
    tokio::spawn(async move {
        shutdown.await;
        drop(stop);
    });
    let late = async {
        stopped(stopping.clone()).await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        () = listener.serve(routes, stopped(stopping.clone())) => {}
        // Streams of events last as long as their migrations.
        () = late => {}
    }
    watching.abort();
    let ended = blocking(move || {
        desk.stop();
        Ok(supervisor.join())
    });
    if ended.await?.is_err() {
        return Err(Error::new(Kind::Permanent, "the supervisor panicked"));
    }
    drop(lock);
    Ok(())
}

/// Does something that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::new(Kind::Permanent, "a thread ended").because(error))?
}

/// Reads the certificate again whenever SIGHUP says that there is a new one.
async fn renew(tls: Arc<Tls>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return tracing::warn!("cannot listen for SIGHUP; a new certificate needs a restart");
    };
    while hangup.recv().await.is_some() {
        let tls = Arc::clone(&tls);
        match blocking(move || tls.renew()).await {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(%error, "the certificate stays the old one"),
        }
    }
}

/// The state, taken.
type Prepared = (File, Setup, FirstAdmin, Arc<dyn ObjectStore>);

/// Takes the state, and opens what is in it. Whatever this process and those of migrations write
/// from now on, only this user can read.
fn prepare(options: &Options) -> Result<Prepared> {
    let _before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let state = &options.state;
    let failed = |error: io::Error| {
        Error::input("the directory of the state cannot be used")
            .on(state.display().to_string())
            .because(error)
    };
    let mut make = DirBuilder::new();
    make.recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(failed)?;
    let state = fs::canonicalize(state).map_err(failed)?;
    let runs = state.join("runs");
    if runs.as_os_str().len() + 1 + SOCKET > LONGEST {
        return Err(
            Error::input("the path of the state is too long for sockets below it")
                .on(state.display().to_string())
                .remedy("name a directory whose path has at most 50 bytes"),
        );
    }
    let lock = lock(&state)?;
    let path = state.join("state.db");
    let new = !path.exists();
    let vault = match &options.key_file {
        Some(file) => Vault::open(file, false),
        // A key that got lost is not made anew over secrets that only the old one opens.
        None => Vault::open(&state.join("key"), new),
    }?;
    let store = Store::open(&path)?;
    let password = options.admin_password.as_ref();
    let first = FirstAdmin::make(&store, password, &state.join("admin.token"))?;
    let setup = Setup {
        store,
        vault,
        program: Program::this(&options.allow_host).map_err(failed)?,
        runs,
        max_running: options.max_running,
        detach: options.detach_on_stop,
    };
    let spools = match &options.spool_store {
        Some(url) => pghaul_spool::objects(url, false)?,
        None => pghaul_spool::objects(&state.join("spool").display().to_string(), true)?,
    };
    Ok((lock, setup, first, spools))
}

/// Holds the state for as long as the file is open.
fn lock(state: &Path) -> Result<File> {
    let path = state.join("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let taken = options.open(&path).and_then(|file| {
        file.try_lock()?;
        Ok(file)
    });
    taken.map_err(|error| {
        Error::input("another server uses this state, or it cannot be written")
            .on(path.display().to_string())
            .because(error)
    })
}
