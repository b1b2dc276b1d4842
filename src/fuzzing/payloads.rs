//! The payloads of calls, replies and dead messages.

use bytes::Bytes;

use crate::fuzzing::checks;
use crate::wire::call_payload::{CallHeader, OTHER_ERROR, decode_failure, decode_reply, encode_call, encode_error};
use crate::wire::error::Error;
use crate::wire::message::{Handle, Message};

/// The first byte says what the others are.
pub(super) fn payloads(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => call(rest),
        1 => reply(rest),
        2 => failure(&decode_failure(rest)),
        _ => dead(rest),
    }
}

/// The header of a call.
fn call(bytes: &[u8]) {
    let header = match CallHeader::parse(bytes) {
        Ok(header) => header,
        Err(error) => return checks::tells(&error.to_string()),
    };
    assert!(header.args <= bytes.len());
    let Ok(again) = encode_call(header.name, &(), header.chain, header.values) else {
        panic!("a name of {} bytes came and cannot be sent", header.name.len());
    };
    let again = CallHeader::parse(&again).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((again.name, again.chain, again.values), (header.name, header.chain, header.values));
}

/// The reply to a call.
fn reply(bytes: &[u8]) {
    match decode_reply(&Bytes::copy_from_slice(bytes)) {
        Ok(result) => assert_eq!(result, bytes[1..]),
        Err(error) => failure(&error),
    }
}

/// An error of another context. It is not changed again when it is passed on.
fn failure(error: &Error) {
    checks::error(error);
    let passed_on = decode_reply(&encode_error(OTHER_ERROR, error));
    assert_eq!(passed_on.as_ref(), Err(error));
}

/// The reason of a dead message.
fn dead(bytes: &[u8]) {
    let message = Message { data: Bytes::copy_from_slice(bytes), ..Message::dead("") }.to_handle(Handle(1000));
    let reason = message.reason().unwrap_or_default();
    checks::harmless(&reason);
    // A byte becomes at most an escape of ten characters.
    assert!(!reason.is_empty() && reason.len() <= 10 * bytes.len() + 64, "{} bytes", reason.len());
    assert!(message.decode::<u8>().is_err() && message.values().is_err());
}
