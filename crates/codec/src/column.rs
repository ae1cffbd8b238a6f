//! Values as PostgreSQL sends them into an Arrow array.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, ListArray, StringArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow_buffer::{
    ArrowNativeType, BooleanBufferBuilder, Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer,
};

use crate::form::Form;
use crate::{array, calendar, escape, numeric};

/// The values of one column so far, in one form.
#[derive(Debug)]
pub(crate) struct Column {
    values: Values,
    nulls: NullBufferBuilder,
}

#[derive(Debug)]
enum Values {
    Bool(BooleanBufferBuilder),
    Int2(Vec<i16>),
    Int4(Vec<i32>),
    Int8(Vec<i64>),
    Oid(Vec<u32>),
    // The bits, because a NaN that passes as a float may lose some.
    Float4(Vec<u32>),
    Float8(Vec<u64>),
    Uuid(Vec<u8>),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    TimestampTz(Vec<i64>),
    Time(Vec<i64>),
    Decimal(Vec<i128>, u8, u8),
    Text(Bytes, Content),
    Bytes(Bytes, Content),
    /// The type and the form of the elements, where each list ends, and all elements.
    List(u32, Form, Vec<i32>, Box<Column>),
}

/// Values of any length, one after the other.
#[derive(Debug)]
struct Bytes {
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

/// What of a value's bytes is kept.
#[derive(Debug, Clone, Copy)]
enum Content {
    All,
    /// What follows the number of the version, which is 1.
    Jsonb,
    /// What the escapes stand for.
    Unescaped,
}

impl Column {
    /// Without values, but with room for so many. `escaped` is whether they come with the escapes
    /// of a text stream.
    pub(crate) fn new(form: &Form, escaped: bool, rows: usize) -> Column {
        fn room<T>(rows: usize) -> Vec<T> {
            Vec::with_capacity(rows)
        }
        let bytes = || {
            let mut ends = Vec::with_capacity(rows + 1);
            ends.push(0);
            Bytes {
                ends,
                bytes: Vec::new(),
            }
        };
        let content = match (form, escaped) {
            (Form::Jsonb, _) => Content::Jsonb,
            (Form::Text | Form::Bytes, true) => Content::Unescaped,
            _ => Content::All,
        };
        let values = match form {
            Form::Bool => Values::Bool(BooleanBufferBuilder::new(rows)),
            Form::Int2 => Values::Int2(room(rows)),
            Form::Int4 => Values::Int4(room(rows)),
            Form::Int8 => Values::Int8(room(rows)),
            Form::Oid => Values::Oid(room(rows)),
            Form::Float4 => Values::Float4(room(rows)),
            Form::Float8 => Values::Float8(room(rows)),
            Form::Uuid => Values::Uuid(room(16 * rows)),
            Form::Date => Values::Date(room(rows)),
            Form::Timestamp => Values::Timestamp(room(rows)),
            Form::TimestampTz => Values::TimestampTz(room(rows)),
            Form::Time => Values::Time(room(rows)),
            Form::Numeric => Values::Decimal(room(rows), numeric::MOST_DIGITS, 0),
            Form::Decimal { precision, scale } => Values::Decimal(room(rows), *precision, *scale),
            Form::List(element, item) => {
                let elements = Column::new(item, false, rows);
                Values::List(
                    *element,
                    Form::clone(item),
                    bytes().ends,
                    Box::new(elements),
                )
            }
            Form::Text | Form::Json | Form::Jsonb => Values::Text(bytes(), content),
            Form::Bytes | Form::Escaped => Values::Bytes(bytes(), content),
        };
        Column {
            values,
            nulls: NullBufferBuilder::new(rows),
        }
    }

    /// Adds values; `None` is NULL. Says whether the form holds all of them bit for bit; if not,
    /// the column is of no further use.
    #[must_use]
    pub(crate) fn extend<'a>(&mut self, cells: impl Iterator<Item = Option<&'a [u8]>>) -> bool {
        let nulls = &mut self.nulls;
        match &mut self.values {
            Values::Bool(values) => {
                for cell in cells {
                    match cell {
                        None => values.append(false),
                        Some([0]) => values.append(false),
                        Some([1]) => values.append(true),
                        Some(_) => return false,
                    }
                    nulls.append(cell.is_some());
                }
                true
            }
            Values::Int2(values) => fixed(cells, values, nulls, |v| Some(i16::from_be_bytes(v))),
            Values::Int4(values) => fixed(cells, values, nulls, |v| Some(i32::from_be_bytes(v))),
            Values::Int8(values) => fixed(cells, values, nulls, |v| Some(i64::from_be_bytes(v))),
            Values::Oid(values) => fixed(cells, values, nulls, |v| Some(u32::from_be_bytes(v))),
            Values::Float4(values) => fixed(cells, values, nulls, |v| Some(u32::from_be_bytes(v))),
            Values::Float8(values) => fixed(cells, values, nulls, |v| Some(u64::from_be_bytes(v))),
            Values::Date(values) => fixed(cells, values, nulls, calendar::read_date),
            Values::Timestamp(values) | Values::TimestampTz(values) => {
                fixed(cells, values, nulls, calendar::read_timestamp)
            }
            Values::Time(values) => fixed(cells, values, nulls, calendar::read_time),
            Values::Uuid(values) => {
                for cell in cells {
                    let value = cell.unwrap_or(&[0; 16]);
                    if value.len() != 16 {
                        return false;
                    }
                    values.extend_from_slice(value);
                    nulls.append(cell.is_some());
                }
                true
            }
            Values::Decimal(values, precision, scale) => {
                for cell in cells {
                    let value = match cell {
                        Some(value) => numeric::read(value, *precision, *scale),
                        None => Some(0),
                    };
                    let Some(value) = value else { return false };
                    values.push(value);
                    nulls.append(cell.is_some());
                }
                true
            }
            Values::List(element, _, ends, elements) => {
                for cell in cells {
                    if let Some(value) = cell {
                        let Some(values) = array::elements(value, *element) else {
                            return false;
                        };
                        if !elements.extend(values) {
                            return false;
                        }
                    }
                    // Each element takes bytes of a row, and all rows have less than 2 GiB.
                    ends.push(elements.nulls.len() as i32);
                    nulls.append(cell.is_some());
                }
                true
            }
            Values::Text(values, content) | Values::Bytes(values, content) => match content {
                Content::All => values.extend(cells, nulls, |value, bytes| {
                    bytes.extend_from_slice(value);
                    true
                }),
                Content::Jsonb => values.extend(cells, nulls, |value, bytes| match value {
                    [1, text @ ..] => {
                        bytes.extend_from_slice(text);
                        true
                    }
                    _ => false,
                }),
                Content::Unescaped => values.extend(cells, nulls, escape::remove),
            },
        }
    }

