//! Native values are what the server says they are, and exactly those that fit are native.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};
use arrow_schema::{DataType, TimeUnit};
use pghaul_codec::{Decoder, Field};
use pghaul_stage::Encoding;

use crate::server::{Server, ask, copy, fields, make_every_type};

/// A type, what the server says of a value, and whether it fits, both as SQL about `value`.
const TYPES: &[(&str, &str, &str)] = &[
    ("bool", "value::text", "true"),
    ("int2", "value::text", "true"),
    ("int4", "value::text", "true"),
    ("int8", "value::text", "true"),
    ("oid", "value::int8::text", "true"),
    ("float4", "encode(float4send(value), 'hex')", "true"),
    ("float8", "encode(float8send(value), 'hex')", "true"),
    ("text", HEX, "true"),
    ("varchar", HEX, "true"),
    ("bpchar", HEX, "true"),
    ("name", HEX, "true"),
    ("refcursor", HEX, "true"),
    ("xml", HEX, "true"),
    ("json", HEX, "true"),
    ("jsonb", HEX, "true"),
    ("bytea", "encode(value, 'hex')", "true"),
    ("uuid", "replace(value::text, '-', '')", "true"),
    (
        "date",
        "CASE WHEN isfinite(value) THEN (value - date '1970-01-01')::text END",
        "isfinite(value)",
    ),
    (
        "timestamp",
        MICROSECONDS,
        "value > '-infinity' AND value < '294247-01-10 04:00:54.775807'",
    ),
    (
        "timestamptz",
        MICROSECONDS,
        "value > '-infinity' AND value < '294247-01-10 04:00:54.775807+00'",
    ),
    (
        "time",
        "trunc(extract(epoch FROM value) * 1000000)::text",
        "value < '24:00'",
    ),
    (
        "numeric",
        "value::text",
        "CASE WHEN scale(value) <= 38 THEN abs(value) < ('1e' || 38 - scale(value))::numeric END",
    ),
];

/// A value's text, whose bytes must be the same.
const HEX: &str = "encode(convert_to(format('%s', value), 'UTF8'), 'hex')";

/// What `extract` gives is exact since PostgreSQL 14.
const MICROSECONDS: &str =
    "CASE WHEN isfinite(value) THEN trunc(extract(epoch FROM value) * 1000000)::text END";

/// A value of an array, in the words of the query above.
fn say(array: &dyn Array, at: usize) -> String {
    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
    macro_rules! number {
        ($type:ty) => {
            array.as_primitive::<$type>().value(at)
        };
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(at).to_string(),
        DataType::Int16 => number!(Int16Type).to_string(),
        DataType::Int32 => number!(Int32Type).to_string(),
        DataType::Int64 => number!(Int64Type).to_string(),
        DataType::UInt32 => number!(UInt32Type).to_string(),
        DataType::Float32 => format!("{:08x}", number!(Float32Type).to_bits()),
        DataType::Float64 => format!("{:016x}", number!(Float64Type).to_bits()),
        DataType::Utf8 => hex(array.as_string::<i32>().value(at).as_bytes()),
        DataType::Binary => hex(array.as_binary::<i32>().value(at)),
        DataType::FixedSizeBinary(16) => hex(array.as_fixed_size_binary().value(at)),
        DataType::Date32 => number!(Date32Type).to_string(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            number!(TimestampMicrosecondType).to_string()
        }
        DataType::Time64(TimeUnit::Microsecond) => number!(Time64MicrosecondType).to_string(),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(at),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(at);
            let element = |at| {
                if list.is_null(at) {
                    "NULL".to_owned()
                } else {
                    say(&list, at)
                }
            };
            (0..list.len()).map(element).collect::<Vec<_>>().join(",")
        }
        other => panic!("{other} is not among the forms"),
    }
}

/// The only value of a row, and the name of its form.
fn decode(field: &Field, encoding: Encoding, row: &[u8]) -> (String, String) {
    let mut decoder = Decoder::new([field.clone()].into(), encoding, true);
    decoder.push(row).unwrap();
    let batch = decoder.take().unwrap().unwrap().batch;
    let form = batch.schema().field(0).metadata()["pghaul.form"].clone();
    (say(batch.column(0), 0), form)
}

