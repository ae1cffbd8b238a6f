//! What a short measurement shows: how fast the ways to both servers are, whether this machine
//! is large enough, and how long the migration will take.

use std::fs;
use std::num::NonZeroUsize;
use std::time::Duration;

use pghaul_extract::Sample;
use pghaul_stage::{Check, Finding, Side};
use pghaul_wire::Conninfo;
use pghaul_wire::bandwidth::{self, Throughput};

use super::Scope;
use crate::output::{bytes, duration};

/// Bytes a second below which the network decides how long everything takes.
const SLOW: f64 = 10e6;

/// What a migration takes at most, besides what it keeps of each table.
const MEMORY: u64 = 128 << 20;

/// What each job has under way at most.
const MEMORY_OF_A_JOB: u64 = 16 << 20;

/// A sample below this size says nothing of a rate.
const TELLING: u64 = 1 << 20;

/// What one process measures that reaches the source alone, each for so long.
pub(super) async fn source(scope: &Scope<'_>, time: Duration) -> Vec<Finding> {
    let Some(source) = scope.source else {
        return Vec::new();
    };
    let from = known(bandwidth::receive(source, Side::Source, time).await);
    let sample = known(pghaul_extract::sample(source, scope.selection, time).await);
    vec![
        hop(Side::Source, "", &from),
        host(processors(), memory(), scope.jobs),
        expected(&sample, None, scope.jobs),
    ]
}

/// What one measures that reaches the target alone.
pub(super) async fn target(target: &Conninfo, jobs: usize, time: Duration) -> Vec<Finding> {
    let to = known(pghaul_load::throughput(target, time).await);
    vec![
        hop(Side::Target, "", &to),
        host(processors(), memory(), jobs),
    ]
}

/// All measurements, each for so long.
pub(super) async fn check(scope: &Scope<'_>, time: Duration) -> Vec<Finding> {
    let (Some(source), Some(target)) = (scope.source, scope.target) else {
        return Vec::new();
    };
    let from = known(bandwidth::receive(source, Side::Source, time).await);
    let to = known(pghaul_load::throughput(target, time).await);
    let sample = known(pghaul_extract::sample(source, scope.selection, time).await);
    vec![
        hop(Side::Source, "", &from),
        hop(Side::Target, "", &to),
        host(processors(), memory(), scope.jobs),
        expected(&sample, to.ok(), scope.jobs),
    ]
}

/// A measurement, or why it could not be made, which is no fault of the migration's.
fn known<T>(measured: pghaul_stage::Result<T>) -> Result<T, String> {
    measured.map_err(|error| error.to_string())
}

/// How fast a way is, which these words name.
pub(super) fn hop(side: Side, way: &str, measured: &Result<Throughput, String>) -> Finding {
    let check = Check::Bandwidth;
    let throughput = match measured {
        Ok(throughput) => throughput,
        Err(refusal) => {
            return Finding::succeeded(check, side, format!("cannot be measured: {refusal}"));
        }
    };
    let message = format!(
        "{}/s over one connection{way}",
        bytes(throughput.rate() as u64)
    );
    if throughput.rate() >= SLOW {
        return Finding::succeeded(check, side, message);
    }
    Finding::warning(
        check,
        side,
        message,
        "run pghaul nearer to this server, or widen the way to it: the network decides how long \
         the rows take",
    )
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Bytes of memory that this process may use: the machine's, or its control group's if that is
/// less.
fn memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok()?;
    let machine = machine
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = machine.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|limit| limit.trim().parse().ok());
    Some((kilobytes << 10).min(group.unwrap_or(u64::MAX)))
}

/// pghaul forwards rows without looking into them, so it needs little: a processor carries about a
/// gigabyte a second, and no job holds more than its queue.
fn host(processors: usize, memory: Option<u64>, jobs: usize) -> Finding {
    let (check, side) = (Check::Host, Side::Link);
    let of_jobs = MEMORY_OF_A_JOB.saturating_mul(u64::try_from(jobs).unwrap_or(u64::MAX));
    let needed = MEMORY.saturating_add(of_jobs);
    let there = memory.map_or_else(|| "an unknown amount".to_owned(), bytes);
    let message = format!(
        "{processors} processors and {there} of memory; {jobs} jobs need up to {}",
        bytes(needed)
    );
    if memory.is_some_and(|memory| memory < needed) {
        return Finding::warning(
            check,
            side,
            message,
            "give this machine or container more memory, or use fewer --jobs",
        );
    }
    Finding::succeeded(check, side, message)
}

