//! Memory for programs that are linked with musl.

/// The allocator of this crate's own program, for others that move much data.
///
/// musl's own maps and unmaps each piece of some 10 KiB, which costs more
/// than all else that happens to a message of that size. This one keeps what
/// was freed. Elsewhere it is the system's.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: offshoot::alloc::Allocator = offshoot::alloc::Allocator;
/// # fn main() {}
/// ```
#[cfg(target_env = "musl")]
pub use dlmalloc::GlobalDlmalloc as Allocator;

/// The system's allocator. On musl it is one that is quicker than the
/// system's.
#[cfg(not(target_env = "musl"))]
pub use std::alloc::System as Allocator;
