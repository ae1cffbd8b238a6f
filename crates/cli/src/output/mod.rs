//! How a migration shows itself: bars on a terminal, lines elsewhere, JSON lines for programs.

mod bars;
mod human;
mod json;
mod lines;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use pghaul_stage::Observer;

pub(crate) use human::{bytes, count, duration, rate};
pub(crate) use json::print as print_json;

use crate::args::Form;

/// The observer for the chosen form, and whether standard error is a terminal.
pub(crate) fn observer(form: Form) -> Arc<dyn Observer> {
    match form {
        Form::Json => Arc::new(json::JsonLines::default()),
        Form::Text if io::stderr().is_terminal() => Arc::new(bars::Bars::new()),
        Form::Text => Arc::new(lines::Lines::default()),
    }
}

/// Prints a line of the result to standard output. A reader that went away is no error.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
