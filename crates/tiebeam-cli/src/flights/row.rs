use std::ops::RangeInclusive;

use super::{COLUMNS, ROW_BYTES_MAX};

/// One flight; what the row spells in text is borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight<'a> {
    /// Month of departure, 1 to 12.
    pub(crate) month: u8,
    /// Day of departure, 1 to 31.
    pub(crate) day: u8,
    /// Departure minus schedule in minutes, negative if early; nothing if the flight never left.
    pub(crate) dep_delay: Option<i64>,
    /// Carrier code, two characters in the data; never empty.
    pub(crate) carrier: &'a str,
    /// Flight number.
    pub(crate) flight: u16,
    /// Tail number of the plane, if it is known.
    pub(crate) tailnum: Option<&'a str>,
    /// Airport of departure; never empty.
    pub(crate) origin: &'a str,
    /// Airport of arrival; never empty.
    pub(crate) dest: &'a str,
    /// Miles between the two.
    pub(crate) distance: u64,
    /// Scheduled hour of departure as the row spells it, `2013-01-01T10:00:00Z`.
    pub(crate) time_hour: &'a str,
    /// It has no departure time.
    pub(crate) cancelled: bool,
}

/// What is wrong with a row. The first fault from the left is the one reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BadRow {
    /// More bytes than [`ROW_BYTES_MAX`].
    #[error("row is longer than {ROW_BYTES_MAX} bytes")]
    TooLong,
    /// Bytes that no UTF-8 text has.
    #[error("row is not UTF-8 after byte {valid}")]
    NotUtf8 {
        /// How many bytes before the first wrong one are right.
        valid: usize,
    },
    /// More or fewer fields than there are columns.
    #[error("row has {found} columns, not {}", COLUMNS.len())]
    WrongColumnCount {
        /// How many fields it has.
        found: usize,
    },
    /// A column that every flight has is empty.
    #[error("column {column} is missing")]
    Missing {
        /// Which one.
        column: &'static str,
    },
    /// A number is something else.
    #[error("column {column} is not a number")]
    NotANumber {
        /// Which one.
        column: &'static str,
    },
    /// A number that no flight has.
    #[error("column {column} is not within {min} to {max}")]
    OutOfRange {
        /// Which one.
        column: &'static str,
        /// The smallest that is accepted.
        min: i64,
        /// The largest that is accepted.
        max: i64,
    },
}

impl BadRow {
    /// Returns the reason without its particulars: a short text from a fixed list, to count by.
    #[must_use]
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::TooLong => "too long",
            Self::NotUtf8 { .. } => "not UTF-8",
            Self::WrongColumnCount { .. } => "wrong column count",
            Self::Missing { .. } => "value missing",
            Self::NotANumber { .. } => "not a number",
            Self::OutOfRange { .. } => "number out of range",
        }
    }
}

/// Minutes by which a flight may be early or late: a day early, a week late.
const DELAY_MIN: RangeInclusive<i64> = -1_440..=10_080;
/// A time of day as the file spells it: hours times 100, plus minutes; 2400 is midnight at a day's end.
const TIME_OF_DAY: RangeInclusive<i64> = 0..=2_400;

/// Reads one row as a flight. Every number is checked, those that [`Flight`] leaves out too: a row with a broken column
/// is a broken row.
///
/// # Errors
/// [`BadRow`] says what is wrong and, for a value, in which column.
pub(crate) fn parse(raw: &[u8]) -> Result<Flight<'_>, BadRow> {
    if raw.len() > ROW_BYTES_MAX {
        return Err(BadRow::TooLong);
    }
    let text = std::str::from_utf8(raw).map_err(|e| BadRow::NotUtf8 { valid: e.valid_up_to() })?;
    let fields = split(text)?;
    number(&fields, 0, 1..=9_999)?;
    let month = narrow(number(&fields, 1, 1..=12)?);
    let day = narrow(number(&fields, 2, 1..=31)?);
    let dep_time = optional(&fields, 3, TIME_OF_DAY)?;
    number(&fields, 4, TIME_OF_DAY)?;
    let dep_delay = optional(&fields, 5, DELAY_MIN)?;
    optional(&fields, 6, TIME_OF_DAY)?;
    number(&fields, 7, TIME_OF_DAY)?;
    optional(&fields, 8, DELAY_MIN)?;
    let carrier = word(&fields, 9)?;
    let flight = narrow(number(&fields, 10, 0..=9_999)?);
    let tailnum = known(fields[11]);
    let origin = word(&fields, 12)?;
    let dest = word(&fields, 13)?;
    optional(&fields, 14, 0..=10_080)?;
    let distance = narrow(number(&fields, 15, 0..=25_000)?);
    number(&fields, 16, 0..=24)?;
    number(&fields, 17, 0..=59)?;
    let time_hour = word(&fields, 18)?;
    let cancelled = dep_time.is_none();
    Ok(Flight { month, day, dep_delay, carrier, flight, tailnum, origin, dest, distance, time_hour, cancelled })
}

type Fields<'a> = [&'a str; COLUMNS.len()];

fn split(text: &str) -> Result<Fields<'_>, BadRow> {
    let mut fields = [""; COLUMNS.len()];
    let mut found = 0;
    for field in text.split(',') {
        if let Some(slot) = fields.get_mut(found) {
            *slot = field;
        }
        found += 1;
    }
    if found == COLUMNS.len() { Ok(fields) } else { Err(BadRow::WrongColumnCount { found }) }
}

