//! `pghaul verify` where source and target are never reachable at the same time: `--record` writes
//! a digest of the source, `--digest` compares the target with it, and `--spool` with the one that an
//! extraction recorded.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use pghaul_load::{Digest, VerifyOptions, digest, verify_digest};
use pghaul_relay::Cancel;
use pghaul_spool::Spool;
use pghaul_stage::{Error, Kind, Packed, Packer, Result, Side};
use pghaul_wire::Conninfo;
use serde_json::json;
use tokio::runtime::Handle;

use crate::args::Form;
use crate::output::{Screen, count, print_json, say};
use crate::spool::{Held, Place};
use crate::{Outcome, verify};

/// Records a digest of `source` in a file. What is there already stays until the digest is whole.
pub(crate) fn record(
    source: &Conninfo,
    path: &Path,
    options: VerifyOptions,
    form: Form,
    cancel: &Cancel,
) -> Result<Outcome> {
    let failed = |error| {
        Error::input(format!("cannot write the digest to {}", path.display())).because(error)
    };
    let mut create = File::options();
    let file = create.write(true).create(true).truncate(false);
    let file = file.open(path).map_err(failed)?;
    let screen = Screen::open(form);
    let found = digest(source, options, screen.observer());
    let digest = Handle::current().block_on(cancel.until(found))?;
    drop(screen);
    write(&digest, &file).map_err(failed)?;
    tell(&digest, path, form);
    Ok(match digest.unread().next() {
        Some(_) => Outcome::Differs,
        None => Outcome::Done,
    })
}

fn write(digest: &Digest, file: &File) -> std::io::Result<()> {
    file.set_len(0)?;
    let mut writer = BufWriter::new(file);
    serde_json::to_writer(&mut writer, digest)?;
    writer.flush()?;
    file.sync_all()
}

/// Says what was recorded, and what could not be.
fn tell(digest: &Digest, path: &Path, form: Form) {
    let (tables, rows) = digest.counts();
    let path = path.display();
    if form == Form::Json {
        let unread = digest.unread();
        let unread: Vec<_> = unread
            .map(|(of, reason)| json!({ "of": of, "reason": reason }))
            .collect();
        return print_json(&json!({
            "event": "digest", "file": path.to_string(), "tables": tables, "rows": rows,
            "unread": unread,
        }));
    }
    for (of, reason) in digest.unread() {
        say(&format!("not recorded: {of}: {reason}"));
    }
    say(&format!(
        "recorded {} rows in {} tables in {path}",
        count(rows),
        count(tables as u64)
    ));
}

/// Compares `target` with the digest in a file.
pub(crate) fn compare(
    target: &Conninfo,
    path: &Path,
    options: VerifyOptions,
    form: Form,
    cancel: &Cancel,
) -> Result<Outcome> {
    let file = File::open(path).map_err(|error| {
        Error::input(format!("cannot read the digest {}", path.display())).because(error)
    })?;
    let digest = Digest::read(file).map_err(|error| error.on(path.display().to_string()))?;
    compare_with(&digest, target, options, form, cancel)
}

/// Compares `target` with what was extracted into a spool; of several databases, the ones of their
/// names on its server.
pub(crate) fn compare_spool(
    target: &Conninfo,
    place: &Place,
    options: VerifyOptions,
    form: Form,
    cancel: &Cancel,
) -> Result<Outcome> {
    let handle = Handle::current();
    let found = handle.block_on(cancel.until(place.spools()))?;
    if let [
        Held {
            database: None,
            spool: Some(spool),
            ..
        },
    ] = found.as_slice()
    {
        let digest = handle.block_on(cancel.until(of_spool(spool)))?;
        return compare_with(&digest, target, options, form, cancel);
    }
    let names: Vec<String> = found
        .iter()
        .filter_map(|held| held.database.clone())
        .collect();
    let screen = Screen::open(form);
    verify::each(&names, form, screen, cancel, |name, observer| {
        let named = |held: &&Held| held.database.as_deref() == Some(name);
        let spool = found.iter().find(named).and_then(|held| held.spool.clone());
        let (target, options) = (target.with_dbname(name), options.clone());
        async move {
            let spool = spool.ok_or_else(|| place.absent())?;
            let digest = of_spool(&spool).await?;
            verify_digest(&digest, &target, options, observer).await
        }
    })
}

/// A digest as a spool has it: as JSON, which is many times longer, in frames of zstd.
///
/// # Errors
///
/// Kind permanent if there is not enough memory.
pub(crate) fn pack(digest: &Digest) -> Result<Vec<u8>> {
    let mut packer = Packer::new()?;
    serde_json::to_writer(&mut packer, digest).map_err(|error| {
        Error::new(Kind::Permanent, "the checksums cannot be written").because(error)
    })?;
    Ok(packer.finish()?.frames().collect::<Vec<_>>().concat())
}

/// The digest of a spool's source, with the sequences as they were when the extraction ended.
///
/// # Errors
///
/// Kind input if none was recorded, or the extraction has not ended.
pub(crate) async fn of_spool(spool: &Spool) -> Result<Digest> {
    let missing = |what, remedy| {
        Error::input(what)
            .at(Side::Link)
            .on(format!("the spool {}", spool.place()))
            .remedy(remedy)
    };
    let Some(sequences) = spool.end().await? else {
        return Err(missing(
            "the extraction is not complete",
            "wait until it is, or go on with `pghaul extract --resume`",
        ));
    };
    let Some(packed) = spool.digest().await? else {
        return Err(missing(
            "it has no checksums",
            "extract without --no-checksums, or compare with `pghaul verify` where both servers can \
             be reached",
        ));
    };
    let packed = Packed::of_frames(&packed).map_err(|error| {
        error
            .at(Side::Link)
            .on(format!("the spool {}", spool.place()))
    })?;
    let mut digest = Digest::read(packed.read_from(0))?;
    digest.set_sequences(&sequences);
    Ok(digest)
}

fn compare_with(
    digest: &Digest,
    target: &Conninfo,
    options: VerifyOptions,
    form: Form,
    cancel: &Cancel,
) -> Result<Outcome> {
    verify::one(form, cancel, |observer| {
        verify_digest(digest, target, options, observer)
    })
}
