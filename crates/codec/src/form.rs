//! How the values of a column are stored, and how a schema says so.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::extension::{EXTENSION_TYPE_METADATA_KEY, EXTENSION_TYPE_NAME_KEY};
use arrow_schema::{DataType, Schema, SchemaRef, TimeUnit};
use pghaul_stage::{Encoding, Error, Kind, Result, Side};

use crate::array;
use crate::numeric::MOST_DIGITS;

/// Key of the schema's metadata: `binary` or `text`.
const ENCODING: &str = "pghaul.encoding";
/// Keys of a field's metadata.
const TYPE: &str = "pghaul.type";
const OID: &str = "pghaul.oid";
const MODIFIER: &str = "pghaul.modifier";
const SENT_AS: &str = "pghaul.sent_as";
const FORM: &str = "pghaul.form";

/// Object identifiers of types.
const BYTEA: u32 = 17;
const JSON: u32 = 114;
const JSONB: u32 = 3802;

/// What the codec must know of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The column's name. Names may be empty or the same.
    pub name: String,
    /// Its type, as `format_type` prints it; for people.
    pub type_name: String,
    /// Its type's object identifier on the source; for people.
    pub oid: u32,
    /// Its modifier as in `pg_attribute.atttypmod`; -1 is none.
    pub modifier: i32,
    /// The built-in type whose binary form its values have, by object identifier; 0 if there is
    /// none. See [`pghaul_stage::Type`].
    pub sent_as: u32,
}

/// How the values of one column are stored. What a form cannot hold bit for bit, the
/// [next](Form::next) one can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    /// UTF-8: the binary form of textual types, or a field of a text stream without its escapes.
    Text,
    Json,
    /// `jsonb` without the number of its version.
    Jsonb,
    Uuid,
    Date,
    Timestamp,
    TimestampTz,
    Time,
    /// `numeric` whose scale will be that of the first value.
    Numeric,
    Decimal {
        precision: u8,
        /// At most the precision.
        scale: u8,
    },
    /// An array of one dimension whose elements have this type and this form.
    List(u32, Box<Form>),
    /// What PostgreSQL sends; in a text stream without its escapes.
    Bytes,
    /// A field of a text stream, escapes and all.
    Escaped,
}

impl Form {
    /// The form that a column's values are tried in first.
    pub(crate) fn first(field: &Field, encoding: Encoding, utf8: bool) -> Form {
        if encoding == Encoding::Text {
            return if utf8 { Form::Text } else { Form::Bytes };
        }
        let Some(element) = array::element(field.sent_as) else {
            return Form::of(field.sent_as, field.modifier, utf8);
        };
        // The modifier of an array is that of its elements.
        match Form::of(element, field.modifier, utf8) {
            // A list of what only PostgreSQL reads is of no use.
            Form::Bytes if element != BYTEA => Form::Bytes,
            item => Form::List(element, Box::new(item)),
        }
    }

    /// The form of values that are sent as those of a built-in type.
    fn of(sent_as: u32, modifier: i32, utf8: bool) -> Form {
        // Object identifiers of built-in types never change; source: PostgreSQL's pg_type.dat.
        match sent_as {
            16 => Form::Bool,
            21 => Form::Int2,
            23 => Form::Int4,
            20 => Form::Int8,
            26 => Form::Oid,
            700 => Form::Float4,
            701 => Form::Float8,
            // name, text, xml, unknown, bpchar, varchar, refcursor
            19 | 25 | 142 | 705 | 1042 | 1043 | 1790 if utf8 => Form::Text,
            JSON if utf8 => Form::Json,
            JSONB if utf8 => Form::Jsonb,
            2950 => Form::Uuid,
            1082 => Form::Date,
            1114 => Form::Timestamp,
            1184 => Form::TimestampTz,
            1083 => Form::Time,
            1700 => decimal(modifier),
            _ => Form::Bytes,
        }
    }

    /// The form that holds what this one cannot.
    pub(crate) fn next(&self, encoding: Encoding) -> Form {
        match (encoding, self) {
            (Encoding::Text, Form::Bytes) => Form::Escaped,
            _ => Form::Bytes,
        }
    }

