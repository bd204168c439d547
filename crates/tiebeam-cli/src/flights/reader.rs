use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use zstd::stream::read::Decoder;

use super::{COLUMNS, ROW_BYTES_MAX};

/// Why a file of flights could not be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReadError {
    /// The file is missing, unreadable, or not whole as zstd.
    #[error("cannot read {} after row {row}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The last row that was read; 0 if none was.
        row: u64,
        /// What the system or the decoder said.
        source: io::Error,
    },
    /// The first line does not name the columns of the flights.
    #[error("{} does not begin with the {} columns of the flights", path.display(), COLUMNS.len())]
    Header {
        /// The file.
        path: PathBuf,
    },
}

/// Opens the zstd-packed file at `path` and checks its header.
///
/// # Errors
/// [`ReadError::Io`] if it can't be opened or unpacked, [`ReadError::Header`] if it holds something else.
pub(crate) fn reader(path: &Path) -> Result<Reader, ReadError> {
    let open = || -> io::Result<Input> { Ok(Box::new(BufReader::new(Decoder::new(File::open(path)?)?))) };
    let input = open().map_err(|source| ReadError::Io { path: path.to_owned(), row: 0, source })?;
    Reader::new(path, input)
}

type Input = Box<dyn BufRead + Send>;

/// Yields `(line, row)` in file order: `line` is 1 for the first row after the header, `row` its bytes without the line
/// end, at most `ROW_BYTES_MAX + 1` of them. An error is the last thing it yields.
pub(crate) struct Reader {
    path: PathBuf,
    input: Input,
    line: u64,
    failed: bool,
}

impl Reader {
    fn new(path: &Path, input: Input) -> Result<Self, ReadError> {
        let mut reader = Self { path: path.to_owned(), input, line: 0, failed: false };
        let header = reader.read_line().map_err(|source| reader.io_error(source))?;
        if header.as_deref() != Some(COLUMNS.join(",").as_bytes()) {
            return Err(ReadError::Header { path: reader.path });
        }
        Ok(reader)
    }

    /// Reads one line and drops what lies beyond the limit; one byte more than the limit is kept, so that `parse` sees
    /// the row was too long and the rows after it keep their numbers.
    fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::with_capacity(128);
        // Two more for the line end: a row of exactly the limit must be read whole, its end included.
        let limit = u64::try_from(ROW_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(2);
        if self.input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        } else {
            self.input.skip_until(b'\n')?;
        }
        line.truncate(ROW_BYTES_MAX + 1);
        Ok(Some(line))
    }

    fn io_error(&self, source: io::Error) -> ReadError {
        ReadError::Io { path: self.path.clone(), row: self.line, source }
    }
}

impl Iterator for Reader {
    type Item = Result<(u64, Vec<u8>), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.read_line() {
            Ok(row) => row.map(|row| {
                self.line += 1;
                Ok((self.line, row))
            }),
            Err(source) => {
                self.failed = true;
                Some(Err(self.io_error(source)))
            }
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut text = COLUMNS.join(",").into_bytes();
        text.push(b'\n');
        text.extend_from_slice(body);
        let reader = Reader::new(Path::new("memory"), Box::new(io::Cursor::new(text))).unwrap();
        reader.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn rows_are_numbered_from_one_and_keep_their_bytes() {
        let rows = read(b"a,b\n\xff\xfe\r\n\n\"open\nlast");
        let expected: [&[u8]; 5] = [b"a,b", b"\xff\xfe", b"", b"\"open", b"last"];
        assert_eq!(rows, (1..).zip(expected.map(<[u8]>::to_vec)).collect::<Vec<_>>());
    }

    /// Catches a reader that splits an over-long row in two: every later row would get a wrong number.
    #[test]
    fn row_beyond_the_limit_is_cut_and_the_next_keeps_its_number() {
        for (bytes, kept) in [
            (ROW_BYTES_MAX, ROW_BYTES_MAX),
            (ROW_BYTES_MAX + 1, ROW_BYTES_MAX + 1),
            (ROW_BYTES_MAX + 2, ROW_BYTES_MAX + 1),
            (ROW_BYTES_MAX * 50, ROW_BYTES_MAX + 1),
        ] {
            let mut body = vec![b'x'; bytes];
            body.extend_from_slice(b"\nnext\n");
            let rows = read(&body);
            assert_eq!(rows.len(), 2, "{bytes} bytes");
            assert_eq!(rows[0].1.len(), kept, "{bytes} bytes");
            assert_eq!(rows[1], (2, b"next".to_vec()), "{bytes} bytes");
        }
    }

    #[test]
    fn file_without_the_columns_is_refused() {
        for text in ["", "year,month\n1,2\n"] {
            let refused = Reader::new(Path::new("memory"), Box::new(io::Cursor::new(text.as_bytes())));
            assert!(matches!(refused, Err(ReadError::Header { .. })), "{text:?}");
        }
    }

    /// Catches a reader that takes a file cut short for a short file: the demo would be exact on half of the rows.
    #[test]
    fn file_cut_short_is_an_error_that_names_the_last_row() {
        let whole = std::fs::read(super::super::reference::tests::data("flights.csv.zst")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("half.csv.zst");
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let mut rows = reader(&path).unwrap();
        let read = rows.by_ref().take_while(Result::is_ok).count();
        assert!(read > 1000, "{read}");
        assert!(rows.next().is_none(), "an error is the last thing");
        let Some(Err(ReadError::Io { row, .. })) = reader(&path).unwrap().nth(read) else {
            unreachable!("row {read} was an error a moment ago");
        };
        assert_eq!(row, u64::try_from(read).unwrap());
    }
}
