//! Memory for programs that are linked with musl.

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
mod locked {
    use std::alloc::{GlobalAlloc, Layout};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use dlmalloc::Dlmalloc;

    use super::Allocator;

    /// The standard library's lock: an allocation in a program with few threads seldom waits for another one, and
    /// this lock then costs one atomic operation. The lock that dlmalloc brings is a call into libc.
    static MEMORY: Mutex<Dlmalloc> = Mutex::new(Dlmalloc::new());

    fn memory() -> MutexGuard<'static, Dlmalloc> {
        MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // SAFETY: every operation goes to the one Dlmalloc, which keeps the promises of an allocator, under the lock.
    #[expect(unsafe_code, reason = "an allocator deals in raw memory")]
    unsafe impl GlobalAlloc for Allocator {
        #[inline]
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller keeps what `GlobalAlloc` asks for, and that is what dlmalloc asks for.
            unsafe { memory().malloc(layout.size(), layout.align()) }
        }

        #[inline]
        unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
            // SAFETY: as above; `place` came from this allocator.
            unsafe { memory().free(place, layout.size(), layout.align()) }
        }

        #[inline]
        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            // SAFETY: as above.
            unsafe { memory().calloc(layout.size(), layout.align()) }
        }

        #[inline]
        unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            // SAFETY: as above; `place` came from this allocator.
            unsafe { memory().realloc(place, layout.size(), layout.align(), size) }
        }
    }
}
