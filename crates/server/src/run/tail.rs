//! Reads the events of a migration: as they come, or a page of them. An event is one line of
//! JSON, and its identifier is where the line ends, in bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// So many bytes are read at a time.
const PIECE: u64 = 4 << 20;

/// A page is full with so many bytes of lines.
const PAGE: u64 = 1 << 20;

/// The place up to which events were read.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    offset: u64,
}

/// Some events.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Each with its identifier.
    pub(crate) events: Vec<(u64, Map<String, Value>)>,
    /// Where to go on.
    pub(crate) next: u64,
    /// Whether there were more already.
    pub(crate) more: bool,
}

impl Tail {
    /// Nothing is read yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, offset: 0 }
    }

    /// Hands over the events that came since; a line that is not complete has not come.
    pub(crate) fn read(&mut self, mut each: impl FnMut(&Map<String, Value>)) -> io::Result<()> {
        let Some(mut file) = open(&self.path)? else {
            return Ok(());
        };
        let mut size = PIECE;
        loop {
            file.seek(SeekFrom::Start(self.offset))?;
            let mut piece = Vec::new();
            let read = Read::by_ref(&mut file).take(size).read_to_end(&mut piece)? as u64;
            let Some(end) = piece.iter().rposition(|&byte| byte == b'\n') else {
                if read < size {
                    return Ok(());
                }
                // One line is longer than that.
                size *= 2;
                continue;
            };
            piece.truncate(end + 1);
            for line in piece.split(|&byte| byte == b'\n') {
                // What is no event was cut off when its process was killed.
                if let Ok(event) = serde_json::from_slice(line) {
                    each(&event);
                }
            }
            self.offset += piece.len() as u64;
        }
    }
}

/// Reads up to `limit` events after the one with this identifier; 0 is before the first.
///
/// # Errors
///
/// Kind invalid input if no event has this identifier.
pub(crate) fn page(path: &Path, after: u64, limit: usize) -> io::Result<Page> {
    let mut page = Page {
        next: after,
        ..Page::default()
    };
    let Some(mut file) = open(path)? else {
        return if after == 0 { Ok(page) } else { Err(unknown()) };
    };
    if after > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(after - 1))?;
        if file.read(&mut last)? != 1 || last != *b"\n" {
            return Err(unknown());
        }
    }
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = lines.read_until(b'\n', &mut line)? as u64;
        if line.last() != Some(&b'\n') {
            return Ok(page);
        }
        if page.events.len() >= limit || page.next - after >= PAGE {
            page.more = true;
            return Ok(page);
        }
        page.next += length;
        if let Ok(event) = serde_json::from_slice(&line) {
            page.events.push((page.next, event));
        }
    }
}

/// Whether the last line has no end.
pub(crate) fn ends_within_a_line(path: &Path) -> io::Result<bool> {
    let Some(mut file) = open(path)? else {
        return Ok(false);
    };
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no event has this identifier")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn complete_lines_are_events_and_their_ends_identify_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut tail = Tail::new(path.clone());
        let mut seen = Vec::new();
        let mut read = |tail: &mut Tail| {
            tail.read(|event| seen.push(event["n"].as_u64().unwrap()))
                .unwrap();
            seen.clone()
        };
        assert!(read(&mut tail).is_empty());
        fs::write(&path, "{\"n\":1}\n{\"n\":2}\n{\"n\"").unwrap();
        assert_eq!(read(&mut tail), [1, 2]);
        assert!(ends_within_a_line(&path).unwrap());
        fs::write(&path, "{\"n\":1}\n{\"n\":2}\n{\"n\"\n{\"n\":3}\n").unwrap();
        assert_eq!(read(&mut tail), [1, 2, 3]);
        assert_eq!(read(&mut tail), [1, 2, 3]);

        let first = page(&path, 0, 2).unwrap();
        let ids: Vec<u64> = first.events.iter().map(|(id, _)| *id).collect();
        assert_eq!((ids, first.next, first.more), (vec![8, 16], 16, true));
        let second = page(&path, 16, 2).unwrap();
        assert_eq!((second.events.len(), second.more), (1, false));
        assert_eq!(page(&path, second.next, 2).unwrap().events.len(), 0);
        for wrong in [1, 17, 1000] {
            assert_eq!(
                page(&path, wrong, 2).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
    }
}
