//! Cuts COPY streams into rows and fields, for those who have to look into them.
//!
//! Nothing on the way of a plain migration does. A transform or a target that needs values
//! feeds the stream to [`Rows`] in pieces as they come, and takes whole rows out.
//!
//! Source: PostgreSQL's manual, COPY, File Formats.

use bytes::{Buf, Bytes, BytesMut};

use crate::{Encoding, Error, Kind, Result, Row, Side};

/// What every binary stream begins with.
pub(crate) const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// The signature, the flags, and the length of the header's extension.
const HEADER: usize = SIGNATURE.len() + 8;

/// Cuts one COPY stream, pushed in pieces of any size, into its rows.
///
/// It holds the last piece and the row that is not complete yet, however long the stream is.
///
/// ```
/// use pghaul_stage::{CopyItem, Encoding, Rows};
///
/// let mut rows = Rows::new(Encoding::Text);
/// rows.push(b"1\tAda\\tL.\n2\t");
/// let Some(CopyItem::Row(row)) = rows.next()? else { panic!("a row") };
/// assert_eq!(row.value(1).as_deref(), Some(&b"Ada\tL."[..]));
/// assert!(rows.next()?.is_none(), "the second row is not complete");
/// rows.push(b"\\N\n");
/// let Some(CopyItem::Row(row)) = rows.next()? else { panic!("a row") };
/// assert_eq!(row.value(1), None);
/// rows.end()?;
/// # Ok::<(), pghaul_stage::Error>(())
/// ```
#[derive(Debug)]
pub struct Rows {
    encoding: Encoding,
    rest: BytesMut,
    /// How much of `rest` was looked at without finding the end of a row.
    seen: usize,
    state: State,
}

/// Where in the stream `rest` begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    /// Inside a binary row of so many fields, so many of which were seen.
    Fields(usize, usize),
    Ended,
}

/// A piece of a COPY stream that stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyItem {
    /// What precedes the rows in binary, as it came.
    Header(Bytes),
    /// A row.
    Row(Row),
    /// What follows the rows in binary, as it came.
    Trailer(Bytes),
}

