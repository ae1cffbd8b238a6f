//! Tables for people.

use std::time::Duration;

use pghaul_server::Time;

use crate::output::{duration, say};

/// Prints rows below their heads, each column as wide as it needs to be.
pub(super) fn print<const N: usize>(heads: [&str; N], rows: Vec<[String; N]>) {
    let mut all = vec![heads.map(str::to_uppercase)];
    all.extend(rows);
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &all {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        say(cells.join("  ").trim_end());
    }
}

/// What a server said, on one line and without what a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A moment, in UTC and without parts of a second.
pub(super) fn time(time: Option<Time>) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| time.format("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

/// How long it has taken so far, or took.
pub(super) fn elapsed(from: Option<Time>, to: Option<Time>, now: Time) -> String {
    let Some(from) = from else {
        return "-".to_owned();
    };
    let span = to.unwrap_or(now) - from;
    duration(span.to_std().unwrap_or(Duration::ZERO))
}

/// A share as percent: never all before it is all.
pub(super) fn percent(fraction: f64) -> String {
    format!("{:.0} %", (fraction.clamp(0.0, 1.0) * 100.0).floor())
}
