//! Record batches into the rows of a COPY stream.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::Schema;
use bytes::BytesMut;
use pghaul_stage::{Encoding, Result};

use crate::form::{self, Form, broken, subject};
use crate::numeric::Digits;
use crate::{array, calendar, escape};

/// Rows that are written together, column by column: their bytes should stay in the processor's
/// nearest memory.
const TOGETHER: usize = 1024;

/// Turns batches of one schema back into the rows of a COPY stream, bit for bit.
///
/// What it writes is what the [`Decoder`](crate::Decoder) was fed with: in binary there is neither
/// header nor trailer.
#[derive(Debug)]
pub struct Encoder {
    encoding: Encoding,
    forms: Vec<Form>,
}

impl Encoder {
    /// For batches of this schema, which a decoder made. Its metadata say all there is to know.
    ///
    /// # Errors
    ///
    /// [`Kind::Protocol`](pghaul_stage::Kind::Protocol) if it says something else.
    pub fn new(schema: &Schema) -> Result<Encoder> {
        let (encoding, forms) = form::read(schema)?;
        Ok(Encoder { encoding, forms })
    }

    /// Appends a batch's rows.
    ///
    /// # Errors
    ///
    /// [`Kind::Protocol`](pghaul_stage::Kind::Protocol) if the batch is of another schema, or holds
    /// what no decoder stores; nothing is appended then.
    pub fn encode(&self, batch: &RecordBatch, out: &mut BytesMut) -> Result<()> {
        if batch.num_columns() != self.forms.len() {
            return Err(broken("these columns are not those of the schema"));
        }
        for ((form, array), field) in self
            .forms
            .iter()
            .zip(batch.columns())
            .zip(batch.schema_ref().fields())
        {
            if *array.data_type() != form.data_type() {
                return Err(
                    broken("the column has another type than its schema").on(subject(field.name()))
                );
            }
            if !is_storable(form, array) {
                return Err(
                    broken("the column holds a value that PostgreSQL does not have")
                        .on(subject(field.name())),
                );
            }
        }
        for from in (0..batch.num_rows()).step_by(TOGETHER) {
            let rows = batch.slice(from, TOGETHER.min(batch.num_rows() - from));
            match self.encoding {
                Encoding::Binary => self.tuples(&rows, out),
                Encoding::Text => self.lines(&rows, out),
            }
        }
        Ok(())
    }

    fn tuples(&self, batch: &RecordBatch, out: &mut BytesMut) {
        let mut lengths = vec![2 + 4 * self.forms.len(); batch.num_rows()];
        for (form, array) in self.forms.iter().zip(batch.columns()) {
            visit(form, array, &mut Measure(&mut lengths));
        }
        let mut places = Places::new(lengths, out);
        // A table has at most 1,600 columns.
        let count = i16::try_from(self.forms.len()).unwrap_or(i16::MAX);
        places.all(&count.to_be_bytes());
        for (form, array) in self.forms.iter().zip(batch.columns()) {
            visit(form, array, &mut Fields(&mut places));
        }
    }

    fn lines(&self, batch: &RecordBatch, out: &mut BytesMut) {
        // A byte ends each field; a row without fields is an empty line, too.
        let mut lengths = vec![self.forms.len().max(1); batch.num_rows()];
        for (form, array) in self.forms.iter().zip(batch.columns()) {
            let escape = *form != Form::Escaped;
            visit(form, array, &mut MeasureText(&mut lengths, escape));
        }
        let mut places = Places::new(lengths, out);
        for (at, (form, array)) in self.forms.iter().zip(batch.columns()).enumerate() {
            let escape = *form != Form::Escaped;
            let end = if at + 1 == self.forms.len() {
                b'\n'
            } else {
                b'\t'
            };
            visit(form, array, &mut TextFields(&mut places, escape, end));
        }
        if self.forms.is_empty() {
            places.all(b"\n");
        }
    }
}

/// Whether all values are such as a decoder stores in the form, so that they can be written.
fn is_storable(form: &Form, array: &dyn Array) -> bool {
    match form {
        Form::Date => array
            .as_primitive::<Date32Type>()
            .iter()
            .flatten()
            .all(calendar::is_date),
        Form::Timestamp | Form::TimestampTz => array
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .flatten()
            .all(calendar::is_timestamp),
        Form::Time => array
            .as_primitive::<Time64MicrosecondType>()
            .iter()
            .flatten()
            .all(calendar::is_time),
        // Bare, these would end the field or make it NULL.
        Form::Escaped => array.as_binary::<i32>().iter().flatten().all(|field| {
            field != br"\N" && !field.iter().any(|byte| matches!(byte, b'\t' | b'\n'))
        }),
        Form::List(_, item) => is_storable(item, array.as_list::<i32>().values()),
        _ => true,
    }
}