impl Rows {
    /// At the beginning of a stream.
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            rest: BytesMut::new(),
            seen: 0,
            state: match encoding {
                Encoding::Binary => State::Header,
                Encoding::Text => State::Rows,
            },
        }
    }

    /// Adds the next piece of the stream.
    pub fn push(&mut self, piece: &[u8]) {
        self.rest.extend_from_slice(piece);
    }

    /// The next complete item; `None` until more is pushed.
    ///
    /// # Errors
    ///
    /// [`Kind::Protocol`] if this is no COPY stream in the encoding.
    #[expect(clippy::should_implement_trait, reason = "`None` is not the end")]
    pub fn next(&mut self) -> Result<Option<CopyItem>> {
        match self.encoding {
            Encoding::Text => Ok(self.line().map(CopyItem::Row)),
            Encoding::Binary if self.state == State::Header => self.header(),
            Encoding::Binary => self.tuple(),
        }
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    ///
    /// [`Kind::Protocol`] if the stream ended within a row, or in binary without its trailer. A
    /// stream without a byte is complete in either encoding.
    pub fn end(&self) -> Result<()> {
        let whole = match self.state {
            State::Header | State::Ended => true,
            State::Rows => self.encoding == Encoding::Text,
            State::Fields(..) => false,
        };
        if whole && self.rest.is_empty() {
            Ok(())
        } else {
            Err(broken("the COPY stream ended within a row"))
        }
    }

    /// In text a bare newline always ends a row: one in a value is escaped. That holds in every
    /// encoding of characters a server can have.
    fn line(&mut self) -> Option<Row> {
        let new = self.rest.get(self.seen..)?;
        let Some(end) = new.iter().position(|byte| *byte == b'\n') else {
            self.seen = self.rest.len();
            return None;
        };
        let line = self.rest.split_to(self.seen + end).freeze();
        self.rest.advance(1);
        self.seen = 0;
        let mut fields = Vec::new();
        let mut from = 0;
        for field in line.split(|byte| *byte == b'\t') {
            let to = from + field.len();
            fields.push((field != br"\N").then(|| line.slice(from..to)));
            from = to + 1;
        }
        // A row of no columns is an empty line, and so is one of a single empty text.
        Some(Row {
            encoding: Encoding::Text,
            fields,
        })
    }

    fn header(&mut self) -> Result<Option<CopyItem>> {
        let Some(fixed) = self.rest.get(..HEADER) else {
            return Ok(None);
        };
        let (signature, mut numbers) = fixed.split_at(SIGNATURE.len());
        let (flags, extension) = (numbers.get_u32(), numbers.get_u32());
        if signature != SIGNATURE {
            return Err(broken("the signature of binary COPY is missing"));
        }
        // The upper half of the flags must be understood; bit 16 announces identifiers of rows.
        if flags >> 16 != 0 {
            return Err(broken("the binary COPY stream has flags of another age"));
        }
        let length = HEADER.saturating_add(usize::try_from(extension).unwrap_or(usize::MAX));
        if self.rest.len() < length {
            return Ok(None);
        }
        self.state = State::Rows;
        Ok(Some(CopyItem::Header(self.rest.split_to(length).freeze())))
    }

    fn tuple(&mut self) -> Result<Option<CopyItem>> {
        let (count, mut done) = match self.state {
            State::Fields(count, done) => (count, done),
            State::Ended if self.rest.is_empty() => return Ok(None),
            State::Ended => return Err(broken("the COPY stream goes on after its end")),
            _ => {
                let Some(mut count) = self.rest.get(..2) else {
                    return Ok(None);
                };
                let count = count.get_i16();
                if count == -1 {
                    self.state = State::Ended;
                    return Ok(Some(CopyItem::Trailer(self.rest.split_to(2).freeze())));
                }
                self.seen = 2;
                let count = usize::try_from(count)
                    .map_err(|_| broken("a row with a negative number of fields"))?;
                (count, 0)
            }
        };
        while done < count {
            self.state = State::Fields(count, done);
            let Some(length) = self.length_at(self.seen)? else {
                return Ok(None);
            };
            let end = self.seen + 4 + length.unwrap_or(0);
            if self.rest.len() < end {
                return Ok(None);
            }
            self.seen = end;
            done += 1;
        }
        let mut tuple = self.rest.split_to(self.seen).freeze();
        self.seen = 0;
        self.state = State::Rows;
        tuple.advance(2);
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            fields.push(
                usize::try_from(tuple.get_i32())
                    .ok()
                    .map(|length| tuple.split_to(length)),
            );
        }
        Ok(Some(CopyItem::Row(Row {
            encoding: Encoding::Binary,
            fields,
        })))
    }

    /// The length of the field whose head is at `at`, `None` within for NULL.
    fn length_at(&self, at: usize) -> Result<Option<Option<usize>>> {
        let Some(mut head) = self.rest.get(at..at + 4) else {
            return Ok(None);
        };
        match head.get_i32() {
            -1 => Ok(Some(None)),
            length => usize::try_from(length)
                .map(|length| Some(Some(length)))
                .map_err(|_| broken("a field with a negative length")),
        }
    }
}