/// Returns the field unless it stands for a missing value.
fn known(field: &str) -> Option<&str> {
    (!field.is_empty() && field != "NA").then_some(field)
}

fn word<'a>(fields: &Fields<'a>, index: usize) -> Result<&'a str, BadRow> {
    known(fields[index]).ok_or(BadRow::Missing { column: COLUMNS[index] })
}

fn number(fields: &Fields<'_>, index: usize, range: RangeInclusive<i64>) -> Result<i64, BadRow> {
    optional(fields, index, range)?.ok_or(BadRow::Missing { column: COLUMNS[index] })
}

fn optional(fields: &Fields<'_>, index: usize, range: RangeInclusive<i64>) -> Result<Option<i64>, BadRow> {
    let column = COLUMNS[index];
    let Some(field) = known(fields[index]) else { return Ok(None) };
    let digits = field.strip_prefix('-').unwrap_or(field);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadRow::NotANumber { column });
    }
    // All digits, so the one way left to fail is a number that no i64 holds.
    let value = field.parse::<i64>().ok().filter(|n| range.contains(n));
    value.map(Some).ok_or_else(|| BadRow::OutOfRange { column, min: *range.start(), max: *range.end() })
}

fn narrow<T: TryFrom<i64>>(value: i64) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(value).expect("the column's range lies within the type")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z";

    /// Parses the first row of the file with one column replaced.
    fn with(column: &str, value: &str) -> Result<Option<i64>, BadRow> {
        let index = COLUMNS.iter().position(|name| *name == column).unwrap();
        let mut fields: Vec<&str> = FIRST.split(',').collect();
        fields[index] = value;
        parse(fields.join(",").as_bytes()).map(|flight| flight.dep_delay)
    }

    #[test]
    fn row_becomes_a_flight() {
        let expected = Flight {
            month: 1,
            day: 1,
            dep_delay: Some(2),
            carrier: "UA",
            flight: 1545,
            tailnum: Some("N14228"),
            origin: "EWR",
            dest: "IAH",
            distance: 1400,
            time_hour: "2013-01-01T10:00:00Z",
            cancelled: false,
        };
        assert_eq!(parse(FIRST.as_bytes()), Ok(expected));
    }

    #[test]
    fn missing_values_are_empty_or_na() {
        for missing in ["", "NA"] {
            let row = format!("2013,1,1,{missing},1630,{missing},,1815,,EV,4308,{missing},EWR,RDU,,416,16,30,x");
            let flight = parse(row.as_bytes()).unwrap();
            assert!(flight.cancelled);
            assert_eq!((flight.dep_delay, flight.tailnum), (None, None));
            assert_eq!(with("distance", missing), Err(BadRow::Missing { column: "distance" }));
            assert_eq!(with("carrier", missing), Err(BadRow::Missing { column: "carrier" }));
        }
    }

    #[test]
    fn wrong_column_count_is_bad() {
        assert_eq!(parse(b""), Err(BadRow::WrongColumnCount { found: 1 }));
        assert_eq!(parse(FIRST.replace(",UA", "").as_bytes()), Err(BadRow::WrongColumnCount { found: 18 }));
        assert_eq!(parse(format!("{FIRST},,").as_bytes()), Err(BadRow::WrongColumnCount { found: 21 }));
    }

    #[test]
    fn wrong_bytes_are_bad() {
        assert_eq!(parse(b"2013,\xff"), Err(BadRow::NotUtf8 { valid: 5 }));
        assert_eq!(parse(&[b','; ROW_BYTES_MAX + 1]), Err(BadRow::TooLong));
        assert_eq!(parse(&[b','; ROW_BYTES_MAX]), Err(BadRow::WrongColumnCount { found: ROW_BYTES_MAX + 1 }));
    }

    #[test]
    fn wrong_number_names_its_column() {
        for text in ["x", "-", "+5", " 5", "1.5", "1e3", "--1", "0x10", "٣"] {
            assert_eq!(with("dep_delay", text), Err(BadRow::NotANumber { column: "dep_delay" }), "{text:?}");
        }
        for text in ["-1441", "10081", "99999999999999999999999999", "-99999999999999999999999999"] {
            let expected = BadRow::OutOfRange { column: "dep_delay", min: -1440, max: 10_080 };
            assert_eq!(with("dep_delay", text), Err(expected), "{text:?}");
        }
        assert_eq!(with("month", "13"), Err(BadRow::OutOfRange { column: "month", min: 1, max: 12 }));
        assert_eq!(with("distance", "-1"), Err(BadRow::OutOfRange { column: "distance", min: 0, max: 25_000 }));
        assert_eq!(with("dep_delay", "-43"), Ok(Some(-43)));
    }

    /// Catches a column that is skipped because `Flight` doesn't need it.
    #[test]
    fn every_number_is_checked() {
        let texts = ["carrier", "tailnum", "origin", "dest", "time_hour"];
        for column in COLUMNS.into_iter().filter(|column| !texts.contains(column)) {
            assert_eq!(with(column, "?"), Err(BadRow::NotANumber { column }));
        }
    }

    #[test]
    fn message_says_what_and_which() {
        let message = |column, value| with(column, value).unwrap_err().to_string();
        assert_eq!(message("day", "32"), "column day is not within 1 to 31");
        assert_eq!(message("day", "first"), "column day is not a number");
        assert_eq!(message("origin", ""), "column origin is missing");
        assert_eq!(parse(b"a,b").unwrap_err().to_string(), "row has 2 columns, not 19");
    }
}
