//! What `benches/` measures of this crate. No part of its interface, and only there with the
//! feature `bench`.

use super::image::Image;
use super::relation::{Column, Form};

/// The expressions by which both servers hash a row of so many columns. Hashing itself is the
/// servers' work.
pub fn checksum(columns: usize) -> [String; 2] {
    let columns: Vec<Column> = (0..columns)
        .map(|number| Column {
            name: format!("column {number}"),
            portable: Form::known("float8send(%s)").filter(|_| number % 10 == 0),
            varlena: number % 2 == 0,
            bytes: None,
            steady: false,
        })
        .collect();
    let image = Image::modern();
    image.halves(&image.whole(&image.row(&columns, true)))
}
