//! Memory for programs that are linked with musl.

/// The allocator of the tool, for other programs that move much data.
///
/// The allocator of musl maps and unmaps each piece of about 10 KiB. This costs
/// more than everything else that happens to a message of that size. This
/// allocator keeps freed memory. On targets other than musl it is the
/// allocator of the system.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: offshoot::Allocator = offshoot::Allocator;
/// # fn main() {}
/// ```
#[cfg(target_env = "musl")]
pub use dlmalloc::GlobalDlmalloc as Allocator;

/// The allocator of the system. On musl it is a faster one.
#[cfg(not(target_env = "musl"))]
pub use std::alloc::System as Allocator;
