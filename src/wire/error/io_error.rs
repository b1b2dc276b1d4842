//! Errors of input and output on this machine.

use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A file, pipe, thread or other resource of this machine has failed.
///
/// It is plain data, so that it can be cloned and sent.
///
/// ```
/// use offshoot::error::IoError;
/// use offshoot::Error;
///
/// fn size(path: &str) -> Result<u64, Error> {
///     Ok(std::fs::metadata(path)?.len())
/// }
/// let Err(Error::Io(error)) = size("/no/such/file") else { panic!("it is there") };
/// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
/// # let _: IoError = error;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{text}")]
#[non_exhaustive]
pub struct IoError {
    #[serde(serialize_with = "write_kind", deserialize_with = "read_kind")]
    kind: io::ErrorKind,
    pub(super) text: String,
}

impl IoError {
    /// Creates an error. `text` says what failed.
    pub fn new(kind: io::ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Creates an error from an error of the system. `what` says what was being done.
    pub(crate) fn while_doing(what: &str, error: &io::Error) -> Self {
        Self { kind: error.kind(), text: format!("{what}: {error}") }
    }

    /// What it says.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The kind that the system has reported. In an error of another context it is
    /// [`io::ErrorKind::Other`] if std has no name for the kind.
    pub fn kind(&self) -> io::ErrorKind {
        self.kind
    }
}

impl From<io::Error> for IoError {
    fn from(error: io::Error) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let more = cause.to_string();
            if !text.ends_with(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            source = cause.source();
        }
        Self { kind: error.kind(), text }
    }
}

impl From<IoError> for io::Error {
    fn from(error: IoError) -> Self {
        Self::new(error.kind, error)
    }
}

fn write_kind<S: Serializer>(kind: &io::ErrorKind, serializer: S) -> Result<S::Ok, S::Error> {
    let number = (0u8..).zip(KINDS).find(|(_, other)| other == kind).map_or(u8::MAX, |(number, _)| number);
    serializer.serialize_u8(number)
}

fn read_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<io::ErrorKind, D::Error> {
    let number = u8::deserialize(deserializer)?;
    Ok(KINDS.get(usize::from(number)).copied().unwrap_or(io::ErrorKind::Other))
}

/// The kinds in the order of their numbers on a link. The numbers of the system differ between
/// systems.
const KINDS: [io::ErrorKind; 37] = [
    io::ErrorKind::NotFound,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::ConnectionRefused,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::HostUnreachable,
    io::ErrorKind::NetworkUnreachable,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::NotConnected,
    io::ErrorKind::AddrInUse,
    io::ErrorKind::AddrNotAvailable,
    io::ErrorKind::NetworkDown,
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::AlreadyExists,
    io::ErrorKind::WouldBlock,
    io::ErrorKind::NotADirectory,
    io::ErrorKind::IsADirectory,
    io::ErrorKind::DirectoryNotEmpty,
    io::ErrorKind::ReadOnlyFilesystem,
    io::ErrorKind::StaleNetworkFileHandle,
    io::ErrorKind::InvalidInput,
    io::ErrorKind::InvalidData,
    io::ErrorKind::TimedOut,
    io::ErrorKind::WriteZero,
    io::ErrorKind::StorageFull,
    io::ErrorKind::NotSeekable,
    io::ErrorKind::QuotaExceeded,
    io::ErrorKind::FileTooLarge,
    io::ErrorKind::ResourceBusy,
    io::ErrorKind::ExecutableFileBusy,
    io::ErrorKind::Deadlock,
    io::ErrorKind::TooManyLinks,
    io::ErrorKind::ArgumentListTooLong,
    io::ErrorKind::Interrupted,
    io::ErrorKind::Unsupported,
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::OutOfMemory,
    io::ErrorKind::Other,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec;
    use crate::wire::error::Error;

    #[test]
    fn an_io_error_keeps_its_kind_and_text_on_a_link() {
        for kind in KINDS {
            let error = IoError::new(kind, "cannot store the file");
            let bytes = codec::encode(&error).unwrap();
            assert_eq!(codec::decode::<IoError>(&bytes, None).unwrap(), error);
        }
        let odd = codec::encode(&(200u8, "odd")).unwrap();
        assert_eq!(codec::decode::<IoError>(&odd, None).unwrap().kind(), io::ErrorKind::Other);
    }

    #[test]
    fn an_error_of_the_system_becomes_one_of_ours_and_the_system_s_again() {
        let error = Error::from(io::Error::from(io::ErrorKind::NotFound));
        let Error::Io(inner) = &error else { panic!("{error:?}") };
        assert_eq!(inner.kind(), io::ErrorKind::NotFound);
        assert_eq!(io::Error::from(inner.clone()).kind(), io::ErrorKind::NotFound);
        assert!(
            IoError::while_doing("cannot read /x", &io::Error::other("worn out")).to_string().ends_with("worn out")
        );
    }
}
