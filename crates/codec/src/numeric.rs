//! `numeric` in its binary form, and as a whole number of units of its last digit.
//!
//! Source: `numeric_send` in PostgreSQL's `numeric.c`: four 16-bit numbers (how many digits to the
//! base 10,000; the weight of the first; the sign; how many decimal digits after the point are
//! shown) and the digits.

/// Most decimal digits that 128 bits hold, whatever they are.
pub(crate) const MOST_DIGITS: u8 = 38;

/// Bytes before the digits.
const HEAD: usize = 8;
/// Most digits to the base 10,000 of a number of 128 bits, wherever the point is.
const MOST_GROUPS: usize = 11;
const NEGATIVE: u16 = 0x4000;

/// How many digits after the point a value shows; `None` if it is no number.
pub(crate) fn scale(value: &[u8]) -> Option<u16> {
    let (head, _) = value.split_first_chunk::<HEAD>()?;
    let [_, _, _, _, s0, s1, d0, d1] = *head;
    let sign = u16::from_be_bytes([s0, s1]);
    (sign == 0 || sign == NEGATIVE).then(|| u16::from_be_bytes([d0, d1]))
}

/// A value as units of 10^-`scale`, if it shows just this scale, has no more digits than the
/// precision, and is written in the one way that [`Digits::new`] writes it.
pub(crate) fn read(value: &[u8], precision: u8, scale: u8) -> Option<i128> {
    let (head, digits) = value.split_first_chunk::<HEAD>()?;
    let [c0, c1, w0, w1, s0, s1, d0, d1] = *head;
    let count = usize::from(u16::from_be_bytes([c0, c1]));
    let weight = i32::from(i16::from_be_bytes([w0, w1]));
    let sign = u16::from_be_bytes([s0, s1]);
    if u16::from_be_bytes([d0, d1]) != u16::from(scale) || digits.len() != 2 * count {
        return None;
    }
    let (digits, _) = digits.as_chunks::<2>();
    let Some((last, others)) = digits.split_last() else {
        return (weight == 0 && sign == 0).then_some(0);
    };
    if others.len() >= MOST_GROUPS || digits.first() == Some(&[0, 0]) {
        return None;
    }
    let mut units: u64 = 0;
    let mut wide: u128 = 0;
    for (at, digit) in others.iter().enumerate() {
        let digit = group(*digit)?;
        // Four digits fit 64 bits, and most numbers have no more.
        if at < 4 {
            units = units * 10_000 + digit;
            wide = u128::from(units);
        } else {
            wide = wide.checked_mul(10_000)?.checked_add(u128::from(digit))?;
        }
    }
    let last = group(*last).filter(|last| *last != 0)?;
    // What power of ten the last digit is of, in units. Below zero only a part of it is shown.
    let power = 4 * (weight - i32::try_from(others.len()).ok()?) + i32::from(scale);
    let magnitude = if power >= 0 {
        wide.checked_mul(10_000)?
            .checked_add(u128::from(last))?
            .checked_mul(ten_to(power)?)?
    } else {
        let hidden = u64::try_from(ten_to(-power).filter(|_| power > -4)?).ok()?;
        let shown = u64::try_from(ten_to(4 + power)?).ok()?;
        if last % hidden != 0 {
            return None;
        }
        wide.checked_mul(u128::from(shown))?
            .checked_add(u128::from(last / hidden))?
    };
    if magnitude >= ten_to(i32::from(precision))? {
        return None;
    }
    let units = i128::try_from(magnitude).ok()?;
    match sign {
        0 => Some(units),
        NEGATIVE => Some(-units),
        _ => None,
    }
}

fn group(digit: [u8; 2]) -> Option<u64> {
    let digit = u16::from_be_bytes(digit);
    (digit < 10_000).then(|| digit.into())
}

/// 10 to the power, up to 38.
fn ten_to(power: i32) -> Option<u128> {
    10u128.checked_pow(u32::try_from(power).ok()?)
}

/// A value in its binary form.
#[derive(Debug)]
pub(crate) struct Digits {
    bytes: [u8; HEAD + 2 * MOST_GROUPS],
    length: usize,
}

