//! One row whose values are too large to be in memory several times, as a parameter of a statement
//! would be: it is sent piece by piece.

use std::io::Read;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::SinkExt;
use pghaul_stage::{Error, Kind, Packed, Result};
use tokio_postgres::{CopyInSink, Transaction};

use crate::session::failed;

/// Bytes of a value that are sent at a time.
const PIECE: usize = 64 << 10;

/// A row that is being sent, value by value, to be inserted.
pub(crate) struct NewRow {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    /// Whether a value has been sent.
    begun: bool,
}

impl NewRow {
    /// Begins a row of `columns`: a table's name with names of columns in parentheses.
    pub(crate) async fn begin(transaction: &Transaction<'_>, columns: &str) -> Result<NewRow> {
        let copy = format!("COPY {columns} FROM STDIN");
        let sink = transaction.copy_in(&copy).await.map_err(failed)?;
        Ok(NewRow {
            sink: Box::pin(sink),
            begun: false,
        })
    }

    /// Sends the next value as text.
    pub(crate) async fn text(&mut self, value: &str) -> Result<()> {
        self.separate().await?;
        let mut rest = value;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE));
            self.send(escaped(piece)).await?;
            rest = after;
        }
        Ok(())
    }

    /// Sends the next value as text, all of which is ASCII.
    pub(crate) async fn ascii(&mut self, value: &Packed) -> Result<()> {
        self.separate().await?;
        let mut value = value.read_from(0);
        let mut piece = vec![0; PIECE];
        loop {
            let read = value.read(&mut piece).map_err(unreadable)?;
            if read == 0 {
                return Ok(());
            }
            let text = std::str::from_utf8(piece.get(..read).unwrap_or_default());
            self.send(escaped(text.map_err(unreadable)?)).await?;
        }
    }

    /// Sends the next value, which is a `bytea` of compressed bytes as they are.
    pub(crate) async fn frames(&mut self, value: &Packed) -> Result<()> {
        self.separate().await?;
        self.send(r"\\x".to_owned()).await?;
        for piece in value.frames() {
            let mut digits = String::with_capacity(2 * piece.len());
            for byte in piece {
                digits.extend([byte >> 4, byte & 15].map(digit));
            }
            self.send(digits).await?;
        }
        Ok(())
    }

    /// Inserts the row.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.send("\n".to_owned()).await?;
        self.sink.as_mut().finish().await.map_err(failed)?;
        Ok(())
    }

    async fn separate(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            self.send("\t".to_owned()).await?;
        }
        Ok(())
    }

    async fn send(&mut self, text: String) -> Result<()> {
        self.sink.send(Bytes::from(text)).await.map_err(failed)
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::Permanent, "what is to be stored cannot be read").because(error)
}

/// A number up to 15 in hexadecimal.
fn digit(number: u8) -> char {
    char::from_digit(u32::from(number), 16).unwrap_or_default()
}

/// A piece of a value as COPY reads it. Source: PostgreSQL's manual, COPY, "Text Format".
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        match character {
            '\\' => out.push_str(r"\\"),
            '\n' => out.push_str(r"\n"),
            '\r' => out.push_str(r"\r"),
            '\t' => out.push_str(r"\t"),
            plain => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_would_end_a_value_is_escaped() {
        assert_eq!(escaped("a\tb\nc\rd\\e\u{ef}"), "a\\tb\\nc\\rd\\\\e\u{ef}");
    }
}
