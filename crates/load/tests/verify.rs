//! The comparison of two databases against a real server.

#[expect(dead_code, reason = "other test binaries use the rest")]
mod server;

#[path = "verify/abandoned.rs"]
mod abandoned;
#[path = "verify/faithful.rs"]
mod faithful;
#[path = "verify/many.rs"]
mod many;
#[path = "verify/planted.rs"]
mod planted;
#[path = "verify/recorded.rs"]
mod recorded;
#[path = "verify/sensitive.rs"]
mod sensitive;

use std::sync::Arc;

use pghaul_load::{Report, VerifyOptions, verify};
use pghaul_stage::Silent;

use server::Server;

/// Compares two databases of the server, with three jobs unless the options say otherwise.
async fn compare(source: &str, target: &str, options: VerifyOptions) -> Report {
    let server = Server::get();
    let (source, target) = (server.conninfo(source), server.conninfo(target));
    verify(&source, &target, options, Arc::new(Silent))
        .await
        .expect("the comparison ends")
}

/// A database filled by these commands, and PostgreSQL's own copy of it.
fn pair(sql: &str) -> (String, String) {
    let server = Server::get();
    let (source, target) = (server.database(), server.name("copy"));
    server.psql(&source, sql);
    let copy = format!("CREATE DATABASE {target} TEMPLATE {source}");
    server.psql("postgres", &copy);
    (source, target)
}

/// Every difference as a line.
fn lines(report: &Report) -> Vec<String> {
    report.differences.iter().map(ToString::to_string).collect()
}
