//! Random columns, and rows as PostgreSQL would send them, written without the code under test.

use std::sync::Arc;

use bytes::BytesMut;
use pghaul_codec::{Decoder, Encoder, Field, Taken};
use pghaul_stage::{Encoding, Result};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Values of one row; `None` is NULL.
pub(crate) type Row = Vec<Option<Vec<u8>>>;

/// A column of the type with this object identifier.
pub(crate) fn field(sent_as: u32, modifier: i32) -> Field {
    Field {
        name: "a \"column\"".into(),
        type_name: format!("type {sent_as}"),
        oid: sent_as,
        modifier,
        sent_as,
    }
}

/// A type and values of it. Most fit its native form; some do not.
fn column() -> impl Strategy<Value = (Field, BoxedStrategy<Vec<u8>>)> {
    let of = |sent_as: u32, value: BoxedStrategy<Vec<u8>>| (field(sent_as, -1), value);
    let rarely = |usual: BoxedStrategy<Vec<u8>>, odd: BoxedStrategy<Vec<u8>>| {
        prop_oneof![200 => usual, 1 => odd].boxed()
    };
    let bytes = |length: usize| vec(any::<u8>(), length).boxed();
    let any_bytes = || vec(any::<u8>(), 0..20).boxed();
    let text = || {
        let text = select(vec![
            "",
            "a",
            "\\N",
            "\\.",
            "tab\there",
            "é🦀",
            "line\nline\r",
            "\u{8}\u{b}\u{c}",
        ]);
        prop_oneof![text.prop_map(str::to_owned), ".{0,20}"]
            .prop_map(String::into_bytes)
            .boxed()
    };
    let date = (-2_451_545..2_145_031_949i32)
        .prop_map(|days| days.to_be_bytes().to_vec())
        .boxed();
    let time = (-211_813_488_000_000_000..9_223_371_331_200_000_000i64)
        .prop_map(|time| time.to_be_bytes().to_vec())
        .boxed();
    let day = (0..=86_400_000_000i64)
        .prop_map(|time| time.to_be_bytes().to_vec())
        .boxed();
    let infinite = |width: usize| {
        select(vec![i64::MAX, i64::MIN])
            .prop_map(move |far| (far >> (64 - 8 * width)).to_be_bytes()[8 - width..].to_vec())
            .boxed()
    };
    let jsonb = || text().prop_map(|text| [&[1][..], &text].concat()).boxed();
    let other_version = text().prop_map(|text| [&[2][..], &text].concat()).boxed();
    prop_oneof![
        Just(of(
            16,
            rarely((0..2u8).prop_map(|bit| vec![bit]).boxed(), any_bytes())
        )),
        Just(of(21, rarely(bytes(2), any_bytes()))),
        Just(of(23, rarely(bytes(4), any_bytes()))),
        Just(of(20, rarely(bytes(8), any_bytes()))),
        Just(of(26, bytes(4))),
        Just(of(700, bytes(4))),
        Just(of(701, bytes(8))),
        Just(of(25, rarely(text(), any_bytes()))),
        Just(of(114, rarely(text(), any_bytes()))),
        Just(of(3802, rarely(jsonb(), other_version))),
        Just(of(17, any_bytes())),
        Just(of(2950, rarely(bytes(16), any_bytes()))),
        Just(of(1082, rarely(date, infinite(4)))),
        Just(of(1114, rarely(time.clone(), infinite(8)))),
        Just(of(1184, rarely(time, infinite(8)))),
        Just(of(1083, rarely(day, any_bytes()))),
        Just((field(1700, -1), rarely(numeric(2), any_bytes()))),
        Just((
            field(1700, (12 << 16) + 4 + 4),
            rarely(numeric(4), any_bytes())
        )),
        Just(of(0, any_bytes())),
        array(1007, 23, bytes(4), false),
        array(1009, 25, text(), false),
        array(3807, 3802, jsonb(), true),
        array(2951, 2950, bytes(16), true),
        array(199, 114, text(), false),
        array(1001, 17, any_bytes(), true),
        array(1231, 1700, numeric(3), false),
        array(1185, 1184, bytes(8), false),
    ]
}

