//! Reads the last events of a migration: back from the end, or from one of them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::{Map, Value};

/// So many bytes are read at a time.
const PIECE: u64 = 1 << 20;

/// After so many bytes an answer ends, however few events were wanted among them.
const MOST: u64 = 64 << 20;

/// Some events, the oldest first.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Last {
    /// Each with its identifier, which is where its line ends, in bytes.
    pub(crate) events: Vec<(u64, Map<String, Value>)>,
    /// Those before this identifier were not looked at; `None` if there are none.
    pub(crate) before: Option<u64>,
}

/// Reads up to `limit` of the wanted events that come before the one with this identifier; without
/// one, the last.
///
/// # Errors
///
/// Kind invalid input if no event has this identifier.
pub(crate) fn last(
    path: &Path,
    before: Option<u64>,
    limit: usize,
    wanted: impl Fn(&Map<String, Value>) -> bool,
) -> io::Result<Last> {
    read_back(path, before, limit, wanted, PIECE)
}

fn read_back(
    path: &Path,
    before: Option<u64>,
    limit: usize,
    wanted: impl Fn(&Map<String, Value>) -> bool,
    piece: u64,
) -> io::Result<Last> {
    let mut last = Last::default();
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && before.is_none() => {
            return Ok(last);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown()),
        file => file?,
    };
    let size = file.metadata()?.len();
    let end = before.unwrap_or(size);
    if end > size || before == Some(0) {
        return Err(unknown());
    }
    // What was read of the line whose beginning is not read yet; it ends where `start` begins.
    let mut text = Vec::new();
    let mut start = end;
    let mut oldest = None;
    while start > 0 && (oldest.is_none() || end - start < MOST) {
        let from = start.saturating_sub(piece);
        let mut more = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        Read::by_ref(&mut file)
            .take(start - from)
            .read_to_end(&mut more)?;
        if start == end && before.is_some() && more.last() != Some(&b'\n') {
            return Err(unknown());
        }
        more.append(&mut text);
        (text, start) = (more, from);
        while !text.is_empty() {
            let whole = text.strip_suffix(b"\n");
            let earlier = whole
                .unwrap_or(&text)
                .iter()
                .rposition(|&byte| byte == b'\n');
            let begin = match earlier {
                Some(line_break) => line_break + 1,
                None if start == 0 => 0,
                None => break,
            };
            let id = start + text.len() as u64;
            // The event that is named does not count, nor does a line that is not complete.
            let counts = whole.is_some() && before != Some(id);
            let line = text.get(begin..).filter(|_| counts).unwrap_or_default();
            if let Some(event) = serde_json::from_slice(line).ok().filter(&wanted) {
                if last.events.len() == limit {
                    last.before = last.events.last().map(|(id, _)| *id);
                    last.events.reverse();
                    return Ok(last);
                }
                last.events.push((id, event));
            }
            oldest = Some(id);
            text.truncate(begin);
        }
    }
    last.before = oldest.filter(|_| start > 0);
    last.events.reverse();
    Ok(last)
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no event has this identifier")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    /// Events from 1 to 50, of lines of all lengths, and a line that is no event among them.
    fn events() -> (tempfile::TempDir, Vec<(u64, u64)>) {
        let folder = tempfile::tempdir().unwrap();
        let mut text = String::new();
        let mut known = Vec::new();
        for number in 1..=50_u64 {
            if number == 20 {
                text += "{\"cut off\n";
            }
            let length = usize::try_from(number * number % 97).unwrap();
            text += &json!({"n": number, "x": "x".repeat(length)}).to_string();
            text.push('\n');
            known.push((text.len() as u64, number));
        }
        text += "{\"n\":51";
        fs::write(folder.path().join("events.jsonl"), text).unwrap();
        (folder, known)
    }

    fn told(last: &Last) -> Vec<(u64, u64)> {
        let of = |(id, event): &(u64, Map<String, Value>)| (*id, event["n"].as_u64().unwrap());
        last.events.iter().map(of).collect()
    }

    #[test]
    fn pages_from_the_end_are_all_events_whatever_is_read_at_a_time() {
        let (folder, known) = events();
        let path = folder.path().join("events.jsonl");
        for piece in [1, 7, 64, 1000, PIECE] {
            let mut all = Vec::new();
            let mut before = None;
            loop {
                let page = read_back(&path, before, 7, |_| true, piece).unwrap();
                assert!(page.events.len() <= 7);
                all.splice(..0, told(&page));
                before = page.before;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(all, known, "{piece} bytes at a time");
        }
    }

    #[test]
    fn what_is_not_wanted_does_not_count_and_the_end_is_told() {
        let (folder, known) = events();
        let path = folder.path().join("events.jsonl");
        let tenth = |event: &Map<String, Value>| event["n"].as_u64().unwrap().is_multiple_of(10);
        let page = last(&path, None, 3, tenth).unwrap();
        assert_eq!(told(&page), [known[29], known[39], known[49]]);
        let page = last(&path, page.before, 3, tenth).unwrap();
        assert_eq!(
            (told(&page), page.before),
            (vec![known[9], known[19]], None)
        );
        let first = last(&path, Some(known[0].0), 3, tenth).unwrap();
        assert_eq!(first, Last::default());
    }

    #[test]
    fn an_identifier_that_is_none_is_refused() {
        let (folder, known) = events();
        let path = folder.path().join("events.jsonl");
        for wrong in [0, 1, known[4].0 + 1, 1_000_000] {
            let error = last(&path, Some(wrong), 3, |_| true).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{wrong}");
        }
        let none = folder.path().join("none");
        assert_eq!(last(&none, None, 3, |_| true).unwrap(), Last::default());
        assert!(last(&none, Some(3), 3, |_| true).is_err());
    }
}
