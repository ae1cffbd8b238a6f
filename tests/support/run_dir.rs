//! The directory of a run, as another program sees it: events, commands, the lock.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a run may take to come to some point.
const PATIENCE: Duration = Duration::from_secs(120);

/// Such a directory.
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    /// The one at this path.
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The events so far; all but the last line must be whole.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.0.join("events.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        whole.lines().map(parse).collect()
    }

    /// The events of this kind so far.
    pub(crate) fn of(&self, kind: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["event"] == kind);
        events
    }

    /// The bytes that were copied so far, by the last word of each database.
    pub(crate) fn bytes(&self) -> u64 {
        let mut last = std::collections::BTreeMap::new();
        for event in self.of("progress") {
            let bytes = event["bytes"].as_u64().expect("a number");
            last.insert(event["database"].to_string(), bytes);
        }
        last.values().sum()
    }

    /// Whether a process holds the lock.
    pub(crate) fn is_locked(&self) -> bool {
        let lock = File::open(self.0.join("lock"));
        lock.is_ok_and(|lock| lock.try_lock_shared().is_err())
    }

    /// The process that runs in it.
    pub(crate) fn pid(&self) -> u32 {
        assert!(self.is_locked(), "nobody runs in {}", self.0.display());
        let text = fs::read_to_string(self.0.join("lock")).expect("the lock can be read");
        text.trim().parse().expect("a process")
    }

    /// Tells the run something, and gives its answer.
    pub(crate) fn tell(&self, command: &str) -> Value {
        let mut stream = UnixStream::connect(self.0.join("control.sock")).expect("the run listens");
        writeln!(stream, "{command}").expect("it takes a line");
        let mut answer = String::new();
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut answer).expect("it answers");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Waits until something holds of it.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            let said = || fs::read_to_string(self.0.join("log")).unwrap_or_default();
            let last = self.events().pop();
            assert!(
                Instant::now() < deadline,
                "waiting until {what}; log:\n{}\nlast event: {last:?}",
                said()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}
