//! Values and replies as a hostile context encodes them.

/// A number, as bincode writes it.
pub(crate) fn number(n: u64) -> Vec<u8> {
    match n {
        0..=250 => vec![n as u8],
        251..=0xffff => [&[251][..], &(n as u16).to_le_bytes()].concat(),
        0x1_0000..=0xffff_ffff => [&[252][..], &(n as u32).to_le_bytes()].concat(),
        _ => [&[253][..], &n.to_le_bytes()].concat(),
    }
}

/// Bytes or a text, with their length.
pub(crate) fn bytes(content: impl AsRef<[u8]>) -> Vec<u8> {
    [&number(content.as_ref().len() as u64)[..], content.as_ref()].concat()
}

/// A log record.
pub(crate) fn record(target: &str, level: u8, message: &str) -> Vec<u8> {
    [number(0), bytes(""), bytes(target), vec![level], bytes(message), number(0)].concat()
}

/// The payload of an ADD_ROUTE.
pub(crate) fn route(id: u32, name: impl AsRef<[u8]>) -> Vec<u8> {
    [&id.to_be_bytes()[..], name.as_ref()].concat()
}

/// A reply that says that the child of a connect is context `id`.
pub(crate) fn connected(id: u32) -> Vec<u8> {
    // A value, of the first variant: an id, a name, a trace of four empty lists.
    [&[0, 0][..], &number(id.into()), &bytes("name"), &[0; 4]].concat()
}

/// A reply that is the error of a function, whose texts are all `text`.
pub(crate) fn call_error(text: &str) -> Vec<u8> {
    let one = bytes(text);
    [&[1][..], &one, &one, &number(1), &one, &one, &one, &[0]].concat()
}

/// A reply that is a payload error with this text.
pub(crate) fn other_error(text: &str) -> Vec<u8> {
    [vec![2], number(4), bytes(text)].concat()
}

/// An event of a command: bytes of its output.
pub(crate) fn output(is_stderr: bool, content: &[u8]) -> Vec<u8> {
    [number(1 + u64::from(is_stderr)), bytes(content)].concat()
}

/// A reply that says that a command has exited with this code, after so many bytes of output.
pub(crate) fn exited(code: u8, written: [u64; 2]) -> Vec<u8> {
    [vec![0, 1, 2 * code, 0, 0], number(written[0]), number(written[1])].concat()
}

/// The handle that a call of a command wants its events at, if it is such a call.
pub(crate) fn events_of(call: &[u8]) -> Option<u32> {
    // Three equal senders to the master, each with a handle of two bytes, and a flag.
    let senders = call.len().checked_sub(13).map(|at| &call[at..call.len() - 1])?;
    let [one, two, three] = [&senders[..4], &senders[4..8], &senders[8..]];
    let is_command = call.windows(11).any(|name| name == b"run_process");
    (is_command && one == two && two == three && one[..2] == [0, 251])
        .then(|| u32::from(u16::from_le_bytes([one[2], one[3]])))
}