#[tokio::test]
async fn native_values_are_what_the_server_says() {
    let server = Server::start().await;
    make_every_type(&server);
    let client = server.session_in("postgres").await;
    client.batch_execute(MORE).await.unwrap();
    for (name, said, fits) in TYPES {
        let table = format!("kinds.\"pg_catalog {name}\"");
        let columns = fields(&client, &table).await;
        let [value, list] = &columns[..] else {
            panic!("{table} has a value and a list")
        };
        let from = format!("FROM {table} WHERE value IS NOT NULL ORDER BY ctid");
        let said_of_value = ask(&client, &format!("SELECT {said}, {fits} {from}")).await;
        let rows = copy(&client, &format!("SELECT value {from}"), Encoding::Binary).await;
        assert_eq!(rows.len(), said_of_value.len());
        let mut fitted = 0;
        for (row, answer) in rows.iter().zip(said_of_value) {
            let (value, form) = decode(value, Encoding::Binary, row);
            let fits = answer[1].as_deref() == Some("t");
            assert_eq!(
                form != "bytes" || *name == "bytea",
                fits,
                "{name}: {answer:?}"
            );
            if fits {
                assert_eq!(Some(value), answer[0], "{name}");
                fitted += 1;
            }
        }
        assert!(fitted > 1, "{name}");

        // As text, all values are the text that the server prints.
        let said_of_text = ask(&client, &format!("SELECT {HEX} {from}")).await;
        let rows = copy(&client, &format!("SELECT value {from}"), Encoding::Text).await;
        for (row, answer) in rows.iter().zip(said_of_text) {
            let (value, form) = decode(value, Encoding::Text, row);
            assert_eq!(
                (Some(value), &*form),
                (answer[0].clone(), "native"),
                "{name} as text"
            );
        }

        // Lists of those that fit.
        let scales = if *name == "numeric" {
            "count(DISTINCT scale(value)) < 2"
        } else {
            "true"
        };
        let from = format!("FROM {table} WHERE list IS NOT NULL ORDER BY ctid");
        let sql = format!(
            "SELECT (SELECT coalesce(string_agg(CASE WHEN value IS NULL THEN 'NULL' ELSE {said} END, ','), '') \
                FROM unnest(list) AS value), \
              array_ndims(list) IS NULL OR array_ndims(list) = 1 AND array_lower(list, 1) = 1 AND \
              (SELECT bool_and(value IS NULL OR coalesce({fits}, false)) AND {scales} \
                FROM unnest(list) AS value) {from}"
        );
        let said_of_list = ask(&client, &sql).await;
        let rows = copy(&client, &format!("SELECT list {from}"), Encoding::Binary).await;
        let mut fitted = 0;
        for (row, answer) in rows.iter().zip(said_of_list) {
            let (value, form) = decode(list, Encoding::Binary, row);
            let fits = answer[1].as_deref() == Some("t");
            assert_eq!(form == "list", fits, "{name}[]: {answer:?}");
            if fits {
                assert_eq!(Some(value), answer[0], "{name}[]");
                fitted += 1;
            }
        }
        assert!(fitted > 1, "{name}[]");
    }
}

