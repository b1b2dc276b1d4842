//! Memory for programs that are linked with musl.
//!
//! - `cached`: the allocator

/// The allocator of this crate's own program, for other programs that move much data.
///
/// musl's own allocator maps and unmaps each piece of some 10 KiB, which costs more than everything else that happens to
/// a message of that size. This allocator keeps what was freed. On targets without musl it is the system's allocator.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: offshoot::alloc::Allocator = offshoot::alloc::Allocator;
/// # fn main() {}
/// ```
#[cfg(target_env = "musl")]
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocator;

/// The system's allocator. On musl it is one that is quicker than the system's.
#[cfg(not(target_env = "musl"))]
pub use std::alloc::System as Allocator;

#[cfg(target_env = "musl")]
mod cached;

#[cfg(target_env = "musl")]
pub(crate) use cached::Cached;

/// Small memory that was freed, where the system's allocator keeps it itself.
#[cfg(not(target_env = "musl"))]
#[derive(Debug)]
pub(crate) struct Cached;

#[cfg(not(target_env = "musl"))]
impl Cached {
    /// Does nothing.
    pub(crate) fn here() -> Self {
        Self
    }
}
