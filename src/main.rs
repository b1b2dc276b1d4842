//! The tool. A copy of it that was started as a child never gets past the
//! first line.

#![deny(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    offshoot::child();
    cli::main()
}
