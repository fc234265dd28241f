//! Writes a history line by line.

use std::io::{self, Write};

use super::{Event, Line, Start};

/// Writes a history to one owner's file; for many tasks see [`super::Recorder`].
#[derive(Debug)]
pub struct Writer<W> {
    target: W,
    lines: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the head.
    ///
    /// # Errors
    /// When the target cannot be written.
    pub fn new(target: W, start: Start) -> io::Result<Self> {
        let mut writer = Self { target, lines: 0 };
        writer.write(&Line { at: 0, process: 0, node: None, event: Event::Start(start) })?;
        Ok(writer)
    }

    /// Writes one line.
    ///
    /// # Errors
    /// When the target cannot be written.
    pub fn write(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.target, line)?;
        self.target.write_all(b"\n")?;
        self.lines += 1;
        Ok(())
    }

    /// Flushes what was written; gives the number of lines and the target.
    ///
    /// # Errors
    /// When the target cannot be written.
    pub fn finish(mut self) -> io::Result<(u64, W)> {
        self.target.flush()?;
        Ok((self.lines, self.target))
    }
}
