//! Files by somebody who can write into the spool and forge its manifest: nothing that they say of
//! themselves leads to a panic, to endless work or memory, or to rows other than the manifest's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{
    Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StructArray, UInt32Array,
};
use arrow_schema::{Field, Fields, Schema};
use bytes::Bytes;
use object_store::memory::InMemory;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use pghaul_stage::memory::MemoryTarget;
use serde_json::{Value, json};
use twox_hash::XxHash3_128;

use crate::rig::{self, ALL, Kind, PLAIN, for_each};

/// What a process may have in memory that reads hostile files of a few MB.
const MOST_MEMORY: u64 = 700 << 20;

type Objects = BTreeMap<String, Bytes>;

type Change = dyn Fn(&mut Value);

fn spool(kind: Kind) -> Objects {
    let objects = Arc::new(InMemory::new());
    rig::extract(Arc::clone(&objects) as _, kind).unwrap();
    rig::dump(&objects)
}

fn hash(pieces: &[&[u8]]) -> String {
    let mut hash = XxHash3_128::new();
    for piece in pieces {
        hash.write(piece);
    }
    format!("{:032x}", hash.finish_128())
}

/// Puts another file in the place of the first one, and makes the manifest agree.
fn forge(all: &Objects, parquet: Bytes, change: impl Fn(&mut Value)) -> Objects {
    let mut all = all.clone();
    let entry = "manifest/0000000000/000000";
    let object = all[entry].clone();
    let line = object.iter().position(|byte| *byte == b'\n').unwrap();
    let mut manifest: Value = serde_json::from_slice(&object[line + 1..]).unwrap();
    let file = &mut manifest["files"][0];
    file["size"] = json!(parquet.len());
    file["hash"] = json!(hash(&[&parquet]));
    let name = file["name"].as_str().unwrap().to_owned();
    change(&mut manifest);
    all.insert(name, parquet);
    let header: Value = {
        let header = &all["spool"];
        let line = header.iter().position(|byte| *byte == b'\n').unwrap();
        serde_json::from_slice(&header[line + 1..]).unwrap()
    };
    let migration: uuid::Uuid = header["migration"].as_str().unwrap().parse().unwrap();
    let content = serde_json::to_vec(&manifest).unwrap();
    let line = hash(&[migration.as_bytes(), entry.as_bytes(), b"\n", &content]);
    let object = [format!("pghaul-spool 1 {line}\n").as_bytes(), &content].concat();
    all.insert(entry.to_owned(), object.into());
    all
}

/// The first file, as it is stored.
fn first(all: &Objects) -> Bytes {
    let name = all
        .keys()
        .find(|name| name.starts_with("parts/0000000000/"));
    all[name.unwrap()].clone()
}

/// Loads it: either it is refused, or its rows are the source's.
#[track_caller]
fn assert_harmless(all: &Objects, kind: Kind, what: &str) -> Option<String> {
    let target = MemoryTarget::new();
    let loaded = rig::load(rig::restore(all), kind, &target, true);
    rig::assert_no_wrong_row(&target, what);
    match loaded {
        Ok(_) => {
            rig::assert_same(&target, what);
            None
        }
        Err(error) => {
            let said = error.to_string();
            // That is what a panic becomes.
            assert!(!said.contains("could not be converted"), "{what}: {said}");
            assert!(!said.contains("panicked"), "{what}: {said}");
            Some(said)
        }
    }
}

/// The most memory that this process has had so far, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kilobytes = line.split_ascii_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() << 10
}

#[test]
fn any_bit_of_a_file_with_a_forged_hash() {
    let kinds = ALL.into_iter().filter(|kind| !kind.encrypted);
    for kind in kinds {
        let all = spool(kind);
        assert!(assert_harmless(&forge(&all, first(&all), |_| {}), kind, "forged").is_none());
        let file = first(&all);
        let refused = std::sync::atomic::AtomicU64::new(0);
        for_each(file.len() as u64, |number| {
            let at = number as usize - 1;
            let mut broken = file.to_vec();
            broken[at] ^= 1 << (at % 8);
            let what = format!("{kind:?}: byte {at} of {}", file.len());
            let began = Instant::now();
            if assert_harmless(&forge(&all, broken.into(), |_| {}), kind, &what).is_some() {
                refused.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            true
        });
        let refused = refused.into_inner();
        assert!(
            refused > file.len() as u64 / 3,
            "{refused} of {}",
            file.len()
        );
    }
    assert!(peak() < MOST_MEMORY, "{} bytes", peak());
}

/// A file of one row group with these columns.
fn parquet(columns: Vec<(&str, ArrayRef)>) -> Bytes {
    let field = |(name, array): &(&str, ArrayRef)| {
        Field::new(*name, array.data_type().clone(), array.is_nullable())
    };
    let fields: Fields = columns.iter().map(field).collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .set_dictionary_enabled(false);
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

fn copy(bytes: &[u8]) -> ArrayRef {
    Arc::new(BinaryArray::from_iter_values([bytes]))
}

fn count(rows: u32) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values([rows]))
}

