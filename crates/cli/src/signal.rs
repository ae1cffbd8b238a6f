//! Ctrl-C and SIGTERM: the first stops cleanly, the second at once.

use pghaul_relay::Cancel;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a process ended by SIGINT, as shells count.
const INTERRUPTED: i32 = 130;

/// Cancels `cancel` on the first signal; ends the process on the second.
pub(crate) fn cancel_on_interrupt(cancel: Cancel) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return tracing::warn!("cannot listen for signals; Ctrl-C will stop at once");
    };
    tokio::spawn(async move {
        for times in 1.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if times > 1 {
                std::process::exit(INTERRUPTED);
            }
            eprintln!("stopping; once more to stop at once");
            cancel.cancel();
        }
    });
}