impl Digits {
    /// `units` of 10^-`scale`; the scale is at most 38.
    pub(crate) fn new(units: i128, scale: u8) -> Digits {
        // From the last digit to the first, without the zeros at the end.
        let mut groups = [0u16; MOST_GROUPS];
        let mut count = 0;
        let mut rest = units.unsigned_abs();
        let mut weight = -i16::from(scale.div_ceil(4));
        let mut push = |group: u64| {
            if group != 0 || count > 0 {
                if let Some(place) = groups.get_mut(count) {
                    // A digit to the base 10,000.
                    *place = group as u16;
                }
                count += 1;
            } else {
                weight += 1;
            }
        };
        if rest != 0 {
            let odd = u32::from(scale % 4);
            if odd != 0 {
                let part = 10u128.pow(odd);
                push((rest % part) as u64 * 10u64.pow(4 - odd));
                rest /= part;
            }
            // Four digits at a time, because dividing 128 bits is slow.
            const FOUR: u128 = 10_000_000_000_000_000;
            while rest > u128::from(u64::MAX) {
                let mut four = (rest % FOUR) as u64;
                for _ in 0..4 {
                    push(four % 10_000);
                    four /= 10_000;
                }
                rest /= FOUR;
            }
            let mut rest = rest as u64;
            while rest != 0 {
                push(rest % 10_000);
                rest /= 10_000;
            }
        }
        let count = count.min(MOST_GROUPS);
        let mut bytes = [0; HEAD + 2 * MOST_GROUPS];
        let sign = if units < 0 { NEGATIVE } else { 0 };
        // The first digit stands as many places before the last as there are others.
        let weight = match count {
            0 => 0,
            _ => weight + count as i16 - 1,
        };
        let digits = groups.iter().take(count).rev();
        let words = [count as u16, weight as u16, sign, u16::from(scale)];
        let (places, _) = bytes.as_chunks_mut::<2>();
        for (place, word) in places.iter_mut().zip(words.iter().chain(digits)) {
            *place = word.to_be_bytes();
        }
        Digits {
            bytes,
            length: HEAD + 2 * count,
        }
    }
}

impl AsRef<[u8]> for Digits {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Numbers that fit come back; what is read is written the same.
        #[test]
        fn units_are_written_and_read(units: i128, shift in 0..128u32, scale in 0..=38u8) {
            let units = (units >> shift) % 10i128.pow(38);
            let written = Digits::new(units, scale);
            prop_assert_eq!(read(written.as_ref(), 38, scale), Some(units));
            prop_assert_eq!(super::scale(written.as_ref()), Some(scale.into()));
        }

        /// Whatever is read at all is written as the same bytes.
        #[test]
        fn only_the_canonical_form_is_read(
            weight in -12..12i16,
            sign in prop_oneof![Just(0u16), Just(NEGATIVE), Just(0xc000), any::<u16>()],
            scale in 0..=40u16,
            digits in prop::collection::vec(prop_oneof![0..10_001u16, Just(0), Just(1000)], 0..12),
        ) {
            let words = [digits.len() as u16, weight as u16, sign, scale];
            let value: Vec<u8> =
                words.iter().chain(&digits).flat_map(|word| word.to_be_bytes()).collect();
            let scale = scale.min(38) as u8;
            if let Some(units) = read(&value, 38, scale) {
                prop_assert_eq!(Digits::new(units, scale).as_ref().to_vec(), value);
            }
        }

        #[test]
        fn garbage_is_refused(value: Vec<u8>, precision: u8, scale: u8) {
            if let Some(units) = read(&value, precision, scale) {
                prop_assert_eq!(Digits::new(units, scale).as_ref().to_vec(), value);
            }
        }
    }

    /// The largest numbers, which take eleven digits when the point is at an odd place.
    #[test]
    fn extremes_are_written() {
        let most = 10i128.pow(38) - 1;
        for scale in 0..=38 {
            for units in [most, -most, 1, -1, 0] {
                assert_eq!(
                    read(Digits::new(units, scale).as_ref(), 38, scale),
                    Some(units)
                );
            }
            assert!(Digits::new(i128::MIN, scale).as_ref().len() <= 30);
        }
    }
}
