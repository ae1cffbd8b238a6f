//! COPY out of a server, its bytes handed on without a look at the rows.
//!
//! Source: PostgreSQL's manual, section 55.2.6.

use std::time::Duration;

use bytes::Bytes;
use pghaul_stage::{Error, Kind, Result};
use postgres_protocol::message::backend::Message;

use crate::Lane;
use crate::cancel::CancelOnDrop;
use crate::frames::Payload;
use crate::server_error::from_fields;
use crate::session::{Session, rows, unexpected};

/// A piece of a COPY, or the end of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyEvent {
    /// Bytes of the stream.
    Data {
        /// The bare COPY stream, cut anywhere, 256 KiB at most.
        bytes: Bytes,
        /// How many of the server's messages ended within this piece. The server sends one per
        /// row; in binary, the file's header and trailer come with one of their own.
        rows: u64,
    },
    /// One COPY statement is complete.
    Done {
        /// The rows that the server counted.
        rows: u64,
    },
}

/// Running `COPY … TO STDOUT` statements.
///
/// Dropping it before its end closes the socket and, inside a runtime, asks the server to
/// cancel the statement.
#[derive(Debug)]
pub struct CopyOut {
    session: Session,
    silence: Option<Duration>,
    cancel: CancelOnDrop,
    /// Whether a COPY has begun and its command tag has not come.
    copying: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Complete,
    Failed,
}

impl CopyOut {
    pub(crate) fn new(session: Session, silence: Option<Duration>) -> CopyOut {
        let cancel = CancelOnDrop::new(session.canceller());
        CopyOut {
            session,
            silence,
            cancel,
            copying: false,
            state: State::Running,
        }
    }

    /// The next piece; `None` when all statements are complete.
    ///
    /// May be dropped while it waits without losing anything. After an error the session is
    /// not used again.
    pub async fn next(&mut self) -> Result<Option<CopyEvent>> {
        match self.state {
            State::Running => {}
            State::Complete => return Ok(None),
            State::Failed => {
                return Err(Error::new(Kind::Protocol, "this COPY has failed already")
                    .at(self.session.side));
            }
        }
        loop {
            match self.arrived() {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) if self.state == State::Complete => return Ok(None),
                Ok(None) => {}
                Err(error) => {
                    self.state = State::Failed;
                    return Err(error);
                }
            }
            if let Err(error) = self.session.fill(true, self.silence).await {
                self.state = State::Failed;
                return Err(error);
            }
        }
    }

    /// The session, once [`CopyOut::next`] has returned `None`.
    pub fn into_lane(self) -> Result<Lane> {
        if self.state == State::Complete {
            return Ok(Lane::new(self.session, self.silence));
        }
        Err(Error::new(Kind::Protocol, "the session is still in COPY").at(self.session.side))
    }

    /// What can be said without waiting.
    fn arrived(&mut self) -> Result<Option<CopyEvent>> {
        loop {
            if self.copying
                && let Some(Payload { bytes, rows }) = self
                    .session
                    .frames
                    .payload()
                    .map_err(|error| error.at(self.session.side))?
            {
                return Ok(Some(CopyEvent::Data { bytes, rows }));
            }
            let Some(message) = self.session.arrived()? else {
                return Ok(None);
            };
            match message {
                Message::CopyOutResponse(_) => self.copying = true,
                Message::CommandComplete(body) => {
                    if std::mem::take(&mut self.copying) {
                        let rows = rows(body.tag().unwrap_or_default());
                        return Ok(Some(CopyEvent::Done { rows }));
                    }
                }
                Message::ReadyForQuery(_) => {
                    self.cancel.disarm();
                    self.state = State::Complete;
                    return Ok(None);
                }
                Message::ErrorResponse(body) => {
                    self.cancel.disarm();
                    return Err(from_fields(self.session.side, body.fields()));
                }
                Message::CopyInResponse(_) => {
                    return Err(Error::input("COPY … FROM STDIN was sent to be read from")
                        .at(self.session.side));
                }
                Message::CopyDone
                | Message::RowDescription(_)
                | Message::DataRow(_)
                | Message::EmptyQueryResponse => {}
                _ => return Err(unexpected(self.session.side)),
            }
        }
    }
}
