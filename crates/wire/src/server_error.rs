//! A server's error in our terms: kind, subject, remedy, and no row values.

use std::io;

use fallible_iterator::FallibleIterator;
use pghaul_stage::{Error, Kind, Side};
use postgres_protocol::message::backend::ErrorFields;

use crate::{quote, sqlstate, tls};

/// The fields of an ErrorResponse that may be shown.
///
/// Source: PostgreSQL's manual, section 55.8.
#[derive(Debug, Default)]
struct Report<'a> {
    code: &'a str,
    message: &'a str,
    schema: Option<&'a str>,
    table: Option<&'a str>,
    constraint: Option<&'a str>,
    context: Option<&'a str>,
}

/// An error of tokio-postgres in our terms: kind by SQLSTATE, subject by the error's fields.
///
/// DETAIL is left out, for it shows the values of rows.
pub fn server_error(side: Side, error: tokio_postgres::Error) -> Error {
    if let Some(db) = error.as_db_error() {
        return Report {
            code: db.code().code(),
            message: db.message(),
            schema: db.schema(),
            table: db.table(),
            constraint: db.constraint(),
            context: db.where_(),
        }
        .into_error()
        .at(side);
    }
    let source = std::error::Error::source(&error);
    let kind = source
        .and_then(|source| source.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    if error.is_closed() || kind.is_some_and(|kind| kind != io::ErrorKind::InvalidInput) {
        return lost(side).because(error);
    }
    Error::new(Kind::Permanent, error.to_string())
        .at(side)
        .because(error)
}

/// An ErrorResponse in our terms.
pub(crate) fn from_fields(side: Side, fields: ErrorFields<'_>) -> Error {
    let fields: Vec<_> = fields.collect().unwrap_or_default();
    let mut report = Report {
        code: "XX000",
        message: "an error without text",
        ..Report::default()
    };
    for field in &fields {
        let Ok(value) = std::str::from_utf8(field.value_bytes()) else {
            continue;
        };
        match field.type_() {
            b'C' => report.code = value,
            b'M' => report.message = value,
            b's' => report.schema = Some(value),
            b't' => report.table = Some(value),
            b'n' => report.constraint = Some(value),
            b'W' => report.context = Some(value),
            _ => {}
        }
    }
    report.into_error().at(side)
}

/// The connection is gone.
pub(crate) fn lost(side: Side) -> Error {
    Error::new(Kind::Transient, "the connection to the server is lost")
        .at(side)
        .remedy("look into the server's log for the reason")
}

/// A failed read or write.
pub(crate) fn from_io(side: Side, error: io::Error) -> Error {
    // With TLS 1.3 a server refuses the client's certificate after the handshake.
    match tls::refusal(&error) {
        Some(refusal) => refusal.at(side),
        None => lost(side),
    }
    .because(error)
}

impl Report<'_> {
    fn into_error(self) -> Error {
        // Data exceptions quote the value that is wrong.
        let message = match self.code.get(..2) {
            Some("22") if self.code != "22P04" => without_quotations(self.message),
            _ => self.message.to_owned(),
        };
        let mut error = Error::new(sqlstate::kind(self.code), message).sqlstate(self.code);
        if let Some(subject) = self.subject() {
            error = error.on(subject);
        }
        match remedy(self.code) {
            Some(remedy) => error.remedy(remedy),
            None => error,
        }
    }

    fn subject(&self) -> Option<String> {
        let table = self.table.map(|table| match self.schema {
            Some(schema) => format!("{}.{}", quote::ident(schema), quote::ident(table)),
            None => quote::ident(table),
        });
        match (table, self.constraint) {
            (Some(table), Some(name)) => {
                Some(format!("table {table}, constraint {}", quote::ident(name)))
            }
            (Some(table), None) => Some(format!("table {table}")),
            (None, Some(name)) => Some(format!("constraint {}", quote::ident(name))),
            // "COPY orders, line 7, column id: "value"": the place, without the value.
            (None, None) => self
                .context
                .filter(|context| context.starts_with("COPY "))
                .and_then(|context| context.split([':', '\n']).next())
                .map(str::to_owned),
        }
    }
}

/// The text with everything between quotation marks left out, whatever its language.
fn without_quotations(text: &str) -> String {
    const MARKS: [(char, char); 4] = [('"', '"'), ('«', '»'), ('„', '“'), ('“', '”')];
    let Some((start, closing)) = text.char_indices().find_map(|(at, character)| {
        MARKS
            .iter()
            .find(|(open, _)| *open == character)
            .map(|(_, close)| (at, *close))
    }) else {
        return text.to_owned();
    };
    let before = &text[..start];
    // The value may hold quotation marks itself, so the last one counts.
    match text[start..]
        .char_indices()
        .rev()
        .find(|(at, mark)| *at > 0 && *mark == closing)
    {
        Some((at, mark)) => format!("{before}\"…\"{}", &text[start + at + mark.len_utf8()..]),
        None => format!("{before}\"…\""),
    }
}

fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" => "check the password (PGPASSWORD, .pgpass or the connection string) and the user",
        "28000" => {
            "check the user, and the server's pg_hba.conf for this host, database and sslmode"
        }
        "3D000" => "check the database name in the connection string",
        "42501" => "connect as a role with the needed privilege",
        "53100" => "free disk space on the server",
        "53300" => "raise max_connections on the server, or use fewer connections",
        "57P03" => "wait until the server has started",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(code: &'static str, message: &'static str, context: Option<&'static str>) -> Error {
        Report {
            code,
            message,
            context,
            ..Report::default()
        }
        .into_error()
    }

    #[test]
    fn values_are_not_repeated() {
        let error = report(
            "22P02",
            "invalid input syntax for type integer: \"my \" secret\"",
            Some("COPY orders, line 7, column id: \"my \" secret\""),
        );
        assert_eq!(
            error.to_string(),
            "COPY orders, line 7, column id: \
             invalid input syntax for type integer: \"…\" (SQLSTATE 22P02)"
        );
        assert_eq!(
            without_quotations("syntaxe : « x » fausse"),
            "syntaxe : \"…\" fausse"
        );
        assert_eq!(without_quotations("value \"99"), "value \"…\"");
        let error = report(
            "22P04",
            "missing data for column \"b\"",
            Some("COPY t, line 1: \"x\""),
        );
        assert_eq!(error.message(), "missing data for column \"b\"");
        assert_eq!(error.subject(), Some("COPY t, line 1"));
    }

    #[test]
    fn the_subject_is_the_narrowest_name() {
        let error = Report {
            code: "23505",
            message: "duplicate key value violates unique constraint \"k\"",
            schema: Some("s"),
            table: Some("t"),
            constraint: Some("k"),
            context: Some("COPY t, line 1"),
        }
        .into_error();
        assert_eq!(error.subject(), Some("table \"s\".\"t\", constraint \"k\""));
        assert_eq!(error.kind(), Kind::Permanent);
    }
}
