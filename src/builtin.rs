//! Functions that every copy of a program has, and what contexts offer by them.

pub mod facts;
pub mod file;
pub mod process;
