//! The `pghaul` command.

fn main() {}
