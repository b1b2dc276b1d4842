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

/// By this the tool and its images are told from other programs.
static TOOL: &str = "\x07OFFSHOOT-TOOL\n";

#[cfg(feature = "cli")]
fn main() -> ExitCode {
    offshoot::child();
    // Without this use the linker drops it.
    std::hint::black_box(TOOL);
    offshoot::cli::main()
}

#[cfg(not(feature = "cli"))]
fn main() -> ExitCode {
    offshoot::child();
    std::hint::black_box(TOOL);
    eprintln!("offshoot: this program is an image: the tool starts it on hosts; started by hand it does nothing");
    ExitCode::from(64)
}
