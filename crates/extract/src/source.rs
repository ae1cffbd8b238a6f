//! The stage that reads PostgreSQL: a part after another, under one snapshot.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use pghaul_stage::{
    Batches, Catalog, Error, Event, Format, Kind, Mark, Omission, Part, Plan, Result,
    SequenceValue, Shape, Side, Source, Step, TableId, Turn, Untranslatable,
};
use pghaul_wire::Client;

use crate::large::Why;
use crate::{PgSource, catalog, copy, large, plan, session, untranslatable};

/// The first version that writes a byte beyond ASCII in a `"char"` as an escape.
const SHOWS_BYTES: u32 = 160_000;

impl PgSource {
    /// The error of a target that refused characters, with their place if that can be found.
    async fn located(&self, part: &Part, refusal: &Untranslatable, error: Error) -> Error {
        let ready = async {
            let inventory = self.inventory().await?;
            let client = self.snapshot()?.session(&self.info).await?;
            Ok::<_, Error>((inventory, client))
        };
        match ready.await {
            Ok((inventory, client)) => {
                untranslatable::located(&client, inventory, part, refusal, error).await
            }
            Err(other) => {
                tracing::debug!(error = %other, "the source cannot be searched");
                error
            }
        }
    }

    /// The part with such rows apart, if it has any.
    async fn apart(&self, part: &Part, why: Why) -> Result<Option<Part>> {
        let inventory = self.inventory().await?;
        let client = self.snapshot()?.session(&self.info).await?;
        large::apart(&client, inventory, part, why, &self.config, &*self.observer).await
    }
}

/// What the operator is told of tables whose rows' identifiers stay behind.
fn lost_identifiers(tables: &[TableId]) -> Omission {
    let names: Vec<String> = tables.iter().map(TableId::to_string).collect();
    Omission::new(
        format!("row identifiers of {}", names.join(", ")),
        "PostgreSQL 12 abolished tables WITH OIDS; if the identifiers are used, copy them into an \
         ordinary column first",
    )
}

#[async_trait]
impl Source for PgSource {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    async fn catalog(&self) -> Result<Catalog> {
        let (step, subject, table) = (Step::Catalog, "", None);
        self.observer.observe(&Event::StepStarted {
            step,
            subject,
            table,
        });
        let started = Instant::now();
        let (inventory, archives) = tokio::try_join!(self.inventory(), self.archives())?;
        let mut omitted = inventory.hidden.clone();
        if !inventory.with_oids.is_empty() {
            omitted.push(lost_identifiers(&inventory.with_oids));
        }
        let catalog = Catalog {
            archive: archives.schema.clone(),
            statistics: archives.statistics.clone(),
            omitted,
            ..inventory.catalog.clone()
        };
        for omission in &catalog.omitted {
            self.observer.observe(&Event::Omitted(omission));
        }
        let elapsed = started.elapsed();
        self.observer.observe(&Event::StepDone {
            step,
            subject,
            table,
            elapsed,
        });
        Ok(catalog)
    }

    async fn plan(&self) -> Result<Plan> {
        let plan = self.plan.get_or_try_init(async || {
            let inventory = self.inventory().await?;
            let snapshot = self.snapshot()?;
            let client = snapshot.session(&self.info).await?;
            Ok::<_, Error>(Plan {
                start: snapshot.start(),
                visible: snapshot.visible().to_owned(),
                parts: plan::plan(&client, inventory, &self.config).await?,
            })
        });
        plan.await.cloned()
    }

    async fn read(&self, part: &Part, format: Format) -> Result<Batches> {
        if format != Format::Copy {
            return Err(Error::new(
                Kind::Input,
                format!("this source does not produce {format:?}"),
            )
            .at(Side::Source));
        }
        let snapshot = self.snapshot()?;
        let inventory = self.inventory().await?;
        copy::read(
            &self.info,
            Arc::clone(&self.pool),
            snapshot,
            inventory,
            part,
        )
        .await
    }

    /// The target is met only later, so what it would refuse is taken apart at once.
    async fn turn(&self, part: &Part) -> Result<Turn> {
        let form = match self.config.spooled && self.server.version < SHOWS_BYTES {
            true => self.apart(part, Why::Bytes).await?,
            false => None,
        };
        Ok(Turn::Now(form.unwrap_or_else(|| part.clone())))
    }

    async fn reconsider(&self, part: &Part, error: Error) -> Result<Part> {
        let cause = std::error::Error::source(&error);
        if let Some(refusal) = cause.and_then(|cause| cause.downcast_ref::<Untranslatable>()) {
            let refusal = refusal.clone();
            let raw = error.code() == Some("22021") && self.server.version < SHOWS_BYTES;
            if raw && let Ok(Some(form)) = self.apart(part, Why::Bytes).await {
                return Ok(form);
            }
            return Err(self.located(part, &refusal, error).await);
        }
        if !large::is_too_large(&error) {
            return Err(error);
        }
        match self.apart(part, Why::Size).await {
            Ok(Some(form)) => Ok(form),
            Ok(None)
                if part
                    .slices()
                    .iter()
                    .any(|slice| slice.shape != Shape::Whole) =>
            {
                Err(error.remedy(
                    "a single value is too large for COPY, and would be for pg_dump: make it \
                     smaller on the source",
                ))
            }
            Ok(None) => Err(error),
            Err(other) => {
                tracing::warn!(error = %other, "the sizes of rows cannot be read");
                Err(error)
            }
        }
    }

    /// Nothing is kept for a second reading: the snapshot serves any number of them.
    async fn confirm(&self, _part: &Part, _durable: Mark) -> Result<()> {
        Ok(())
    }

    async fn sequences(&self) -> Result<Vec<SequenceValue>> {
        let inventory = self.inventory().await?;
        let client = Client::connect(&self.info, Side::Source).await?;
        session::execute(
            &client,
            "the values of sequences",
            &session::begin(self.server.version),
        )
        .await?;
        catalog::sequences::values(&client, &inventory.catalog.sequences).await
    }

    fn lane_left(&self) {
        self.pool.shrink();
    }
}
