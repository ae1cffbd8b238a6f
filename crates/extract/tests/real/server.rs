//! What our source, and PostgreSQL itself, say of a server.

use std::sync::Arc;

use futures_util::TryStreamExt;
use pghaul_extract::{Config, PgSource};
use pghaul_stage::{Format, Part, Payload, Result, Silent, Source};
use pghaul_wire::{Conninfo, Environment};

#[path = "../../../../tests/support/server.rs"]
mod throwaway;

pub(crate) use throwaway::Server;

impl Server {
    /// A session of the superuser in the usual database.
    pub(crate) async fn session(&self) -> tokio_postgres::Client {
        self.session_in("postgres").await
    }

    /// Runs statements as the superuser.
    pub(crate) async fn run(&self, sql: &str) {
        if let Err(error) = self.session().await.batch_execute(sql).await {
            panic!("{error:?} in: {sql}");
        }
    }

    /// The first field of a query's answer, as text.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        let messages = self.session().await.simple_query(sql).await.unwrap();
        let row = messages.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.and_then(|row| row.get(0))
            .unwrap_or_default()
            .to_owned()
    }

    /// What PostgreSQL itself sends for a COPY statement.
    pub(crate) async fn copy(&self, sql: &str) -> Vec<u8> {
        let stream = self.session().await.copy_out(sql).await.unwrap();
        let chunks: Vec<bytes::Bytes> = stream.try_collect().await.unwrap();
        chunks.concat()
    }

    pub(crate) fn info(&self, user: &str) -> Conninfo {
        let text = format!(
            "host=127.0.0.1 port={} user='{user}' dbname=postgres",
            self.port
        );
        Conninfo::parse_with(&text, &Environment::default()).unwrap()
    }

    /// Our source on the database, with the usual configuration.
    pub(crate) async fn source(&self) -> PgSource {
        self.source_with(Config::default()).await
    }

    pub(crate) async fn source_with(&self, config: Config) -> PgSource {
        self.open("postgres", config).await.unwrap()
    }

    pub(crate) async fn open(&self, user: &str, config: Config) -> Result<PgSource> {
        let config = Config {
            target_version: config.target_version.or(Some(150_000)),
            ..config
        };
        PgSource::open(self.info(user), config, Arc::new(Silent)).await
    }
}

/// A part's content: the bytes and rows of each slice.
pub(crate) async fn read(source: &PgSource, part: &Part) -> Result<Vec<(Vec<u8>, u64)>> {
    let mut batches = source.read(part, Format::Copy).await?;
    let mut slices = vec![(Vec::new(), 0); part.slices().len().max(2)];
    let mut mark = 0;
    while let Some(batch) = batches.try_next().await? {
        let Payload::Copy(bytes) = batch.payload else {
            panic!("not COPY")
        };
        mark += bytes.len() as u64;
        assert_eq!(batch.mark.0, mark, "marks count bytes");
        let slice = &mut slices[batch.slice as usize];
        slice.0.extend_from_slice(&bytes);
        slice.1 += batch.rows;
    }
    Ok(slices)
}
