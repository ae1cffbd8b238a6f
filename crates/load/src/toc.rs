//! The table of contents of a pg_dump archive in the custom format, read and written.
//!
//! Pure: bytes in, entries out. Nothing is allocated before the bytes that fill it are known
//! to be there, so a forged length cannot exhaust memory.

use std::io::Read;

use pghaul_stage::{Error, Kind, Packed, Result, TableId, Unpacked};

/// The archive versions this reader knows: PostgreSQL 9.0 writes 1.12, 17 and 18 write 1.16.
const VERSIONS: std::ops::RangeInclusive<(u8, u8)> = (1, 12)..=(1, 16);

/// The archive version that records each table's access method.
const WITH_ACCESS_METHOD: (u8, u8) = (1, 14);

/// The archive version that names the compression algorithm instead of a level.
const WITH_ALGORITHM: (u8, u8) = (1, 15);

/// The archive version that records each relation's kind.
const WITH_RELKIND: (u8, u8) = (1, 16);

/// How an archive's values are laid out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Form {
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

impl Form {
    /// The form in which entries are written here: they are never longer than what was read.
    pub(crate) const OWN: Form = Form {
        version: (1, 16),
        int_size: 4,
        offset_size: 0,
    };
}

impl Entry {
    /// For people: kind, schema and name.
    pub(crate) fn subject(&self) -> String {
        let mut subject = self.desc.to_lowercase();
        subject.push(' ');
        if !self.schema.is_empty() {
            subject += &printable(&self.schema);
            subject.push('.');
        }
        subject + &printable(&self.tag)
    }

    /// The name of this table's constraint, if that is what it makes: its tag is the table's name and
    /// the constraint's, with a space between.
    pub(crate) fn constraint_of(&self, table: &TableId) -> Option<&str> {
        if !self.desc.ends_with("CONSTRAINT") || *self.schema != *table.schema {
            return None;
        }
        self.tag.strip_prefix(&*table.name)?.strip_prefix(' ')
    }

    /// Whether all of its text is ASCII, and so the same in every encoding.
    pub(crate) fn is_ascii(&self) -> bool {
        [&self.tag, &self.definition, &self.schema, &self.owner]
            .into_iter()
            .all(|text| text.is_ascii())
    }

    /// Its bytes in [`Form::OWN`].
    ///
    /// # Errors
    ///
    /// Kind input if one of its texts has two gigabytes or more.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        int(&mut out, self.id);
        int(&mut out, 0);
        text(&mut out, Some(&self.catalog.to_string()))?;
        text(&mut out, Some(&self.oid.to_string()))?;
        text(&mut out, Some(&self.tag))?;
        text(&mut out, Some(&self.desc))?;
        int(
            &mut out,
            match self.section {
                Section::None => 1,
                Section::PreData => 2,
                Section::Data => 3,
                Section::PostData => 4,
            },
        );
        text(&mut out, Some(&self.definition))?;
        text(&mut out, Some(&self.drop))?;
        text(&mut out, None)?;
        text(&mut out, Some(&self.schema))?;
        text(&mut out, self.tablespace.as_deref())?;
        text(&mut out, self.access_method.as_deref())?;
        let relkind = self.relkind.and_then(|relkind| u8::try_from(relkind).ok());
        int(&mut out, relkind.unwrap_or(0).into());
        text(&mut out, Some(&self.owner))?;
        text(&mut out, None)?;
        for id in &self.dependencies {
            text(&mut out, Some(&id.to_string()))?;
        }
        text(&mut out, None)?;
        out.push(0);
        Ok(out)
    }
}

/// Reads one entry after another.
pub(crate) struct Reader<'a> {
    bytes: Unpacked<'a>,
    /// Where the last entry's definition stood, with its length.
    definition: std::ops::Range<u64>,
    form: Form,
}

/// A name that cannot break a line or hide anything; quotes stay as they are.
fn printable(name: &str) -> String {
    let mut printable = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '"' | '\'' => printable.push(c),
            c => printable.extend(c.escape_debug()),
        }
    }
    printable
}

