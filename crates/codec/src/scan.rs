//! Finds the rows of a COPY stream, and where their fields stand.

use pghaul_stage::{Encoding, Result};

use crate::form::broken;

/// Where the fields of the rows seen so far stand.
///
/// One number per field is kept: how long it is, its bytes tell.
#[derive(Debug)]
pub(crate) struct Scan {
    encoding: Encoding,
    columns: usize,
    /// Where each field's value begins, row by row. In binary its length stands before it; in
    /// text it ends one byte before the next one begins.
    starts: Vec<u32>,
    /// Complete rows.
    pub(crate) rows: usize,
    /// Where the last complete row ends.
    pub(crate) complete: usize,
    /// What is to be looked at next.
    at: usize,
    /// Fields seen of the row that is not complete.
    fields: usize,
    /// Binary: whether that row's head was seen.
    open: bool,
    /// Text: where its current field begins.
    field: usize,
}

impl Scan {
    pub(crate) fn new(encoding: Encoding, columns: usize) -> Self {
        Self {
            encoding,
            columns,
            starts: Vec::new(),
            rows: 0,
            complete: 0,
            at: 0,
            fields: 0,
            open: false,
            field: 0,
        }
    }

    /// Goes on in the bytes, which are those of the last time and more; at most 2 GiB.
    pub(crate) fn advance(&mut self, raw: &[u8]) -> Result<()> {
        match self.encoding {
            Encoding::Binary => self.tuples(raw),
            Encoding::Text => self.lines(raw),
        }
    }

    fn tuples(&mut self, raw: &[u8]) -> Result<()> {
        loop {
            if !self.open {
                let Some(&count) = from(raw, self.at).first_chunk::<2>() else {
                    return Ok(());
                };
                let count = i16::from_be_bytes(count);
                if usize::try_from(count) != Ok(self.columns) {
                    return Err(fields(count.into(), self.columns));
                }
                self.at += 2;
                self.open = true;
            }
            while self.fields < self.columns {
                let Some(&length) = from(raw, self.at).first_chunk::<4>() else {
                    return Ok(());
                };
                let start = self.at + 4;
                let end = match i32::from_be_bytes(length) {
                    -1 => start,
                    length => start.saturating_add(
                        usize::try_from(length)
                            .map_err(|_| broken("a field with a negative length"))?,
                    ),
                };
                if raw.len() < end {
                    return Ok(());
                }
                self.starts.push(start as u32);
                self.at = end;
                self.fields += 1;
            }
            self.end_row();
            self.open = false;
        }
    }

    /// In text a bare newline always ends a row, and a bare tab a field.
    fn lines(&mut self, raw: &[u8]) -> Result<()> {
        /// Bytes looked at together, which the compiler does in one instruction.
        const TOGETHER: usize = 32;
        while self.at < raw.len() {
            let rest = from(raw, self.at);
            let chunk = rest.get(..TOGETHER).unwrap_or(rest);
            let found = chunk
                .iter()
                .fold(false, |found, byte| found | matches!(byte, b'\t' | b'\n'));
            if found {
                let base = self.at;
                for (offset, byte) in chunk.iter().enumerate() {
                    if matches!(byte, b'\t' | b'\n') {
                        self.at = base + offset;
                        self.end_field(*byte == b'\n')?;
                    }
                }
                self.at = base;
            }
            self.at += chunk.len();
        }
        Ok(())
    }

    /// The byte at `at` ends a field, and maybe its row.
    fn end_field(&mut self, row: bool) -> Result<()> {
        self.starts.push(self.field as u32);
        self.fields += 1;
        let empty = self.field == self.at;
        self.field = self.at + 1;
        if !row {
            return Ok(());
        }
        self.at += 1;
        // A row of no columns is an empty line, and so is one of a single empty text.
        if self.columns == 0 && self.fields == 1 && empty {
            self.starts.pop();
        } else if self.fields != self.columns {
            return Err(fields(
                i64::try_from(self.fields).unwrap_or(i64::MAX),
                self.columns,
            ));
        }
        self.end_row();
        Ok(())
    }

    fn end_row(&mut self) {
        self.rows += 1;
        self.complete = self.at;
        self.fields = 0;
    }

    /// The fields of the complete rows in these bytes, which hold nothing else.
    pub(crate) fn cells<'a>(&'a self, raw: &'a [u8]) -> Cells<'a> {
        let cells = self.rows * self.columns;
        Cells {
            raw,
            starts: self.starts.get(..cells).unwrap_or_default(),
            columns: self.columns,
        }
    }

    /// Forgets the complete rows: what follows them stands at 0 from now on.
    pub(crate) fn forget_rows(&mut self) {
        let gone = self.complete;
        self.starts.drain(..self.rows * self.columns);
        for start in &mut self.starts {
            *start -= gone as u32;
        }
        self.rows = 0;
        self.complete = 0;
        self.at -= gone;
        self.field = self.field.saturating_sub(gone);
    }

    /// Forgets the row that is not complete.
    pub(crate) fn forget_rest(&mut self) {
        self.starts.truncate(self.rows * self.columns);
        self.at = self.complete;
        self.field = self.complete;
        self.fields = 0;
        self.open = false;
    }
}

/// Where the fields of complete rows stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cells<'a> {
    raw: &'a [u8],
    starts: &'a [u32],
    columns: usize,
}

impl<'a> Cells<'a> {
    /// A column's values in some rows, as binary; `None` is NULL.
    pub(crate) fn binary(
        self,
        column: usize,
        rows: std::ops::Range<usize>,
    ) -> impl Iterator<Item = Option<&'a [u8]>> + Clone {
        self.numbers(column, rows).map(move |cell| {
            let start = *self.starts.get(cell)? as usize;
            let (head, rest) = self.raw.get(start - 4..)?.split_first_chunk::<4>()?;
            let length = usize::try_from(i32::from_be_bytes(*head)).ok()?;
            rest.get(..length)
        })
    }

    /// A column's fields in some rows, as text with its escapes; `None` is NULL.
    pub(crate) fn text(
        self,
        column: usize,
        rows: std::ops::Range<usize>,
    ) -> impl Iterator<Item = Option<&'a [u8]>> + Clone {
        self.numbers(column, rows).map(move |cell| {
            let start = *self.starts.get(cell)? as usize;
            let next = match self.starts.get(cell + 1) {
                Some(next) => *next as usize,
                None => self.raw.len(),
            };
            self.raw
                .get(start..next - 1)
                .filter(|field| field != br"\N")
        })
    }

    fn numbers(
        self,
        column: usize,
        rows: std::ops::Range<usize>,
    ) -> impl Iterator<Item = usize> + Clone {
        rows.map(move |row| row * self.columns + column)
    }
}

fn from(raw: &[u8], at: usize) -> &[u8] {
    raw.get(at..).unwrap_or_default()
}

fn fields(found: i64, expected: usize) -> pghaul_stage::Error {
    broken(format!(
        "a row has {found} fields where {expected} were expected"
    ))
}
