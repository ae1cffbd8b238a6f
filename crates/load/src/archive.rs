//! Reads the table of contents of a pg_dump archive in the custom format.
//!
//! Pure: bytes in, entries out. Nothing is allocated before the bytes that fill it are known
//! to be there, so a forged length cannot exhaust memory. Entries are read again whenever they
//! are asked for: a database can have hundreds of thousands, and their bytes are at hand anyway.

use bytes::Bytes;
use pghaul_stage::{Error, Kind, Result};

/// The archive versions this reader knows: PostgreSQL 9.0 writes 1.12, 17 and 18 write 1.16.
const VERSIONS: std::ops::RangeInclusive<(u8, u8)> = (1, 12)..=(1, 16);

/// The archive version that records each table's access method.
const WITH_ACCESS_METHOD: (u8, u8) = (1, 14);

/// The archive version that names the compression algorithm instead of a level.
const WITH_ALGORITHM: (u8, u8) = (1, 15);

/// The archive version that records each relation's kind.
const WITH_RELKIND: (u8, u8) = (1, 16);

/// A table of contents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Archive {
    bytes: Bytes,
    form: Form,
    /// Every entry, in the order in which it may be restored.
    entries: Vec<Place>,
}

/// Where an entry is found.
#[derive(Debug, Clone)]
enum Place {
    /// It begins at this byte.
    At(usize),
    /// It is no longer what the bytes say.
    Changed(Box<Entry>),
}

/// How an archive's values are laid out.
#[derive(Debug, Clone, Copy, Default)]
struct Form {
    version: (u8, u8),
    int_size: usize,
    offset_size: usize,
}

/// One entry of a table of contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its number within the archive.
    pub(crate) id: i32,
    /// The system catalog that describes the object; 0 if none does.
    pub(crate) catalog: u32,
    /// The object's identifier on the source; 0 if it has none.
    pub(crate) oid: u32,
    /// The object's name, in a form that depends on its kind.
    pub(crate) tag: String,
    /// The object's kind, for example `TABLE`.
    pub(crate) desc: String,
    /// When it is restored.
    pub(crate) section: Section,
    /// The statements that create it; may be empty.
    pub(crate) definition: String,
    /// The statement that drops it; empty if it has none.
    pub(crate) drop: String,
    /// The schema it is in; empty if it is in none.
    pub(crate) schema: String,
    /// The tablespace it is in; empty is the database's, `None` has no storage.
    pub(crate) tablespace: Option<String>,
    /// The table access method, for relations that have one.
    pub(crate) access_method: Option<String>,
    /// `pg_class.relkind`, where the archive records it.
    pub(crate) relkind: Option<char>,
    /// The owner; empty if it has none.
    pub(crate) owner: String,
    /// The entries that must be restored before this one.
    pub(crate) dependencies: Vec<i32>,
}

/// When an entry is restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Section {
    /// Together with the entry it belongs to.
    #[default]
    None,
    /// Before the rows.
    PreData,
    /// It is rows.
    Data,
    /// After the rows.
    PostData,
}

impl Archive {
    /// Reads an archive.
    ///
    /// # Errors
    ///
    /// Kind input if these bytes are no custom-format archive of a known version, or its text
    /// is not UTF-8.
    pub(crate) fn parse(bytes: Bytes) -> Result<Archive> {
        let mut reader = Reader::new(&bytes)?;
        let form = reader.form;
        let count = reader.int()?;
        let mut entries = Vec::new();
        let (mut encoding, mut ascii) = ("UTF8".to_owned(), true);
        for _ in 0..count {
            entries.push(Place::At(reader.at()));
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
        entries.shrink_to_fit();
        Ok(Archive {
            bytes,
            form,
            entries,
        })
    }

    /// An archive of these entries.
    #[cfg(test)]
    pub(crate) fn of(entries: impl IntoIterator<Item = Entry>) -> Archive {
        let entries = entries.into_iter();
        Archive {
            entries: entries
                .map(|entry| Place::Changed(Box::new(entry)))
                .collect(),
            ..Archive::default()
        }
    }

    /// The entry at this position.
    pub(crate) fn entry(&self, at: usize) -> Option<Entry> {
        self.entries.get(at).and_then(|place| self.read(place))
    }

    /// Every entry, in the order in which it may be restored.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().filter_map(|place| self.read(place))
    }

