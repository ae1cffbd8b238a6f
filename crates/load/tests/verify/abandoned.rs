//! A comparison that nobody waits for any more leaves the servers in peace.

use std::time::Duration;

use pghaul_load::VerifyOptions;
use pghaul_stage::Side;
use pghaul_wire::Client;

use super::server::Server;
use super::{compare, pair};

#[tokio::test(flavor = "multi_thread")]
async fn statements_stop_when_the_comparison_is_dropped() {
    let (source, target) = pair("CREATE TABLE t (id int)");
    let server = Server::get();
    let holder = Client::connect(&server.conninfo(&target), Side::Target)
        .await
        .expect("a session");
    holder
        .batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("a lock");
    let sessions = format!(
        "SELECT count(*) FROM pg_stat_activity
          WHERE datname = '{target}' AND application_name = 'pghaul verify'"
    );
    let comparison = compare(&source, &target, VerifyOptions::default());
    let waited = tokio::time::timeout(Duration::from_secs(3), comparison).await;
    assert!(waited.is_err(), "the lock does not hold it up");
    for _ in 0..100 {
        if server.psql(&target, &sessions) == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("sessions stay: {}", server.psql(&target, &sessions));
}