/// More values where a wrong mapping would hide.
const MORE: &str = r#"
    INSERT INTO kinds."pg_catalog date" VALUES ('1970-01-01'), ('1969-12-31'), ('0044-03-15 BC');
    INSERT INTO kinds."pg_catalog timestamp" VALUES
      ('1970-01-01'), ('1969-12-31 23:59:59.999999'), ('294247-01-10 04:00:54.775806'),
      ('294247-01-10 04:00:54.775807'), ('0044-03-15 12:00:00.5 BC');
    INSERT INTO kinds."pg_catalog timestamptz" VALUES
      ('1970-01-01+00'), ('294247-01-10 04:00:54.775806+00'), ('294247-01-10 04:00:54.775807+00');
    INSERT INTO kinds."pg_catalog numeric" SELECT (s || m || 'e' || e)::numeric
      FROM unnest(ARRAY['', '-']) s, generate_series(-45, 45) e,
        unnest(ARRAY['1', '9', '10', '1234', '12345', '10000', '100000000', '1.0000', '99999999999999999999']) m;
    INSERT INTO kinds."pg_catalog numeric" VALUES
      (repeat('9', 38)::numeric), (repeat('9', 39)::numeric), (('0.' || repeat('9', 38))::numeric),
      (('0.' || repeat('0', 38))::numeric), (('0.' || repeat('0', 39))::numeric),
      ((repeat('9', 131072) || '.' || repeat('9', 16383))::numeric);
    INSERT INTO kinds."pg_catalog numeric" (list) VALUES ('{1.50,NULL,-2.25}'), ('{1.50,1.5}');
    INSERT INTO kinds."pg_catalog date" (list) VALUES ('{1970-01-01,NULL,0044-03-15 BC}');
    INSERT INTO kinds."pg_catalog timestamptz" (list) VALUES ('{1970-01-01+00}');
    INSERT INTO kinds."pg_catalog timestamp" (list) VALUES ('{1970-01-01,NULL}');
    INSERT INTO kinds."pg_catalog time" (list) VALUES ('{12:00,NULL}');
"#;

/// A `numeric` with a precision is the decimal of that precision, whatever its first value is.
#[tokio::test]
async fn precision_and_scale_are_the_columns() {
    let server = Server::start().await;
    let client = server.session_in("postgres").await;
    client
        .batch_execute(
            "CREATE DOMAIN price AS numeric(8, 2); CREATE TABLE t (a numeric(12, 4), \
             b numeric(38, 10), c numeric(5, -2), d numeric(3, 5), e numeric(39, 1), f numeric(38), \
             g numeric, h price, i numeric); \
             INSERT INTO t VALUES (1, -2.5, 12345, 0.00123, 5, 99999999999999999999999999999999999999, \
             NULL, NULL, 1), (NULL, NULL, -99, 0, NULL, NULL, NULL, NULL, NULL); \
             INSERT INTO t VALUES (-0.0001, 0, NULL, -0.00999, 6, 0, 7.25, 7.5, 2.0)",
        )
        .await
        .unwrap();
    let columns = fields(&client, "t").await;
    let rows = copy(&client, "SELECT * FROM t", Encoding::Binary).await;
    let answers = ask(&client, "SELECT * FROM t").await;
    let mut decoder = Decoder::new(columns.into(), Encoding::Binary, true);
    decoder.push(&rows[..2].concat()).unwrap();
    let first = decoder.take().unwrap().unwrap().batch;
    decoder.push(&rows[2]).unwrap();
    let second = decoder.take().unwrap().unwrap().batch;
    let types = |batch: &arrow_array::RecordBatch| -> Vec<String> {
        let schema = batch.schema();
        schema
            .fields()
            .iter()
            .map(|field| field.data_type().to_string())
            .collect()
    };
    let d = |precision: u8, scale: i8| format!("Decimal128({precision}, {scale})");
    let common = [
        d(12, 4),
        d(38, 10),
        d(7, 0),
        d(5, 5),
        "Binary".into(),
        d(38, 0),
    ];
    // Without a scale of its own, a column has that of its first value; another one does not fit.
    assert_eq!(
        types(&first),
        [&common[..], &[d(38, 0), d(38, 0), d(38, 0)]].concat()
    );
    assert_eq!(
        types(&second),
        [&common[..], &[d(38, 2), d(38, 2), "Binary".into()]].concat()
    );
    for (row, answer) in answers.iter().enumerate() {
        let (batch, row) = if row < 2 { (&first, row) } else { (&second, 0) };
        for (array, said) in batch.columns().iter().zip(answer) {
            if let Some(decimal) = array.as_primitive_opt::<Decimal128Type>() {
                let value = decimal.is_valid(row).then(|| decimal.value_as_string(row));
                assert_eq!(value, *said);
            }
        }
    }
}
