use std::collections::BTreeMap;
use std::path::Path;

use super::{ReadError, parse, reader};

/// What a correct run must find, read in one plain loop on one thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Rows that are flights.
    pub(crate) rows: u64,
    /// Rows that are not, by [`BadRow::reason`](super::BadRow::reason). They count nowhere else.
    pub(crate) bad: BTreeMap<&'static str, u64>,
    /// Flights without a departure time.
    pub(crate) cancelled: u64,
    /// Sum of the distances, in miles.
    pub(crate) distance_sum: u64,
    /// Flights by airport of departure.
    pub(crate) origins: BTreeMap<String, u64>,
    /// Flights by carrier code.
    pub(crate) carriers: BTreeMap<String, Carrier>,
}

/// The flights of one carrier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carrier {
    /// Its flights.
    pub(crate) rows: u64,
    /// Those without a departure time.
    pub(crate) cancelled: u64,
    /// Those with a `dep_delay`, early ones too.
    pub(crate) delay_rows: u64,
    /// Sum of these delays, in minutes.
    pub(crate) delay_sum: i64,
}

impl Reference {
    /// Returns the sum of `dep_delay` over all flights that have one, in minutes.
    #[must_use]
    pub(crate) fn delay_sum(&self) -> i64 {
        self.carriers.values().map(|carrier| carrier.delay_sum).sum()
    }

    /// Returns how many flights have a `dep_delay`.
    #[must_use]
    pub(crate) fn delay_rows(&self) -> u64 {
        self.carriers.values().map(|carrier| carrier.delay_rows).sum()
    }

    /// Returns how many rows are not flights.
    #[must_use]
    pub(crate) fn bad_rows(&self) -> u64 {
        self.bad.values().sum()
    }

    /// Counts one row.
    pub(crate) fn add(&mut self, raw: &[u8]) {
        let flight = match parse(raw) {
            Ok(flight) => flight,
            Err(bad) => {
                *self.bad.entry(bad.reason()).or_default() += 1;
                return;
            }
        };
        let cancelled = u64::from(flight.cancelled);
        self.rows += 1;
        self.cancelled += cancelled;
        self.distance_sum += flight.distance;
        *slot(&mut self.origins, flight.origin) += 1;
        let carrier = slot(&mut self.carriers, flight.carrier);
        carrier.rows += 1;
        carrier.cancelled += cancelled;
        carrier.delay_rows += u64::from(flight.dep_delay.is_some());
        carrier.delay_sum += flight.dep_delay.unwrap_or(0);
    }
}

/// Returns the entry of `key`; allocates only the first time.
fn slot<'a, T: Default>(map: &'a mut BTreeMap<String, T>, key: &str) -> &'a mut T {
    if !map.contains_key(key) {
        map.insert(key.to_owned(), T::default());
    }
    map.get_mut(key).expect("inserted if it was not there")
}

/// Reads the whole file at `path`.
///
/// # Errors
/// [`ReadError`] if the file can't be read to its end; a bad row is not an error, it is counted.
pub(crate) fn reference(path: &Path) -> Result<Reference, ReadError> {
    let mut found = Reference::default();
    for row in reader(path)? {
        found.add(&row?.1);
    }
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Returns where `file` of the test data lies.
    pub(crate) fn data(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/data").join(file)
    }

    /// Reads the tables that the data's own description promises, as cells without thousands separators.
    fn described() -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(data("README.md")).unwrap();
        let cells = |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().replace(',', "")).collect();
        text.lines().filter(|line| line.starts_with('|')).map(cells).collect()
    }

    /// Every fact and every carrier of the description, compared as the text that stands there: the table is the
    /// oracle, so that neither can drift alone.
    #[test]
    fn file_holds_what_its_description_says() {
        let found = reference(&data("flights.csv.zst")).unwrap();
        assert_eq!(found.bad_rows(), 0);
        let described = described();
        let facts = [
            ("rows", found.rows.to_string()),
            ("flights without a departure time (cancelled)", found.cancelled.to_string()),
            ("sum of `dep_delay` over rows that have one minutes", found.delay_sum().to_string()),
            ("sum of `distance` miles", found.distance_sum.to_string()),
            ("rows with origin EWR", found.origins["EWR"].to_string()),
            ("rows with origin JFK", found.origins["JFK"].to_string()),
            ("rows with origin LGA", found.origins["LGA"].to_string()),
        ];
        for (fact, value) in facts {
            assert!(described.contains(&vec![fact.to_owned(), value.clone()]), "{fact}: {value}");
        }
        let carriers: Vec<&Vec<String>> =
            described.iter().filter(|row| row.len() == 6 && row[0].len() == 2 && row[0] != "--").collect();
        assert_eq!(carriers.len(), 16);
        assert_eq!(found.carriers.len(), 16);
        for row in carriers {
            let Carrier { rows, cancelled, delay_rows, delay_sum } = found.carriers[&row[0]];
            let numbers = [rows.to_string(), cancelled.to_string(), delay_rows.to_string(), delay_sum.to_string()];
            assert_eq!(row[2..], numbers, "{}", row[0]);
        }
        assert_eq!(found.rows, 336_776);
        assert_eq!(found.delay_rows(), 336_776 - 8_255);
        assert_eq!(found.origins.values().sum::<u64>(), found.rows);
    }

    /// Catches a broken row that takes its neighbours along, as an opening quote would in a CSV reader.
    #[test]
    fn bad_rows_are_counted_by_reason_and_leave_the_others_alone() {
        let good = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z";
        let mut found = Reference::default();
        let broken: [&[u8]; 7] = [
            b"",
            b"\"2013,1",
            b"\xff\xfe\xfd",
            &[b'9'; 5000],
            &good.replace("1400", "far").into_bytes(),
            &good.replace("1400", "99999999999999999999").into_bytes(),
            &good.replace("EWR", "").into_bytes(),
        ];
        for row in broken {
            found.add(good.as_bytes());
            found.add(row);
        }
        let mut expected = Reference { rows: 7, distance_sum: 9_800, ..Reference::default() };
        expected.bad.extend([("wrong column count", 2), ("not UTF-8", 1), ("too long", 1), ("not a number", 1)]);
        expected.bad.extend([("number out of range", 1), ("value missing", 1)]);
        expected.origins.insert("EWR".to_owned(), 7);
        let carrier = Carrier { rows: 7, cancelled: 0, delay_rows: 7, delay_sum: 14 };
        expected.carriers.insert("UA".to_owned(), carrier);
        assert_eq!(found, expected);
    }
}
