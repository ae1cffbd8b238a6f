//! `pghaul serve`: the runtime server.

use std::env;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use pghaul_relay::Cancel;
use pghaul_server::access::FirstAdmin;
use pghaul_server::listen::TlsFiles;
use pghaul_server::{Listening, Options};
use pghaul_stage::Result;
use tokio::runtime::Handle;

use crate::args::parse_size;
use crate::output::say;
use crate::{Outcome, signal};

/// `pghaul serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen; without TLS, only this host may connect
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8432")]
    listen: SocketAddr,

    /// The directory for all state: migrations, their events and logs, secrets, keys
    #[arg(long, value_name = "DIR")]
    state: PathBuf,

    /// Migrations that run at the same time; others wait for their turn
    #[arg(long, value_name = "N", default_value = "8")]
    max_running: NonZeroUsize,

    /// The key that passwords are encrypted under, 32 random bytes [default: DIR/key, made if new]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// Keep spools of agents in this place instead of DIR/spool: a directory, s3://, az://, gs://
    #[arg(long, value_name = "URL")]
    spool_store: Option<String>,

    /// The room that the spools of a migration may take, for example 200GB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    spool_quota: Option<u64>,

    /// Let running migrations go on when the server is stopped; they do when it is killed
    #[arg(long)]
    detach_on_stop: bool,

    /// The certificate, and those between it and its authority, in PEM; read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The certificate's key, in PEM, which only this user can read
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// The authority of agents' certificates, in PEM; with it, agents must show one
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,

    /// Let other hosts connect without TLS: whoever listens on the network reads passwords
    #[arg(long)]
    insecure: bool,

    /// A name by which this server may be called, besides its address; repeatable
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,

    /// Let migrations connect to these hosts alone: a network, an address, a name, *.suffix, or
    /// the folder of a Unix socket; repeatable
    #[arg(long, value_name = "PATTERN")]
    allow_host: Vec<String>,
}

/// The variable with the first admin's password.
const ADMIN_PASSWORD: &str = "PGHAUL_ADMIN_PASSWORD";

/// Runs the command.
pub(crate) fn run(args: &Serve) -> Result<Outcome> {
    let cancel = Cancel::new();
    signal::cancel_on_interrupt(cancel.clone());
    let options = Options {
        listen: args.listen,
        state: args.state.clone(),
        max_running: args.max_running.get(),
        key_file: args.key_file.clone(),
        detach_on_stop: args.detach_on_stop,
        tls: args.tls(),
        insecure: args.insecure,
        allowed_hosts: args.allowed_host.clone(),
        allow_host: args.allow_host.clone(),
        admin_password: env::var(ADMIN_PASSWORD).ok().map(Into::into),
        spool_store: args.spool_store.clone(),
        spool_quota: args.spool_quota,
    };
    let listening = |listening: Listening| {
        let scheme = if listening.tls { "https" } else { "http" };
        match listening.first {
            FirstAdmin::ByFile(path) => eprintln!(
                "the password of admin, which is a token as well, is in {}",
                path.display()
            ),
            FirstAdmin::ByPassword => eprintln!("admin has the password of {ADMIN_PASSWORD}"),
            FirstAdmin::Known => {}
        }
        say(&format!("listening on {scheme}://{}", listening.address));
    };
    let shutdown = async move { cancel.cancelled().await };
    Handle::current().block_on(pghaul_server::serve(options, shutdown, listening))?;
    Ok(Outcome::Done)
}

impl Serve {
    fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            client_authority: self.tls_client_ca.clone(),
        })
    }
}
