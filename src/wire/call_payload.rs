//! The payloads of calls and of the replies to them.

use bytes::{BufMut, Bytes};

use crate::wire::codec;
use crate::wire::error::Error;
use crate::wire::message::Handle;

/// A flag in the length of a call's name: the number of its chain follows.
const CHAINED: u16 = 1 << 15;
/// A flag in the length of a call's name: the handle for the values that the function sends
/// follows.
const STREAMS: u16 = 1 << 14;

/// The most bytes of an error in a reply. Errors are made shorter than this.
const MAX_ERROR: usize = 1024 * 1024;

/// The first byte of a reply. It says what the rest is.
pub(crate) const OK: u8 = 0;
pub(crate) const CALL_ERROR: u8 = 1;
pub(crate) const OTHER_ERROR: u8 = 2;

/// The payload of a call of `function`. `chain` is the number of its chain, 0 for none. `values` is
/// the caller's handle for values that the function sends, [`Handle::NONE`] for none.
pub(crate) fn encode_call<T: serde::Serialize>(
    function: &str,
    args: &T,
    chain: u32,
    values: Handle,
) -> Result<Bytes, String> {
    let mut data = codec::scratch();
    encode_name(function, chain, values, &mut data)?;
    codec::encode_into(args, &mut data)?;
    Ok(codec::finished(data))
}

fn encode_name(function: &str, chain: u32, values: Handle, data: &mut Vec<u8>) -> Result<(), String> {
    let length = u16::try_from(function.len()).ok().filter(|length| length & (CHAINED | STREAMS) == 0);
    let mut length = length.ok_or("the function's name is too long")?;
    if chain != 0 {
        length |= CHAINED;
    }
    if values != Handle::NONE {
        length |= STREAMS;
    }
    data.put_u16(length);
    if chain != 0 {
        data.put_u32(chain);
    }
    if values != Handle::NONE {
        data.put_u32(values.0);
    }
    data.extend_from_slice(function.as_bytes());
    Ok(())
}

/// The payload that says that no more calls of a chain will come: a call without a name.
pub(crate) fn encode_forget(chain: u32) -> Vec<u8> {
    let mut data = Vec::new();
    // A name without bytes is not too long.
    let _ = encode_name("", chain, Handle::NONE, &mut data);
    data
}

/// The payload of the reply that is the result of a call.
pub(crate) fn encode_result<T: serde::Serialize>(value: &T) -> Result<Bytes, String> {
    let mut data = codec::scratch();
    data.push(OK);
    codec::encode_into(value, &mut data)?;
    Ok(codec::finished(data))
}

/// Whether a payload is a call in a chain.
pub(crate) fn is_chained(data: &[u8]) -> bool {
    data.first().is_some_and(|first| u16::from(*first) << 8 & CHAINED != 0)
}

/// Decodes the payload of a reply: the encoded result, or the error.
pub(crate) fn decode_reply(data: &Bytes) -> Result<Bytes, Error> {
    let malformed = |why: String| Error::Payload(format!("malformed reply: {why}"));
    let (kind, rest) = data.split_first().ok_or_else(|| malformed("it is empty".into()))?;
    if *kind != OK && rest.len() > MAX_ERROR {
        return Err(malformed(format!("an error of {} bytes (max {MAX_ERROR})", rest.len())));
    }
    match *kind {
        OK => Ok(data.slice(1..)),
        CALL_ERROR => Err(Error::Call(Box::new(codec::decode(rest, None).map_err(malformed)?)).escaped()),
        OTHER_ERROR => Err(codec::decode::<Error>(rest, None).map_err(malformed)?.escaped()),
        other => Err(malformed(format!("unknown kind {other}"))),
    }
}

/// Decodes the error that an answer carries instead of a value.
pub(crate) fn decode_failure(data: &[u8]) -> Error {
    let malformed = |why: String| Error::Payload(format!("malformed error: {why}"));
    if data.len() > MAX_ERROR {
        return malformed(format!("{} bytes (max {MAX_ERROR})", data.len()));
    }
    codec::decode::<Error>(data, None).unwrap_or_else(malformed).escaped()
}

/// The payload of an answer that is an error.
pub(crate) fn encode_failure(error: &Error) -> Bytes {
    let mut data = Vec::new();
    // Errors are plain data, so encoding them cannot fail.
    let _ = codec::encode_into(error, &mut data);
    data.into()
}

/// The fields of a call's payload that come before its arguments.
pub(crate) struct CallHeader<'a> {
    pub(crate) name: &'a str,
    /// The number of its chain, 0 for none.
    pub(crate) chain: u32,
    /// The caller's handle for the values that the function sends, or [`Handle::NONE`].
    pub(crate) values: Handle,
    /// The offset of its arguments.
    pub(crate) args: usize,
}

impl<'a> CallHeader<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, Error> {
        Self::parse_parts(data).ok_or_else(|| Error::Payload("malformed call: its function has no name".into()))
    }

    fn parse_parts(data: &'a [u8]) -> Option<Self> {
        let (length, mut rest) = data.split_first_chunk()?;
        let length = u16::from_be_bytes(*length);
        let mut number = |flag| {
            if length & flag == 0 {
                return Some(0);
            }
            let (number, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u32::from_be_bytes(*number))
        };
        let (chain, values) = (number(CHAINED)?, Handle(number(STREAMS)?));
        let name = std::str::from_utf8(rest.get(..usize::from(length & !(CHAINED | STREAMS)))?).ok()?;
        Some(Self { name, chain, values, args: data.len() - rest.len() + name.len() })
    }
}

/// The payload of a reply that carries a value.
pub(crate) fn encode_ok<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let mut data = vec![OK];
    codec::encode_into(value, &mut data)?;
    Ok(data)
}

/// The payload of a reply that carries an error. Errors are plain data, so encoding them cannot
/// fail.
pub(crate) fn encode_error<T: serde::Serialize>(kind: u8, error: &T) -> Bytes {
    let mut data = vec![kind];
    let _ = codec::encode_into(error, &mut data);
    data.into()
}
