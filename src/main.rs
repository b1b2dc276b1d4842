//! The tool. A copy that was started as a child never gets past the first statement of `main`. Without the
//! feature `cli` the program is an image, which contains nothing but children.

#![deny(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: offshoot::alloc::Allocator = offshoot::alloc::Allocator;

offshoot::__private::inventory::submit! {
    // `build.rs` sets the variable.
    offshoot::__private::ProgramBuild(env!("OFFSHOOT_OWN_BUILD"))
}

#[cfg(feature = "cli")]
fn main() -> ExitCode {
    offshoot::child();
    offshoot::cli::main()
}

#[cfg(not(feature = "cli"))]
fn main() -> ExitCode {
    offshoot::child();
    eprintln!("offshoot: this program is an image: the tool starts it on hosts; started by hand it does nothing");
    ExitCode::from(64)
}
