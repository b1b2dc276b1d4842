//! The tool.
//!
//! # Layout
//!
//! In the order of the data. What decides is pure: it reads no file, knows no
//! clock and writes to what it is given.
//!
//! - [`args`]: the command line; [`duration`] and [`quote`] read and write parts of it.
//! - [`expr`]: which hosts. A word is cut by [`pattern`] and [`numbers`], read by
//!   [`hop`], and becomes a [`host`]; [`fault`] says what is wrong with it;
//!   [`sources`] reads the files it names.
//! - [`fold`]: the way back, from hosts to an expression; [`hosts`] prints either.
//! - [`report`]: what happened. [`line`] cuts output into lines, [`text`], [`jsonl`]
//!   and [`json`] show it ([`visible`] and [`base64`] the bytes), [`pipe`] writes
//!   it, [`summary`] counts.
//! - [`exit`]: how the tool ends.

pub(crate) mod args;
pub(crate) mod base64;
pub(crate) mod duration;
pub(crate) mod exit;
pub(crate) mod expr;
pub(crate) mod fault;
pub(crate) mod fold;
pub(crate) mod hop;
pub(crate) mod host;
pub(crate) mod hosts;
pub(crate) mod json;
pub(crate) mod jsonl;
pub(crate) mod line;
pub(crate) mod numbers;
pub(crate) mod pattern;
pub(crate) mod pipe;
pub(crate) mod quote;
pub(crate) mod report;
pub(crate) mod sources;
pub(crate) mod summary;
pub(crate) mod text;
pub(crate) mod visible;
