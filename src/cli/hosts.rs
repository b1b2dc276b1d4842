//! Which hosts: expressions, the files that name hosts, and the way from names back to expressions.

pub(crate) mod command;
pub(crate) mod expression;
pub(crate) mod expression_error;
pub(crate) mod fold;
pub(crate) mod foreign;
pub(crate) mod hop;
pub(crate) mod names;
pub(crate) mod numbers;
pub(crate) mod path;
pub(crate) mod pattern;
pub(crate) mod sources;