#[test]
fn files_that_are_not_what_the_manifest_says() {
    let all = spool(PLAIN);
    let mut nested: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    for _ in 0..40 {
        let field = Field::new("a", nested.data_type().clone(), false);
        nested = Arc::new(StructArray::new(vec![field].into(), vec![nested], None));
    }
    let gap: ArrayRef = Arc::new(BinaryArray::from_iter([None::<&[u8]>]));
    let files = [
        ("nothing", Bytes::new()),
        (
            "no Parquet",
            Bytes::from_static(b"PAR1 and nothing more PAR1"),
        ),
        ("other columns", parquet(vec![("x", copy(b"1\n"))])),
        ("no count", parquet(vec![("copy", copy(b"1\n"))])),
        (
            "other types",
            parquet(vec![("copy", count(1)), ("rows", copy(b"1\n"))]),
        ),
        ("a gap", parquet(vec![("copy", gap), ("rows", count(1))])),
        (
            "deep columns",
            parquet(vec![("copy", nested), ("rows", count(1))]),
        ),
        (
            "a few rows",
            parquet(vec![("copy", copy(b"1\tx\n")), ("rows", count(1))]),
        ),
        (
            "many rows",
            parquet(vec![("copy", copy(b"1\tx\n")), ("rows", count(u32::MAX))]),
        ),
        (
            "large",
            parquet(vec![
                ("copy", copy(&vec![b'\n'; 64 << 20])),
                ("rows", count(1)),
            ]),
        ),
    ];
    for (what, file) in files {
        let said = assert_harmless(&forge(&all, file.clone(), |_| {}), PLAIN, what);
        assert!(said.is_some(), "{what} was accepted");
        // And in the other encoding.
        let said = assert_harmless(
            &forge(&all, file, |entry| {
                entry["files"][0]["encoding"] = json!("typed")
            }),
            PLAIN,
            what,
        );
        assert!(said.is_some(), "{what} was accepted as typed");
    }
    assert!(peak() < MOST_MEMORY, "{} bytes", peak());
}

#[test]
fn manifest_entries_with_impossible_numbers() {
    let all = spool(PLAIN);
    let file = first(&all);
    let huge = json!(u64::MAX);
    let changes: Vec<(&str, Box<Change>)> = vec![
        (
            "rows",
            Box::new(|e| e["files"][0]["rows"] = json!(u64::MAX)),
        ),
        ("no rows", Box::new(|e| e["files"][0]["rows"] = json!(0))),
        (
            "bytes",
            Box::new(|e| e["files"][0]["bytes"] = json!(u64::MAX)),
        ),
        (
            "bytes everywhere",
            Box::new(move |e| {
                e["files"][0]["bytes"] = huge.clone();
                e["slices"][0]["bytes"] = huge.clone();
                e["mark"] = huge.clone();
            }),
        ),
        (
            "size",
            Box::new(|e| e["files"][0]["size"] = json!(u64::MAX)),
        ),
        (
            "slice",
            Box::new(|e| e["files"][0]["slice"] = json!(u32::MAX)),
        ),
        ("mark", Box::new(|e| e["mark"] = json!(0))),
        ("part", Box::new(|e| e["part"] = json!(1))),
        ("entry", Box::new(|e| e["entry"] = json!(1))),
        ("not the last", Box::new(|e| e["last"] = json!(false))),
        ("no slices", Box::new(|e| e["slices"] = json!([]))),
        (
            "another name",
            Box::new(|e| e["files"][0]["name"] = json!("../../etc/passwd")),
        ),
        ("no name", Box::new(|e| e["files"][0]["name"] = json!(""))),
        ("no hash", Box::new(|e| e["files"][0]["hash"] = json!(""))),
        (
            "twice",
            Box::new(|e| {
                let file = e["files"][0].clone();
                e["files"].as_array_mut().unwrap().push(file);
            }),
        ),
        (
            "deep",
            Box::new(|e| {
                let mut value = json!(1);
                for _ in 0..100 {
                    value = json!([value]);
                }
                e["mark"] = value;
            }),
        ),
    ];
    for (what, change) in changes {
        let said = assert_harmless(&forge(&all, file.clone(), change), PLAIN, what);
        assert!(said.is_some(), "{what} was accepted");
    }
    assert!(peak() < MOST_MEMORY, "{} bytes", peak());
}
