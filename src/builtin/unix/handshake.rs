//! What a program that joins and the one that listens send before the first frame. The client begins; both sides send no
//! more until they have read the other's part.

use std::io::{self, ErrorKind, Read, Write};

use crate::connect::bootstrap::{MAGIC, MAX_HELLO, VERSION, append_hello};
use crate::connect::handshake::{Hello, Welcome};
use crate::sys::pipe::Input;
use crate::wire::codec;
use crate::wire::message::Handle;

/// Bytes of the client before its hello: magic, version, length of the hello. Every version begins so.
const HEAD: usize = MAGIC.len() + 2 + 4;
/// The first byte of an answer with a welcome: the handle that takes questions in four bytes, and the welcome.
const ACCEPTED: u8 = 0;
/// The first byte of an answer with the reason of a refusal: its length in two bytes, and the text.
const REFUSED: u8 = 1;

/// The client's part.
pub(super) fn greeting(hello: &Hello) -> Result<Vec<u8>, String> {
    let mut greeting = Vec::new();
    append_hello(&codec::encode(hello)?, &mut greeting);
    Ok(greeting)
}

/// Reads the client's part. An error is the reason to tell the client.
pub(super) async fn read_greeting(input: &Input) -> Result<Hello, String> {
    let mut head = [0; HEAD];
    read_exactly(input, &mut head).await?;
    let (magic, rest) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("this socket speaks the protocol of Offshoot, and the first bytes are not of that".into());
    }
    let (version, length) = rest.split_at(2);
    if version != VERSION.to_be_bytes() {
        return Err(format!("this program speaks version {VERSION} of the protocol; run the same build on both sides"));
    }
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length > MAX_HELLO {
        return Err(format!("a hello of {length} bytes (max {MAX_HELLO})"));
    }
    let mut body = vec![0; length];
    read_exactly(input, &mut body).await?;
    let hello: Hello = codec::decode(&body, None).map_err(|why| format!("the hello cannot be read: {why}"))?;
    match hello.difference(false) {
        Some(difference) => Err(format!("the program that asks is {difference}")),
        None => Ok(hello),
    }
}

async fn read_exactly(input: &Input, mut buffer: &mut [u8]) -> Result<(), String> {
    while !buffer.is_empty() {
        match input.read(buffer).await {
            Ok(0) => return Err("the connection ends within the hello".into()),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// The answer of the side that listens: a welcome and the handle that takes questions, or the reason of a refusal.
pub(super) fn answer(welcome: Result<(&Welcome, Handle), &str>) -> Result<Vec<u8>, String> {
    match welcome {
        Ok((welcome, questions)) => Ok([&[ACCEPTED][..], &questions.0.to_be_bytes(), &welcome.encode()?].concat()),
        Err(why) => {
            let why = &why.as_bytes()[..why.len().min(usize::from(u16::MAX))];
            let length = u16::try_from(why.len()).unwrap_or(u16::MAX);
            Ok([&[REFUSED][..], &length.to_be_bytes(), why].concat())
        }
    }
}

/// Writes the client's part and reads the answer, and no byte after it. Blocks. The inner error is the reason of a
/// refusal.
pub(crate) fn introduce(
    mut socket: impl Read + Write,
    greeting: &[u8],
) -> io::Result<Result<(Welcome, Handle), String>> {
    socket.write_all(greeting)?;
    let mut kind = [0];
    socket.read_exact(&mut kind)?;
    match kind[0] {
        ACCEPTED => {
            let mut handle = [0; 4];
            socket.read_exact(&mut handle)?;
            Ok(Ok((Welcome::read(&mut socket)?, Handle(u32::from_be_bytes(handle)))))
        }
        REFUSED => {
            let mut length = [0; 2];
            socket.read_exact(&mut length)?;
            let mut why = vec![0; usize::from(u16::from_be_bytes(length))];
            socket.read_exact(&mut why)?;
            Ok(Err(crate::wire::sanitize::printable(&String::from_utf8_lossy(&why))))
        }
        other => {
            let text = format!("the first byte of the answer is {other:#04x}, so no program of ours listens there");
            Err(io::Error::new(ErrorKind::InvalidData, text))
        }
    }
}
