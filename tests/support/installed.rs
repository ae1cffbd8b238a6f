//! What scripts have installed for tests.

use std::path::{Path, PathBuf};

/// A folder below the target folder, which this script fills.
#[track_caller]
pub(crate) fn installed(folder: &str, script: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target folder");
    let folder = target.join(folder);
    assert!(
        folder.exists(),
        "{} is missing: {script} installs it",
        folder.display()
    );
    folder
}
