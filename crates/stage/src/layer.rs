//! Stages around stages: a layer does some things in its own way, and leaves all others to the stage
//! inside it.
//!
//! A layer says which stage that is, and implements the methods that it changes. Whoever gives
//! [`Source`] or [`Target`] a method gives it to the layers as well; this file does not pass the
//! linter without.

use async_trait::async_trait;

use crate::{
    Batches, Catalog, Error, Format, Mark, Part, Plan, Result, SequenceValue, Source, TableId,
    Target, Turn, Writer,
};

/// A source around another one. Whoever implements this is a [`Source`].
#[async_trait]
pub trait SourceLayer: Send + Sync {
    /// The source inside.
    fn inside(&self) -> &dyn Source;

    /// As [`Source::formats`].
    fn formats(&self) -> &[Format] {
        self.inside().formats()
    }

    /// As [`Source::catalog`].
    async fn catalog(&self) -> Result<Catalog> {
        self.inside().catalog().await
    }

    /// As [`Source::plan`].
    async fn plan(&self) -> Result<Plan> {
        self.inside().plan().await
    }

    /// As [`Source::turn`].
    async fn turn(&self, part: &Part) -> Result<Turn> {
        self.inside().turn(part).await
    }

    /// As [`Source::read`].
    async fn read(&self, part: &Part, format: Format) -> Result<Batches> {
        self.inside().read(part, format).await
    }

    /// As [`Source::reconsider`].
    async fn reconsider(&self, part: &Part, error: Error) -> Result<Part> {
        self.inside().reconsider(part, error).await
    }

    /// As [`Source::confirm`].
    async fn confirm(&self, part: &Part, durable: Mark) -> Result<()> {
        self.inside().confirm(part, durable).await
    }

    /// As [`Source::sequences`].
    async fn sequences(&self) -> Result<Vec<SequenceValue>> {
        self.inside().sequences().await
    }

    /// As [`Source::lane_left`].
    fn lane_left(&self) {
        self.inside().lane_left();
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: SourceLayer> Source for L {
    fn formats(&self) -> &[Format] {
        SourceLayer::formats(self)
    }

    async fn catalog(&self) -> Result<Catalog> {
        SourceLayer::catalog(self).await
    }

    async fn plan(&self) -> Result<Plan> {
        SourceLayer::plan(self).await
    }

    async fn turn(&self, part: &Part) -> Result<Turn> {
        SourceLayer::turn(self, part).await
    }

    async fn read(&self, part: &Part, format: Format) -> Result<Batches> {
        SourceLayer::read(self, part, format).await
    }

    async fn reconsider(&self, part: &Part, error: Error) -> Result<Part> {
        SourceLayer::reconsider(self, part, error).await
    }

    async fn confirm(&self, part: &Part, durable: Mark) -> Result<()> {
        SourceLayer::confirm(self, part, durable).await
    }

    async fn sequences(&self) -> Result<Vec<SequenceValue>> {
        SourceLayer::sequences(self).await
    }

    fn lane_left(&self) {
        SourceLayer::lane_left(self);
    }
}

/// A target around another one. Whoever implements this is a [`Target`].
#[async_trait]
pub trait TargetLayer: Send + Sync {
    /// The target inside.
    fn inside(&self) -> &dyn Target;

    /// As [`Target::formats`].
    fn formats(&self) -> &[Format] {
        self.inside().formats()
    }

    /// As [`Target::prepare`].
    async fn prepare(&self, catalog: &Catalog, plan: &Plan) -> Result<()> {
        self.inside().prepare(catalog, plan).await
    }

    /// As [`Target::durable`].
    async fn durable(&self, parts: &[Part]) -> Result<Vec<Option<Mark>>> {
        self.inside().durable(parts).await
    }

    /// As [`Target::turn`].
    async fn turn(&self, part: &Part) -> Result<Turn> {
        self.inside().turn(part).await
    }

    /// As [`Target::open`].
    async fn open(&self, part: &Part, format: Format) -> Result<Box<dyn Writer>> {
        self.inside().open(part, format).await
    }

    /// As [`Target::tables_loaded`].
    async fn tables_loaded(&self, tables: &[TableId]) -> Result<()> {
        self.inside().tables_loaded(tables).await
    }

    /// As [`Target::complete`].
    async fn complete(&self, sequences: &[SequenceValue]) -> Result<()> {
        self.inside().complete(sequences).await
    }

    /// As [`Target::lane_left`].
    fn lane_left(&self) {
        self.inside().lane_left();
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: TargetLayer> Target for L {
    fn formats(&self) -> &[Format] {
        TargetLayer::formats(self)
    }

    async fn prepare(&self, catalog: &Catalog, plan: &Plan) -> Result<()> {
        TargetLayer::prepare(self, catalog, plan).await
    }

    async fn durable(&self, parts: &[Part]) -> Result<Vec<Option<Mark>>> {
        TargetLayer::durable(self, parts).await
    }

    async fn turn(&self, part: &Part) -> Result<Turn> {
        TargetLayer::turn(self, part).await
    }

    async fn open(&self, part: &Part, format: Format) -> Result<Box<dyn Writer>> {
        TargetLayer::open(self, part, format).await
    }

    async fn tables_loaded(&self, tables: &[TableId]) -> Result<()> {
        TargetLayer::tables_loaded(self, tables).await
    }

    async fn complete(&self, sequences: &[SequenceValue]) -> Result<()> {
        TargetLayer::complete(self, sequences).await
    }

    fn lane_left(&self) {
        TargetLayer::lane_left(self);
    }
}
