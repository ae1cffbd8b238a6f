//! Values of every type that a column can have, in both encodings, bit for bit.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use pghaul_codec::{Decoder, Encoder, Field};
use pghaul_stage::Encoding;
use tokio_postgres::Client;

use crate::server::{Server, ask, copy, fields, make_every_type, try_copy};

/// Rows through columns and back; gives each column's form.
pub(crate) fn round_trip(
    fields: &[Field],
    encoding: Encoding,
    utf8: bool,
    rows: &[Bytes],
) -> Vec<String> {
    let mut decoder = Decoder::new(fields.into(), encoding, utf8);
    for row in rows {
        decoder.push(row).unwrap();
    }
    decoder.end().unwrap();
    assert_eq!(decoder.rows(), rows.len());
    let Some(taken) = decoder.take().unwrap() else {
        return Vec::new();
    };
    let schema = taken.batch.schema();
    let mut written = BytesMut::new();
    Encoder::new(&schema)
        .unwrap()
        .encode(&taken.batch, &mut written)
        .unwrap();
    assert!(
        taken.raw == rows.concat(),
        "{fields:?}: the raw bytes differ"
    );
    assert!(
        written == rows.concat(),
        "{fields:?}: the written bytes differ"
    );
    let forms = schema
        .fields()
        .iter()
        .map(|field| field.metadata()["pghaul.form"].clone());
    forms.collect()
}

/// Whole tables in one batch, and each row in a batch of its own, so that its values can be native
/// whatever the others are. Gives how often each form was seen by type.
async fn every_type(client: &Client, utf8: bool) -> BTreeMap<(u32, String), usize> {
    let tables = "SELECT format('%I.%I', nspname, relname) FROM pg_class c \
        JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'kinds' AND relkind = 'r'";
    let mut seen = BTreeMap::new();
    for table in ask(client, tables).await {
        let table = table[0].as_deref().unwrap();
        let columns = fields(client, table).await;
        for encoding in [Encoding::Binary, Encoding::Text] {
            let (mut sent, mut names) = (Vec::new(), Vec::new());
            for field in &columns {
                let name = format!("\"{}\"", field.name);
                let query = format!("SELECT {name} FROM {table}");
                if try_copy(client, &query, encoding).await.is_some() {
                    sent.push(field.clone());
                    names.push(name);
                }
            }
            let query = format!("SELECT {} FROM {table}", names.join(", "));
            let rows = copy(client, &query, encoding).await;
            round_trip(&sent, encoding, utf8, &rows);
            for row in &rows {
                let forms = round_trip(&sent, encoding, utf8, std::slice::from_ref(row));
                for (field, form) in sent.iter().zip(forms) {
                    let kind = if encoding == Encoding::Text {
                        0
                    } else {
                        field.sent_as
                    };
                    *seen.entry((kind, form)).or_default() += 1;
                }
            }
        }
    }
    seen
}

#[tokio::test]
async fn values_of_every_type_come_back() {
    let server = Server::start().await;
    make_every_type(&server);
    let client = server.session_in("postgres").await;
    let seen = every_type(&client, true).await;
    let types = seen
        .keys()
        .map(|(sent_as, _)| sent_as)
        .collect::<std::collections::BTreeSet<_>>();
    assert!(types.len() > 100, "{types:?}");
    // What the server writes as text is never escaped in another way than ours.
    assert!(!seen.contains_key(&(0, "escaped".into())), "{seen:?}");
    for sent_as in [
        16, 20, 21, 23, 25, 26, 114, 700, 701, 1082, 1083, 1114, 1184, 1700, 2950,
    ] {
        assert!(seen[&(sent_as, "native".into())] > 1, "{sent_as}: {seen:?}");
    }
    assert!(seen[&(3802, "jsonb".into())] > 1);
    for array in [1000, 1001, 1007, 1009, 1014, 1185, 1231, 2951, 3807] {
        assert!(seen[&(array, "list".into())] > 1, "{array}: {seen:?}");
        assert!(seen[&(array, "bytes".into())] > 1, "{array}: {seen:?}");
    }
}

/// In a database without an encoding text is any bytes, and stays binary.
#[tokio::test]
async fn text_of_no_encoding_stays_bytes() {
    let server = Server::start().await;
    let sql = "CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0";
    server
        .session_in("postgres")
        .await
        .batch_execute(sql)
        .await
        .unwrap();
    let client = server.session_in("bytes").await;
    client
        .batch_execute(
            "SET client_encoding = 'SQL_ASCII'; CREATE TABLE t (a text, b json, c jsonb, d int); \
             INSERT INTO t VALUES (E'\\xff\\xfe', '\"é\"', '\"a\"', 1), (E'a\\tb', NULL, '1', 2)",
        )
        .await
        .unwrap();
    let columns = fields(&client, "t").await;
    let binary = copy(&client, "SELECT * FROM t", Encoding::Binary).await;
    let text = copy(&client, "SELECT * FROM t", Encoding::Text).await;
    let forms = round_trip(&columns, Encoding::Binary, false, &binary);
    assert_eq!(forms, ["bytes", "bytes", "bytes", "native"]);
    assert_eq!(
        round_trip(&columns, Encoding::Text, false, &text),
        ["bytes"; 4]
    );
    // Whoever took the database for UTF-8 loses nothing either.
    let forms = round_trip(&columns, Encoding::Binary, true, &binary);
    assert_eq!(forms, ["bytes", "native", "jsonb", "native"]);
    let forms = round_trip(&columns, Encoding::Text, true, &text);
    assert_eq!(forms, ["bytes", "native", "native", "native"]);
}
