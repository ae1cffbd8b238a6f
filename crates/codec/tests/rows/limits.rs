//! Rows that are not complete, and what is not a row.

use pghaul_codec::Decoder;
use pghaul_stage::{Encoding, Kind};

use crate::random::{field, take};

/// What is not complete can be taken out, and the complete rows still be taken.
#[test]
fn the_rest_is_taken_out() {
    for (encoding, row, half) in [
        (
            Encoding::Binary,
            &b"\0\x02\0\0\0\x01a\xff\xff\xff\xff"[..],
            &b"\0\x02\0\0\0\x01b\0\0"[..],
        ),
        (Encoding::Text, b"a\t\\N\n", b"b\tc"),
    ] {
        let mut decoder = Decoder::new([field(25, -1), field(25, -1)].into(), encoding, true);
        decoder.push(&[row, half].concat()).unwrap();
        assert_eq!(
            (decoder.rows(), decoder.bytes()),
            (1, row.len() + half.len())
        );
        assert_eq!(decoder.end().unwrap_err().kind(), Kind::Protocol);
        assert_eq!(decoder.rest(), half);
        assert_eq!(decoder.bytes(), row.len());
        assert_eq!(take(&mut decoder).unwrap().unwrap().1, row);
        decoder.end().unwrap();
        decoder.push(row).unwrap();
        assert_eq!(take(&mut decoder).unwrap().unwrap().1, row);
    }
}

/// Rows of another number of fields are an error that says so, and no value.
#[test]
fn another_number_of_fields_is_refused() {
    let rows = [
        (
            Encoding::Binary,
            &b"\0\x02\0\0\0\x06secret\xff\xff\xff\xff"[..],
        ),
        (Encoding::Binary, b"\xff\xff"),
        (Encoding::Text, b"secret\tsecret\n"),
        (Encoding::Text, b"\n"),
    ];
    for (encoding, row) in rows {
        for columns in [0, 1, 3] {
            // An empty line is one empty field as well as none.
            if row == b"\n" && columns < 2 {
                continue;
            }
            let mut decoder = Decoder::new(vec![field(25, -1); columns].into(), encoding, true);
            let error = decoder.push(row).unwrap_err();
            assert_eq!(error.kind(), Kind::Protocol);
            assert!(error.to_string().contains("fields"), "{error}");
            assert!(!format!("{error:?}").contains("secret"));
            assert!(decoder.push(row).is_err());
        }
    }
}

/// Rows before a broken one are whole.
#[test]
fn rows_before_a_broken_one_are_there() {
    let mut decoder = Decoder::new([field(25, -1)].into(), Encoding::Text, true);
    assert!(decoder.push(b"a\nb\tc\nd\n").is_err());
    assert_eq!(take(&mut decoder).unwrap().unwrap().1, b"a\n");
    assert!(take(&mut decoder).unwrap().is_none());
    assert!(decoder.end().is_err());
}
