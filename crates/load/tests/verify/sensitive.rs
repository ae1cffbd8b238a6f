//! The checksum sees every change of a table's rows, and nothing but changes.

use std::collections::BTreeMap;

use pghaul_load::{Algorithm, Difference, VerifyOptions};
use pghaul_wire::quote;
use proptest::prelude::*;

use super::compare;
use super::recorded::through_a_digest;
use super::server::Server;

/// Values that are easy to confuse, by column, as PostgreSQL prints them.
const VALUES: [&[Option<&str>]; 6] = [
    TEXTS,
    TEXTS,
    &[
        None,
        Some("0"),
        Some("-0"),
        Some("0.3"),
        Some("0.30000000000000004"),
        Some("NaN"),
    ],
    &[
        None,
        Some("1"),
        Some("1.0"),
        Some("1.00"),
        Some("NaN"),
        Some("0"),
    ],
    &[
        None,
        Some("\\x"),
        Some("\\x00"),
        Some("\\x0000"),
        Some("\\x5c78"),
        Some("\\x2c"),
    ],
    &[
        None,
        Some("{}"),
        Some("{NULL}"),
        Some("{\"NULL\"}"),
        Some("{\"\"}"),
        Some("{a,b}"),
    ],
];

const TEXTS: &[Option<&str>] = &[
    None,
    Some(""),
    Some(" "),
    Some("NULL"),
    Some("a"),
    Some("a,b"),
    Some(","),
    Some("\""),
    Some("\\"),
    Some("(,)"),
    Some("ä"),
    Some("a\u{308}"),
];

/// The columns of the source, by name and type; the target has them in another order.
const COLUMNS: [(&str, &str); 6] = [
    ("a", "text"),
    ("b", "text"),
    ("c", "float8"),
    ("d", "numeric"),
    ("e", "bytea"),
    ("f", "text[]"),
];

type Row = [usize; 6];

#[derive(Debug, Clone)]
enum Change {
    Nothing,
    Value(usize, usize, usize),
    Lose(usize),
    Repeat(usize),
    LoseTwins(usize),
    SwapColumns(usize),
    SwapRows(usize, usize, usize),
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = [0..12usize, 0..12, 0..6, 0..6, 0..6, 0..6];
    prop::collection::vec(row, 1..20)
}

fn change() -> impl Strategy<Value = Change> {
    let any = 0..1000usize;
    prop_oneof![
        1 => Just(Change::Nothing),
        6 => (any.clone(), 0..6usize, any.clone()).prop_map(|(r, c, v)| Change::Value(r, c, v)),
        1 => any.clone().prop_map(Change::Lose),
        1 => any.clone().prop_map(Change::Repeat),
        1 => any.clone().prop_map(Change::LoseTwins),
        2 => any.clone().prop_map(Change::SwapColumns),
        2 => (any.clone(), any, 0..6usize).prop_map(|(a, b, c)| Change::SwapRows(a, b, c)),
    ]
}

/// Applies the change to the target, which starts as a copy of the source.
fn apply(change: &Change, source: &mut Vec<Row>, target: &mut Vec<Row>) {
    let count = target.len();
    match *change {
        Change::Nothing => {}
        Change::Value(row, column, value) => {
            target[row % count][column] = value % VALUES[column].len();
        }
        Change::Lose(row) => drop(target.remove(row % count)),
        Change::Repeat(row) => target.push(target[row % count]),
        Change::LoseTwins(row) => {
            let twin = source[row % count];
            source.extend([twin, twin]);
        }
        Change::SwapColumns(row) => target[row % count].swap(0, 1),
        Change::SwapRows(a, b, column) => {
            let (a, b) = (a % count, b % count);
            let value = target[a][column];
            target[a][column] = target[b][column];
            target[b][column] = value;
        }
    }
}

fn counted(rows: &[Row]) -> BTreeMap<Vec<Option<&str>>, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let values = row.iter().zip(VALUES).map(|(i, values)| values[*i]);
        *counts.entry(values.collect()).or_default() += 1;
    }
    counts
}

fn fill(db: &str, rows: &[Row], order: &[usize]) {
    let tuples: Vec<String> = rows
        .iter()
        .map(|row| {
            let fields = order.iter().map(|column| {
                let value = VALUES[*column][row[*column]];
                let literal = value.map_or("NULL".to_owned(), quote::literal);
                format!("{literal}::{}", COLUMNS[*column].1)
            });
            format!("({})", fields.collect::<Vec<_>>().join(","))
        })
        .collect();
    let insert = match tuples.as_slice() {
        [] => String::new(),
        tuples => format!("INSERT INTO t VALUES {}", tuples.join(",")),
    };
    Server::get().psql(db, &format!("TRUNCATE t; {insert}"));
}

#[test]
fn every_change_is_seen_and_nothing_else() {
    let server = Server::get();
    let (source, target) = (server.database(), server.database());
    let orders: [&[usize]; 2] = [&[0, 1, 2, 3, 4, 5], &[4, 1, 5, 0, 3, 2]];
    for (db, order) in [&source, &target].into_iter().zip(orders) {
        let columns: Vec<String> = order
            .iter()
            .map(|i| format!("{} {}", COLUMNS[*i].0, COLUMNS[*i].1))
            .collect();
        server.psql(db, &format!("CREATE TABLE t ({})", columns.join(", ")));
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let config = ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(ours in rows(), change in change(), md5 in any::<bool>(), turn in 0..20usize)| {
        let mut ours = ours;
        let mut theirs = ours.clone();
        apply(&change, &mut ours, &mut theirs);
        let same = counted(&ours) == counted(&theirs);
        if !theirs.is_empty() {
            let turn = turn % theirs.len();
            theirs.rotate_left(turn);
        }
        fill(&source, &ours, orders[0]);
        fill(&target, &theirs, orders[1]);
        let options = VerifyOptions {
            algorithm: md5.then_some(Algorithm::Md5),
            ..VerifyOptions::default()
        };
        let recorded = through_a_digest(&source, &target, options.clone());
        let recorded = runtime.block_on(recorded);
        prop_assert_eq!(recorded.is_match(), same, "{:?}", recorded.differences);
        let report = runtime.block_on(compare(&source, &target, options));
        prop_assert_eq!(report.is_match(), same, "{:?}", report.differences);
        if let [Difference::Rows { rows, .. }] = report.differences.as_slice() {
            prop_assert!(!rows.is_empty());
        }
    });
}
