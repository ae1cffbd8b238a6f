//! The file of a trace: written by a thread of its own, and a whole JSON array at any time.
//!
//! The closing bracket is written with every piece, and the next piece overwrites it. So what a
//! run leaves that was killed can still be read.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pghaul_stage::{Error, Kind, Result};
use serde_json::{Value, json};

/// Lines that may wait for the disk.
const LINES: usize = 4096;

/// Bytes written at a time, about.
const PIECE: usize = 64 << 10;

/// How long a line may wait in memory.
const DELAY: Duration = Duration::from_millis(500);

/// An open trace file. It never makes anybody wait: if the disk does not keep up, lines are lost
/// and counted.
pub(super) struct File {
    path: PathBuf,
    lines: Mutex<Option<SyncSender<String>>>,
    lost: AtomicU64,
    writer: Mutex<Option<JoinHandle<std::io::Result<()>>>>,
}

impl File {
    /// Creates the file, or empties it.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::input("the trace file cannot be written")
                .on(path.display().to_string())
                .because(error)
        };
        let file = fs::File::create(path).map_err(failed)?;
        file.write_all_at(b"[\n]\n", 0).map_err(failed)?;
        let (sender, receiver) = sync_channel(LINES);
        let writer = thread::Builder::new()
            .name("pghaul-trace".into())
            .spawn(move || write(&file, &receiver))
            .map_err(|error| Error::new(Kind::Permanent, "cannot start a thread").because(error))?;
        Ok(Self {
            path: path.to_owned(),
            lines: Mutex::new(Some(sender)),
            lost: AtomicU64::new(0),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Adds an event.
    pub(super) fn line(&self, event: &Value) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = lines.as_ref() else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            lines.try_send(event.to_string())
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what is left. Says so if the file is not complete.
    pub(super) fn close(&self) {
        let lines = self
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let lost = self.lost.load(Ordering::Relaxed);
        if let Some(lines) = lines
            && lost > 0
        {
            let event = json!({
                "name": format!("{lost} events were lost"), "cat": "warning", "ph": "i", "s": "g",
                "ts": 0, "pid": 1, "tid": 0,
            });
            // A writer that ended early says why below.
            drop(lines.send(event.to_string()));
        }
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match writer.map(JoinHandle::join) {
            Some(Ok(Err(error))) => {
                tracing::warn!(%error, file = %self.path.display(), "the trace is not complete");
            }
            _ if lost > 0 => {
                tracing::warn!(lost, file = %self.path.display(), "the trace is not complete");
            }
            _ => {}
        }
    }
}

fn write(file: &fs::File, lines: &Receiver<String>) -> std::io::Result<()> {
    // Behind the opening bracket.
    let mut end = 2;
    let mut piece = String::new();
    let mut first = true;
    loop {
        let line = lines.recv_timeout(DELAY);
        let over = matches!(line, Err(RecvTimeoutError::Disconnected));
        let idle = line.is_err();
        if let Ok(line) = line {
            if !std::mem::take(&mut first) {
                piece.push_str(",\n");
            }
            piece.push_str(&line);
        }
        if !piece.is_empty() && (idle || piece.len() >= PIECE) {
            let length = piece.len() as u64;
            piece.push_str("\n]\n");
            file.write_all_at(piece.as_bytes(), end)?;
            end += length;
            piece.clear();
        }
        if over {
            return Ok(());
        }
    }
}
