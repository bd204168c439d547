//! Reads the flights that the demo streams: every departure from New York City in 2013, one line each.
//!
//! [`reader()`] unpacks the file as it goes and hands out raw rows with their line numbers. [`parse`] makes a [`Flight`]
//! of one row, or says what is wrong with it. [`reference`](fn@reference) reads the whole file in one plain loop; what
//! a cluster found on the same rows is compared with it, figure by figure.
//!
//! A row is a line. The data has no quotes, so none are understood: a broken row spoils itself and never a neighbour,
//! which it could if an opening quote swallowed the lines up to the next one. Rows are bytes until they are parsed,
//! since a row that isn't UTF-8 must still reach the place that counts it.
#![allow(dead_code, unused_imports, reason = "a row is read whole and summed up whole; the demo shows some of it")]

mod reader;
mod reference;
mod row;

pub(crate) use reader::{ReadError, Reader, reader};
pub(crate) use reference::{Carrier, Reference, reference};
pub(crate) use row::{BadRow, Flight, parse};

/// The columns, in file order; the first line of the file must spell exactly these.
pub(crate) const COLUMNS: [&str; 19] = [
    "year",
    "month",
    "day",
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "arr_delay",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "air_time",
    "distance",
    "hour",
    "minute",
    "time_hour",
];

/// The longest row that is parsed, in bytes; real ones have about 90. A longer one is counted as bad, and no more than
/// this and one byte of it is ever held.
pub(crate) const ROW_BYTES_MAX: usize = 1024;
