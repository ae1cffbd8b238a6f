//! Server-sent events, taken out of the pieces in which they arrive.
//!
//! Source: the HTML standard, section 9.2, "Server-sent events".

/// How long an event may be; a server that sends longer ones is no runtime server.
const LONGEST: usize = 16 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The identifier to go on after.
    pub(super) id: Option<String>,
    /// What it says.
    pub(super) data: String,
}

/// Finds events in a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// What has come and is no whole line yet.
    rest: Vec<u8>,
    /// Whether the last line ended with a carriage return, so that a line feed belongs to it.
    returned: bool,
    data: Option<String>,
    id: Option<String>,
}

impl Events {
    /// Takes a piece, and gives the events that it completes; `None` if one is too long.
    pub(super) fn take(&mut self, piece: &[u8]) -> Option<Vec<Event>> {
        let mut events = Vec::new();
        for &byte in piece {
            match byte {
                b'\n' if self.returned => self.returned = false,
                b'\n' | b'\r' => {
                    self.returned = byte == b'\r';
                    let line = std::mem::take(&mut self.rest);
                    events.extend(self.line(&String::from_utf8_lossy(&line)));
                }
                _ => {
                    self.returned = false;
                    self.rest.push(byte);
                }
            }
            let data = self.data.as_ref().map_or(0, String::len);
            if self.rest.len() + data > LONGEST {
                return None;
            }
        }
        Some(events)
    }

    /// A line; an empty one ends an event.
    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let id = self.id.clone();
            return self.data.take().map(|data| Event { id, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<&str>, data: &str) -> Event {
        Event {
            id: id.map(str::to_owned),
            data: data.to_owned(),
        }
    }

    /// The examples of the standard, section 9.2.6.
    #[test]
    fn events_are_what_the_standard_says() {
        let all = |text: &str| Events::default().take(text.as_bytes()).unwrap();
        assert_eq!(
            all("data: YHOO\ndata: +2\ndata: 10\n\n"),
            [event(None, "YHOO\n+2\n10")]
        );
        assert_eq!(
            all(
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
            ),
            [
                event(Some("1"), "first event"),
                event(Some(""), "second event"),
                event(Some(""), " third event"),
            ]
        );
        assert_eq!(
            all("data\n\ndata\ndata\n\ndata:"),
            [event(None, ""), event(None, "\n")]
        );
        assert_eq!(
            all("data:test\n\ndata: test\n\n"),
            [event(None, "test"), event(None, "test")]
        );
        assert_eq!(
            all("data: a\r\n\r\ndata: b\r\r"),
            [event(None, "a"), event(None, "b")]
        );
        assert_eq!(all("event: x\nretry: 3\n\n"), []);
    }

    #[test]
    fn pieces_may_end_anywhere() {
        let text = "id: 7\r\ndata: {\"ä\":1}\r\n\r\n".as_bytes();
        for cut in 0..text.len() {
            let mut events = Events::default();
            let mut all = events.take(&text[..cut]).unwrap();
            all.extend(events.take(&text[cut..]).unwrap());
            assert_eq!(all, [event(Some("7"), "{\"ä\":1}")], "cut at {cut}");
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut events = Events::default();
        let piece = vec![b'x'; 1 << 20];
        let given_up = (0..32).any(|_| events.take(&piece).is_none());
        assert!(given_up);
    }
}