    /// The array; `None` if its bytes should be UTF-8 and are not.
    pub(crate) fn finish(mut self) -> Option<ArrayRef> {
        let nulls = self.nulls.finish();
        Some(match self.values {
            Values::Bool(mut values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int2(values) => Arc::new(Int16Array::new(values.into(), nulls)),
            Values::Int4(values) => Arc::new(Int32Array::new(values.into(), nulls)),
            Values::Int8(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Values::Oid(values) => Arc::new(UInt32Array::new(values.into(), nulls)),
            Values::Float4(bits) => Arc::new(Float32Array::new(floats(bits), nulls)),
            Values::Float8(bits) => Arc::new(Float64Array::new(floats(bits), nulls)),
            Values::Date(values) => Arc::new(Date32Array::new(values.into(), nulls)),
            Values::Timestamp(values) => {
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls))
            }
            Values::TimestampTz(values) => {
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone("UTC"))
            }
            Values::Time(values) => Arc::new(Time64MicrosecondArray::new(values.into(), nulls)),
            Values::Uuid(values) => {
                Arc::new(FixedSizeBinaryArray::try_new(16, values.into(), nulls).ok()?)
            }
            Values::Decimal(values, precision, scale) => Arc::new(
                Decimal128Array::new(values.into(), nulls)
                    .with_precision_and_scale(precision, scale as i8)
                    .ok()?,
            ),
            Values::List(_, item, ends, elements) => {
                // They begin at 0 and never fall.
                let ends = OffsetBuffer::new(ends.into());
                Arc::new(ListArray::try_new(item.item(), ends, elements.finish()?, nulls).ok()?)
            }
            Values::Text(values, _) => {
                let (ends, bytes) = values.finish();
                Arc::new(StringArray::try_new(ends, bytes, nulls).ok()?)
            }
            Values::Bytes(values, _) => {
                let (ends, bytes) = values.finish();
                Arc::new(BinaryArray::try_new(ends, bytes, nulls).ok()?)
            }
        })
    }
}

/// Adds values of one length, unless `read` refuses one.
fn fixed<'a, const N: usize, T: Default>(
    cells: impl Iterator<Item = Option<&'a [u8]>>,
    values: &mut Vec<T>,
    nulls: &mut NullBufferBuilder,
    read: impl Fn([u8; N]) -> Option<T>,
) -> bool {
    for cell in cells {
        let value = match cell {
            Some(value) => value.try_into().ok().and_then(&read),
            None => Some(T::default()),
        };
        let Some(value) = value else { return false };
        values.push(value);
        nulls.append(cell.is_some());
    }
    true
}

fn floats<B: ArrowNativeType, F: ArrowNativeType>(bits: Vec<B>) -> ScalarBuffer<F> {
    let length = bits.len();
    ScalarBuffer::new(Buffer::from_vec(bits), 0, length)
}

impl Bytes {
    /// Adds values, unless `write` refuses one. It appends at most what it is given.
    fn extend<'a>(
        &mut self,
        cells: impl Iterator<Item = Option<&'a [u8]>>,
        nulls: &mut NullBufferBuilder,
        write: impl Fn(&[u8], &mut Vec<u8>) -> bool,
    ) -> bool {
        for cell in cells {
            if let Some(value) = cell
                && !write(value, &mut self.bytes)
            {
                return false;
            }
            // The rows of a batch have less than 2 GiB.
            self.ends.push(self.bytes.len() as i32);
            nulls.append(cell.is_some());
        }
        true
    }

    fn finish(self) -> (OffsetBuffer<i32>, Buffer) {
        // They begin at 0 and never fall.
        (
            OffsetBuffer::new(self.ends.into()),
            Buffer::from_vec(self.bytes),
        )
    }
}
