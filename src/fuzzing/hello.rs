//! What two programs say to each other before the first frame.

use std::io::{self, Read, Write};

use crate::builtin::unix::introduce;
use crate::connect::bootstrap::MAX_HELLO;
use crate::connect::handshake::{Hello, Welcome};
use crate::fuzzing::checks;
use crate::wire::codec;

/// The first byte says who says the others.
pub(super) fn hello(bytes: &[u8]) {
    let Some((kind, said)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => of_child(said, None, false),
        1 => of_child(said, Some(7), true),
        2 => welcome(said),
        _ => of_listener(said),
    }
}

/// The hello of a child.
fn of_child(said: &[u8], sent: Option<u64>, is_installed: bool) {
    let said = &said[..said.len().min(MAX_HELLO)];
    match Hello::check(said, sent, is_installed, "ssh.web1") {
        Ok(hello) => {
            [&hello.triple, &hello.user, &hello.host].into_iter().for_each(|text| checks::harmless(text));
            assert!(sent.is_none() || hello.image == sent);
        }
        Err(error) => checks::connect_error(&error),
    }
}

/// The welcome of a parent. It is read to its last byte, and no further.
fn welcome(said: &[u8]) {
    let mut rest = said;
    match Welcome::read(&mut rest) {
        Ok(welcome) => {
            let taken = said.len() - rest.len();
            let length = said.first_chunk().map_or(0, |length| u32::from_be_bytes(*length));
            assert_eq!(taken, length as usize + 4);
            let again = codec::encode(&welcome).and_then(|body| codec::decode::<Welcome>(&body, None));
            assert_eq!(again, Ok(welcome));
        }
        Err(error) => checks::tells(&error.to_string()),
    }
}

/// The answer of a program that listens on a unix socket.
fn of_listener(said: &[u8]) {
    match introduce(&mut Socket(said), b"greeting") {
        Ok(Ok(_)) => {}
        Ok(Err(why)) => checks::harmless(&why),
        Err(error) => checks::tells(&error.to_string()),
    }
}

/// A socket whose other end has said everything, and hears nothing.
struct Socket<'a>(&'a [u8]);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
