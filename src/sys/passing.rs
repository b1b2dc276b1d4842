//! Descriptors that one process passes to another over a unix socket.

#![expect(unsafe_code, reason = "takes over descriptors")]

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// How many descriptors are passed at once: standard streams.
const COUNT: usize = 3;
/// The most that Linux passes at once. If there is room for all, none is left open that nothing knows of.
const MOST: usize = 253;

/// Sends descriptors and a number.
pub(crate) fn send(socket: &impl AsFd, descriptors: [RawFd; COUNT], number: u32) -> io::Result<()> {
    let (bytes, rights) = (number.to_be_bytes(), [ControlMessage::ScmRights(&descriptors)]);
    match sendmsg::<()>(socket.as_fd().as_raw_fd(), &[IoSlice::new(&bytes)], &rights, MsgFlags::empty(), None)? {
        sent if sent == bytes.len() => Ok(()),
        _ => Err(ErrorKind::WriteZero.into()),
    }
}

/// Receives what [`send`] has sent.
///
/// # Errors
///
/// [`ErrorKind::WouldBlock`] if nothing has come, and [`ErrorKind::InvalidData`] if it is something else.
pub(crate) fn receive(socket: &impl AsFd) -> io::Result<([OwnedFd; COUNT], u32)> {
    let (mut bytes, mut space) = ([0; 4], cmsg_space!([RawFd; MOST]));
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty())?;
    let (count, mut owned) = (received.bytes, Vec::new());
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            owned.extend(descriptors.into_iter().map(own));
        }
    }
    for descriptor in &owned {
        fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    match <[OwnedFd; COUNT]>::try_from(owned) {
        Ok(descriptors) if count == bytes.len() => Ok((descriptors, u32::from_be_bytes(bytes))),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

/// Takes over a descriptor that has just been received.
fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the system has made the descriptor for this process while it received the message, and nothing else
    // knows of it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn descriptors_arrive_with_their_number() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let fd = writer.as_raw_fd();
        send(&ours, [fd, fd, fd], 70_000).unwrap();
        drop(writer);
        let ([first, ..], number) = receive(&theirs).unwrap();
        assert_eq!(number, 70_000);
        std::fs::File::from(first).write_all(b"hi").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi");
        theirs.set_nonblocking(true).unwrap();
        assert_eq!(receive(&theirs).unwrap_err().kind(), ErrorKind::WouldBlock);
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        let descriptors = [reader.as_raw_fd(); COUNT + 2];
        let many = [ControlMessage::ScmRights(&descriptors)];
        let slices = [IoSlice::new(b"many")];
        sendmsg::<()>(ours.as_raw_fd(), &slices, &many, MsgFlags::empty(), None).unwrap();
        assert_eq!(receive(&theirs).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(std::fs::read_dir("/proc/self/fd").unwrap().count(), before);
        (&ours).write_all(b"none").unwrap();
        assert_eq!(receive(&theirs).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
