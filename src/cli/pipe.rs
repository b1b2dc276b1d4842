//! Writes to stdout or stderr, and notices when nobody reads it any more.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

/// Terminals are shared, and another program may have set ours to non-blocking.
const RETRY: Duration = Duration::from_millis(5);

/// One of the tool's outputs. When its reader has gone, what is written is
/// dropped, so that `offshoot ... | head` ends in peace.
pub(crate) struct Pipe<'a> {
    writer: &'a mut dyn Write,
    is_gone: bool,
}

impl<'a> Pipe<'a> {
    pub(crate) fn new(writer: &'a mut dyn Write) -> Self {
        Self { writer, is_gone: false }
    }

    /// Whether the reader has gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Writes all of it and flushes, so that output is live. Blocks while the
    /// reader is slow.
    ///
    /// # Errors
    ///
    /// Whatever the writer reports, other than that its reader has gone.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_gone || bytes.is_empty() {
            return Ok(());
        }
        match self.write_all(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_gone = true;
                Ok(())
            }
            result => result,
        }
    }

    /// The same for stderr: if people cannot be told, the work still goes on.
    pub(crate) fn write_if_possible(&mut self, bytes: &[u8]) {
        self.is_gone |= self.write(bytes).is_err();
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.writer.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => bytes = &bytes[len..],
                Err(error) => wait(error)?,
            }
        }
        while let Err(error) = self.writer.flush() {
            wait(error)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Pipe<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe").field("is_gone", &self.is_gone).finish_non_exhaustive()
    }
}

fn wait(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock => {
            std::thread::sleep(RETRY);
            Ok(())
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as told, then takes a byte at a time.
    struct Moody {
        moods: Vec<ErrorKind>,
        written: Vec<u8>,
    }

    impl Write for Moody {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(mood) = self.moods.pop() {
                return Err(mood.into());
            }
            self.written.push(bytes[0]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.moods.pop().map_or(Ok(()), |mood| Err(mood.into()))
        }
    }

    fn moody(moods: &[ErrorKind]) -> Moody {
        Moody { moods: moods.to_vec(), written: Vec::new() }
    }

    #[test]
    fn all_is_written_however_slowly_it_is_taken() {
        let mut writer = moody(&[ErrorKind::WouldBlock, ErrorKind::Interrupted]);
        Pipe::new(&mut writer).write(b"hello").unwrap();
        assert_eq!(writer.written, b"hello");
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error() {
        let mut writer = moody(&[ErrorKind::BrokenPipe]);
        let mut pipe = Pipe::new(&mut writer);
        pipe.write(b"hello").unwrap();
        assert!(pipe.is_gone());
        pipe.write(b"again").unwrap();
        assert_eq!(writer.written, b"");
    }

    #[test]
    fn a_full_disk_is_an_error_unless_it_does_not_matter() {
        let mut writer = moody(&[ErrorKind::StorageFull]);
        assert_eq!(Pipe::new(&mut writer).write(b"x").unwrap_err().kind(), ErrorKind::StorageFull);
        let mut writer = moody(&[ErrorKind::StorageFull]);
        let mut pipe = Pipe::new(&mut writer);
        pipe.write_if_possible(b"x");
        pipe.write_if_possible(b"y");
        assert_eq!(writer.written, b"");
    }
}
