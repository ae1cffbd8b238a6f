//! What earlier processes of a run had done, as far as their events tell.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Seek};

use serde::Deserialize;

/// By name of database.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Those that were begun on the target.
    pub(super) begun: HashSet<String>,
    /// Those whose ends were compared.
    pub(super) compared: HashSet<String>,
}

/// What matters of an event.
#[derive(Deserialize)]
struct Line {
    event: String,
    database: Option<String>,
}

impl Before {
    /// Reads the events. A line that is none was cut off when a process was killed.
    pub(super) fn read(events: &mut (impl Read + Seek)) -> io::Result<Self> {
        events.rewind()?;
        let mut before = Before::default();
        for line in BufReader::new(events).split(b'\n') {
            let Ok(line) = serde_json::from_slice::<Line>(&line?) else {
                continue;
            };
            let Some(database) = line.database else {
                continue;
            };
            match line.event.as_str() {
                "begun" => before.begun.insert(database),
                "comparison" => before.compared.insert(database),
                _ => false,
            };
        }
        Ok(before)
    }
}
