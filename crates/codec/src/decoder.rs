//! Rows of a COPY stream into record batches.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use bytes::{Bytes, BytesMut};
use pghaul_stage::{Encoding, Error, Kind, Result, Side};

use crate::column::Column;
use crate::form::{self, Field, Form, broken};
use crate::scan::{Cells, Scan};
use crate::{array, numeric};

/// Rows whose columns are read one after the other, before the next rows are looked at: their
/// bytes should stay in the processor's nearest memory.
const TOGETHER: usize = 1024;

/// Turns the rows of a COPY stream into Arrow columns.
///
/// It is fed with rows alone, in pieces cut anywhere: in binary without the stream's header and
/// trailer, in text with lines as they are. It keeps them until [`take`](Decoder::take). The
/// schema is that of the first batch until a value comes that a column cannot hold bit for bit;
/// then, and for good, that column holds bytes. The crate's page says which types fit.
///
/// Callers take a batch when some MiB are held; more than 2 GiB are refused.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow_array::{cast::AsArray, types::Int32Type};
/// use pghaul_codec::{Decoder, Field};
/// use pghaul_stage::Encoding;
///
/// let field = Field {
///     name: "id".into(),
///     type_name: "integer".into(),
///     oid: 23,
///     modifier: -1,
///     sent_as: 23,
/// };
/// let mut decoder = Decoder::new(Arc::new([field]), Encoding::Binary, true);
/// decoder.push(&[0, 1, 0, 0, 0, 4, 0, 0])?;
/// assert_eq!(decoder.rows(), 0);
/// decoder.push(&[0, 7])?;
/// let taken = decoder.take()?.expect("a row");
/// assert_eq!(taken.batch.column(0).as_primitive::<Int32Type>().value(0), 7);
/// decoder.end()?;
/// # Ok::<(), pghaul_stage::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    fields: Arc<[Field]>,
    encoding: Encoding,
    /// How each column is stored from now on.
    forms: Vec<Form>,
    /// The schema of the last batch, and the forms that it is of.
    schema: Option<(SchemaRef, Vec<Form>)>,
    raw: BytesMut,
    scan: Scan,
    failed: bool,
    /// Bytes of the last batch: room that the next one will need.
    usual: usize,
}

/// Some rows.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Their columns. Batches of a decoder share one schema until a column's form changes.
    pub batch: RecordBatch,
    /// The bytes of COPY that they came as.
    pub raw: Bytes,
}

impl Decoder {
    /// For rows of these columns. `utf8` is whether the source's database is in UTF-8, so that
    /// what is sent as text can be stored as such.
    pub fn new(fields: Arc<[Field]>, encoding: Encoding, utf8: bool) -> Decoder {
        let forms = fields
            .iter()
            .map(|field| Form::first(field, encoding, utf8))
            .collect();
        Decoder {
            scan: Scan::new(encoding, fields.len()),
            fields,
            encoding,
            forms,
            schema: None,
            raw: BytesMut::new(),
            failed: false,
            usual: 0,
        }
    }

    /// Adds the next piece of the stream.
    ///
    /// # Errors
    ///
    /// [`Kind::Protocol`] if these are no rows of so many columns; the decoder is of no further
    /// use then. [`Kind::Input`] if it would hold more than 2 GiB; the piece is not kept.
    pub fn push(&mut self, piece: &[u8]) -> Result<()> {
        if self.failed {
            return Err(broken("the rows before these could not be read"));
        }
        if piece.len() > i32::MAX as usize - self.raw.len() {
            return Err(
                Error::new(Kind::Input, "more than 2 GiB of rows cannot become columns")
                    .at(Side::Link),
            );
        }
        if self.raw.capacity() - self.raw.len() < piece.len() {
            let room = self.usual.saturating_sub(self.raw.len());
            self.raw.reserve(room.max(piece.len()));
        }
        self.raw.extend_from_slice(piece);
        let scanned = self.scan.advance(&self.raw);
        self.failed = scanned.is_err();
        scanned
    }

    /// Complete rows that wait to be taken.
    pub fn rows(&self) -> usize {
        self.scan.rows
    }

    /// Bytes held, of complete rows and of the one that is not.
    pub fn bytes(&self) -> usize {
        self.raw.len()
    }