/// Something that is done with a column's values, as PostgreSQL sends them; `None` is NULL.
trait Visitor {
    /// Each value stands for itself after the prefix.
    fn column<V: AsRef<[u8]>>(
        &mut self,
        prefix: &'static [u8],
        values: impl Iterator<Item = Option<V>>,
    );
}

/// Shows a column's values, which are of the form's type.
fn visit(form: &Form, array: &dyn Array, visitor: &mut impl Visitor) {
    macro_rules! numbers {
        ($type:ty, $write:expr) => {
            visitor.column(
                b"",
                array.as_primitive::<$type>().iter().map(|v| v.map($write)),
            )
        };
    }
    match form {
        Form::Bool => visitor.column(b"", array.as_boolean().iter().map(|v| Some([v?.into()]))),
        Form::Int2 => numbers!(Int16Type, i16::to_be_bytes),
        Form::Int4 => numbers!(Int32Type, i32::to_be_bytes),
        Form::Int8 => numbers!(Int64Type, i64::to_be_bytes),
        Form::Oid => numbers!(UInt32Type, u32::to_be_bytes),
        Form::Float4 => numbers!(Float32Type, f32::to_be_bytes),
        Form::Float8 => numbers!(Float64Type, f64::to_be_bytes),
        Form::Date => numbers!(Date32Type, calendar::write_date),
        Form::Timestamp | Form::TimestampTz => {
            numbers!(TimestampMicrosecondType, calendar::write_timestamp)
        }
        Form::Time => numbers!(Time64MicrosecondType, i64::to_be_bytes),
        Form::Numeric => numbers!(Decimal128Type, |units| Digits::new(units, 0)),
        Form::Decimal { scale, .. } => {
            numbers!(Decimal128Type, |units| Digits::new(units, *scale))
        }
        Form::Text | Form::Json => visitor.column(b"", array.as_string::<i32>().iter()),
        Form::Jsonb => visitor.column(&[1], array.as_string::<i32>().iter()),
        Form::List(element, item) => {
            let lists = array.as_list::<i32>();
            let mut arrays = Arrays {
                element: *element,
                offsets: lists.value_offsets(),
                bytes: Vec::new(),
                ends: vec![0],
            };
            let (from, to) = (arrays.offset(0), arrays.offset(lists.len()));
            visit(item, &lists.values().slice(from, to - from), &mut arrays);
            let values = arrays
                .ends
                .windows(2)
                .enumerate()
                .map(|(at, ends)| match ends {
                    [from, to] if lists.is_valid(at) => arrays.bytes.get(*from..*to),
                    _ => None,
                });
            visitor.column(b"", values);
        }
        Form::Uuid => visitor.column(b"", array.as_fixed_size_binary().iter()),
        Form::Bytes | Form::Escaped => visitor.column(b"", array.as_binary::<i32>().iter()),
    }
}

/// Puts elements together to arrays.
struct Arrays<'a> {
    /// Their type.
    element: u32,
    /// Where the elements of each array begin and end.
    offsets: &'a [i32],
    bytes: Vec<u8>,
    /// Where the bytes of each array begin and end.
    ends: Vec<usize>,
}

impl Arrays<'_> {
    fn offset(&self, at: usize) -> usize {
        // They are never negative.
        self.offsets.get(at).map_or(0, |offset| *offset as usize)
    }
}

impl Visitor for Arrays<'_> {
    fn column<V: AsRef<[u8]>>(
        &mut self,
        prefix: &'static [u8],
        mut values: impl Iterator<Item = Option<V>>,
    ) {
        for at in 1..self.offsets.len() {
            let start = self.bytes.len();
            let length = self.offset(at) - self.offset(at - 1);
            array::head(self.element, length, &mut self.bytes);
            let mut null = false;
            for value in values.by_ref().take(length) {
                match value {
                    None => {
                        null = true;
                        self.bytes.extend_from_slice(&(-1i32).to_be_bytes());
                    }
                    Some(value) => {
                        let value = value.as_ref();
                        let length = (prefix.len() + value.len()) as i32;
                        self.bytes.extend_from_slice(&length.to_be_bytes());
                        self.bytes.extend_from_slice(prefix);
                        self.bytes.extend_from_slice(value);
                    }
                }
            }
            if null && let Some(head) = self.bytes.get_mut(start..) {
                array::set_null(head);
            }
            self.ends.push(self.bytes.len());
        }
    }
}

