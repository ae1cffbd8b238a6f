//! Takes commands for a run on a Unix socket: one JSON object a line, each answered by one.

use std::fs::{self, Permissions};
use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use pghaul_relay::{Cancel, Pace};
use pghaul_stage::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::output::print_json;

/// Bytes that a connection may send.
const LONGEST: u64 = 64 << 10;

/// How long a connection may last.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a run can be told.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "action",
    rename_all = "lowercase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
enum Command {
    /// To stop; what is done is kept.
    Cancel,
    /// To copy nothing until told to resume.
    Pause,
    /// To go on.
    Resume,
    /// To copy no faster than this; `null` is no limit.
    Throttle {
        bytes_per_second: Option<NonZeroU64>,
    },
}

/// Listens for as long as the runtime lives.
pub(super) fn listen(socket: &Path, cancel: Cancel, pace: Pace) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::input("cannot listen for commands")
            .on(socket.display().to_string())
            .because(error)
            .remedy("the path of a socket has at most 107 bytes; use a shorter one")
    };
    // Whoever left it there is gone: this process holds the lock.
    drop(fs::remove_file(socket));
    let listener = UnixListener::bind(socket).map_err(failed)?;
    fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(failed)?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (cancel, pace) = (cancel.clone(), pace.clone());
                    tokio::spawn(tokio::time::timeout(PATIENCE, serve(stream, cancel, pace)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a command");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    });
    Ok(())
}

/// Answers one line after the other until the other side closes, or breaks off.
async fn serve(stream: UnixStream, cancel: Cancel, pace: Pace) {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading.take(LONGEST)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut answer = obey(&line, &cancel, &pace).to_string();
        answer.push('\n');
        if writing.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn obey(line: &str, cancel: &Cancel, pace: &Pace) -> Value {
    let command: Command = match serde_json::from_str(line) {
        Ok(command) => command,
        Err(error) => return json!({ "error": error.to_string() }),
    };
    match command {
        Command::Cancel => cancel.cancel(),
        Command::Pause => pace.pause(),
        Command::Resume => pace.resume(),
        Command::Throttle { bytes_per_second } => pace.set_rate(bytes_per_second),
    }
    #[derive(Serialize)]
    struct Line {
        event: &'static str,
        #[serde(flatten)]
        command: Command,
    }
    print_json(&Line {
        event: "control",
        command,
    });
    json!({ "ok": true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_obeyed_and_anything_else_is_refused() {
        let (cancel, pace) = (Cancel::new(), Pace::unlimited());
        let ok = json!({ "ok": true });
        assert_eq!(obey(r#"{"action":"pause"}"#, &cancel, &pace), ok);
        assert!(pace.is_paused());
        assert_eq!(obey(r#"{"action":"resume"}"#, &cancel, &pace), ok);
        assert!(!pace.is_paused());
        for good in [
            r#"{"action":"throttle","bytesPerSecond":1000}"#,
            r#"{"action":"throttle","bytesPerSecond":null}"#,
        ] {
            assert_eq!(obey(good, &cancel, &pace), ok);
        }
        for wrong in [
            "",
            "pause",
            r#"{"action":"stop"}"#,
            r#"{"action":"throttle","bytesPerSecond":0}"#,
            r#"{"action":"throttle","bytesPerSecond":-1}"#,
        ] {
            assert!(obey(wrong, &cancel, &pace)["error"].is_string(), "{wrong}");
        }
        assert!(!cancel.is_cancelled());
        assert_eq!(obey(r#"{"action":"cancel"}"#, &cancel, &pace), ok);
        assert!(cancel.is_cancelled());
    }
}
