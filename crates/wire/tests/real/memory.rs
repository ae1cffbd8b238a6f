//! A field far larger than any buffer passes in constant memory.

use std::process::Command;

use pghaul_stage::Side;

use crate::copy::forward;
use crate::server::{parse, plain};
use pghaul_wire::Lane;

const CHILD: &str = "PGHAUL_WIRE_TEST_MEMORY";
const FIELD_BYTES: u64 = 300_000_000;
const ALLOWED_KIB: u64 = 40 * 1024;

/// The most memory that this process has had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_huge_field_does_not_grow_the_process() {
    // The other tests grow this process, so a second one with this test alone is measured.
    let Ok(text) = std::env::var(CHILD) else {
        plain().psql(
            "CREATE UNLOGGED TABLE huge (t text);
             ALTER TABLE huge ALTER t SET STORAGE EXTERNAL",
        );
        let text = format!(
            "host={} port={} user=postgres",
            plain().socket_folder(),
            plain().port
        );
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "memory::a_huge_field_does_not_grow_the_process",
                "--nocapture",
            ])
            .env(CHILD, text)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            plain().psql("SELECT length(t) FROM huge"),
            FIELD_BYTES.to_string()
        );
        return;
    };
    let source = Lane::connect(&parse(&text), Side::Source).await.unwrap();
    let target = Lane::connect(&parse(&text), Side::Target).await.unwrap();
    let before = peak();
    let out = format!("COPY (SELECT repeat('x', {FIELD_BYTES})) TO STDOUT (FORMAT binary)");
    forward(source, &out, target, "COPY huge FROM STDIN (FORMAT binary)")
        .await
        .unwrap();
    let grown = peak() - before;
    assert!(grown < ALLOWED_KIB, "the process grew by {grown} KiB");
}
