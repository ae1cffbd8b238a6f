//! The harness tested by itself: an oracle is worth something only if it can say no.

use crate::support::{Cluster, fixture};

#[test]
fn a_cluster_starts_answers_and_goes() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.psql("postgres", "SELECT 1"), "1");
    cluster.create_db("we\"ird / name");
    cluster.stop_immediate();
    cluster.start_again();
    assert_eq!(cluster.psql("we\"ird / name", "SELECT 2"), "2");
    fixture::many_tables(&cluster, "many", 3);
}
