//! Cuts what a server sends into messages, and takes COPY bytes out of their frames.
//!
//! Source: PostgreSQL's manual, sections 55.1 and 55.7.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use pghaul_stage::{Error, Kind, Result};
use postgres_protocol::message::backend::Message;

/// What one read may bring during COPY.
pub(crate) const COPY_BUFFER: usize = 256 * 1024;
/// What one read may bring otherwise.
const CONTROL_BUFFER: usize = 8 * 1024;
/// A new buffer is taken when less than this is free in the old one.
const LEAST_FREE: usize = 32 * 1024;

/// The tag and the length of a message.
const HEADER: usize = 5;
/// No message but a row has a reason to be longer.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// A row cannot be longer than PostgreSQL's own limit of 1 GiB.
const MAX_ROW: usize = 1024 * 1024 * 1024 + 64 * 1024;

const COPY_DATA: u8 = b'd';
const DATA_ROW: u8 = b'D';
/// What else a server may send; anything else would be waited for in vain.
const TAGS: &[u8] = b"123AcCEGHIKNnRSsTtVvWZ";

/// The receiving end of a connection: bytes in, messages or bare COPY bytes out.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: BytesMut,
    /// How much of the current COPY frame's payload is still to come.
    left: usize,
}

/// COPY bytes without their frames.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: Bytes,
    /// How many frames ended within these bytes; the server sends one frame per row.
    pub(crate) rows: u64,
}

struct Header {
    tag: u8,
    /// Of what follows the header.
    length: usize,
}

impl Frames {
    /// Where the next bytes from the socket go.
    ///
    /// Limited, so that no piece of COPY is larger than the buffer is meant to be.
    pub(crate) fn space(&mut self, copying: bool) -> Limit<&mut BytesMut> {
        let (least, size) = if copying {
            (LEAST_FREE, COPY_BUFFER)
        } else {
            (CONTROL_BUFFER / 2, CONTROL_BUFFER)
        };
        if self.buffer.capacity() - self.buffer.len() < least {
            self.buffer.reserve(size);
        }
        let limit = COPY_BUFFER
            .saturating_sub(self.buffer.len())
            .max(CONTROL_BUFFER);
        (&mut self.buffer).limit(limit)
    }

    /// Takes bytes that were read elsewhere.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What has arrived and is not yet taken.
    pub(crate) fn into_rest(self) -> BytesMut {
        self.buffer
    }

    /// The next whole message; `None` if more bytes are needed, also for the payload before it.
    pub(crate) fn message(&mut self) -> Result<Option<Message>> {
        if self.left > 0 {
            return Ok(None);
        }
        let Some(header) = header(&self.buffer)? else {
            return Ok(None);
        };
        if self.buffer.len() < HEADER + header.length {
            return Ok(None);
        }
        // Parse a copy of just this message: the parser reserves room for what it lacks.
        let mut whole = self.buffer.split_to(HEADER + header.length);
        Message::parse(&mut whole).map_err(|error| {
            protocol("the server sent a message that cannot be read").because(error)
        })
    }

    /// The COPY bytes that have arrived; `None` if the next thing is another message, or if
    /// more bytes are needed.
    ///
    /// Payloads move over their headers within the buffer, so that no row is copied elsewhere
    /// and a frame longer than the buffer passes through in pieces.
    pub(crate) fn payload(&mut self) -> Result<Option<Payload>> {
        let end = self.buffer.len();
        let (mut from, mut to, mut rows) = (0, 0, 0);
        loop {
            if self.left > 0 {
                let piece = self.left.min(end - from);
                if piece == 0 {
                    break;
                }
                if from != to {
                    self.buffer.copy_within(from..from + piece, to);
                }
                from += piece;
                to += piece;
                self.left -= piece;
                if self.left > 0 {
                    break;
                }
                rows += 1;
            }
            match header(self.buffer.get(from..).unwrap_or_default())? {
                Some(Header {
                    tag: COPY_DATA,
                    length,
                }) => {
                    from += HEADER;
                    self.left = length;
                    rows += u64::from(length == 0);
                }
                _ => break,
            }
        }
        let bytes = self.buffer.split_to(to).freeze();
        self.buffer.advance(from - to);
        Ok((rows > 0 || !bytes.is_empty()).then_some(Payload { bytes, rows }))
    }
}

