//! How a migration shows itself: bars on a terminal, lines elsewhere, JSON lines for programs.

mod bars;
pub(crate) mod html;
mod human;
mod json;
mod lines;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};
use pghaul_stage::{Event, Observer, Severity};

pub(crate) use human::{bytes, count, duration, rate};
pub(crate) use json::{of_database, print as print_json};

use crate::args::Form;

/// Where events are shown for as long as this value lives.
pub(crate) struct Screen {
    form: Form,
    bars: Option<(MultiProgress, bars::Bars)>,
    /// Held by who prints several lines that belong together.
    report: Mutex<()>,
}

impl Screen {
    /// Opens the form that the user chose.
    pub(crate) fn open(form: Form) -> Self {
        let bars = (form == Form::Text && io::stderr().is_terminal()).then(|| {
            let all = bars::canvas();
            (all.clone(), bars::Bars::on(all))
        });
        Self {
            form,
            bars,
            report: Mutex::default(),
        }
    }

    /// Who is to be told what happens.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        match (&self.bars, self.form) {
            (Some((all, _)), _) => Arc::new(bars::Bars::on(all.clone())),
            (None, Form::Json) => Arc::new(json::JsonLines::default()),
            (None, Form::Text) => Arc::new(lines::Lines::default()),
        }
    }

    /// Who is to be told what happens in one database among several.
    pub(crate) fn observer_of(&self, database: &str) -> Arc<dyn Observer> {
        match (&self.bars, self.form) {
            (Some((_, bars)), _) => Arc::new(bars.of(database)),
            (None, Form::Json) => Arc::new(json::JsonLines::of(database)),
            (None, Form::Text) => Arc::new(lines::Lines::of(database)),
        }
    }

    /// Prints lines that belong together, while others may go on showing theirs.
    pub(crate) fn report(&self, print: impl FnOnce()) {
        let _turn = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.bars {
            Some((all, _)) => all.suspend(print),
            None => print(),
        }
    }
}

/// Takes the bars away, so that what is printed next stands alone.
impl Drop for Screen {
    fn drop(&mut self) {
        if let Some((bars, _)) = &self.bars {
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

/// Tells those who watch what they may like to know.
pub(crate) fn note(observer: &dyn Observer, message: &str) {
    let severity = Severity::Info;
    observer.observe(&Event::Notice { severity, message });
}

/// Tells those who watch what they should know.
pub(crate) fn warn(observer: &dyn Observer, message: &str) {
    let severity = Severity::Warning;
    observer.observe(&Event::Notice { severity, message });
}
