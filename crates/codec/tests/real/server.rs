//! What a server says about its rows and types.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use futures_util::TryStreamExt;
use pghaul_codec::Field;
use pghaul_stage::Encoding;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

#[path = "../../../../tests/support/server.rs"]
mod throwaway;

pub(crate) use throwaway::Server;

/// Makes the tables of `tests/fixtures/values`, one for each type that a column can have, in
/// the schema `kinds`.
pub(crate) fn make_every_type(server: &Server) {
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/values/types.sql");
    throwaway::run(
        Command::new("psql")
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-v", "catalogs=1"])
            .args(["-v", "seed=0.5", "-h", "127.0.0.1", "-U", "postgres"])
            .args(["-p", &server.port.to_string(), "-d", "postgres", "-f"])
            .arg(script),
    );
}

/// The rows of a query's answer, as text.
pub(crate) async fn ask(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await;
    let messages = messages.unwrap_or_else(|error| panic!("{error:?} in: {sql}"));
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .map(|row| {
            (0..row.len())
                .map(|at| row.get(at).map(str::to_owned))
                .collect()
        })
        .collect()
}

/// What the server sends for each row of a query by COPY, without header and trailer; `None` if a
/// type in it has no binary form.
pub(crate) async fn try_copy(
    client: &Client,
    query: &str,
    encoding: Encoding,
) -> Option<Vec<Bytes>> {
    let sql = format!("COPY ({query}) TO STDOUT (FORMAT {encoding})");
    let rows = async { client.copy_out(&sql).await?.try_collect().await };
    // A message holds a row; the header shares the first one.
    let mut rows: Vec<Bytes> = match rows.await {
        Ok(rows) => rows,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_FUNCTION) => return None,
        Err(error) => panic!("{error:?} in: {sql}"),
    };
    if encoding == Encoding::Binary {
        if let Some(first) = rows.first_mut() {
            drop(first.split_to(19));
        }
        let trailer = rows.pop();
        assert_eq!(trailer.as_deref(), Some(&b"\xff\xff"[..]));
    }
    Some(rows)
}

/// The same of types that have a binary form.
pub(crate) async fn copy(client: &Client, query: &str, encoding: Encoding) -> Vec<Bytes> {
    try_copy(client, query, encoding).await.unwrap()
}

/// The columns of a table, as the catalog tells.
pub(crate) async fn fields(client: &Client, table: &str) -> Vec<Field> {
    let sql = format!(
        "WITH RECURSIVE bases (attnum, base) AS ( \
           SELECT attnum, atttypid FROM pg_attribute \
            WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped \
           UNION SELECT b.attnum, y.typbasetype FROM bases b \
             JOIN pg_type y ON y.oid = b.base AND y.typtype = 'd') \
         SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod, \
                CASE WHEN y.typtype = 'e' OR p.prosrc = 'textsend' AND y.oid > 9999 THEN 25 \
                     WHEN y.oid < 10000 THEN y.oid::int8 ELSE 0 END \
           FROM bases b JOIN pg_type y ON y.oid = b.base AND y.typtype <> 'd' \
           JOIN pg_attribute a ON a.attrelid = '{table}'::regclass AND a.attnum = b.attnum \
           LEFT JOIN pg_proc p ON p.oid = y.typsend ORDER BY a.attnum"
    );
    let rows = ask(client, &sql).await;
    rows.into_iter()
        .map(|row| {
            let Ok(
                [
                    Some(name),
                    Some(type_name),
                    Some(oid),
                    Some(modifier),
                    Some(sent_as),
                ],
            ) = <[Option<String>; 5]>::try_from(row)
            else {
                panic!("the catalog knows all of it")
            };
            Field {
                name,
                type_name,
                oid: oid.parse().unwrap(),
                modifier: modifier.parse().unwrap(),
                sent_as: sent_as.parse().unwrap(),
            }
        })
        .collect()
}
