//! Encodes values into bytes and decodes them, in the format of bincode: by position, with the same
//! type at both ends.
//!
//! The encoding does not describe itself. What serde can express and bincode
//! cannot compiles and fails when it is used: `#[serde(skip_serializing_if)]`,
//! `flatten`, `tag`, `untagged`, `serde_json::Value`, and a `PathBuf` that is
//! not UTF-8. Such a failure is an [`Error::Payload`](crate::Error::Payload)
//! where the value was to be sent and a [`CallError`](crate::error::CallError) where
//! a result could not be sent back; both name the function.

mod decode;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::sync::Arc;

use bincode::config::Configuration;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use decode::Decoder;

use crate::wire::message::ContextId;
use crate::wire::port::Port;

/// Values of at most this many bytes are encoded in memory that is used again.
const MAX_SCRATCH: usize = 1024;

const CONFIG: Configuration = bincode::config::standard();

thread_local! {
    /// Whether the value that this thread encoded last contained a [`Secret`].
    static SECRET: Cell<bool> = const { Cell::new(false) };
    /// Memory for the next value that this thread encodes.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The origin of the value that is being decoded on this thread.
    static CURRENT: RefCell<Option<Origin>> = const { RefCell::new(None) };
}

/// The origin of a value.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The router that a `Context` or `Sender` in the value will belong to.
    pub(crate) port: Arc<dyn Port>,
    /// The context that has sent the value.
    pub(crate) src: ContextId,
    /// The authority under which the value was sent.
    pub(crate) auth: ContextId,
}

/// Encodes a value.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    encode_into(value, &mut out)?;
    Ok(out)
}

/// Appends the encoded value to `out`.
pub(crate) fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
    SECRET.set(false);
    bincode::serde::encode_into_std_write(value, &mut Growing(out), CONFIG).map(drop).map_err(|error| error.to_string())
}

/// Whether the value that this thread encoded last contained a [`Secret`].
pub(crate) fn held_secret() -> bool {
    SECRET.get()
}

/// Empty memory for a value that is to be encoded. Give it to [`finished`] afterwards.
pub(crate) fn scratch() -> Vec<u8> {
    SCRATCH.take()
}

/// The bytes of `data`, which this thread has encoded last and begun with [`scratch`]. They have the size that they need,
/// so a small value costs one allocation. A value that contained a [`Secret`] is wiped when its last owner drops it.
pub(crate) fn finished(mut data: Vec<u8>) -> Bytes {
    if held_secret() {
        return wiped(data);
    }
    if data.len() > MAX_SCRATCH {
        return data.into();
    }
    let bytes = match data[..] {
        // The reply of every function without a result.
        [0] => Bytes::from_static(&[0]),
        _ => Bytes::copy_from_slice(&data),
    };
    data.clear();
    SCRATCH.set(data);
    bytes
}

/// Makes bytes that are wiped when their last owner drops them.
pub(crate) fn wiped(bytes: Vec<u8>) -> Bytes {
    Bytes::from_owner(Zeroizing::new(bytes))
}

/// A buffer that wipes its old memory when it grows, so that no secret stays behind.
struct Growing<'a>(&'a mut Vec<u8>);

impl io::Write for Growing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if SECRET.get() && self.0.capacity() - self.0.len() < bytes.len() {
            let mut larger = Vec::with_capacity(2 * (self.0.len() + bytes.len()));
            larger.extend_from_slice(self.0);
            std::mem::replace(self.0, larger).zeroize();
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes the value in `bytes`, which must contain nothing else. The value can contain contexts
/// and senders only if there is an origin.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], origin: Option<Origin>) -> Result<T, String> {
    let (value, used) = decode_front(bytes, origin)?;
    if used != bytes.len() {
        return Err(format!("{} bytes left over after the value", bytes.len() - used));
    }
    Ok(value)
}

/// Decodes the value at the front of `bytes`. Also returns how many bytes it took.
pub(crate) fn decode_front<T: DeserializeOwned>(bytes: &[u8], origin: Option<Origin>) -> Result<(T, usize), String> {
    let before = CURRENT.with(|current| current.replace(origin));
    let mut decoder = Decoder::new(bytes);
    let result = T::deserialize(&mut decoder);
    CURRENT.with(|current| *current.borrow_mut() = before);
    match result {
        Ok(value) => Ok((value, bytes.len() - decoder.left())),
        Err(refusal) => Err(refusal.to_string()),
    }
}

/// The origin of what is being decoded on this thread.
pub(crate) fn current_origin() -> Option<Origin> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Bytes that are encoded in one piece. This is much faster than `Vec<u8>`, which serde encodes
/// byte by byte.
///
/// [`Command::events`](crate::process::Command::events) has an example.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Blob(#[serde(with = "serde_bytes")] pub Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[blob: {} bytes]", self.0.len())
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// A text that is not shown, and that is wiped from memory after use.
///
/// As an argument of a call, such as the password of a connect behind another context, it is also
/// wiped from the buffers of all contexts that it passes through. It is not wiped in results, in
/// what a [`Sender`](crate::Sender) sends, and in messages of more than 64 KiB. Copies that the
/// system, ssh and sudo make are not wiped either.
///
/// ```
/// let secret = offshoot::Secret::from("hunter2");
/// assert_eq!(format!("{secret:?}"), "[secret]");
/// assert_eq!(secret.expose(), "hunter2");
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SECRET.set(true);
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) {
        assert_eq!(&decode::<T>(&encode(value).unwrap(), None).unwrap(), value);
    }

    #[test]
    fn values_of_every_kind_survive_the_round_trip() {
        round_trip(&(true, None::<u8>, -1.5f64, u128::MAX, i64::MIN));
        round_trip(&vec![String::new(), "text \u{1f30d}".to_owned()]);
        round_trip(&BTreeMap::from([(1u8, vec![Some("x".to_owned())])]));
        round_trip(&Blob::default());
        round_trip(&Blob(vec![0; 1000]));
        round_trip(&Secret::new(""));
        round_trip(&Secret::new("hunter2"));
    }

    #[test]
    fn blobs_and_secrets_do_not_show_their_content() {
        assert_eq!(format!("{:?}", Blob(vec![1; 128])), "[blob: 128 bytes]");
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[secret]");
    }

    #[test]
    fn what_holds_a_secret_is_known_and_the_next_that_holds_none() {
        for length in [0, 7, 1000] {
            let mut grown = Vec::new();
            encode_into(&("x".repeat(length), Secret::new("hunter2"), vec![7_u64; length]), &mut grown).unwrap();
            assert!(held_secret());
            let value: (String, String, Vec<u64>) = decode(&grown, None).unwrap();
            assert_eq!(value, ("x".repeat(length), "hunter2".to_owned(), vec![7; length]));
            assert_eq!(wiped(grown.clone()), grown);
            encode(&7).unwrap();
            assert!(!held_secret());
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&7u8).unwrap();
        bytes.push(0);
        assert!(decode::<u8>(&bytes, None).unwrap_err().contains("left over"));
    }

    #[test]
    fn a_hostile_length_is_refused_instead_of_allocated() {
        let huge = [253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(decode::<Vec<u8>>(&huge, None).is_err());
        assert!(decode::<String>(&huge, None).is_err());
        assert!(decode::<Blob>(&huge, None).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = decode::<(String, Vec<(u64, Option<String>)>, Blob)>(&bytes, None);
        }
    }
}
