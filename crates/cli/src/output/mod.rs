//! How a migration shows itself: bars on a terminal, lines elsewhere, JSON lines for programs.

mod bars;
mod human;
mod json;
mod lines;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use indicatif::{MultiProgress, ProgressDrawTarget};
use pghaul_stage::Observer;

pub(crate) use human::{bytes, count, duration, rate};
pub(crate) use json::print as print_json;

use crate::args::Form;

/// Where events are shown for as long as this value lives.
pub(crate) struct Screen {
    observer: Arc<dyn Observer>,
    bars: Option<MultiProgress>,
}

impl Screen {
    /// Opens the form that the user chose.
    pub(crate) fn open(form: Form) -> Self {
        match form {
            Form::Json => Self::plain(Arc::new(json::JsonLines::default())),
            Form::Text if io::stderr().is_terminal() => {
                let all = bars::canvas();
                Self {
                    observer: Arc::new(bars::Bars::on(all.clone())),
                    bars: Some(all),
                }
            }
            Form::Text => Self::plain(Arc::new(lines::Lines::default())),
        }
    }

    fn plain(observer: Arc<dyn Observer>) -> Self {
        Self {
            observer,
            bars: None,
        }
    }

    /// Who is to be told what happens.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.observer)
    }
}

/// Takes the bars away, so that what is printed next stands alone.
impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(bars) = &self.bars {
            drop(bars.clear());
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
    }
}

/// Prints a line of the result to standard output. A reader that went away is no error.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
