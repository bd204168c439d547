//! The least of HTTP/1.1 (RFC 9112) that a health check needs: one GET, and the status line of its answer.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest status line that is read, in bytes; what follows it is not.
const LINE_BYTES_MAX: usize = 256;

/// Asks for `path` and returns the status. Whoever asks bounds the time.
pub(super) async fn status(address: SocketAddr, host: &str, path: &str) -> Result<u16, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let request = request(host, path);
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut line = Vec::with_capacity(LINE_BYTES_MAX);
    let mut chunk = [0; LINE_BYTES_MAX];
    while !line.contains(&b'\n') {
        let room = LINE_BYTES_MAX - line.len();
        let size = stream.read(&mut chunk[..room]).await.map_err(|error| error.to_string())?;
        // Also when the room is used up: a read into nothing reads nothing.
        if size == 0 {
            return Err("answer has no status line".to_owned());
        }
        line.extend_from_slice(&chunk[..size]);
    }
    parse(&line).ok_or_else(|| "answer is not HTTP/1".to_owned())
}

fn request(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tiebeam\r\nAccept: */*\r\nConnection: close\r\n\r\n")
}

/// Whether `text` can stand in a request line or a header: no byte of it may end either, or begin another request.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads `HTTP/1.x SSS`.
fn parse(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (minor, rest) = rest.split_first()?;
    let digits = rest.strip_prefix(b" ")?.get(..3)?;
    let ends = rest.get(4).is_some_and(|after| b" \r\n".contains(after));
    let is_status = minor.is_ascii_digit() && digits.iter().all(u8::is_ascii_digit) && ends;
    is_status.then(|| digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_are_read_and_nothing_else_is() {
        let read = |line: &str| parse(line.as_bytes());
        assert_eq!(read("HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(read("HTTP/1.0 503\r\n"), Some(503));
        assert_eq!(read("HTTP/1.1 204 \n"), Some(204));
        for line in
            ["HTTP/2 200 OK\r\n", "HTTP/1.1 20\r\n", "HTTP/1.1  200\r\n", "HTTP/1.1 2000\r\n", "SSH-2.0\r\n", "\n"]
        {
            assert_eq!(read(line), None, "{line:?}");
        }
    }

    /// A path with a line end in it could say whatever it likes to the other side.
    #[test]
    fn nothing_in_a_request_ends_its_line() {
        assert!(is_plain("/health?deep=1") && is_plain("node-1:80"));
        assert!(!is_plain("/a b") && !is_plain("/a\r\nX: y") && !is_plain("") && !is_plain("/ä"));
    }
}
