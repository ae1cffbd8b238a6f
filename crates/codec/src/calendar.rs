//! Days and microseconds, which PostgreSQL counts from 2000 and Arrow from 1970.
//!
//! Source: PostgreSQL's `datatype/timestamp.h`: the range of dates and timestamps, and infinity,
//! which lies outside of it.

/// 2000-01-01 since 1970-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH: i64 = EPOCH_DAYS as i64 * DAY;
/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The first day, 4714-11-24 BC, and the first one after the last, since 2000-01-01.
const DAYS: std::ops::Range<i32> = -2_451_545..2_145_031_949;
/// The first microsecond of the first day, and the first that Arrow's readers cannot hold: they
/// keep the largest number for infinity. PostgreSQL's range ends two decades later, in 294277.
const MICROSECONDS: std::ops::Range<i64> = -211_813_488_000_000_000..i64::MAX - EPOCH;

/// A finite date, in days since 1970.
pub(crate) fn read_date(value: [u8; 4]) -> Option<i32> {
    let days = i32::from_be_bytes(value);
    DAYS.contains(&days).then(|| days + EPOCH_DAYS)
}

/// Writes a date that [`is_date`].
pub(crate) fn write_date(days: i32) -> [u8; 4] {
    days.wrapping_sub(EPOCH_DAYS).to_be_bytes()
}

pub(crate) fn is_date(days: i32) -> bool {
    days.checked_sub(EPOCH_DAYS)
        .is_some_and(|days| DAYS.contains(&days))
}

/// A finite timestamp, in microseconds since 1970, unless that is too late for Arrow.
pub(crate) fn read_timestamp(value: [u8; 8]) -> Option<i64> {
    let time = i64::from_be_bytes(value);
    MICROSECONDS.contains(&time).then(|| time + EPOCH)
}

/// Writes a timestamp that [`is_timestamp`].
pub(crate) fn write_timestamp(time: i64) -> [u8; 8] {
    time.wrapping_sub(EPOCH).to_be_bytes()
}

pub(crate) fn is_timestamp(time: i64) -> bool {
    time.checked_sub(EPOCH)
        .is_some_and(|time| MICROSECONDS.contains(&time))
}

/// A time of the day; 24:00 is none to Arrow.
pub(crate) fn read_time(value: [u8; 8]) -> Option<i64> {
    Some(i64::from_be_bytes(value)).filter(|time| is_time(*time))
}

pub(crate) fn is_time(time: i64) -> bool {
    (0..DAY).contains(&time)
}