    /// Keeps the entries that `keep` returns true for.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|place| self.read(place).is_some_and(|entry| keep(&entry)));
        self.entries = entries;
    }

    /// Changes the entries.
    pub(crate) fn change(&mut self, mut change: impl FnMut(&mut Entry)) {
        let mut entries = std::mem::take(&mut self.entries);
        for place in &mut entries {
            let Some(before) = self.read(place) else {
                continue;
            };
            let mut entry = before.clone();
            change(&mut entry);
            if entry != before {
                *place = Place::Changed(Box::new(entry));
            }
        }
        self.entries = entries;
    }

    /// Reads an entry. It was readable when the archive was parsed.
    fn read(&self, place: &Place) -> Option<Entry> {
        match place {
            Place::At(at) => Reader::at_entry(&self.bytes, *at, self.form)?.entry().ok(),
            Place::Changed(entry) => Some(Entry::clone(entry)),
        }
    }

    /// The archive with the definitions that `change` has another one for replaced.
    ///
    /// # Errors
    ///
    /// Kind input if these bytes are no archive, or one with rows, whose places would move.
    pub(crate) fn rewrite(
        bytes: &Bytes,
        change: impl Fn(&Entry) -> Option<String>,
    ) -> Result<Bytes> {
        let mut reader = Reader::new(bytes)?;
        let count = reader.int()?;
        let mut out = Vec::new();
        let mut copied = 0;
        for _ in 0..count {
            let entry = reader.entry()?;
            let Some(definition) = change(&entry) else {
                continue;
            };
            if entry.section == Section::Data {
                return Err(broken("it has rows"));
            }
            let std::ops::Range { start, end } = reader.definition.clone();
            out.extend(bytes.get(copied..start).unwrap_or_default());
            let length = u64::try_from(definition.len()).unwrap_or(u64::MAX);
            out.push(0);
            out.extend(length.to_le_bytes().iter().take(reader.form.int_size));
            out.extend(definition.bytes());
            copied = end;
        }
        if copied == 0 {
            return Ok(bytes.clone());
        }
        out.extend(bytes.get(copied..).unwrap_or_default());
        Ok(out.into())
    }
}

impl Entry {
    /// For people: kind, schema and name.
    pub(crate) fn subject(&self) -> String {
        let mut subject = self.desc.to_lowercase();
        subject.push(' ');
        if !self.schema.is_empty() {
            subject.extend(self.schema.chars().flat_map(char::escape_debug));
            subject.push('.');
        }
        subject.extend(self.tag.chars().flat_map(char::escape_debug));
        subject
    }

    fn is_ascii(&self) -> bool {
        [&self.tag, &self.definition, &self.schema, &self.owner]
            .into_iter()
            .all(|text| text.is_ascii())
    }
}

/// The text between the first pair of single quotes.
fn quoted(text: &str) -> &str {
    text.split('\'').nth(1).unwrap_or_default()
}

