//! Counts the rows of a COPY stream as it passes, without taking them apart.

use pghaul_stage::{Encoding, Error, Kind, Result, Side};

/// Counts rows in pieces that are cut anywhere; in binary without header and trailer.
#[derive(Debug)]
pub(crate) struct RowCount {
    encoding: Encoding,
    /// Fields of the row that are still to come; in text, 1 within a line.
    fields: u32,
    /// Bytes of the field that are still to come.
    skip: usize,
    /// The beginning of a number that a piece cut.
    head: [u8; 4],
    filled: usize,
}

impl RowCount {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            fields: 0,
            skip: 0,
            head: [0; 4],
            filled: 0,
        }
    }

    /// How many rows end in this piece.
    ///
    /// # Errors
    ///
    /// Kind protocol for what is no COPY stream.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<u64> {
        match self.encoding {
            Encoding::Text => {
                let rows = piece.iter().filter(|byte| **byte == b'\n').count();
                if let Some(last) = piece.last() {
                    self.fields = u32::from(*last != b'\n');
                }
                Ok(rows as u64)
            }
            Encoding::Binary => self.binary(piece),
        }
    }

    /// Whether a row is incomplete.
    pub(crate) fn is_within_a_row(&self) -> bool {
        self.fields > 0 || self.skip > 0 || self.filled > 0
    }

    fn binary(&mut self, mut piece: &[u8]) -> Result<u64> {
        let mut rows = 0;
        loop {
            if self.skip > 0 {
                let step = self.skip.min(piece.len());
                piece = piece.get(step..).unwrap_or_default();
                self.skip -= step;
                if self.skip > 0 {
                    return Ok(rows);
                }
                rows += u64::from(self.fields == 0);
            }
            let wanted = if self.fields == 0 { 2 } else { 4 };
            while self.filled < wanted {
                let Some((byte, rest)) = piece.split_first() else {
                    return Ok(rows);
                };
                if let Some(place) = self.head.get_mut(self.filled) {
                    *place = *byte;
                }
                self.filled += 1;
                piece = rest;
            }
            self.filled = 0;
            let [a, b, c, d] = self.head;
            if wanted == 2 {
                let count = i16::from_be_bytes([a, b]);
                self.fields = u32::try_from(count)
                    .map_err(|_| broken("a row with a negative number of fields"))?;
                rows += u64::from(self.fields == 0);
                continue;
            }
            self.fields -= 1;
            match i32::from_be_bytes([a, b, c, d]) {
                -1 | 0 => rows += u64::from(self.fields == 0),
                length => {
                    self.skip = usize::try_from(length)
                        .map_err(|_| broken("a field with a negative length"))?;
                }
            }
        }
    }
}

fn broken(what: &'static str) -> Error {
    Error::new(Kind::Protocol, what).at(Side::Link)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(encoding: Encoding, stream: &[u8], sizes: &[usize]) -> u64 {
        let mut count = RowCount::new(encoding);
        let (mut rows, mut rest) = (0, stream);
        for size in sizes {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            rows += count.push(piece).unwrap();
            rest = after;
        }
        rows += count.push(rest).unwrap();
        assert!(!count.is_within_a_row());
        rows
    }

    proptest! {
        #[test]
        fn rows_are_counted_however_they_are_cut(
            rows in prop::collection::vec(
                prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 0..5),
                0..20,
            ),
            sizes in prop::collection::vec(0usize..12, 0..60),
        ) {
            let mut stream = Vec::new();
            for row in &rows {
                stream.extend(i16::try_from(row.len()).unwrap().to_be_bytes());
                for field in row {
                    match field {
                        None => stream.extend((-1i32).to_be_bytes()),
                        Some(value) => {
                            stream.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                            stream.extend(value);
                        }
                    }
                }
            }
            prop_assert_eq!(cut(Encoding::Binary, &stream, &sizes), rows.len() as u64);
        }

        #[test]
        fn anything_at_all_does_not_panic(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut count = RowCount::new(Encoding::Binary);
            for piece in pieces {
                drop(count.push(&piece));
            }
        }
    }

    #[test]
    fn lines() {
        assert_eq!(cut(Encoding::Text, b"1\ta\n2\tb\\n\n\n", &[3, 1, 0, 2]), 3);
        assert!({
            let mut count = RowCount::new(Encoding::Text);
            count.push(b"1\t").unwrap();
            count.is_within_a_row()
        });
    }
}
