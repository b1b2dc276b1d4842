//! The operating system: processes, descendants, namespaces, descriptors as streams, sockets, terminals, blocking
//! waits. All unsafe code is here. This layer knows nothing of the others.

pub(crate) mod allocator;
#[cfg(feature = "files")]
pub(crate) mod beneath;
pub(crate) mod blocking;
#[cfg(test)]
pub(crate) mod counted;
pub(crate) mod deadline;
pub(crate) mod directory;
pub(crate) mod hash;
pub(crate) mod hex;
#[cfg(feature = "cli")]
pub(crate) mod local_time;
#[cfg(all(target_arch = "x86_64", target_env = "musl"))]
mod memcpy;
pub(crate) mod panic;
#[cfg(feature = "fakessh")]
pub(crate) mod passing;
#[cfg(feature = "cli")]
pub(crate) mod patient;
pub(crate) mod pipe;
pub(crate) mod process;
pub(crate) mod pty;
pub(crate) mod quote;
#[cfg(feature = "cli")]
pub(crate) mod raw_end;
pub(crate) mod socket;
pub(crate) mod temporary;
#[cfg(any(feature = "cli", feature = "files"))]
pub(crate) mod unnamed_file;