fn expected(sample: &Result<Sample, String>, to: Option<Throughput>, jobs: usize) -> Finding {
    let succeeded = |message| Finding::succeeded(Check::Duration, Side::Link, message);
    let sample = match sample {
        Ok(sample) => sample,
        Err(refusal) => return succeeded(format!("cannot be foretold: {refusal}")),
    };
    let Some((least, most)) = estimate(sample, to, jobs) else {
        return succeeded(format!(
            "{} of tables: too little, or not readable now, to tell a rate",
            bytes(sample.tables)
        ));
    };
    let table = sample.read.as_ref().map(|read| read.table.to_string());
    succeeded(format!(
        "{} of tables take between {} and {} with {jobs} jobs, going by a sample of {}; {} of \
         indexes are built meanwhile and afterwards",
        bytes(sample.tables),
        duration(least),
        duration(most),
        table.unwrap_or_default(),
        bytes(sample.indexes),
    ))
}

/// Between which times the rows are copied: with every job as fast as one alone was, and with all
/// jobs together no faster than that.
fn estimate(sample: &Sample, to: Option<Throughput>, jobs: usize) -> Option<(Duration, Duration)> {
    let read = sample.read.as_ref()?;
    if read.throughput.bytes < TELLING || read.share <= 0.0 || read.size == 0 {
        return None;
    }
    // How many times as much as the sample the whole is.
    let whole = sample.tables as f64 / (read.size as f64 * read.share);
    let reading = read.throughput.elapsed.as_secs_f64() * whole;
    let sent = read.throughput.bytes as f64 * whole;
    let writing = to.map_or(0.0, |to| sent / to.rate().max(1.0));
    let slower = reading.max(writing);
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    Some((seconds(slower / jobs.max(1) as f64)?, seconds(slower)?))
}

#[cfg(test)]
mod tests {
    use pghaul_extract::Read;
    use pghaul_stage::TableId;
    use pghaul_stage::Verdict::{Succeeded, Warning};

    use super::*;

    fn throughput(bytes: u64, seconds: u64) -> Throughput {
        Throughput {
            bytes,
            elapsed: Duration::from_secs(seconds),
        }
    }

    fn sample(bytes: u64, share: f64) -> Sample {
        Sample {
            tables: 1000 << 20,
            indexes: 0,
            read: Some(Read {
                table: TableId::new("public", "large"),
                throughput: throughput(bytes, 1),
                share,
                size: 400 << 20,
            }),
        }
    }

    #[test]
    fn a_slow_way_is_warned_of_and_a_closed_one_is_said() {
        let verdict = |bytes| hop(Side::Source, "", &Ok(throughput(bytes, 1))).verdict();
        assert_eq!(verdict(10_000_000), Succeeded);
        assert_eq!(verdict(9_999_999), Warning);
        let closed = hop(Side::Target, "", &Err("permission denied".to_owned()));
        assert_eq!(closed.verdict(), Succeeded);
        assert!(closed.message().contains("permission denied"));
    }

    #[test]
    fn jobs_need_memory() {
        let verdict = |memory, jobs| host(2, memory, jobs).verdict();
        assert_eq!(verdict(Some(192 << 20), 4), Succeeded);
        assert_eq!(verdict(Some(191 << 20), 4), Warning);
        assert_eq!(verdict(None, 4), Succeeded);
    }

    #[test]
    fn the_whole_takes_as_much_longer_as_it_is_larger_than_the_sample() {
        // A tenth of 400 MiB in a second, and 1000 MiB in all: 25 seconds alone.
        let seconds = |to, jobs| {
            let (least, most) = estimate(&sample(20 << 20, 0.1), to, jobs).expect("an estimate");
            (least.as_secs(), most.as_secs())
        };
        assert_eq!(seconds(None, 1), (25, 25));
        assert_eq!(seconds(None, 5), (5, 25));
        // 500 MiB pass, at 10 MiB a second.
        assert_eq!(seconds(Some(throughput(10 << 20, 1)), 5), (10, 50));
        assert_eq!(seconds(Some(throughput(500 << 20, 1)), 5), (5, 25));
    }

    #[test]
    fn little_data_tells_no_rate() {
        assert_eq!(estimate(&sample(1000, 1.0), None, 4), None);
        assert_eq!(estimate(&sample(20 << 20, 0.0), None, 4), None);
    }
}
