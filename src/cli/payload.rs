//! What `pub` sends: from the command line, a file or standard input, in bounded memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::base::limits::MESSAGE_BYTES_MAX;

/// Why a message could not be read.
#[derive(Debug)]
pub enum PayloadError {
    /// More than [`MESSAGE_BYTES_MAX`]; `origin` says which message is meant.
    TooLong {
        origin: String,
    },
    File {
        path: PathBuf,
        source: io::Error,
    },
    Stdin(io::Error),
}

/// A whole file as one message; `-` is standard input, as everywhere.
pub fn read_file(path: &Path) -> Result<Vec<u8>, PayloadError> {
    if path == Path::new("-") {
        return read_stdin();
    }
    let failed = |source| PayloadError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    match read_bounded(file).map_err(failed)? {
        Some(content) => Ok(content),
        None => Err(PayloadError::TooLong { origin: path.display().to_string() }),
    }
}

/// All of standard input as one message.
pub fn read_stdin() -> Result<Vec<u8>, PayloadError> {
    match read_bounded(io::stdin().lock()).map_err(PayloadError::Stdin)? {
        Some(content) => Ok(content),
        None => Err(PayloadError::TooLong { origin: "standard input".to_owned() }),
    }
}

/// Checks a message that is in memory already.
pub fn check_length(content: &[u8], origin: &str) -> Result<(), PayloadError> {
    if content.len() > MESSAGE_BYTES_MAX {
        return Err(PayloadError::TooLong { origin: origin.to_owned() });
    }
    Ok(())
}

/// Reads to the end, but no further than one byte above a message; `None`: it was too long.
fn read_bounded(source: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    source.take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
    Ok((content.len() <= MESSAGE_BYTES_MAX).then_some(content))
}

/// Parts a stream of chunks into lines without their newlines, a message each.
///
/// Holds at most one line and one chunk: whoever feeds it takes the lines out first.
#[derive(Default)]
pub struct Lines {
    pending: Vec<u8>,
    /// Bytes of `pending` that were handed out.
    taken: usize,
    /// Bytes of `pending` that hold no newline behind `taken`.
    searched: usize,
    ended: bool,
    /// Lines handed out so far.
    count: u64,
}

impl Lines {
    /// Appends what was read.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.pending.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        self.pending.extend_from_slice(chunk);
    }

    /// Says that nothing follows; a last line may lack its newline.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// How many lines were handed out.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The next whole line; `None`: feed more, or it was the last.
    pub fn take(&mut self) -> Result<Option<&[u8]>, PayloadError> {
        let line_end = match self.pending[self.searched..].iter().position(|b| *b == b'\n') {
            Some(at) => self.searched + at,
            None => {
                self.searched = self.pending.len();
                self.check(self.searched - self.taken)?;
                if !self.ended || self.taken == self.searched {
                    return Ok(None);
                }
                self.searched
            }
        };
        self.check(line_end - self.taken)?;
        let line = self.taken..line_end;
        self.taken = (line_end + 1).min(self.pending.len());
        self.searched = self.taken;
        self.count += 1;
        Ok(Some(&self.pending[line]))
    }

    fn check(&self, length: usize) -> Result<(), PayloadError> {
        if length > MESSAGE_BYTES_MAX {
            return Err(PayloadError::TooLong {
                origin: format!("line {} of standard input", self.count + 1),
            });
        }
        Ok(())
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PayloadError::TooLong { origin } => {
                write!(f, "{origin} is longer than a message may be ({MESSAGE_BYTES_MAX} bytes)")
            }
            PayloadError::File { path, source } => write!(f, "{} cannot be read: {source}", path.display()),
            PayloadError::Stdin(source) => write!(f, "standard input cannot be read: {source}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(input: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for chunk in input.chunks(step) {
            lines.feed(chunk);
            while let Some(line) = lines.take().expect("short lines") {
                out.push(line.to_vec());
            }
        }
        lines.end();
        while let Some(line) = lines.take().expect("short lines") {
            out.push(line.to_vec());
        }
        assert_eq!(lines.count(), out.len() as u64);
        out
    }

    #[test]
    fn lines_do_not_depend_on_how_they_arrive() {
        let cases: [(&[u8], &[&[u8]]); 6] = [
            (b"", &[]),
            (b"\n", &[b""]),
            (b"a\nbb\n\nccc", &[b"a", b"bb", b"", b"ccc"]),
            (b"a\r\n", &[b"a\r"]),
            (b"no newline", &[b"no newline"]),
            (b"\xff\0\n\xfe\n", &[b"\xff\0", b"\xfe"]),
        ];
        for (input, expected) in cases {
            for step in 1..=input.len().max(1) {
                assert_eq!(split(input, step), expected, "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn a_line_is_bounded_and_named() {
        let mut lines = Lines::default();
        lines.feed(b"first\n");
        assert_eq!(lines.take().expect("short"), Some(b"first".as_slice()));
        lines.feed(&vec![b'x'; MESSAGE_BYTES_MAX]);
        assert_eq!(lines.take().expect("as long as may be"), None);
        lines.feed(b"x");
        let error = lines.take().expect_err("one byte too long").to_string();
        assert!(error.contains("line 2"), "{error}");
        let mut lines = Lines::default();
        lines.feed(&vec![b'x'; MESSAGE_BYTES_MAX]);
        lines.feed(b"\n");
        assert_eq!(lines.take().expect("exactly as long").map(<[u8]>::len), Some(MESSAGE_BYTES_MAX));
    }

    #[test]
    fn files_are_bounded_and_named() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("payload");
        std::fs::write(&path, vec![7; MESSAGE_BYTES_MAX]).expect("written");
        assert_eq!(read_file(&path).expect("fits").len(), MESSAGE_BYTES_MAX);
        std::fs::write(&path, vec![7; MESSAGE_BYTES_MAX + 1]).expect("written");
        let error = read_file(&path).expect_err("too long").to_string();
        assert!(error.contains("payload is longer"), "{error}");
        let error = read_file(&folder.path().join("absent")).expect_err("absent").to_string();
        assert!(error.contains("absent cannot be read"), "{error}");
    }
}
