//! The report as one HTML file, charts as inline SVG.

use std::path::Path;

use pghaul_server::page::escape;
use pghaul_stage::Result;

use super::report::Measured;
use crate::output::{bytes, duration, html};

/// Width of a chart, in its own units.
const WIDTH: f64 = 640.0;

/// Height of the chart of the speed.
const HEIGHT: f64 = 160.0;

/// Writes the report of one or several measurements to a file.
pub(super) fn write(path: &Path, measured: &[Measured]) -> Result<()> {
    let sections: String = measured.iter().map(section).collect();
    html::write(path, "pghaul bench", &sections)
}

fn section(measured: &Measured) -> String {
    let title = format!("pghaul bench {}", measured.bench);
    let rows: String = measured
        .facts()
        .iter()
        .map(|(name, value)| {
            format!(
                "<tr><th>{}</th><td>{}</td></tr>\n",
                escape(name),
                escape(value)
            )
        })
        .collect();
    let waits = measured.waits().map(|(on, share)| Bar {
        name: format!("{on}, {:.0} %", share * 100.0),
        share,
    });
    let elapsed = measured.summary.elapsed.as_secs_f64().max(f64::EPSILON);
    let cpu = measured.cpu.iter().filter_map(|(whose, time)| {
        let time = time.as_ref()?;
        let share = time.as_secs_f64() / elapsed / measured.processors as f64;
        Some(Bar {
            name: format!("{whose}, {:.2} s", time.as_secs_f64()),
            share,
        })
    });
    let cpu: Vec<Bar> = cpu.collect();
    let batches = [("read", &measured.read), ("write", &measured.write)];
    let longest = batches
        .iter()
        .map(|(_, times)| times.percentile(0.99).as_secs_f64());
    let longest = longest.fold(f64::EPSILON, f64::max);
    let batches = batches.iter().flat_map(|(name, times)| {
        times
            .percentiles()
            .into_iter()
            .take(3)
            .map(move |(percentile, time)| Bar {
                name: format!("{name} {percentile}, {:.2} ms", time.as_secs_f64() * 1e3),
                share: time.as_secs_f64() / longest,
            })
    });
    let batches: Vec<Bar> = batches.collect();
    format!(
        "<h1>{title}</h1>\n\
         <p class=\"verdict\"><strong>{}</strong><br>{}</p>\n<table>\n{rows}</table>\n\
         <h2>Waiting, as a share of the lanes’ time</h2>\n{}\
         <h2>Speed over time</h2>\n{}\
         <h2>Processor time, as a share of this host’s {} processors</h2>\n{}\
         <h2>Time per batch</h2>\n{}",
        escape(&measured.verdict.finding),
        escape(&measured.verdict.advice),
        bars(&waits),
        curve(measured),
        measured.processors,
        bars(&cpu),
        bars(&batches),
        title = escape(&title),
    )
}

struct Bar {
    name: String,
    /// From 0 to 1.
    share: f64,
}

fn bars(bars: &[Bar]) -> String {
    let height = bars.len() as f64 * 24.0;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n");
    for (bar, at) in bars.iter().zip(0u32..) {
        let y = f64::from(at) * 24.0;
        let full = WIDTH - 200.0;
        let width = bar.share.clamp(0.0, 1.0) * full;
        svg += &format!(
            "<text x=\"0\" y=\"{}\">{}</text><rect class=\"back\" x=\"200\" y=\"{y}\" \
                 width=\"{full}\" height=\"18\"/><rect class=\"bar\" x=\"200\" y=\"{y}\" \
                 width=\"{width:.1}\" height=\"18\"/>\n",
            y + 14.0,
            escape(&bar.name)
        );
    }
    svg + "</svg>\n"
}

fn curve(measured: &Measured) -> String {
    let end = measured
        .curve
        .last()
        .map_or(1.0, |(time, _)| *time)
        .max(f64::EPSILON);
    let rates = measured.curve.iter().map(|(_, rate)| *rate);
    let top = rates.fold(1.0, f64::max);
    let points: String = measured
        .curve
        .iter()
        .map(|(time, rate)| {
            let (x, y) = (time / end * WIDTH, HEIGHT - rate / top * (HEIGHT - 20.0));
            format!("{x:.1},{y:.1} ")
        })
        .collect();
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">\n\
         <rect class=\"back\" x=\"0\" y=\"{HEIGHT}\" width=\"{WIDTH}\" height=\"1\"/>\
         <polyline class=\"line\" points=\"{points}\"/>\
         <text x=\"0\" y=\"12\">{}/s at most</text>\
         <text x=\"{WIDTH}\" y=\"{}\" text-anchor=\"end\">{}</text>\n</svg>\n",
        HEIGHT + 20.0,
        bytes(top as u64),
        HEIGHT + 16.0,
        duration(measured.summary.copying),
    )
}