fn broken(what: &'static str) -> Error {
    Error::new(Kind::Protocol, what).at(Side::Link)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    type Values = Vec<Vec<Option<Vec<u8>>>>;

    /// Rows of the same number of columns, with values that need escapes more often than not.
    fn tables() -> impl Strategy<Value = Values> {
        let byte = prop_oneof![
            Just(b'\\'),
            Just(b'\t'),
            Just(b'\n'),
            Just(b'\r'),
            Just(b'N'),
            Just(b'.'),
            1..=255u8
        ];
        let value = proptest::option::of(proptest::collection::vec(byte, 0..20));
        (1..6usize).prop_flat_map(move |columns| {
            proptest::collection::vec(proptest::collection::vec(value.clone(), columns), 0..20)
        })
    }

    /// The stream as the server would write it, built without the code under test.
    fn stream(values: &Values, encoding: Encoding) -> Vec<u8> {
        let mut stream = Vec::new();
        if encoding == Encoding::Text {
            for row in values {
                let fields: Vec<Vec<u8>> = row
                    .iter()
                    .map(|value| match value {
                        None => b"\\N".to_vec(),
                        Some(value) => value
                            .iter()
                            .flat_map(|byte| match byte {
                                b'\\' => b"\\\\".to_vec(),
                                b'\t' => b"\\t".to_vec(),
                                b'\n' => b"\\n".to_vec(),
                                b'\r' => b"\\r".to_vec(),
                                0x08 => b"\\b".to_vec(),
                                0x0b => b"\\v".to_vec(),
                                0x0c => b"\\f".to_vec(),
                                other => vec![*other],
                            })
                            .collect(),
                    })
                    .collect();
                stream.extend(fields.join(&b'\t'));
                stream.push(b'\n');
            }
            return stream;
        }
        stream.extend(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x03ext");
        for row in values {
            stream.extend((row.len() as i16).to_be_bytes());
            for value in row {
                stream.extend(
                    value
                        .as_ref()
                        .map_or(-1, |value| value.len() as i32)
                        .to_be_bytes(),
                );
                stream.extend(value.iter().flatten());
            }
        }
        stream.extend((-1i16).to_be_bytes());
        stream
    }

    /// Feeds a stream in pieces of these sizes, over and over, and takes out what is complete.
    fn cut(stream: &[u8], encoding: Encoding, sizes: &[usize]) -> Result<Vec<CopyItem>> {
        let mut rows = Rows::new(encoding);
        let (mut items, mut rest) = (Vec::new(), stream);
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*size));
            rows.push(piece);
            rest = after;
            while let Some(item) = rows.next()? {
                items.push(item);
            }
        }
        rows.end()?;
        Ok(items)
    }

    proptest! {
        #[test]
        fn every_value_comes_out_however_the_stream_is_cut(
            values in tables(),
            sizes in proptest::collection::vec(1..40usize, 1..10),
        ) {
            for encoding in [Encoding::Text, Encoding::Binary] {
                let stream = stream(&values, encoding);
                let items = cut(&stream, encoding, &sizes).unwrap();
                let mut found = Values::new();
                let mut written = BytesMut::new();
                for item in &items {
                    match item {
                        CopyItem::Row(row) => {
                            let fields = 0..row.len();
                            found.push(fields.map(|at| row.value(at).map(Cow::into_owned)).collect());
                            row.write(&mut written);
                        }
                        CopyItem::Header(bytes) | CopyItem::Trailer(bytes) => {
                            written.put_slice(bytes);
                        }
                    }
                }
                prop_assert_eq!(&found, &values);
                prop_assert_eq!(&written[..], &stream[..], "what is not changed stays the same bytes");
            }
        }

        #[test]
        fn what_is_set_is_read_back(values in tables(), value in ".{0,20}") {
            for encoding in [Encoding::Text, Encoding::Binary] {
                let stream = stream(&values, encoding);
                let mut changed = BytesMut::new();
                for item in cut(&stream, encoding, &[7]).unwrap() {
                    match item {
                        CopyItem::Row(mut row) => {
                            row.set(0, Some(value.as_bytes())).unwrap();
                            row.write(&mut changed);
                        }
                        CopyItem::Header(bytes) | CopyItem::Trailer(bytes) => changed.put_slice(&bytes),
                    }
                }
                let mut expected = values.clone();
                for row in &mut expected {
                    row[0] = Some(value.clone().into_bytes());
                }
                prop_assert_eq!(&changed[..], &self::stream(&expected, encoding)[..]);
            }
        }

        #[test]
        fn garbage_is_an_error_or_incomplete_but_never_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            for encoding in [Encoding::Text, Encoding::Binary] {
                drop(cut(&bytes, encoding, &[3]));
                let mut framed = stream(&vec![], Encoding::Binary);
                framed.truncate(framed.len() - 2);
                framed.extend(&bytes);
                drop(cut(&framed, Encoding::Binary, &[5]));
            }
        }
    }

    #[test]
    fn a_stream_that_breaks_off_is_an_error() {
        let values = vec![vec![Some(b"one".to_vec()), None]];
        for encoding in [Encoding::Text, Encoding::Binary] {
            let whole = stream(&values, encoding);
            for length in 1..whole.len() {
                assert!(
                    cut(&whole[..length], encoding, &[4]).is_err(),
                    "{encoding} {length}"
                );
            }
            assert!(cut(&whole, encoding, &[4]).is_ok());
        }
    }

    #[test]
    fn it_holds_no_more_than_a_row() {
        let mut rows = Rows::new(Encoding::Text);
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..10_000 {
            rows.push(&line[..500]);
            assert_eq!(rows.next().unwrap(), None);
            rows.push(&line[500..]);
            assert!(rows.next().unwrap().is_some());
            assert!(rows.rest.capacity() <= 16 << 10, "{}", rows.rest.capacity());
        }
    }
}
