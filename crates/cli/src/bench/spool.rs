//! `pghaul bench link --spool`: into a spool, and out of it again.

use std::sync::Arc;

use pghaul_spool::{Role, Spool, SpoolSource, SpoolTarget, Storing, Worker};
use pghaul_stage::{NullTarget, Result, Source};
use uuid::Uuid;

use super::args::Link;
use super::report::Measured;
use super::verdict::{Ends, GENERATOR};
use super::{Run, Way};

/// What the way ends and begins at.
const SPOOL: &str = "the spool";

impl Run<'_> {
    /// Measures both halves over a spool of its own, in this place, which is removed at the end.
    pub(super) fn spool(&self, place: &str, args: &Link) -> Result<Vec<Measured>> {
        let place = format!(
            "{}/pghaul-bench-{}",
            place.trim_end_matches('/'),
            Uuid::now_v7()
        );
        let spool = self.wait(async {
            let store = pghaul_spool::open(&place, true)?;
            Spool::create(store, args.spool_encoding.into(), None).await
        })?;
        let spool = Arc::new(spool);
        let measured = self.both_halves(&spool, args);
        // Not cancelled halfway, whatever came before.
        let erased = self.handle.block_on(spool.erase());
        measured.and_then(|measured| erased.map(|()| measured))
    }

    fn both_halves(&self, spool: &Arc<Spool>, args: &Link) -> Result<Vec<Measured>> {
        let source = self.generator();
        let (catalog, plan) =
            self.wait(async { Ok((source.catalog().await?, source.plan().await?)) })?;
        let storing = Storing {
            level: args.compression_level,
            ..Storing::default()
        };
        let worker = |role| {
            self.wait(Worker::enter(Arc::clone(spool), role))
                .map(Arc::new)
        };
        let into = self.measure(Way {
            source: Arc::new(source),
            target: Arc::new(SpoolTarget::new(worker(Role::Extract)?, storing)),
            catalog: catalog.clone(),
            plan: plan.clone(),
            ends: Ends {
                source: GENERATOR,
                target: SPOOL,
            },
            servers: Vec::new(),
        })?;
        let stored = self.wait(pghaul_spool::contents(spool))?.bytes;
        let out_of = self.measure(Way {
            source: Arc::new(SpoolSource::new(worker(Role::Load)?, false)),
            target: Arc::new(NullTarget::new()),
            catalog,
            plan,
            ends: Ends {
                source: SPOOL,
                target: "the null target",
            },
            servers: Vec::new(),
        })?;
        Ok(vec![
            Measured {
                bench: "link into a spool",
                stored: Some(stored),
                ..into
            },
            Measured {
                bench: "link out of a spool",
                ..out_of
            },
        ])
    }
}