/// The header at the start of some bytes; an error if its length cannot be right.
fn header(bytes: &[u8]) -> Result<Option<Header>> {
    let Some((&[tag, a, b, c, d], _)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([a, b, c, d]);
    let length = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_sub(4))
        .ok_or_else(|| protocol("the server sent a message of impossible length"))?;
    let limit = match tag {
        COPY_DATA => usize::MAX,
        DATA_ROW => MAX_ROW,
        tag if TAGS.contains(&tag) => MAX_MESSAGE,
        _ => {
            return Err(protocol(
                "the server sent something that is not PostgreSQL's protocol",
            ));
        }
    };
    if length > limit {
        return Err(protocol(
            "the server sent a message longer than any it may send",
        ));
    }
    Ok(Some(Header { tag, length }))
}

fn protocol(message: &'static str) -> Error {
    Error::new(Kind::Protocol, message)
        .remedy("check that the address is that of a PostgreSQL server")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(tag: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + 4).unwrap();
        [&[tag], &length.to_be_bytes()[..], payload].concat()
    }

    /// Feeds a stream in pieces; returns the COPY bytes, their rows and the other tags.
    fn drain(stream: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, u64, usize)> {
        let (mut frames, mut bytes, mut rows, mut others) = (Frames::default(), vec![], 0, 0);
        let mut cuts = cuts.iter().cycle();
        let mut rest = stream;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).clamp(1, rest.len()));
            rest = after;
            frames.push(piece);
            loop {
                if let Some(payload) = frames.payload()? {
                    bytes.extend_from_slice(&payload.bytes);
                    rows += payload.rows;
                } else if frames.message()?.is_some() {
                    others += 1;
                } else {
                    break;
                }
            }
        }
        Ok((bytes, rows, others))
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_bytes(
            rows in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..40),
            cuts in proptest::collection::vec(1..200usize, 1..20),
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            let mut notices = 0;
            for (notice, row) in &rows {
                if *notice {
                    stream.extend(frame(b'N', b"\0"));
                    notices += 1;
                }
                stream.extend(frame(b'd', row));
                expected.extend_from_slice(row);
            }
            stream.extend(frame(b'c', b""));
            let got = drain(&stream, &cuts).unwrap();
            prop_assert_eq!(got, (expected, rows.len() as u64, notices + 1));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            stream in proptest::collection::vec(any::<u8>(), 0..2000),
            cuts in proptest::collection::vec(1..200usize, 1..20),
        ) {
            drop(drain(&stream, &cuts));
        }

        #[test]
        fn arbitrary_messages_never_panic(
            tag in any::<u8>(),
            body in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            drop(drain(&frame(tag, &body), &[3]));
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for stream in [
            &b"d\x00\x00\x00\x03"[..],
            b"d\xff\xff\xff\xff",
            b"Z\x00\x00\x00\x00",
            b"N\x7f\xff\xff\xff",
            b"D\x7f\xff\xff\xff",
        ] {
            assert_eq!(drain(stream, &[1]).unwrap_err().kind(), Kind::Protocol);
        }
        assert_eq!(drain(b"d\x7f\xff\xff\xffabc", &[1]).unwrap().0, b"abc");
    }

    #[test]
    fn a_long_frame_passes_without_growing_the_buffer() {
        let mut frames = Frames::default();
        frames.push(b"d\x3f\xff\xff\xff");
        for _ in 0..200 {
            frames.space(true).put_slice(&[7; LEAST_FREE]);
            assert_eq!(frames.payload().unwrap().unwrap().bytes.len(), LEAST_FREE);
            assert!(frames.buffer.capacity() <= 2 * COPY_BUFFER);
        }
    }
}