    /// All complete rows; `None` if there are none.
    ///
    /// # Errors
    ///
    /// [`Kind::Protocol`] if Arrow refuses the columns, which should not be.
    pub fn take(&mut self) -> Result<Option<Taken>> {
        let rows = self.scan.rows;
        if rows == 0 {
            return Ok(None);
        }
        let rest = self.raw.split_off(self.scan.complete);
        let raw = std::mem::replace(&mut self.raw, rest).freeze();
        self.usual = raw.len();
        let cells = self.scan.cells(&raw);
        let (columns, forms) = decode(cells, rows, self.encoding, &mut self.forms);
        self.scan.forget_rows();
        let schema = self.schema(forms);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(|cause| broken("the rows do not fit Arrow columns").because(cause))?;
        Ok(Some(Taken { batch, raw }))
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    ///
    /// [`Kind::Protocol`] if a row is not complete.
    pub fn end(&self) -> Result<()> {
        if self.failed || self.raw.len() > self.scan.complete {
            return Err(broken("the rows ended within one"));
        }
        Ok(())
    }

    /// Takes out the bytes of the row that is not complete, for a caller who stores a row of any
    /// size, and what follows it, as it comes. Complete rows can still be taken.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.raw.split_off(self.scan.complete);
        self.scan.forget_rest();
        rest.freeze()
    }

    fn schema(&mut self, forms: Vec<Form>) -> SchemaRef {
        match &self.schema {
            Some((schema, same)) if *same == forms => Arc::clone(schema),
            _ => {
                let schema = form::schema(&self.fields, &forms, self.encoding);
                self.schema = Some((Arc::clone(&schema), forms));
                schema
            }
        }
    }
}

/// All columns of the rows and their forms. `forms` are tried first, and left as they should be
/// tried next time.
fn decode(
    cells: Cells<'_>,
    rows: usize,
    encoding: Encoding,
    forms: &mut [Form],
) -> (Vec<ArrayRef>, Vec<Form>) {
    let mut arrays: Vec<Option<ArrayRef>> = vec![None; forms.len()];
    for (column, form) in forms.iter_mut().enumerate() {
        settle(form, cells.binary(column, 0..rows));
    }
    // Each column once, and those that did not fit again, in the next form. The last form holds
    // anything.
    loop {
        let missing: Vec<_> = (0..forms.len())
            .filter(|column| arrays.get(*column).is_some_and(Option::is_none))
            .collect();
        if missing.is_empty() {
            break;
        }
        let tried: Vec<_> = missing
            .iter()
            .filter_map(|column| Some((*column, forms.get(*column)?)))
            .collect();
        for (column, array) in attempt(cells, rows, encoding, &tried) {
            if array.is_none()
                && let Some(form) = forms.get_mut(column)
            {
                *form = form.next(encoding);
            }
            if let Some(place) = arrays.get_mut(column) {
                *place = array;
            }
        }
    }
    (arrays.into_iter().flatten().collect(), forms.to_vec())
}

/// Columns in these forms; `None` for those that a value does not fit.
fn attempt(
    cells: Cells<'_>,
    rows: usize,
    encoding: Encoding,
    forms: &[(usize, &Form)],
) -> Vec<(usize, Option<ArrayRef>)> {
    let escaped = encoding == Encoding::Text;
    let mut columns: Vec<_> = forms
        .iter()
        .map(|(column, form)| (*column, Some(Column::new(form, escaped, rows))))
        .collect();
    for from in (0..rows).step_by(TOGETHER) {
        let some: Range<usize> = from..rows.min(from + TOGETHER);
        for (column, values) in &mut columns {
            if let Some(fitting) = values {
                let fit = match encoding {
                    Encoding::Binary => fitting.extend(cells.binary(*column, some.clone())),
                    Encoding::Text => fitting.extend(cells.text(*column, some.clone())),
                };
                if !fit {
                    *values = None;
                }
            }
        }
    }
    columns
        .into_iter()
        .map(|(column, values)| (column, values.and_then(Column::finish)))
        .collect()
}

/// Gives a `numeric` without a scale of its own that of the first value. While all are NULL, any
/// does.
fn settle<'a>(form: &mut Form, cells: impl Iterator<Item = Option<&'a [u8]>>) {
    let mut values = cells.flatten();
    let value = match form {
        Form::Numeric => values.next(),
        Form::List(element, item) if **item == Form::Numeric => {
            let mut arrays = values.filter_map(|value| array::elements(value, *element));
            arrays.find_map(|mut elements| elements.find_map(|value| value))
        }
        _ => return,
    };
    let Some(value) = value else { return };
    let scale = numeric::scale(value).and_then(|scale| u8::try_from(scale).ok());
    let decimal = scale
        .filter(|scale| *scale <= numeric::MOST_DIGITS)
        .map(|scale| Form::Decimal {
            precision: numeric::MOST_DIGITS,
            scale,
        });
    match (form, decimal) {
        (Form::List(_, item), Some(decimal)) => **item = decimal,
        (form, decimal) => *form = decimal.unwrap_or(Form::Bytes),
    }
}
