//! Bytes that are kept compressed: a schema's archive has kilobytes for each table, most of them
//! alike, and is read piece by piece.
//!
//! They stay in memory, where their secrets are safe, and not in a file, where others could find
//! them. Compressed they are a tenth or less.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};

use crate::{Error, Kind, Result};

/// Bytes that are compressed together, and have to be unpacked together.
const PIECE: usize = 64 << 10;

/// How hard is tried; more takes longer and saves little.
const LEVEL: i32 = 9;

/// Pieces that are kept as they were read last. Several readers go through a schema side by side,
/// each in a few places.
const RECENT: usize = 12;

/// Bytes, compressed. Copies share them.
#[derive(Clone, Default)]
pub struct Packed(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Frames of zstd, each of which holds [`PIECE`] bytes; the last one may hold fewer.
    frames: Vec<Box<[u8]>>,
    length: u64,
    recent: Mutex<VecDeque<(usize, Bytes)>>,
}

/// Compresses bytes as they come.
pub struct Packer {
    compressor: Compressor<'static>,
    frames: Vec<Box<[u8]>>,
    /// What is not compressed yet; shorter than a piece.
    rest: Vec<u8>,
    length: u64,
}

/// Reads packed bytes from some place on.
#[derive(Debug)]
pub struct Unpacked<'a> {
    packed: &'a Packed,
    at: u64,
    /// What is left of the piece that is being read.
    piece: Bytes,
}

impl Packed {
    /// Compresses bytes.
    ///
    /// # Errors
    ///
    /// Kind permanent if there is not enough memory.
    pub fn new(bytes: &[u8]) -> Result<Packed> {
        let mut packer = Packer::new()?;
        packer.push(bytes)?;
        packer.finish()
    }

    /// Takes frames of zstd, one after another, as [`Packed::frames`] gives them.
    ///
    /// # Errors
    ///
    /// Kind input if that is not what they are.
    pub fn of_frames(frames: &[u8]) -> Result<Packed> {
        let wrong = |cause| Error::input("what was stored is not compressed bytes").because(cause);
        if frames.is_empty() {
            return Ok(Packed::default());
        }
        let mut packer = Packer::new()?;
        let mut frames = zstd::stream::read::Decoder::with_buffer(frames).map_err(wrong)?;
        let mut piece = vec![0; PIECE];
        loop {
            match frames.read(&mut piece).map_err(wrong)? {
                0 => break,
                read => packer.push(piece.get(..read).unwrap_or_default())?,
            }
        }
        packer.finish()
    }

    /// How many bytes there are when unpacked.
    pub fn len(&self) -> u64 {
        self.0.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.length == 0
    }

    /// The bytes as they were, all at once.
    ///
    /// # Errors
    ///
    /// Kind permanent if there is not enough memory.
    pub fn unpack(&self) -> Result<Bytes> {
        let mut bytes = Vec::new();
        self.read_from(0).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes.into())
    }

    /// Reads the bytes from this place on. Reading where others have just read costs little.
    pub fn read_from(&self, at: u64) -> Unpacked<'_> {
        Unpacked {
            packed: self,
            at,
            piece: Bytes::new(),
        }
    }

    /// The compressed bytes, for whoever stores them. One after another they are what `zstd -d`
    /// reads.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.0.frames.iter().map(|frame| &**frame)
    }

    /// The piece of this number; empty behind the last one.
    fn piece(&self, number: usize) -> io::Result<Bytes> {
        let Some(frame) = self.0.frames.get(number) else {
            return Ok(Bytes::new());
        };
        let recent = || self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, piece)) = recent().iter().find(|(known, _)| *known == number) {
            return Ok(piece.clone());
        }
        let piece = Bytes::from(Decompressor::new()?.decompress(frame, PIECE)?);
        let mut recent = recent();
        recent.truncate(RECENT - 1);
        recent.push_front((number, piece.clone()));
        Ok(piece)
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        self.0.length == other.0.length && self.0.frames == other.0.frames
    }
}

impl Eq for Packed {}

/// The sizes; the bytes may have secrets in them.
impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packed: usize = self.frames().map(<[u8]>::len).sum();
        write!(f, "Packed({} bytes in {packed})", self.0.length)
    }
}

impl Packer {
    /// Nothing yet.
    ///
    /// # Errors
    ///
    /// Kind permanent if there is not enough memory.
    pub fn new() -> Result<Packer> {
        Ok(Packer {
            compressor: Compressor::new(LEVEL).map_err(failed)?,
            frames: Vec::new(),
            rest: Vec::with_capacity(PIECE),
            length: 0,
        })
    }

