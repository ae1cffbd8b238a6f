//! Parts whose turn is later, or somebody else's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use async_trait::async_trait;
use pghaul_relay::{Cancel, Options, Pipeline, Summary};
use pghaul_stage::memory::{MemorySource, MemoryTarget};
use pghaul_stage::{
    Kind, Part, PartId, Result, Source, SourceLayer, TableId, Target, TargetLayer, Turn,
};
use tokio::runtime::Runtime;
use tokio::sync::{Barrier, OnceCell};

use crate::rig::{database, table};

/// Gives each part to the first who asks for it.
struct Shared {
    inner: MemoryTarget,
    me: u32,
    claims: Arc<Mutex<HashMap<PartId, u32>>>,
    loaded: Mutex<BTreeSet<TableId>>,
    /// Nobody begins before all know what is done, or one who comes late would skip it.
    together: Arc<Barrier>,
    begun: OnceCell<()>,
}

#[async_trait]
impl TargetLayer for Shared {
    fn inside(&self) -> &dyn Target {
        &self.inner
    }

    async fn turn(&self, part: &Part) -> Result<Turn> {
        let wait = async || {
            self.together.wait().await;
        };
        self.begun.get_or_init(wait).await;
        let mut claims = self.claims.lock().unwrap();
        Ok(match *claims.entry(part.id).or_insert(self.me) {
            holder if holder == self.me => Turn::Now(part.clone()),
            _ => Turn::Taken,
        })
    }

    async fn tables_loaded(&self, tables: &[TableId]) -> Result<()> {
        self.loaded.lock().unwrap().extend(tables.iter().cloned());
        Ok(())
    }
}

/// Has each part ready only after it was asked for it so many times.
struct Slow {
    inner: MemorySource,
    patience: u32,
    asked: Mutex<HashMap<PartId, u32>>,
    all: AtomicU32,
}

#[async_trait]
impl SourceLayer for Slow {
    fn inside(&self) -> &dyn Source {
        &self.inner
    }

    async fn turn(&self, part: &Part) -> Result<Turn> {
        self.all.fetch_add(1, Ordering::SeqCst);
        let mut asked = self.asked.lock().unwrap();
        let times = asked.entry(part.id).or_default();
        *times += 1;
        Ok(if *times > self.patience {
            Turn::Now(part.clone())
        } else {
            Turn::Later
        })
    }
}

fn jobs(jobs: usize) -> Options {
    Options {
        jobs: NonZeroUsize::new(jobs).unwrap(),
        ..Options::default()
    }
}

#[test]
fn two_runs_share_the_parts_of_one_plan() {
    let runtime = Runtime::new().unwrap();
    let target = MemoryTarget::new();
    let (claims, together) = (Arc::default(), Arc::new(Barrier::new(2)));
    let run = |me| -> (Summary, BTreeSet<TableId>) {
        let shared = Arc::new(Shared {
            inner: target.clone(),
            me,
            claims: Arc::clone(&claims),
            loaded: Mutex::default(),
            together: Arc::clone(&together),
            begun: OnceCell::new(),
        });
        let summary = Pipeline::from(Arc::new(database()))
            .to(Arc::clone(&shared) as _, runtime.handle().clone())
            .options(jobs(2))
            .run_as_planned()
            .unwrap();
        let loaded = shared.loaded.lock().unwrap().clone();
        (summary, loaded)
    };
    let (one, two) = thread::scope(|scope| {
        let other = scope.spawn(|| run(2));
        (run(1), other.join().unwrap())
    });
    let plan = runtime.block_on(database().plan()).unwrap();
    let parts = plan.parts.len() as u64;
    assert_eq!(one.0.parts + two.0.parts, parts);
    assert_eq!(one.0.rows + two.0.rows, 200 + 41 + 45);
    for (summary, loaded) in [&one, &two] {
        assert_eq!(summary.parts + summary.elsewhere, parts);
        let slices = plan.parts.iter().flat_map(Part::slices);
        let tables: BTreeSet<TableId> = slices.map(|slice| slice.table.clone()).collect();
        assert_eq!(*loaded, tables, "each run hears of every table");
    }
    assert_eq!(target.rows(&table("large")).len(), 200);
}

#[test]
fn a_part_that_is_not_there_yet_is_asked_for_again() {
    let runtime = Runtime::new().unwrap();
    let source = Arc::new(Slow {
        inner: database(),
        patience: 2,
        asked: Mutex::default(),
        all: AtomicU32::default(),
    });
    let target = Arc::new(MemoryTarget::new());
    let summary = Pipeline::from(Arc::clone(&source) as _)
        .to(Arc::clone(&target) as _, runtime.handle().clone())
        .options(jobs(3))
        .run_as_planned()
        .unwrap();
    assert_eq!(summary.rows, 200 + 41 + 45);
    assert_eq!(summary.elsewhere, 0);
    let asked = source.all.load(Ordering::SeqCst);
    assert_eq!(u64::from(asked), 3 * summary.parts);
}

#[test]
fn who_waits_for_a_part_can_be_stopped() {
    let runtime = Runtime::new().unwrap();
    let source = Arc::new(Slow {
        inner: database(),
        patience: u32::MAX,
        asked: Mutex::default(),
        all: AtomicU32::default(),
    });
    let cancel = Cancel::new();
    let runner = Pipeline::from(Arc::clone(&source) as _)
        .to(Arc::new(MemoryTarget::new()), runtime.handle().clone())
        .options(jobs(2))
        .cancel(cancel.clone());
    thread::scope(|scope| {
        let run = scope.spawn(|| runner.run_as_planned());
        while source.all.load(Ordering::SeqCst) < 4 {
            thread::yield_now();
        }
        cancel.cancel();
        let error = run.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Cancelled, "{error:?}");
    });
}
