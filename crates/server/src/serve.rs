//! Starts the server and stops it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pghaul_stage::{Error, Kind, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::app::App;
use crate::router::router;
use crate::run::{Program, SOCKET};
use crate::store::Store;
use crate::supervisor::{self, Setup};
use crate::token::Token;
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
}

/// Serves until `shutdown` is ready. `listening` is told where, once it can be connected to.
///
/// # Errors
///
/// Kind input if the state cannot be used, is used already, or the address is taken.
pub async fn serve(
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
    listening: impl FnOnce(SocketAddr) + Send,
) -> Result<()> {
    if !options.listen.ip().is_loopback() {
        return Err(
            Error::input("only this host may connect as long as there is no TLS")
                .on(options.listen.to_string())
                .remedy("listen on 127.0.0.1 or ::1"),
        );
    }
    let prepared = tokio::task::spawn_blocking({
        let options = options.clone();
        move || prepare(&options)
    });
    let failed = |error| Error::new(Kind::Permanent, "a thread ended").because(error);
    let (lock, setup, token) = prepared.await.map_err(failed)??;
    let store = setup.store.clone();
    let started = tokio::task::spawn_blocking(move || supervisor::start(setup));
    let (desk, supervisor) = started.await.map_err(failed)??;
    let listener = TcpListener::bind(options.listen).await.map_err(|error| {
        Error::input("cannot listen")
            .on(options.listen.to_string())
            .because(error)
            .remedy("name another address with --listen")
    })?;
    let app = App::new(desk.clone(), store, options.state, options.max_running);
    let address = listener.local_addr().unwrap_or(options.listen);
    listening(address);

    let (stop, stopping) = watch::channel(());
    let stopped = |mut stopping: watch::Receiver<()>| async move {
        // Whether it is told or dropped, it is time.
        let _told = stopping.changed().await.is_ok();
    };
    let server = axum::serve(listener, router(app, Arc::new(token)))
        .with_graceful_shutdown(stopped(stopping.clone()));
    tokio::spawn(async move {
        shutdown.await;
        drop(stop);
    });
    let late = async {
        stopped(stopping).await;
        tokio::time::sleep(FAREWELL).await;
    };
    let served = tokio::select! {
        served = server.into_future() => served,
        // Streams of events last as long as their migrations.
        () = late => Ok(()),
    };
    let ended = tokio::task::spawn_blocking(move || {
        desk.stop();
        supervisor.join()
    });
    if ended.await.map_err(failed)?.is_err() {
        return Err(Error::new(Kind::Permanent, "the supervisor panicked"));
    }
    drop(lock);
    served.map_err(|error| Error::new(Kind::Permanent, "cannot serve").because(error))
}

/// Takes the state, and opens what is in it. Whatever this process and those of migrations write
/// from now on, only this user can read.
fn prepare(options: &Options) -> Result<(File, Setup, Token)> {
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
    let setup = Setup {
        store: Store::open(&path)?,
        vault,
        program: Program::this().map_err(failed)?,
        runs,
        max_running: options.max_running,
        detach: options.detach_on_stop,
    };
    Ok((lock, setup, Token::open(&state.join("admin.token"))?))
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
