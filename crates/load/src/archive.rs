//! The entries of a pg_dump archive in the custom format.
//!
//! Pure. Entries are read again whenever they are asked for: a database can have hundreds of
//! thousands, and their bytes, which are kept compressed, are at hand anyway.

use std::io::Read;

use pghaul_stage::{Error, Packed, Packer, Result};

pub(crate) use crate::toc::{Entry, Section};
use crate::toc::{Form, Reader, broken};

/// A table of contents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Archive {
    packed: Packed,
    form: Form,
    /// Where every entry begins, in the order in which they may be restored.
    places: Vec<u32>,
}

/// The positions of an archive's entries by their numbers, which takes less room sorted than hashed.
#[derive(Debug)]
pub(crate) struct Positions(Vec<(i32, u32)>);

impl Positions {
    /// The position of the entry with this number, if the archive has it.
    pub(crate) fn get(&self, id: i32) -> Option<u32> {
        let found = self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.0.get(found).map(|(_, at)| *at)
    }
}

impl Archive {
    /// Reads an archive.
    ///
    /// # Errors
    ///
    /// Kind input if these bytes are no custom-format archive of a known version, or its text
    /// is not UTF-8.
    pub(crate) fn parse(packed: Packed) -> Result<Archive> {
        let (mut reader, count) = Reader::begin(&packed)?;
        let form = reader.form();
        let mut places = Vec::new();
        let (mut encoding, mut ascii) = ("UTF8".to_owned(), true);
        for _ in 0..count {
            places.push(place(reader.place())?);
            let entry = reader.entry()?;
            ascii &= entry.is_ascii();
            if entry.desc == "ENCODING" {
                quoted(&entry.definition).clone_into(&mut encoding);
            }
        }
        if !matches!(encoding.as_str(), "UTF8" | "SQL_ASCII") && !ascii {
            return Err(Error::input(format!(
                "the schema archive is encoded in {encoding}, not in UTF8"
            ))
            .remedy("dump the schema with --encoding=UTF8"));
        }
        places.shrink_to_fit();
        Ok(Archive {
            packed,
            form,
            places,
        })
    }

    /// An archive of these entries.
    ///
    /// # Errors
    ///
    /// Kind input if there are too many.
    pub(crate) fn of(entries: impl IntoIterator<Item = Entry>) -> Result<Archive> {
        let (mut packer, mut places) = (Packer::new()?, Vec::new());
        for entry in entries {
            places.push(place(packer.len())?);
            packer.push(&entry.bytes()?)?;
        }
        places.shrink_to_fit();
        Ok(Archive {
            packed: packer.finish()?,
            form: Form::OWN,
            places,
        })
    }

    /// The entry at this position.
    pub(crate) fn entry(&self, at: u32) -> Option<Entry> {
        self.places
            .get(at as usize)
            .and_then(|place| self.read(*place))
    }

    /// Every entry, in the order in which it may be restored.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.places.iter().filter_map(|place| self.read(*place))
    }

    /// The position of each entry by its number, by which others name it.
    pub(crate) fn positions(&self) -> Positions {
        let mut positions = Vec::with_capacity(self.places.len());
        positions.extend(self.entries().zip(0..).map(|(entry, at)| (entry.id, at)));
        positions.sort_unstable();
        Positions(positions)
    }

    /// Keeps the entries that `keep` returns true for.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        let mut places = std::mem::take(&mut self.places);
        places.retain(|place| self.read(*place).is_some_and(|entry| keep(&entry)));
        self.places = places;
    }

    /// Changes the entries. Where there is nothing to change, nothing is copied.
    ///
    /// # Errors
    ///
    /// As [`Archive::of`].
    pub(crate) fn change(&mut self, mut change: impl FnMut(&mut Entry)) -> Result<()> {
        let mut changes = false;
        let changed = self.entries().map(|before| {
            let mut entry = before.clone();
            change(&mut entry);
            changes |= entry != before;
            entry
        });
        let changed = Archive::of(changed)?;
        if changes {
            *self = changed;
        }
        Ok(())
    }

    /// Reads an entry. It was readable when the archive was parsed.
    fn read(&self, place: u32) -> Option<Entry> {
        let mut reader = Reader::at(&self.packed, place.into(), self.form);
        reader.entry().ok()
    }

    /// The archive with the definitions that `change` has another one for replaced.
    ///
    /// # Errors
    ///
    /// Kind input if these bytes are no archive, or one with rows, whose places would move.
    pub(crate) fn rewrite(
        archive: &Packed,
        change: impl Fn(&Entry) -> Option<String>,
    ) -> Result<Packed> {
        let (mut reader, count) = Reader::begin(archive)?;
        let mut out = Packer::new()?;
        let mut copied = 0;
        for _ in 0..count {
            let entry = reader.entry()?;
            let Some(definition) = change(&entry) else {
                continue;
            };
            if entry.section == Section::Data {
                return Err(broken("it has rows"));
            }
            let before = reader.definition();
            copy(archive, copied..before.start, &mut out)?;
            out.push(&reader.as_definition(&definition))?;
            copied = before.end;
        }
        if copied == 0 {
            return Ok(archive.clone());
        }
        copy(archive, copied..archive.len(), &mut out)?;
        out.finish()
    }
}

