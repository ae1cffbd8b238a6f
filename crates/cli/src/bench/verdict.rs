//! Which side holds the others up, and what to do about it. Pure.

use std::time::Duration;

use pghaul_relay::Summary;
use serde_json::{Value, json};

/// A wait of less than this share of the time holds nobody up.
const NOTABLE: f64 = 0.5;

/// Processors busier than this have nothing left for more lanes.
const BUSY: f64 = 0.85;

/// The link must be waited for by this much more than either end: each end's short pauses show
/// on it too.
const MARGIN: f64 = 0.1;

/// Where the time went, as shares of the lanes' time from 0 to 1. Reading and writing overlap,
/// so they do not add up to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shares {
    /// Readers waited for the source.
    pub(super) source: f64,
    /// Readers and writers both waited for the link.
    pub(super) link: f64,
    /// Writers waited for the target.
    pub(super) target: f64,
}

/// What a benchmark found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    /// `source`, `link`, `target`, `processors` or `none`.
    pub(super) bottleneck: &'static str,
    /// Its share of the time.
    pub(super) share: f64,
    /// One sentence.
    pub(super) finding: String,
    /// What to change.
    pub(super) advice: String,
}

impl Shares {
    pub(super) fn of(summary: &Summary) -> Self {
        let (reading, writing) = (summary.reading, summary.writing);
        // Who reads is done before who writes, and does not wait for the commit.
        let lanes = reading.elapsed.max(writing.elapsed);
        let share = |wait: Duration| wait.as_secs_f64() / lanes.as_secs_f64().max(f64::EPSILON);
        Self {
            source: share(reading.waits.source),
            // One end waits for the link because of the other end; both only because of itself.
            link: share(reading.waits.link.min(writing.waits.link)),
            target: share(writing.waits.target),
        }
    }
}

/// What makes rows where no source takes part.
pub(super) const GENERATOR: &str = "the generator";

/// Names for both ends: a generator and nothing are no servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) source: &'static str,
    pub(super) target: &'static str,
}

impl Verdict {
    /// Judges by the shares, and by how busy the processors of this host were, from 0 to 1.
    pub(super) fn new(shares: Shares, busy: f64, summary: &Summary, ends: Ends) -> Self {
        let (side, share) = if shares.source >= shares.target {
            ("source", shares.source)
        } else {
            ("target", shares.target)
        };
        let (bottleneck, share) = if shares.link > share + MARGIN {
            ("link", shares.link)
        } else {
            (side, share)
        };
        let percent = (share * 100.0).round();
        let mut verdict = match bottleneck {
            _ if share < NOTABLE && busy >= BUSY => Self {
                bottleneck: "processors",
                share: busy,
                finding: format!(
                    "the processors of this host were {:.0} % busy, and nothing was waited for longer",
                    busy * 100.0
                ),
                advice: "run pghaul and the servers on hosts of their own, or give this one more processors"
                    .to_owned(),
            },
            _ if share < NOTABLE => Self {
                bottleneck: "none",
                share,
                finding: format!("no side was waited for most of the time ({bottleneck}: {percent} %)"),
                advice: "try more lanes (--jobs)".to_owned(),
            },
            "source" => Self {
                bottleneck,
                share,
                finding: format!("{} is the bottleneck: readers waited for it {percent} % of their time", ends.source),
                advice: match ends.source {
                    GENERATOR => "this host makes rows no faster; whatever is behind the generator could take more",
                    _ => "look at its processors, disks and the network from it; if they have room, use more \
                          lanes (--jobs); if the network is the limit, run pghaul closer to it",
                }
                .to_owned(),
            },
            "target" => Self {
                bottleneck,
                share,
                finding: format!("{} is the bottleneck: writers waited for it {percent} % of their time", ends.target),
                advice: "look at its processors, disks (WAL before all: max_wal_size, storage throughput) and \
                         the network to it; if they have room, use more lanes (--jobs); if the network is the \
                         limit, run pghaul closer to it"
                    .to_owned(),
            },
            _ => Self {
                bottleneck,
                share,
                finding: format!("the link is the bottleneck: both ends waited for it {percent} % of their time"),
                advice: "give the link more bandwidth (--link-rate, the network), or move less data over it"
                    .to_owned(),
            },
        };
        if busy >= BUSY && verdict.bottleneck != "processors" {
            verdict.advice += &format!(
                "; the processors of this host were {:.0} % busy, so more lanes would not help here",
                busy * 100.0
            );
        }
        if summary.completing > summary.copying && summary.completing > Duration::from_secs(1) {
            verdict.advice += &format!(
                "; {:.1} s of {:.1} s came after the last row (indexes, statistics), which --index-jobs and \
                 the target's processors decide",
                summary.completing.as_secs_f64(),
                summary.elapsed.as_secs_f64()
            );
        }
        verdict
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "bottleneck": self.bottleneck, "share": self.share,
            "finding": self.finding, "advice": self.advice,
        })
    }
}

#[cfg(test)]
mod tests {
    use pghaul_relay::Tasks;
    use pghaul_stage::Waits;

    use super::*;

    fn judged(source: u64, full: u64, empty: u64, target: u64, busy: f64) -> &'static str {
        verdict("the source", [source, full, empty, target], busy).bottleneck
    }

    fn verdict(name: &'static str, waits: [u64; 4], busy: f64) -> Verdict {
        let [source, full, empty, target] = waits;
        let ms = Duration::from_millis;
        let tasks = |waits| Tasks {
            elapsed: ms(1000),
            waits,
        };
        let summary = Summary {
            reading: tasks(Waits {
                source: ms(source),
                link: ms(full),
                ..Waits::default()
            }),
            writing: tasks(Waits {
                link: ms(empty),
                target: ms(target),
                ..Waits::default()
            }),
            ..Summary::default()
        };
        let ends = Ends {
            source: name,
            target: "the target",
        };
        Verdict::new(Shares::of(&summary), busy, &summary, ends)
    }

    #[test]
    fn a_generator_has_no_network() {
        let slow = [950, 10, 940, 50];
        assert!(verdict("the source", slow, 0.1).advice.contains("network"));
        assert!(!verdict(GENERATOR, slow, 0.1).advice.contains("network"));
    }

    #[test]
    fn the_side_that_is_waited_for_is_named() {
        assert_eq!(judged(950, 10, 940, 50, 0.1), "source");
        assert_eq!(judged(50, 900, 10, 980, 0.1), "target");
        assert_eq!(judged(20, 950, 930, 40, 0.1), "link");
        assert_eq!(judged(200, 100, 100, 300, 0.1), "none");
        assert_eq!(judged(200, 100, 100, 300, 0.9), "processors");
        // First one, then the other: each end waits half of the time, and so the link seems to.
        assert_eq!(judged(500, 500, 500, 500, 0.1), "source");
        assert_eq!(judged(0, 0, 0, 0, 0.0), "none");
    }
}