/// Adds the lengths of values.
struct Measure<'m>(&'m mut [usize]);

impl Visitor for Measure<'_> {
    fn column<V: AsRef<[u8]>>(
        &mut self,
        prefix: &'static [u8],
        values: impl Iterator<Item = Option<V>>,
    ) {
        for (length, value) in self.0.iter_mut().zip(values) {
            *length += value.map_or(0, |value| prefix.len() + value.as_ref().len());
        }
    }
}

/// Adds the lengths of fields in text, with escapes if they need them.
struct MeasureText<'m>(&'m mut [usize], bool);

impl Visitor for MeasureText<'_> {
    fn column<V: AsRef<[u8]>>(
        &mut self,
        prefix: &'static [u8],
        values: impl Iterator<Item = Option<V>>,
    ) {
        for (length, value) in self.0.iter_mut().zip(values) {
            *length += match value {
                None => NULL.len(),
                Some(value) => {
                    let value = value.as_ref();
                    let escapes = if self.1 { escape::count(value) } else { 0 };
                    prefix.len() + value.len() + escapes
                }
            };
        }
    }
}

/// How a text stream says NULL.
const NULL: &[u8] = br"\N";

/// Where each of some rows goes on in the bytes that are written.
struct Places<'o> {
    at: Vec<usize>,
    out: &'o mut [u8],
}

/// Where one of them goes on.
struct Place<'p> {
    at: &'p mut usize,
    out: &'p mut [u8],
}

impl<'o> Places<'o> {
    /// Makes room for rows of these lengths.
    fn new(mut lengths: Vec<usize>, out: &'o mut BytesMut) -> Places<'o> {
        let before = out.len();
        let mut end = 0;
        for length in &mut lengths {
            end += std::mem::replace(length, end);
        }
        out.resize(before + end, 0);
        Places {
            at: lengths,
            out: out.get_mut(before..).unwrap_or_default(),
        }
    }

    /// Writes a thing to each row, in their order.
    fn each<T>(
        &mut self,
        things: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Place<'_>, T),
    ) {
        for (at, thing) in self.at.iter_mut().zip(things) {
            let out = &mut *self.out;
            write(&mut Place { at, out }, thing);
        }
    }

    /// Writes the same bytes to each row.
    fn all(&mut self, bytes: &[u8]) {
        self.each(std::iter::repeat(bytes), |row, bytes| row.put(bytes));
    }
}

impl Place<'_> {
    /// Writes bytes. There is room, because the row was measured.
    fn put(&mut self, bytes: &[u8]) {
        let end = *self.at + bytes.len();
        if let Some(room) = self.out.get_mut(*self.at..end) {
            room.copy_from_slice(bytes);
        }
        *self.at = end;
    }
}

/// Writes each value after its length.
struct Fields<'p, 'o>(&'p mut Places<'o>);

impl Visitor for Fields<'_, '_> {
    fn column<V: AsRef<[u8]>>(
        &mut self,
        prefix: &'static [u8],
        values: impl Iterator<Item = Option<V>>,
    ) {
        self.0.each(values, |row, value| match value {
            None => row.put(&(-1i32).to_be_bytes()),
            Some(value) => {
                let value = value.as_ref();
                // An array's offsets are 32 bits wide.
                let length = (prefix.len() + value.len()) as i32;
                row.put(&length.to_be_bytes());
                row.put(prefix);
                row.put(value);
            }
        });
    }
}

/// Writes each field in text and the byte that ends it, with escapes if it needs them.
struct TextFields<'p, 'o>(&'p mut Places<'o>, bool, u8);

impl Visitor for TextFields<'_, '_> {
    fn column<V: AsRef<[u8]>>(
        &mut self,
        prefix: &'static [u8],
        values: impl Iterator<Item = Option<V>>,
    ) {
        let (escape, end) = (self.1, self.2);
        self.0.each(values, |row, value| {
            match value {
                None => row.put(NULL),
                Some(value) => {
                    row.put(prefix);
                    if escape {
                        escape::write(value.as_ref(), |piece| row.put(piece));
                    } else {
                        row.put(value.as_ref());
                    }
                }
            }
            row.put(&[end]);
        });
    }
}
