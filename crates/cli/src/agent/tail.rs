//! The lines that a process adds to a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A file that grows; it need not be there yet.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// The end of the lines that were taken.
    offset: u64,
    /// The line that comes next, so far as it was read.
    line: Vec<u8>,
}

impl Tail {
    /// The lines that come after those that are there.
    pub(super) fn at_end(path: &Path) -> io::Result<Self> {
        let offset = match path.metadata() {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self {
            path: path.to_owned(),
            file: None,
            offset,
            line: Vec::new(),
        })
    }

    /// The next line, without its end; `None` while it is not complete. It stays the next one until
    /// it is taken.
    pub(super) fn peek(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.file.is_none() {
            let mut file = match File::open(&self.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            file.seek(SeekFrom::Start(self.offset))?;
            self.file = Some(BufReader::new(file));
        }
        if !self.line.ends_with(b"\n")
            && let Some(file) = &mut self.file
        {
            file.read_until(b'\n', &mut self.line)?;
        }
        Ok(self.line.strip_suffix(b"\n").map(<[u8]>::to_vec))
    }

    /// Goes on to the line after the one that was looked at.
    pub(super) fn take(&mut self) {
        self.offset += self.line.len() as u64;
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn complete_lines_come_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut early = Tail::at_end(&path).unwrap();
        assert_eq!(early.peek().unwrap(), None);
        fs::write(&path, "one\ntw").unwrap();
        let mut late = Tail::at_end(&path).unwrap();
        for _ in 0..2 {
            assert_eq!(early.peek().unwrap().unwrap(), b"one");
        }
        early.take();
        assert_eq!(early.peek().unwrap(), None);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"o\n\n").unwrap();
        assert_eq!(early.peek().unwrap().unwrap(), b"two");
        early.take();
        assert_eq!(early.peek().unwrap().unwrap(), b"");
        early.take();
        assert_eq!(early.peek().unwrap(), None);
        assert_eq!(late.peek().unwrap().unwrap(), b"o");
    }
}
