//! The allocator of the unit tests, which counts the memory of each thread.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

use crate::sys::allocator::Allocator;

struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

thread_local! {
    /// What this thread has allocated and not freed, in bytes. What another thread frees stays counted here.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most that was held at once.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The most memory that `work` has held on this thread, in bytes.
pub(crate) fn memory_of(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    MOST.set(before);
    work();
    usize::try_from(MOST.get() - before).unwrap_or_default()
}

fn count(change: isize) {
    let held = HELD.get() + change;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

fn size(layout: Layout) -> isize {
    layout.size().cast_signed()
}

// SAFETY: every operation goes to the allocator of the library, with the arguments that the caller gave.
#[expect(unsafe_code, reason = "an allocator is unsafe")]
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: as above.
        unsafe { Allocator.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-size(layout));
        // SAFETY: as above.
        unsafe { Allocator.dealloc(place, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: as above.
        unsafe { Allocator.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, larger: usize) -> *mut u8 {
        // Both pieces may be there at once.
        count(larger.cast_signed());
        count(-size(layout));
        // SAFETY: as above.
        unsafe { Allocator.realloc(place, layout, larger) }
    }
}
