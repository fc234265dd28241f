//! Reads a history line by line, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::{Effect, Event, Line, VERSION};

/// Longest line in bytes: a poll of 10,000 records takes about 250 KiB.
pub const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A history that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("line {line}: cannot be read")]
    Io {
        /// Number of the line, from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// The line is longer than [`LINE_BYTES_MAX`].
    #[error("line {line}: longer than {LINE_BYTES_MAX} bytes")]
    TooLong {
        /// Number of the line, from 1.
        line: u64,
    },
    /// The file ends inside the line.
    #[error("line {line}: the file ends inside it")]
    Torn {
        /// Number of the line, from 1.
        line: u64,
    },
    /// The line is not an event.
    #[error("line {line}: {source}")]
    Malformed {
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The line contradicts itself or the lines before.
    #[error("line {line}: {what}")]
    Contradiction {
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The first line is of another version.
    #[error("line {line}: version {found} of the format; this checker reads version {VERSION}")]
    Version {
        /// Number of the line, from 1.
        line: u64,
        /// The version found.
        found: u32,
    },
}

/// Reads a history line by line.
///
/// An iterator over numbered lines; it ends after the first error.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    line: u64,
    at: u64,
    ended: bool,
}

impl Reader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(BufReader::with_capacity(1 << 20, File::open(path)?)))
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads from any source.
    pub fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), line: 0, at: 0, ended: false }
    }

    /// The next line and its number; none at the end of the file.
    ///
    /// # Errors
    /// See [`ReadError`]; nothing is read behind a damaged line.
    pub fn read(&mut self) -> Result<Option<(u64, Line)>, ReadError> {
        let line = self.line + 1;
        self.buffer.clear();
        let read = (&mut self.source)
            .take(LINE_BYTES_MAX + 1)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| ReadError::Io { line, source })?;
        if read == 0 {
            let nothing = ReadError::Contradiction { line, what: "the history is empty" };
            return if self.line == 0 { Err(nothing) } else { Ok(None) };
        }
        if self.buffer.last() != Some(&b'\n') {
            let too_long = self.buffer.len() as u64 > LINE_BYTES_MAX;
            return Err(if too_long {
                ReadError::TooLong { line }
            } else {
                ReadError::Torn { line }
            });
        }
        let parsed: Line = serde_json::from_slice(&self.buffer)
            .map_err(|source| ReadError::Malformed { line, source })?;
        self.check(line, &parsed)?;
        self.line = line;
        self.at = parsed.at;
        Ok(Some((line, parsed)))
    }

    fn check(&self, line: u64, parsed: &Line) -> Result<(), ReadError> {
        let wrong = |what| Err(ReadError::Contradiction { line, what });
        match &parsed.event {
            Event::Start(start) if start.version != VERSION => {
                return Err(ReadError::Version { line, found: start.version });
            }
            Event::Start(_) if line > 1 => return wrong("start is not the first line"),
            Event::Start(_) => {}
            _ if line == 1 => return wrong("the first line is not start"),
            Event::Fail { error, .. } if error.effect != Effect::None => {
                return wrong("fail with an effect: what may have happened is info");
            }
            Event::Info { error, .. } if error.effect != Effect::Maybe => {
                return wrong("info without an effect: what did not happen is fail");
            }
            _ => {}
        }
        if parsed.at < self.at { wrong("time goes back") } else { Ok(()) }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<(u64, Line), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"at":0,"process":0,"event":{"start":{"version":1,"name":"reader"}}}"#;

    fn error_of(text: &str) -> ReadError {
        Reader::new(text.as_bytes()).find_map(Result::err).expect("the history is damaged")
    }

    #[test]
    fn a_damaged_line_is_named_by_its_number_and_nothing_follows_it() {
        let text = format!("{HEAD}\n{{\"at\":1,\n{HEAD}\n");
        let mut reader = Reader::new(text.as_bytes());
        assert!(matches!(reader.next(), Some(Ok((1, _)))));
        assert!(matches!(reader.next(), Some(Err(ReadError::Malformed { line: 2, .. }))));
        assert!(reader.next().is_none());
    }

    #[test]
    fn a_torn_end_an_empty_file_and_another_version_are_refused() {
        assert!(matches!(error_of(HEAD), ReadError::Torn { line: 1 }));
        assert!(matches!(error_of(""), ReadError::Contradiction { line: 1, .. }));
        let other = HEAD.replace("\"version\":1", "\"version\":9") + "\n";
        assert!(matches!(error_of(&other), ReadError::Version { line: 1, found: 9 }));
    }

    #[test]
    fn an_error_that_contradicts_its_kind_is_refused() {
        for (kind, effect) in [("fail", "maybe"), ("info", "none")] {
            let error = format!(r#"{{"code":"X","effect":"{effect}"}}"#);
            let line = format!(
                r#"{{"at":1,"process":1,"event":{{"{kind}":{{"id":1,"error":{error}}}}}}}"#
            );
            let found = error_of(&format!("{HEAD}\n{line}\n"));
            assert!(matches!(found, ReadError::Contradiction { line: 2, .. }), "{found}");
        }
    }

    #[test]
    fn time_that_goes_back_is_refused() {
        let phase = |at: u64| format!(r#"{{"at":{at},"process":0,"event":{{"phase":"load"}}}}"#);
        let found = error_of(&format!("{HEAD}\n{}\n{}\n", phase(5), phase(4)));
        assert_eq!(found.to_string(), "line 3: time goes back");
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let endless = BufReader::new(io::repeat(b' '));
        let found = Reader::new(endless).next().expect("a line").expect_err("too long");
        assert!(matches!(found, ReadError::TooLong { line: 1 }), "{found}");
    }
}
