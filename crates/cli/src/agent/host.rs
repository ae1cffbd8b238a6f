//! What an agent says of its host.

use std::num::NonZeroUsize;

/// Its name.
pub(crate) fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// How many processors this process may use.
pub(super) fn processors() -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u64::try_from(processors).unwrap_or(u64::MAX)
}

/// Its memory in bytes; 0 where the system does not tell.
///
/// Source: proc_meminfo(5).
pub(super) fn memory() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|total| total.trim().strip_suffix("kB"));
    let kilobytes: Option<u64> = kilobytes.and_then(|number| number.trim().parse().ok());
    kilobytes.unwrap_or(0) * 1024
}
