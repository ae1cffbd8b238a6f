//! `pghaul serve`: the runtime server.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use pghaul_relay::Cancel;
use pghaul_server::Options;
use pghaul_stage::Result;
use tokio::runtime::Handle;

use crate::output::say;
use crate::{Outcome, signal};

/// `pghaul serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen; only this host can connect
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

    /// Let running migrations go on when the server is stopped; they do when it is killed
    #[arg(long)]
    detach_on_stop: bool,
}

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
    };
    let token = args.state.join("admin.token");
    let listening = move |address| {
        say(&format!("listening on http://{address}"));
        say(&format!(
            "the administrator's token is in {}",
            token.display()
        ));
    };
    let shutdown = async move { cancel.cancelled().await };
    Handle::current().block_on(pghaul_server::serve(options, shutdown, listening))?;
    Ok(Outcome::Done)
}