struct Reader<'a> {
    rest: &'a [u8],
    /// How many bytes there were.
    total: usize,
    /// Where the last entry's definition stood, with its length.
    definition: std::ops::Range<usize>,
    form: Form,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader {
            rest: bytes,
            total: bytes.len(),
            definition: 0..0,
            form: Form::default(),
        };
        if reader.take(5).ok() != Some(b"PGDMP") {
            return Err(broken("it does not begin as one"));
        }
        reader.form.version = (reader.byte()?, reader.byte()?);
        if !VERSIONS.contains(&reader.form.version) {
            let (major, minor) = reader.form.version;
            return Err(Error::input(format!(
                "the schema archive has version {major}.{minor}, which this build does not know"
            ))
            .remedy("use the pg_dump of a PostgreSQL version that this build supports"));
        }
        reader.byte()?;
        reader.form.int_size = usize::from(reader.byte()?);
        reader.form.offset_size = usize::from(reader.byte()?);
        if !(1..=8).contains(&reader.form.int_size) {
            return Err(broken("its integers have an impossible size"));
        }
        if reader.byte()? != 1 {
            return Err(broken("it is not in the custom format"));
        }
        if reader.form.version >= WITH_ALGORITHM {
            reader.byte()?;
        } else {
            reader.int()?;
        }
        // The seven parts of its time of creation.
        for _ in 0..7 {
            reader.int()?;
        }
        // The database, the server's version, pg_dump's version.
        for _ in 0..3 {
            reader.string()?;
        }
        Ok(reader)
    }

    /// A reader of the entry that begins at a byte.
    fn at_entry(bytes: &'a [u8], at: usize, form: Form) -> Option<Self> {
        Some(Reader {
            rest: bytes.get(at..)?,
            total: bytes.len(),
            definition: 0..0,
            form,
        })
    }

    fn entry(&mut self) -> Result<Entry> {
        let id = self.small()?;
        // Whether rows follow.
        self.int()?;
        let catalog = self.number()?;
        let oid = self.number()?;
        let tag = self.text()?;
        let desc = self.text()?;
        let section = match self.int()? {
            2 => Section::PreData,
            3 => Section::Data,
            4 => Section::PostData,
            _ => Section::None,
        };
        let start = self.at();
        let definition = self.text()?;
        self.definition = start..self.at();
        let drop = self.text()?;
        // The statement that loads its rows.
        self.string()?;
        let schema = self.text()?;
        let tablespace = self.string()?;
        let access_method = if self.form.version >= WITH_ACCESS_METHOD {
            self.string()?
        } else {
            None
        };
        let relkind = if self.form.version >= WITH_RELKIND {
            self.relkind()?
        } else {
            None
        };
        let owner = self.text()?;
        // Whether the table has object identifiers, which no version does any more.
        self.string()?;
        let mut dependencies = Vec::new();
        while let Some(text) = self.string()? {
            let id = text
                .parse()
                .map_err(|_| broken("a dependency is not a number"))?;
            dependencies.push(id);
        }
        // Where its rows are.
        self.byte()?;
        self.take(self.form.offset_size)?;
        Ok(Entry {
            id,
            catalog,
            oid,
            tag,
            desc,
            section,
            definition,
            drop,
            schema,
            tablespace,
            access_method: access_method.filter(|method| !method.is_empty()),
            relkind,
            owner,
            dependencies,
        })
    }

    fn at(&self) -> usize {
        self.total - self.rest.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| broken("it is cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        self.take(1)?
            .first()
            .copied()
            .ok_or_else(|| broken("it is cut off"))
    }

    /// A sign byte, then the magnitude with its least significant byte first.
    fn int(&mut self) -> Result<i64> {
        let negative = self.byte()? != 0;
        let magnitude = self
            .take(self.form.int_size)?
            .iter()
            .rev()
            .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let magnitude = i64::try_from(magnitude).map_err(|_| broken("a number is too large"))?;
        Ok(if negative { -magnitude } else { magnitude })
    }

    fn small(&mut self) -> Result<i32> {
        i32::try_from(self.int()?).map_err(|_| broken("a number is too large"))
    }

    /// A number written as text.
    fn number(&mut self) -> Result<u32> {
        match self.string()? {
            None => Ok(0),
            Some(text) => text
                .parse()
                .map_err(|_| broken("an object identifier is no number")),
        }
    }

    fn relkind(&mut self) -> Result<Option<char>> {
        let code = u8::try_from(self.int()?).map_err(|_| broken("a relation kind is unknown"))?;
        Ok((code != 0).then_some(char::from(code)))
    }

    /// A length, then that many bytes; a negative length is no text at all.
    fn string(&mut self) -> Result<Option<String>> {
        let Ok(length) = usize::try_from(self.int()?) else {
            return Ok(None);
        };
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(cause) => Err(
                Error::input("the schema archive holds text that is not UTF-8")
                    .remedy("dump the schema with --encoding=UTF8")
                    .because(cause),
            ),
        }
    }

    fn text(&mut self) -> Result<String> {
        Ok(self.string()?.unwrap_or_default())
    }
}

fn broken(how: &'static str) -> Error {
    Error::new(
        Kind::Input,
        format!("the schema is not a readable pg_dump archive: {how}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            let archive = Archive::parse(sample(version).into()).unwrap();
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
        assert!(Archive::parse(sample(17).into()).is_err());
        assert!(Archive::parse(sample(11).into()).is_err());
    }

    #[test]
    fn a_rewritten_definition_is_read_back_and_nothing_else_changes() {
        for version in 12..=16 {
            let bytes = Bytes::from(sample(version));
            assert_eq!(Archive::rewrite(&bytes, |_| None).unwrap(), bytes);
            for text in ["", "x", "CREATE TABLE s.t (a_longer_one integer);"] {
                let changed = Archive::rewrite(&bytes, |_| Some(text.to_owned())).unwrap();
                let mut expected = Archive::parse(bytes.clone()).unwrap();
                expected.change(|entry| entry.definition = text.to_owned());
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
                Archive::parse(Bytes::copy_from_slice(&whole[..length])).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_forged_length_is_an_error_and_no_allocation() {
        let mut bytes = sample(14);
        let at = bytes.windows(2).position(|pair| pair == b"db").unwrap();
        bytes[at - 4..at].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
        assert!(Archive::parse(bytes.into()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(Archive::parse(bytes.into()).is_err());
        }

        #[test]
        fn changed_bytes_never_panic(version in 12u8..=16, changes: Vec<(prop::sample::Index, u8)>) {
            let mut bytes = sample(version);
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            drop(Archive::parse(bytes.into()));
        }
    }
}
