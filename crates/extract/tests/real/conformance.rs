//! The suite that every source must pass.

use std::time::Duration;

use pghaul_extract::{Config, CopyFormat, Split};
use pghaul_stage::conformance;

use crate::server::Server;

#[tokio::test]
async fn a_postgresql_source_keeps_the_rules_of_sources() {
    let server = Server::start().await;
    server
        .run(
            "CREATE TABLE large AS SELECT g AS k, md5(g::text) AS v FROM generate_series(1, 20000) g; \
             ALTER TABLE large ADD PRIMARY KEY (k); \
             CREATE TABLE small AS SELECT 1 AS x; CREATE TABLE other (s serial, t text); \
             INSERT INTO other (t) VALUES (E'a\\nb'), (NULL); CREATE TABLE empty (k int); \
             CREATE TABLE names AS SELECT 'pg_class'::regclass; CREATE TABLE nothing (); \
             INSERT INTO nothing SELECT FROM generate_series(1, 3); \
             SELECT lo_from_bytea(0, 'content'), lo_create(0)",
        )
        .await;
    for copy_format in [CopyFormat::Auto, CopyFormat::Text] {
        let split = Split::LargerThan(256 * 1024);
        let source = server
            .source_with(Config {
                copy_format,
                split,
                ..Config::default()
            })
            .await;
        let suite = conformance::source(&source);
        tokio::time::timeout(Duration::from_secs(120), suite)
            .await
            .unwrap();
    }
}
