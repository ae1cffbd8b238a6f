//! Rows of PostgreSQL's COPY as Arrow columns and back, bit for bit.
//!
//! A [`Decoder`] is fed with the rows of a COPY stream and gives record batches; an [`Encoder`]
//! gives the same bytes again. Nothing else is needed than the batches' schema, whose metadata tell
//! how each column is stored, so files of such batches stand for themselves.
//!
//! A column is a native Arrow column as long as *every* value of it comes back bit for bit. Arrow
//! has no infinite dates, no `NaN` among decimals, and no digits beyond the 38th; where such a value
//! turns up, the column of this batch and of all that follow holds what PostgreSQL sent, as `Binary`.
//! So a column changes its type at most once within a decoder's life, and never back. (An
//! unconstrained `numeric` may before, while all its values are NULL.)
//!
//! # Binary streams
//!
//! | type | Arrow | becomes `Binary` at the first |
//! |---|---|---|
//! | `boolean` | `Boolean` | – |
//! | `smallint`, `integer`, `bigint` | `Int16`, `Int32`, `Int64` | – |
//! | `oid` | `UInt32` | – |
//! | `real`, `double precision` | `Float32`, `Float64`: all bits of a NaN, and the sign of zero | – |
//! | `text`, `varchar`, `char(n)`, `name`, `xml`, enumerations, `citext` | `Utf8` | text that is not UTF-8; at once in a database of another encoding |
//! | `json` | `Utf8`, `arrow.json` | the same |
//! | `jsonb` | `Utf8`, `arrow.json`: its text, without the number of the version | the same; another version |
//! | `bytea` | `Binary` | – |
//! | `uuid` | `FixedSizeBinary(16)`, `arrow.uuid` | – |
//! | `date` | `Date32` | infinity |
//! | `timestamp`, `timestamptz` | `Timestamp(µs)`, without a zone and in UTC | infinity; year 294247 or later, where Arrow ends |
//! | `time` | `Time64(µs)` | 24:00 |
//! | `numeric(p, s)` with up to 38 digits | `Decimal128(p, s)` | `NaN` |
//! | `numeric` | `Decimal128(38, s)`, where `s` is the scale of the first value | `NaN`, infinity, another scale, a 39th digit |
//! | arrays of these | `List` of the same, with NULL elements | several dimensions, subscripts that do not begin at 1, an element that does not fit |
//! | all others: intervals, `timetz`, addresses, ranges, composites, bit strings, extensions' types | `Binary` | – |
//!
//! Also a value of another length than its type has, or any that is not written in the one way in
//! which PostgreSQL writes it, makes its column `Binary`. Domains are what they are over.
//!
//! # Text streams
//!
//! Each column is `Utf8`: the field without its escapes. It becomes `Binary`, first without the
//! escapes, if it is not UTF-8; and with them, if PostgreSQL would have escaped the value in another
//! way.
//!
//! # Metadata
//!
//! | of | key | |
//! |---|---|---|
//! | schema | `pghaul.encoding` | `binary` or `text` |
//! | field | `pghaul.type`, `pghaul.oid`, `pghaul.modifier`, `pghaul.sent_as` | [`Field`] |
//! | field | `pghaul.form` | `native`; `bytes`: what PostgreSQL sends; `jsonb`: without its version; `list`: an array; `escaped`: a field of a text stream, escapes and all |
//!
//! # Limits
//!
//! A decoder holds at most 2 GiB, so that 32 bits suffice for every offset; callers take a batch
//! when some MiB are there. A row that is too large to be held at all is taken out with
//! [`Decoder::rest`] and stored as it comes.

mod array;
mod calendar;
mod column;
mod decoder;
mod encoder;
mod escape;
mod form;
mod numeric;
mod scan;

pub use decoder::{Decoder, Taken};
pub use encoder::Encoder;
pub use form::Field;
