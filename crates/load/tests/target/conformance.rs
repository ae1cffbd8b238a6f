//! The target passes the suite of all targets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pghaul_load::{Config, PgTarget, State, inspect};
use pghaul_stage::conformance::{self, Fixture, Sample};
use pghaul_stage::memory::MemorySource;
use pghaul_stage::{SequenceValue, Silent, TableId, Target};

use crate::server::Server;

struct Database {
    server: &'static Server,
    sample: Sample,
    name: Mutex<String>,
}

#[async_trait]
impl Fixture for Database {
    fn sample(&self) -> &Sample {
        &self.sample
    }

    async fn fresh(&self) -> Arc<dyn Target> {
        let name = self.server.database();
        self.server.psql(
            &name,
            "CREATE TABLE large (i int); CREATE TABLE small (i int); CREATE TABLE empty (i int);
             CREATE SEQUENCE s",
        );
        *self.name.lock().unwrap() = name;
        self.again().await
    }

    async fn again(&self) -> Arc<dyn Target> {
        let conninfo = self.server.conninfo(&self.name.lock().unwrap());
        let config = Config {
            lock_timeout: Duration::from_millis(500),
            ..Config::default()
        };
        Arc::new(match inspect(&conninfo).await.unwrap() {
            State::Migration(saved) => PgTarget::resume(conninfo, config, Arc::new(Silent), &saved)
                .await
                .unwrap(),
            _ => PgTarget::fresh(conninfo, config, Arc::new(Silent)).unwrap(),
        })
    }

    async fn rows(&self) -> u64 {
        let count = "SELECT (SELECT count(*) FROM large) + (SELECT count(*) FROM small)
                          + (SELECT count(*) FROM empty)";
        self.server
            .psql(&self.name.lock().unwrap(), count)
            .parse()
            .unwrap()
    }
}

#[tokio::test]
async fn the_target_conforms() {
    let numbers = |count: u32| (0..count).map(|number| number.to_string());
    let source = MemorySource::new()
        .table(TableId::new("public", "large"), numbers(1000))
        .table(TableId::new("public", "small"), numbers(7))
        .table(TableId::new("public", "empty"), numbers(0))
        .sequence(SequenceValue {
            id: TableId::new("public", "s"),
            last_value: 42,
            is_called: true,
        })
        .rows_per_part(400)
        .tables_per_part(2)
        .batch_bytes(100);
    let database = Database {
        server: Server::get(),
        sample: Sample::read(&source).await,
        name: Mutex::default(),
    };
    let suite = conformance::target(&database);
    tokio::time::timeout(Duration::from_secs(120), suite)
        .await
        .unwrap();
}
