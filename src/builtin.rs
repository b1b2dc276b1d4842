//! Functions that every copy of a program has.

pub mod command;
pub mod facts;
pub mod file;
