//! What goes over a link: addresses, messages, frames, encoding, errors. Nothing here does I/O.

pub(crate) mod call_payload;
pub(crate) mod codec;
pub(crate) mod connect_trace;
pub(crate) mod error;
pub(crate) mod frame;
pub(crate) mod message;
pub(crate) mod port;
pub(crate) mod reassembly;
pub(crate) mod repeated_line;
pub(crate) mod sanitize;
pub(crate) mod text;
pub(crate) mod write_batch;