/// Arrays of these elements; now and then, oftener if `odd`, with other dimensions, flags or types.
fn array(
    sent_as: u32,
    element: u32,
    value: BoxedStrategy<Vec<u8>>,
    odd: bool,
) -> Just<(Field, BoxedStrategy<Vec<u8>>)> {
    let values = vec(option::weighted(0.8, value), 0..5);
    let odd = option::weighted(if odd { 0.03 } else { 0.001 }, (0..3usize, any::<u32>()));
    let arrays = (values, odd).prop_map(move |(values, odd)| {
        let null = values.iter().any(Option::is_none);
        let mut words = vec![u32::from(!values.is_empty()), u32::from(null), element];
        if !values.is_empty() {
            words.extend([values.len() as u32, 1]);
        }
        if let Some((word, number)) = odd {
            words[word] = number;
        }
        let words = words.into_iter().flat_map(u32::to_be_bytes);
        let elements = values.iter().flat_map(|value| {
            let length = value.as_ref().map_or(-1, |value| value.len() as i32);
            let bytes = value.iter().flatten().copied();
            length.to_be_bytes().into_iter().chain(bytes)
        });
        words.chain(elements).collect()
    });
    Just((field(sent_as, -1), arrays.boxed()))
}

/// A number with so many digits after the point, as PostgreSQL writes it, made from its decimal
/// digits.
fn numeric(scale: usize) -> BoxedStrategy<Vec<u8>> {
    (any::<bool>(), "(0|[1-9][0-9]{0,7})", vec("[0-9]", scale))
        .prop_map(|(negative, whole, fraction)| send(negative, &whole, &fraction.concat()))
        .boxed()
}

/// A number's binary form, from the digits before and after its point.
pub(crate) fn send(negative: bool, whole: &str, fraction: &str) -> Vec<u8> {
    let left = "0".repeat((4 - whole.len() % 4) % 4) + whole;
    let right = fraction.to_owned() + &"0".repeat((4 - fraction.len() % 4) % 4);
    let all = left.clone() + &right;
    let groups: Vec<u16> = (0..all.len() / 4)
        .map(|at| all[4 * at..4 * at + 4].parse().expect("digits"))
        .collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let trailing = groups.iter().rev().take_while(|group| **group == 0).count();
    let kept = if leading == groups.len() {
        &[][..]
    } else {
        &groups[leading..groups.len() - trailing]
    };
    let weight = if kept.is_empty() {
        0
    } else {
        (left.len() / 4) as i16 - 1 - leading as i16
    };
    let sign = if negative && !kept.is_empty() {
        0x4000
    } else {
        0
    };
    let head = [
        kept.len() as u16,
        weight as u16,
        sign,
        fraction.len() as u16,
    ];
    head.iter()
        .chain(kept)
        .flat_map(|word| word.to_be_bytes())
        .collect()
}

/// Columns, and rows of them.
pub(crate) fn tables() -> impl Strategy<Value = (Arc<[Field]>, Vec<Row>)> {
    vec(column(), 0..6).prop_flat_map(|columns| {
        let (fields, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let row: Vec<_> = values
            .into_iter()
            .map(|value| option::weighted(0.8, value))
            .collect();
        (Just(fields.into()), vec(row, 0..60))
    })
}

/// The stream of these rows, as PostgreSQL writes it.
pub(crate) fn stream(rows: &[Row], encoding: Encoding) -> Vec<u8> {
    let mut stream = Vec::new();
    for row in rows {
        if encoding == Encoding::Binary {
            stream.extend((row.len() as i16).to_be_bytes());
            for value in row {
                let length = value.as_ref().map_or(-1, |value| value.len() as i32);
                stream.extend(length.to_be_bytes());
                stream.extend(value.iter().flatten());
            }
            continue;
        }
        let fields: Vec<Vec<u8>> = row
            .iter()
            .map(|value| match value {
                None => br"\N".to_vec(),
                Some(value) => value.iter().flat_map(|byte| escaped(*byte)).collect(),
            })
            .collect();
        stream.extend(fields.join(&b'\t'));
        stream.push(b'\n');
    }
    stream
}

fn escaped(byte: u8) -> Vec<u8> {
    match byte {
        b'\\' => br"\\".to_vec(),
        b'\t' => br"\t".to_vec(),
        b'\n' => br"\n".to_vec(),
        b'\r' => br"\r".to_vec(),
        0x08 => br"\b".to_vec(),
        0x0b => br"\v".to_vec(),
        0x0c => br"\f".to_vec(),
        other => vec![other],
    }
}

/// Pieces of these lengths, again and again.
pub(crate) fn pieces<'s>(stream: &'s [u8], lengths: &[usize]) -> Vec<&'s [u8]> {
    let mut pieces = Vec::new();
    let mut rest = stream;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*length).clamp(1, rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Takes what waits, and writes it again.
pub(crate) fn take(decoder: &mut Decoder) -> Result<Option<(Taken, Vec<u8>)>> {
    let Some(taken) = decoder.take()? else {
        return Ok(None);
    };
    let mut out = BytesMut::new();
    Encoder::new(&taken.batch.schema())?.encode(&taken.batch, &mut out)?;
    Ok(Some((taken, out.to_vec())))
}
