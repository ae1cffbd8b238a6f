//! What is sealed: the lists of files.

use pghaul_stage::{Encoding, Error, Kind, Mark, Part, PartId, Result, Shape, Side, Work};
use serde::{Deserialize, Serialize};

/// One list of files of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The part.
    pub part: PartId,
    /// Which of its entries, counted from 0.
    pub entry: u32,
    /// Whether it is the last one.
    pub last: bool,
    /// The part in the form in which it was read.
    pub work: Work,
    /// How far into the part its end is.
    pub mark: Mark,
    /// What came of each slice, in the order of the slices; of large objects there are two.
    pub slices: Vec<SliceSeal>,
    /// The files, in the order of their rows.
    pub files: Vec<File>,
}

/// What came of one slice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceSeal {
    /// Rows that ended in it.
    pub rows: u64,
    /// Bytes of its COPY stream, with what COPY puts around the rows. 0: nothing came, not even
    /// that.
    pub bytes: u64,
}

/// One file of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name in the spool.
    pub name: String,
    /// Rows of which slice.
    pub slice: u32,
    /// How they are stored.
    pub encoding: FileEncoding,
    /// Rows that end in it.
    pub rows: u64,
    /// Bytes of the COPY rows that it stands for.
    pub bytes: u64,
    /// Their hash, xxh3 of 128 bits.
    pub content: String,
    /// Its size as stored.
    pub size: u64,
    /// Its hash as stored, xxh3 of 128 bits.
    pub hash: String,
}

/// How rows are stored in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileEncoding {
    /// Columns of Arrow's types, where every value allows it.
    #[default]
    Typed,
    /// COPY's own bytes in one column.
    Copy,
}

impl Entry {
    /// The part, in the form in which it was read, with the plan's estimates.
    pub fn form(&self, planned: &Part) -> Part {
        Part {
            work: self.work.clone(),
            ..planned.clone()
        }
    }

    /// Rows of the part, exactly.
    pub fn rows(&self) -> u64 {
        let rows = self.slices.iter().map(|slice| slice.rows);
        rows.fold(0, u64::saturating_add)
    }

    /// Bytes of its files as stored.
    pub fn size(&self) -> u64 {
        let sizes = self.files.iter().map(|file| file.size);
        sizes.fold(0, u64::saturating_add)
    }

    /// Refuses an entry whose numbers do not fit together.
    pub(crate) fn check(&self, part: PartId, number: u32) -> Result<()> {
        let broken = |what| Err(Error::new(Kind::Identity, what).at(Side::Link));
        if self.part != part || self.entry != number {
            return broken("an entry of the manifest is that of another part");
        }
        let streams = streams(&self.work);
        if streams.len() != self.slices.len() {
            return broken("an entry of the manifest does not have the slices of its part");
        }
        let mut last = 0;
        let mut bytes: Vec<u64> = vec![0; streams.len()];
        for file in &self.files {
            let slice = usize::try_from(file.slice).unwrap_or(usize::MAX);
            match bytes.get_mut(slice) {
                Some(sum) if file.slice >= last => *sum = sum.saturating_add(file.bytes),
                _ => return broken("an entry of the manifest has files out of order"),
            }
            last = file.slice;
        }
        let mut mark = 0u64;
        for ((stream, slice), rows) in streams.iter().zip(&self.slices).zip(bytes) {
            let expected = match slice.bytes {
                0 => 0,
                _ => stream.frame().saturating_add(rows),
            };
            if slice.bytes != expected {
                return broken("an entry of the manifest lacks bytes of a slice");
            }
            mark = mark.saturating_add(slice.bytes);
        }
        if self.last && self.entry == 0 && mark != self.mark.0 {
            return broken("an entry of the manifest does not end where its part does");
        }
        Ok(())
    }
}

/// How the COPY stream of a slice looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Its encoding.
    pub(crate) encoding: Encoding,
    /// Whether rows end in it.
    pub(crate) counts: bool,
    /// Whether its rows have the columns of a table.
    pub(crate) typed: bool,
}

impl Stream {
    /// Bytes that COPY puts around the rows.
    pub(crate) fn frame(self) -> u64 {
        match self.encoding {
            Encoding::Binary => (HEADER.len() + TRAILER.len()) as u64,
            Encoding::Text => 0,
        }
    }
}

/// What precedes the rows of a binary stream: the signature, no flags, no extension.
///
/// Source: PostgreSQL's manual, COPY, Binary Format.
pub(crate) const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What follows them.
pub(crate) const TRAILER: &[u8; 2] = b"\xff\xff";

/// The streams of a part.
pub(crate) fn streams(work: &Work) -> Vec<Stream> {
    match work {
        Work::Rows(slices) => slices
            .iter()
            .map(|slice| Stream {
                encoding: slice.encoding,
                counts: slice.shape.ends_rows(),
                typed: !matches!(slice.shape, Shape::Columns(_)),
            })
            .collect(),
        _ => vec![
            Stream {
                encoding: Encoding::Binary,
                counts: true,
                typed: false,
            };
            2
        ],
    }
}