/// Copies a range of bytes.
fn copy(from: &Packed, range: std::ops::Range<u64>, to: &mut Packer) -> Result<()> {
    let length = range.end.saturating_sub(range.start);
    let mut bytes = from.read_from(range.start).take(length);
    std::io::copy(&mut bytes, to).map_err(|cause| broken("it is cut off").because(cause))?;
    Ok(())
}

/// Where an entry begins.
fn place(at: u64) -> Result<u32> {
    u32::try_from(at).map_err(|_| broken("it has more than four gigabytes"))
}

/// The text between the first pair of single quotes.
fn quoted(text: &str) -> &str {
    text.split('\'').nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(bytes: &[u8]) -> Packed {
        Packed::new(bytes).unwrap()
    }

    #[test]
    fn a_subject_is_on_one_line() {
        let entry = Entry {
            desc: "AGGREGATE".into(),
            schema: "s\n".into(),
            tag: "it's(\"any\")".into(),
            ..Entry::default()
        };
        assert_eq!(entry.subject(), "aggregate s\\n.it's(\"any\")");
    }

    /// A small archive as PostgreSQL 15 writes it.
    fn sample(version: u8) -> Vec<u8> {
        let mut out = b"PGDMP".to_vec();
        out.extend([1, version, 0, 4, 8, 1]);
        let int = |out: &mut Vec<u8>, value: i32| {
            out.push(u8::from(value < 0));
            out.extend(value.unsigned_abs().to_le_bytes());
        };
        let string = |out: &mut Vec<u8>, text: Option<&str>| {
            int(
                out,
                text.map_or(-1, |text| i32::try_from(text.len()).unwrap()),
            );
            out.extend(text.unwrap_or_default().bytes());
        };
        if version >= 15 {
            out.push(0);
        } else {
            int(&mut out, -1);
        }
        (0..7).for_each(|part| int(&mut out, part));
        for text in ["db", "15.1", "15.1"] {
            string(&mut out, Some(text));
        }
        int(&mut out, 1);
        int(&mut out, 7);
        int(&mut out, 0);
        for text in ["1259", "16384", "t", "TABLE"] {
            string(&mut out, Some(text));
        }
        int(&mut out, 2);
        for text in ["CREATE TABLE s.t ();\n", "DROP TABLE s.t;\n"] {
            string(&mut out, Some(text));
        }
        string(&mut out, None);
        string(&mut out, Some("s"));
        string(&mut out, Some(""));
        if version >= 14 {
            string(&mut out, Some("heap"));
        }
        if version >= 16 {
            int(&mut out, i32::from(b'r'));
        }
        string(&mut out, Some("me"));
        string(&mut out, Some("false"));
        string(&mut out, Some("3"));
        string(&mut out, None);
        out.push(3);
        out.extend([0; 8]);
        out
    }

    #[test]
    fn every_known_version_is_read() {
        for version in 12..=16 {
            let archive = Archive::parse(packed(&sample(version))).unwrap();
            let expected = Entry {
                id: 7,
                catalog: 1259,
                oid: 16384,
                tag: "t".into(),
                desc: "TABLE".into(),
                section: Section::PreData,
                definition: "CREATE TABLE s.t ();\n".into(),
                drop: "DROP TABLE s.t;\n".into(),
                schema: "s".into(),
                tablespace: Some(String::new()),
                access_method: (version >= 14).then(|| "heap".into()),
                relkind: (version >= 16).then_some('r'),
                owner: "me".into(),
                dependencies: vec![3],
            };
            assert!(archive.entries().eq([expected]), "1.{version}");
        }
        assert!(Archive::parse(packed(&sample(17))).is_err());
        assert!(Archive::parse(packed(&sample(11))).is_err());
    }

    #[test]
    fn a_rewritten_definition_is_read_back_and_nothing_else_changes() {
        for version in 12..=16 {
            let bytes = packed(&sample(version));
            assert_eq!(Archive::rewrite(&bytes, |_| None).unwrap(), bytes);
            for text in ["", "x", "CREATE TABLE s.t (a_longer_one integer);"] {
                let changed = Archive::rewrite(&bytes, |_| Some(text.to_owned())).unwrap();
                let mut expected = Archive::parse(bytes.clone()).unwrap();
                expected
                    .change(|entry| entry.definition = text.to_owned())
                    .unwrap();
                let changed = Archive::parse(changed).unwrap();
                assert!(changed.entries().eq(expected.entries()));
            }
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = sample(16);
        for length in 0..whole.len() {
            assert!(
                Archive::parse(packed(&whole[..length])).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_forged_length_is_an_error_and_no_allocation() {
        let mut bytes = sample(14);
        let at = bytes.windows(2).position(|pair| pair == b"db").unwrap();
        bytes[at - 4..at].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
        assert!(Archive::parse(packed(&bytes)).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(Archive::parse(packed(&bytes)).is_err());
        }

        #[test]
        fn changed_bytes_never_panic(version in 12u8..=16, changes: Vec<(prop::sample::Index, u8)>) {
            let mut bytes = sample(version);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            drop(Archive::parse(packed(&bytes)));
        }
    }
}
