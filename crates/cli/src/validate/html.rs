//! Findings as a page, in a file.

use std::path::{Path, PathBuf};

use pghaul_server::page::findings::section;
use pghaul_stage::Result;

use super::Findings;
use crate::databases::label;
use crate::output::{duration, html};

/// A page that grows with each database.
pub(super) struct Page {
    path: PathBuf,
    body: String,
}

impl Page {
    /// Creates the file, so that a place that cannot be written is known before anything else.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let page = Self {
            path: path.to_owned(),
            body: String::from("<h1>Validation</h1>\n"),
        };
        page.write()?;
        Ok(page)
    }

    /// Adds what was found; `database` names where, if there are several.
    pub(super) fn add(&mut self, found: &Findings, database: Option<&str>) -> Result<()> {
        let heading = database.map(|name| format!("Database {}", label(name)));
        let took = format!("in {}", duration(found.elapsed));
        self.body += &section(heading.as_deref(), &found.findings, &took);
        self.write()
    }

    fn write(&self) -> Result<()> {
        html::write(&self.path, "pghaul validate", &self.body)
    }
}