    /// How many bytes have come.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether none have.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// Kind permanent if there is not enough memory.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let room = bytes.len().min(PIECE - self.rest.len());
            let (fitting, after) = bytes.split_at(room);
            self.rest.extend_from_slice(fitting);
            self.length += fitting.len() as u64;
            bytes = after;
            if self.rest.len() == PIECE {
                self.close()?;
            }
        }
        Ok(())
    }

    /// All that has come.
    ///
    /// # Errors
    ///
    /// Kind permanent if there is not enough memory.
    pub fn finish(mut self) -> Result<Packed> {
        if !self.rest.is_empty() {
            self.close()?;
        }
        self.frames.shrink_to_fit();
        Ok(Packed(Arc::new(Inner {
            frames: self.frames,
            length: self.length,
            recent: Mutex::default(),
        })))
    }

    fn close(&mut self) -> Result<()> {
        let frame = self.compressor.compress(&self.rest).map_err(failed)?;
        self.frames.push(frame.into());
        self.rest.clear();
        Ok(())
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packer({} bytes)", self.length)
    }
}

/// For what writes into a writer.
impl io::Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Unpacked<'_> {
    /// Where the next byte is read.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// How many bytes are left.
    pub fn left(&self) -> u64 {
        self.packed.len().saturating_sub(self.at)
    }
}

impl Read for Unpacked<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.left() > 0 {
            let number = usize::try_from(self.at / PIECE as u64).map_err(io::Error::other)?;
            let within = usize::try_from(self.at % PIECE as u64).map_err(io::Error::other)?;
            let piece = self.packed.piece(number)?;
            self.piece = piece.slice(within.min(piece.len())..);
        }
        let read = self.piece.len().min(into.len());
        let piece = self.piece.split_to(read);
        if let Some(into) = into.get_mut(..read) {
            into.copy_from_slice(&piece);
        }
        self.at += read as u64;
        Ok(read)
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(
        Kind::Permanent,
        "there is not enough memory to compress or unpack the schema",
    )
    .because(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of which some repeat and some do not.
    fn bytes(length: usize) -> Vec<u8> {
        (0..length)
            .map(|at| {
                let mixed = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
                if at % 5000 < 2500 { b'x' } else { mixed as u8 }
            })
            .collect()
    }

    #[test]
    fn what_repeats_takes_little_room() {
        let line = "CREATE TABLE small.t (id integer NOT NULL, note text);\n";
        let packed = Packed::new(line.repeat(100_000).as_bytes()).unwrap();
        let room: usize = packed.frames().map(<[u8]>::len).sum();
        assert!(room < 100_000, "{packed:?}");
    }

    #[test]
    fn recent_pieces_are_few() {
        let packed = Packed::new(&bytes(40 * PIECE)).unwrap();
        packed.unpack().unwrap();
        assert_eq!(packed.0.recent.lock().unwrap().len(), RECENT);
    }

    #[test]
    fn what_are_no_frames_is_an_error() {
        let frames: Vec<u8> = Packed::new(&bytes(PIECE))
            .unwrap()
            .frames()
            .collect::<Vec<_>>()
            .concat();
        assert!(Packed::of_frames(&frames[..frames.len() - 1]).is_err());
        assert!(Packed::of_frames(b"PGDMP and so on").is_err());
        assert!(Packed::of_frames(b"").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_range_is_read_as_it_was(
            length in prop_oneof![0..3usize, 0..4 * PIECE, Just(PIECE), Just(2 * PIECE)],
            pieces in 1..100_000usize,
            reads in prop::collection::vec((any::<prop::sample::Index>(), 0..2 * PIECE), 0..20),
        ) {
            let bytes = bytes(length);
            let mut packer = Packer::new().unwrap();
            for piece in bytes.chunks(pieces) {
                packer.push(piece).unwrap();
            }
            let packed = packer.finish().unwrap();
            prop_assert_eq!(packed.len(), length as u64);
            prop_assert_eq!(&packed.unpack().unwrap()[..], &bytes[..]);
            let frames = packed.frames().collect::<Vec<_>>().concat();
            prop_assert_eq!(&Packed::of_frames(&frames).unwrap(), &packed);
            for (at, count) in reads {
                let at = at.index(length + 1);
                let mut found = Vec::new();
                let mut reader = packed.read_from(at as u64);
                reader.by_ref().take(count as u64).read_to_end(&mut found).unwrap();
                let end = (at + count).min(length);
                prop_assert_eq!(&found[..], &bytes[at..end]);
                prop_assert_eq!((reader.at(), reader.left()), (end as u64, (length - end) as u64));
            }
        }
    }
}
