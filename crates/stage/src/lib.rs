//! The shared traits and vocabulary of a pghaul pipeline.
//!
//! A migration is three stages joined by links:
//!
//! ```text
//!   Source ──batches──▶ Transform* ──batches──▶ Target
//!     │ plan: parts                               │ Writer, one per part
//!     └ confirm ◀──────────── mark ───────────────┘ durable
//! ```
//!
//! * A [`Source`] describes itself ([`Catalog`]), cuts its rows into [`Part`]s under one
//!   snapshot ([`Plan`]), and reads a part as a stream of [`Batch`]es.
//! * A [`Transform`] changes batches on their way, one part at a time; [`MapRows`] makes one of
//!   a function on rows, which [`Rows`] cuts out of COPY streams.
//! * A [`Target`] opens a [`Writer`] per part. What the writer has *accepted* is durable only
//!   once [`Writer::finish`] or [`Writer::flush`] says so.
//!
//! For every part, at every moment: *confirmed ≤ durable ≤ accepted ≤ read*.
//!
//! Each side lists the [`Format`]s it handles, best first; [`agree`] picks one per pair of
//! stages. PostgreSQL to PostgreSQL agrees on [`Format::Copy`], the server's own COPY bytes,
//! which nothing on the way decodes.
//!
//! This crate does no input or output and knows no driver. [`memory`] holds a source and a
//! target that live in memory, [`Generator`] makes rows up, and [`NullTarget`] forgets them; with the feature `conformance`, the module of that name is the
//! suite that every implementation must pass.
//!
//! # How to add a stage
//!
//! Implement [`Source`], [`Transform`], or [`Target`] with its [`Writer`]; call the
//! conformance suite on it from a test; hand it to the runner in `pghaul-relay`. What changes a
//! little of what another stage does is a [`SourceLayer`] or a [`TargetLayer`].

mod batch;
mod catalog;
mod check;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod escape;
mod event;
mod finding;
mod generator;
mod layer;
mod lsn;
mod map_rows;
pub mod memory;
mod null;
mod omission;
mod packed;
mod part;
mod row;
mod rows;
mod selection;
mod sharing;
mod source;
mod table;
mod tables;
mod target;
mod transform;
mod untranslatable;
mod waits;

pub use batch::{Batch, Format, Payload, agree};
pub use catalog::{
    Catalog, ChildConstraint, Column, Database, Extension, Index, LargeObjectRights, Membership,
    ParameterGrant, Role, SecurityLabel, Sequence, SequenceValue, Server, Setting, Supplement,
    Table, Tablespace, Type,
};
pub use check::Check;
pub use error::{Error, Kind, Result, Side};
pub use escape::escape_letter;
pub use event::{Event, Observer, Severity, Silent, Step};
pub use finding::{Finding, Verdict};
pub use generator::{Generator, RowShape};
pub use layer::{SourceLayer, TargetLayer};
pub use lsn::Lsn;
pub use map_rows::{MapRows, RowMap};
pub use null::NullTarget;
pub use omission::{Omission, Scope};
pub use packed::{Packed, Packer, Unpacked};
pub use part::{
    Encoding, KeyRange, Mark, Part, PartId, Plan, Range, Shape, Slice, SomeColumns, Turn, Work,
};
pub use row::Row;
pub use rows::{CopyItem, Rows};
pub use selection::{Content, Home, LeftOut, Needed, Selection};
pub use sharing::{Sharing, one_of};
pub use source::{Batches, Source};
pub use table::{QualifiedName, TableId};
pub use tables::Tables;
pub use target::{Target, Writer};
pub use transform::{Pass, Transform};
pub use untranslatable::Untranslatable;
pub use waits::Waits;