impl<'a> Reader<'a> {
    /// A reader of an archive, in front of its first entry; and how many entries it says there are.
    ///
    /// # Errors
    ///
    /// Kind input if these bytes are no custom-format archive of a known version.
    pub(crate) fn begin(archive: &'a Packed) -> Result<(Self, i64)> {
        let mut reader = Reader::at(archive, 0, Form::default());
        let mut magic = [0; 5];
        if reader.fill(&mut magic).is_err() || &magic != b"PGDMP" {
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
        let count = reader.int()?;
        Ok((reader, count))
    }

    /// A reader of the entry that begins at a byte.
    pub(crate) fn at(archive: &'a Packed, at: u64, form: Form) -> Self {
        Reader {
            bytes: archive.read_from(at),
            definition: 0..0,
            form,
        }
    }

    /// The form of what is read.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Where the next entry begins.
    pub(crate) fn place(&self) -> u64 {
        self.bytes.at()
    }

    /// Where the last entry's definition stood, with its length.
    pub(crate) fn definition(&self) -> std::ops::Range<u64> {
        self.definition.clone()
    }

    /// A definition as an archive of this form has it, with its length.
    pub(crate) fn as_definition(&self, text: &str) -> Vec<u8> {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let mut out = vec![0];
        out.extend(length.to_le_bytes().iter().take(self.form.int_size));
        out.extend(text.bytes());
        out
    }

    /// The next entry.
    ///
    /// # Errors
    ///
    /// Kind input if the bytes are no entry.
    pub(crate) fn entry(&mut self) -> Result<Entry> {
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
        let start = self.place();
        let definition = self.text()?;
        self.definition = start..self.place();
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

    fn fill(&mut self, into: &mut [u8]) -> Result<()> {
        self.bytes
            .read_exact(into)
            .map_err(|cause| broken("it is cut off").because(cause))
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        if u64::try_from(count).map_or(true, |count| count > self.bytes.left()) {
            return Err(broken("it is cut off"));
        }
        let mut taken = vec![0; count];
        self.fill(&mut taken)?;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.fill(&mut byte)?;
        let [byte] = byte;
        Ok(byte)
    }

    /// A sign byte, then the magnitude with its least significant byte first.
    fn int(&mut self) -> Result<i64> {
        let mut bytes = [0; 9];
        let size = self.form.int_size.min(8);
        self.fill(bytes.get_mut(..=size).unwrap_or_default())?;
        let [negative, magnitude @ ..] = bytes;
        let magnitude = i64::try_from(u64::from_le_bytes(magnitude))
            .map_err(|_| broken("a number is too large"))?;
        Ok(if negative == 0 { magnitude } else { -magnitude })
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
        match String::from_utf8(self.take(length)?) {
            Ok(text) => Ok(Some(text)),
            Err(cause) => Err(
                Error::input("the schema archive holds text that is not UTF-8")
                    .remedy("dump the schema with --encoding=UTF8")
                    .because(cause.utf8_error()),
            ),
        }
    }

    fn text(&mut self) -> Result<String> {
        Ok(self.string()?.unwrap_or_default())
    }
}

/// A number as [`Reader::int`] reads it.
fn int(out: &mut Vec<u8>, value: i32) {
    out.push(u8::from(value < 0));
    out.extend(value.unsigned_abs().to_le_bytes());
}

/// A text as [`Reader::string`] reads it.
fn text(out: &mut Vec<u8>, text: Option<&str>) -> Result<()> {
    let length = text.map_or(Ok(-1), |text| i32::try_from(text.len()));
    int(out, length.map_err(|_| broken("a text is too long"))?);
    out.extend(text.unwrap_or_default().bytes());
    Ok(())
}

/// What is wrong with an archive.
pub(crate) fn broken(how: &'static str) -> Error {
    Error::new(
        Kind::Input,
        format!("the schema is not a readable pg_dump archive: {how}"),
    )
}
