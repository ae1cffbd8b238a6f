//! From every major version to the same and every newer one: `scripts/servers` installs them.
//!
//! The pairs that hold most of the differences run always; the others are ignored tests, and run
//! when `PGHAUL_MATRIX=all scripts/test versions` is asked for.

use crate::support::oracle::assert_migrated;
use crate::support::{Pair, fixture};

/// Migrates all that the source's version knows, and compares it twice: as pghaul sees it, and
/// as PostgreSQL's own programs do.
fn migrates(source: u32, target: u32) {
    let pair = Pair::of_versions(source, target);
    fixture::ages(&pair.source, "ages");
    let output = pair
        .pghaul("ages", &["migrate", "--verify"])
        .run()
        .expect(0);
    assert!(
        output.stdout.contains("source and target are the same"),
        "{}",
        output.stdout
    );
    assert_migrated(&pair.source, "ages", &pair.target, "ages");
}

/// A test per pair of versions.
macro_rules! pairs {
    ($(#[$attribute:meta])* $($name:ident: $source:literal => $target:literal),+ $(,)?) => {
        pairs!(@each [$(#[$attribute])*] $($name: $source => $target),+);
    };
    (@each $attributes:tt $($name:ident: $source:literal => $target:literal),+) => {
        $(pairs!(@one $attributes $name: $source => $target);)+
    };
    (@one [$($attribute:tt)*] $name:ident: $source:literal => $target:literal) => {
        #[test]
        $($attribute)*
        fn $name() {
            migrates($source, $target);
        }
    };
}

pairs! {
    from_10_to_11: 10 => 11,
    from_10_to_18: 10 => 18,
    from_11_to_12: 11 => 12,
    from_12_to_14: 12 => 14,
    from_13_to_16: 13 => 16,
    from_15_to_17: 15 => 17,
    from_17_to_18: 17 => 18,
    from_18_to_18: 18 => 18,
}

pairs! {
    #[ignore = "part of the whole matrix: PGHAUL_MATRIX=all scripts/test versions"]
    from_10_to_10: 10 => 10,
    from_10_to_12: 10 => 12,
    from_10_to_13: 10 => 13,
    from_10_to_14: 10 => 14,
    from_10_to_15: 10 => 15,
    from_10_to_16: 10 => 16,
    from_10_to_17: 10 => 17,
    from_11_to_11: 11 => 11,
    from_11_to_13: 11 => 13,
    from_11_to_14: 11 => 14,
    from_11_to_15: 11 => 15,
    from_11_to_16: 11 => 16,
    from_11_to_17: 11 => 17,
    from_11_to_18: 11 => 18,
    from_12_to_12: 12 => 12,
    from_12_to_13: 12 => 13,
    from_12_to_15: 12 => 15,
    from_12_to_16: 12 => 16,
    from_12_to_17: 12 => 17,
    from_12_to_18: 12 => 18,
    from_13_to_13: 13 => 13,
    from_13_to_14: 13 => 14,
    from_13_to_15: 13 => 15,
    from_13_to_17: 13 => 17,
    from_13_to_18: 13 => 18,
    from_14_to_14: 14 => 14,
    from_14_to_15: 14 => 15,
    from_14_to_16: 14 => 16,
    from_14_to_17: 14 => 17,
    from_14_to_18: 14 => 18,
    from_15_to_15: 15 => 15,
    from_15_to_16: 15 => 16,
    from_15_to_18: 15 => 18,
    from_16_to_16: 16 => 16,
    from_16_to_17: 16 => 17,
    from_16_to_18: 16 => 18,
    from_17_to_17: 17 => 17,
}
