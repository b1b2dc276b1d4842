//! Pipes, sockets and terminals, read and written as they become ready.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::BytesMut;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{Shutdown, shutdown};
use nix::sys::stat::{SFlag, fstat};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::process;

/// Both directions of a byte stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) input: Input,
    pub(crate) output: Output,
}

impl Stream {
    /// Both directions of a socket. Must be called on the I/O thread.
    pub(crate) fn of_socket(socket: OwnedFd) -> io::Result<Self> {
        let input = Input::new(socket.try_clone()?)?;
        Ok(Self { input, output: Output::new(socket)? })
    }
}

/// A descriptor to read from.
#[derive(Debug)]
pub(crate) struct Input {
    file: AsyncFd<File>,
    /// Whether a short read has emptied the descriptor. That is so for a socket or pipe, but not
    /// for a terminal.
    short_read_is_empty: bool,
    /// Whether a connection that was reset has ended. Otherwise that is an error.
    reset_is_end: bool,
}

/// A descriptor to write to.
///
/// The event queue watches it only while it is full. A socket that is watched for room wakes this
/// thread each time its peer has read something, which would cost one more wake-up per message.
#[derive(Debug)]
pub(crate) struct Output {
    file: Arc<File>,
}

impl Input {
    /// Must be called on the I/O thread.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let kind = SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT;
        let short_read_is_empty = kind == SFlag::S_IFSOCK || kind == SFlag::S_IFIFO;
        let file = process::watch(never_blocking(fd)?, Interest::READABLE)?;
        Ok(Self { file, short_read_is_empty, reset_is_end: true })
    }

    /// Reports a reset as an error, for data that has no end of its own.
    pub(crate) fn with_resets(self) -> Self {
        Self { reset_is_end: false, ..self }
    }

    /// Reads at least one byte, and as many as are there. Returns 0 at the end of the file.
    ///
    /// Cancel safe.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        self.read_some(room, |mut file| file.read(buffer)).await
    }

    /// Does the same as [`Input::read`], but appends to `buffer`, up to its capacity.
    pub(crate) async fn read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let room = buffer.spare_capacity_mut().len();
        self.read_some(room, |file| process::read_into(file, buffer)).await
    }

    async fn read_some(&self, room: usize, mut read: impl FnMut(&File) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            // Only one task reads at a time, which is what this needs. It costs less than `readable`.
            let mut ready = std::future::poll_fn(|cx| self.file.poll_read_ready(cx)).await?;
            match ready.try_io(|file| read(file.get_ref())) {
                Ok(Ok(count)) => {
                    if self.short_read_is_empty && count < room {
                        ready.clear_ready();
                    }
                    return Ok(count);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other end of a terminal is closed, or a socket was cut.
                Ok(Err(error)) if self.reset_is_end && is_end(&error) => return Ok(0),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

impl Output {
    /// Any thread may create one. Only the I/O thread may write to it.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { file: Arc::new(never_blocking(fd)?) })
    }

    /// Writes at least one byte of `bytes`, and returns how many it has written. Cancel safe.
    pub(crate) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(|mut file| file.write(bytes)).await
    }

    /// Writes at least one byte of all the slices, and returns how many it has written. Cancel
    /// safe.
    pub(crate) async fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_some(|mut file| file.write_vectored(slices)).await
    }

    /// Writes as much of all the slices as there is room for now.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room, and errors of the descriptor.
    pub(crate) fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let wrote = match slices {
                [one] => (&*self.file).write(one),
                _ => (&*self.file).write_vectored(slices),
            };
            match wrote {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Writes all of `bytes`. Not cancel safe.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Ends what the other side reads, if this is a socket. Returns whether it is one.
    pub(crate) fn end(&self) -> bool {
        shutdown(self.file.as_raw_fd(), Shutdown::Write).is_ok()
    }

    async fn write_some(&self, write: impl Fn(&File) -> io::Result<usize>) -> io::Result<usize> {
        let mut watched = None;
        loop {
            match write(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let file = match &watched {
                        Some(file) => file,
                        None => watched.insert(process::watch(Arc::clone(&self.file), Interest::WRITABLE)?),
                    };
                    file.writable().await?.clear_ready();
                }
                result => return result,
            }
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether an error of reading or writing means that the other end has gone.
pub(crate) fn is_end(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EIO | Errno::ECONNRESET | Errno::EPIPE))
}

fn never_blocking(fd: OwnedFd) -> io::Result<File> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(fd.into())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn interrupted<T>(times: &Cell<u32>, then: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match times.get().checked_sub(1) {
            Some(left) => {
                times.set(left);
                Err(io::ErrorKind::Interrupted.into())
            }
            None => then(),
        }
    }

    #[tokio::test]
    async fn an_interrupted_read_or_write_is_repeated() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let (input, output) = (Input::new(read).unwrap(), Output::new(write).unwrap());
        let times = Cell::new(2);
        let count = output.write_some(|mut file| interrupted(&times, || file.write(b"abc"))).await.unwrap();
        assert_eq!((count, times.get()), (3, 0));
        times.set(2);
        let mut buffer = [0; 8];
        let count = input.read_some(8, |mut file| interrupted(&times, || file.read(&mut buffer))).await.unwrap();
        assert_eq!((&buffer[..count], times.get()), (&b"abc"[..], 0));
    }

    #[tokio::test]
    async fn a_lost_end_is_an_end_and_another_error_is_an_error() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let input = Input::new(read).unwrap();
        // Something can be read, so that it is tried.
        nix::unistd::write(&write, b"x").unwrap();
        for (errno, is_lost) in
            [(Errno::EIO, true), (Errno::ECONNRESET, true), (Errno::EPIPE, true), (Errno::ENOMEM, false)]
        {
            let read = input.read_some(1, |_| Err(errno.into())).await;
            assert_eq!(read.is_ok_and(|count| count == 0), is_lost, "{errno}");
        }
        let strict = input.with_resets();
        assert!(strict.read_some(1, |_| Err(Errno::ECONNRESET.into())).await.is_err());
        // The system says so of a terminal whose other end is closed.
        let pty = nix::pty::openpty(None, None).unwrap();
        drop(pty.slave);
        assert_eq!(Input::new(pty.master).unwrap().read(&mut [0; 8]).await.unwrap(), 0);
    }
}
