//! What `benches/` measures of this crate. No part of its interface, and only there with the
//! feature `bench`.

use pghaul_stage::{Encoding, Part, TableId};

use crate::Config;
use crate::slice::{Cut, by_blocks, parts};

/// Plans the parts of so many tables, one in a hundred of which is large.
pub fn plan(tables: u32) -> Vec<Part> {
    let config = Config::default();
    let sizes = (0..tables).map(|number| match number % 100 {
        0 => 1 << 30,
        _ => u64::from(number % 17) << 16,
    });
    let sizes: Vec<u64> = sizes.collect();
    let threshold = config.threshold(sizes.iter().sum());
    let cuts = (0..).zip(sizes).map(|(number, bytes): (u32, u64)| {
        let blocks = u32::try_from(bytes / 8192).unwrap_or(u32::MAX);
        Cut {
            table: TableId::new("public", format!("table_{number}")),
            encoding: Encoding::Binary,
            ranges: by_blocks(blocks, config.parts(bytes, threshold)),
            rows: bytes / 100,
            bytes,
            unlogged: false,
        }
    });
    parts(cuts.collect(), (Vec::new(), 0, 0), threshold, &config)
}
