//! One-dimensional arrays in their binary form.
//!
//! Source: `array_send` in PostgreSQL's `arrayfuncs.c`: how many dimensions, whether an element is
//! NULL, the type of the elements, for each dimension its length and its first subscript, and each
//! element as a field is.

/// The types of arrays, and of what they are made of, by object identifier; those whose elements
/// have a form of their own.
///
/// Source: PostgreSQL's `pg_type.dat`; identifiers of built-in types never change.
const TYPES: [(u32, u32); 22] = [
    (1000, 16),
    (1001, 17),
    (1003, 19),
    (1005, 21),
    (1007, 23),
    (1009, 25),
    (1014, 1042),
    (1015, 1043),
    (1016, 20),
    (1021, 700),
    (1022, 701),
    (1028, 26),
    (1115, 1114),
    (1182, 1082),
    (1183, 1083),
    (1185, 1184),
    (1231, 1700),
    (143, 142),
    (199, 114),
    (2201, 1790),
    (2951, 2950),
    (3807, 3802),
];

/// The type that the elements of an array of this type have.
pub(crate) fn element(array: u32) -> Option<u32> {
    let found = TYPES.iter().find(|(of, _)| *of == array);
    found.map(|(_, element)| *element)
}

/// The elements of an array, which should have this type; `None` if it has several dimensions, does
/// not begin at 1, or is not written in the one way that we write it.
pub(crate) fn elements(value: &[u8], element: u32) -> Option<Elements<'_>> {
    let (dimensions, rest) = number(value)?;
    let (flags, rest) = number(rest)?;
    let (kind, rest) = number(rest)?;
    if kind != element {
        return None;
    }
    if dimensions == 0 {
        return (flags == 0 && rest.is_empty()).then_some(Elements(rest));
    }
    let (length, rest) = number(rest)?;
    let (first, rest) = number(rest)?;
    if dimensions != 1 || length == 0 || first != 1 {
        return None;
    }
    let mut walk = Elements(rest);
    let (mut count, mut null) = (0u32, 0);
    while !walk.0.is_empty() {
        null |= u32::from(walk.next()?.is_none());
        count = count.checked_add(1)?;
    }
    (count == length && flags == null).then_some(Elements(rest))
}

/// Elements one after the other; `None` is NULL.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Option<&'a [u8]>;

    /// None, too, if it is cut off.
    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = number(self.0)?;
        if length == u32::MAX {
            self.0 = rest;
            return Some(None);
        }
        let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Some(value))
    }
}

/// Writes what precedes this many elements, none of which is NULL yet.
pub(crate) fn head(element: u32, length: usize, out: &mut Vec<u8>) {
    let dimensions = u32::from(length > 0);
    for word in [dimensions, 0, element] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    if length > 0 {
        // An array's offsets are 32 bits wide.
        for word in [length as u32, 1] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
}

/// Says in an array's head that an element is NULL.
pub(crate) fn set_null(array: &mut [u8]) {
    if let Some(flags) = array.get_mut(4..8) {
        flags.copy_from_slice(&1u32.to_be_bytes());
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}
