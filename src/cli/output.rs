//! The output of the tool: events of a run, as text, JSON or lines of JSON.

pub(crate) mod bar;
pub(crate) mod diff;
pub(crate) mod file_name;
pub(crate) mod files;
pub(crate) mod folding;
pub(crate) mod gathered;
pub(crate) mod json;
pub(crate) mod jsonl;
pub(crate) mod kept;
pub(crate) mod line;
pub(crate) mod marks;
pub(crate) mod pipe;
pub(crate) mod progress;
pub(crate) mod report;
pub(crate) mod safe_json;
pub(crate) mod summary;
pub(crate) mod text;
pub(crate) mod visible;