    /// What it is called in a field's metadata. Together with the data type that is all there is
    /// to know.
    fn name(&self) -> &'static str {
        match self {
            Form::Bytes => "bytes",
            Form::Escaped => "escaped",
            Form::Jsonb => "jsonb",
            Form::List(..) => "list",
            _ => "native",
        }
    }

    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Form::Bool => DataType::Boolean,
            Form::Int2 => DataType::Int16,
            Form::Int4 => DataType::Int32,
            Form::Int8 => DataType::Int64,
            Form::Oid => DataType::UInt32,
            Form::Float4 => DataType::Float32,
            Form::Float8 => DataType::Float64,
            Form::Text | Form::Json | Form::Jsonb => DataType::Utf8,
            Form::Uuid => DataType::FixedSizeBinary(16),
            Form::Date => DataType::Date32,
            Form::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Form::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Form::Time => DataType::Time64(TimeUnit::Microsecond),
            Form::Numeric => DataType::Decimal128(MOST_DIGITS, 0),
            // A scale is at most 38.
            Form::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale as i8),
            Form::List(_, item) => DataType::List(item.item()),
            Form::Bytes | Form::Escaped => DataType::Binary,
        }
    }

    /// Arrow's canonical name of what the data type alone does not say.
    fn extension(&self) -> Option<&'static str> {
        match self {
            Form::Uuid => Some("arrow.uuid"),
            Form::Json | Form::Jsonb => Some("arrow.json"),
            _ => None,
        }
    }

    /// The same as metadata of a field.
    fn extension_metadata(&self) -> impl Iterator<Item = (String, String)> {
        self.extension().into_iter().flat_map(|name| {
            [
                (EXTENSION_TYPE_NAME_KEY.to_owned(), name.to_owned()),
                (EXTENSION_TYPE_METADATA_KEY.to_owned(), String::new()),
            ]
        })
    }

    /// The field of elements in this form.
    pub(crate) fn item(&self) -> Arc<arrow_schema::Field> {
        let field = arrow_schema::Field::new_list_field(self.data_type(), true);
        Arc::new(field.with_metadata(self.extension_metadata().collect::<HashMap<_, _>>()))
    }

    /// Reads what [`schema`] wrote; `None` if that was something else.
    fn read(field: &arrow_schema::Field, encoding: Encoding) -> Option<Form> {
        let name = field.metadata().get(FORM)?.as_str();
        match (encoding, name, field.data_type()) {
            (Encoding::Text, "escaped", DataType::Binary) => Some(Form::Escaped),
            (Encoding::Text, "native", DataType::Utf8) => Some(Form::Text),
            (Encoding::Binary, "native", kind) => Form::native(kind),
            (Encoding::Binary, "jsonb", DataType::Utf8) => Some(Form::Jsonb),
            (Encoding::Binary, "list", DataType::List(item)) => {
                let sent_as = field.metadata().get(SENT_AS)?.parse().ok()?;
                let element = array::element(sent_as)?;
                let item = match (element, item.data_type()) {
                    (JSONB, DataType::Utf8) => Form::Jsonb,
                    (JSON, DataType::Utf8) => Form::Json,
                    (BYTEA, DataType::Binary) => Form::Bytes,
                    (_, kind) => Form::native(kind)?,
                };
                Some(Form::List(element, Box::new(item)))
            }
            (_, "bytes", DataType::Binary) => Some(Form::Bytes),
            _ => None,
        }
    }

    /// The form whose values have this type.
    fn native(kind: &DataType) -> Option<Form> {
        Some(match kind {
            DataType::Boolean => Form::Bool,
            DataType::Int16 => Form::Int2,
            DataType::Int32 => Form::Int4,
            DataType::Int64 => Form::Int8,
            DataType::UInt32 => Form::Oid,
            DataType::Float32 => Form::Float4,
            DataType::Float64 => Form::Float8,
            DataType::Utf8 => Form::Text,
            DataType::FixedSizeBinary(16) => Form::Uuid,
            DataType::Date32 => Form::Date,
            DataType::Timestamp(TimeUnit::Microsecond, None) => Form::Timestamp,
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if &**zone == "UTC" => {
                Form::TimestampTz
            }
            DataType::Time64(TimeUnit::Microsecond) => Form::Time,
            DataType::Decimal128(precision, scale) => Form::Decimal {
                precision: Some(*precision).filter(|digits| *digits <= MOST_DIGITS)?,
                scale: u8::try_from(*scale)
                    .ok()
                    .filter(|scale| scale <= precision)?,
            },
            _ => return None,
        })
    }
}

/// The form of `numeric` with this modifier.
///
/// Source: `make_numeric_typmod` in PostgreSQL's `numeric.c`: the precision above 16 bits, the
/// scale in the lower 11, both after the length of a header, 4.
fn decimal(modifier: i32) -> Form {
    let Some(packed) = modifier.checked_sub(4).filter(|packed| *packed >= 0) else {
        return Form::Numeric;
    };
    let digits = packed >> 16;
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    // What is rounded to thousands has more digits; what is all fraction may have fewer.
    let precision = if scale < 0 {
        digits - scale
    } else {
        digits.max(scale)
    };
    match (u8::try_from(precision), u8::try_from(scale.max(0))) {
        (Ok(precision), Ok(scale)) if (1..=MOST_DIGITS).contains(&precision) => {
            Form::Decimal { precision, scale }
        }
        _ => Form::Bytes,
    }
}

/// The schema of columns in these forms.
pub(crate) fn schema(fields: &[Field], forms: &[Form], encoding: Encoding) -> SchemaRef {
    let fields: Vec<_> = fields
        .iter()
        .zip(forms)
        .map(|(field, form)| {
            let mut metadata = HashMap::from([
                (TYPE.to_owned(), field.type_name.clone()),
                (OID.to_owned(), field.oid.to_string()),
                (MODIFIER.to_owned(), field.modifier.to_string()),
                (SENT_AS.to_owned(), field.sent_as.to_string()),
                (FORM.to_owned(), form.name().to_owned()),
            ]);
            metadata.extend(form.extension_metadata());
            arrow_schema::Field::new(&field.name, form.data_type(), true).with_metadata(metadata)
        })
        .collect();
    let metadata = HashMap::from([(ENCODING.to_owned(), encoding.to_string())]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// The encoding and the forms that a schema tells.
pub(crate) fn read(schema: &Schema) -> Result<(Encoding, Vec<Form>)> {
    let encoding = match schema.metadata().get(ENCODING).map(String::as_str) {
        Some("binary") => Encoding::Binary,
        Some("text") => Encoding::Text,
        _ => {
            return Err(broken(
                "these columns do not say in which encoding of COPY their rows came",
            )
            .remedy("use files that this version of pghaul wrote"));
        }
    };
    let forms = schema.fields().iter().map(|field| {
        Form::read(field, encoding).ok_or_else(|| {
            broken("the column is stored in a way that this version does not know")
                .on(subject(field.name()))
                .remedy("use files that this version of pghaul wrote")
        })
    });
    Ok((encoding, forms.collect::<Result<_>>()?))
}

/// A column, in an error.
pub(crate) fn subject(name: &str) -> String {
    format!("column {name:?}")
}

pub(crate) fn broken(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::Protocol, what).at(Side::Link)
}
