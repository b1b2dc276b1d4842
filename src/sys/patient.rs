//! Streams that this process shares with others. One of these may have made them non-blocking, for all.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A stream that waits until it can be read or written, whatever the flag of its descriptor says. The flag is not changed,
/// because the other processes rely on it.
#[derive(Debug)]
pub(crate) struct Patient<T>(pub(crate) T);

impl<T: AsFd> Patient<T> {
    fn wait(&self, wanted: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::new(self.0.as_fd(), wanted)], PollTimeout::NONE) {
            // What is wrong with the descriptor, the next read or write says.
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl<T: Read + AsFd> Read for Patient<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::POLLIN)?,
                read => return read,
            }
        }
    }
}

impl<T: Write + AsFd> Write for Patient<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::POLLOUT)?,
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        loop {
            match self.0.flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::POLLOUT)?,
                flushed => return flushed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::LineWriter;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    /// [`io::Stdout`] keeps lines back, as this does.
    struct Lines(LineWriter<UnixStream>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    impl AsFd for Lines {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.get_ref().as_fd()
        }
    }

    #[test]
    fn streams_that_are_not_ready_are_awaited() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let text: String = (0..200_000).map(|n| format!("a{n}\n")).collect();
        let (sent, reading) = (text.clone(), ours.try_clone().unwrap());
        let writer = std::thread::spawn(move || {
            let mut output = Patient(Lines(LineWriter::new(ours)));
            output.write_all(sent.as_bytes()).and_then(|()| output.flush()).unwrap();
        });
        // It is slow, and answers when it has read all.
        std::thread::sleep(Duration::from_millis(20));
        let mut got = vec![0; text.len()];
        theirs.read_exact(&mut got).unwrap();
        assert!(got == text.as_bytes());
        writer.join().unwrap();
        let answer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            theirs.write_all(b"thanks").unwrap();
        });
        let mut answered = String::new();
        Patient(reading).read_to_string(&mut answered).unwrap();
        assert_eq!(answered, "thanks");
        answer.join().unwrap();
    }
}
