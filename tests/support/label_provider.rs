//! A provider of security labels, compiled of `label_provider.c`: no package has one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use super::pg;

/// The version of the servers that can load it: the one whose headers come with the newest client
/// programs.
pub(crate) const VERSION: u32 = 18;

/// The library, as `shared_preload_libraries` names it.
pub(crate) fn library() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/support/label_provider.c");
    let headers = pg::newest_client().join("../include/server");
    assert!(
        headers.join("commands/seclabel.h").exists(),
        "no headers in {}: scripts/servers installs them",
        headers.display()
    );
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(folder).expect("the target folder is writable");
    let lock = File::create(folder.join("label_provider.lock")).expect("a lock file");
    lock.lock().expect("the lock is granted");
    let library = folder.join("label_provider.so");
    if modified(&library) < modified(&source) {
        // A server may have the old one loaded.
        let aside = folder.join(format!("label_provider.{}", process::id()));
        compile(&source, &headers, &aside);
        fs::rename(&aside, &library).expect("the library is renamed");
    }
    let library = library.to_str().expect("paths here are UTF-8");
    library.to_owned()
}

fn compile(source: &Path, headers: &Path, library: &Path) {
    let mut command = Command::new("cc");
    command
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-I"])
        .arg(headers)
        .arg("-o")
        .arg(library)
        .arg(source);
    pg::run(&mut command).unwrap_or_else(|error| panic!("{error}"));
}

/// When a file was written last; nothing for one that is not there.
fn modified(file: &PathBuf) -> Option<std::time::SystemTime> {
    fs::metadata(file).and_then(|facts| facts.modified()).ok()
}
