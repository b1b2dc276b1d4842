//! dlmalloc behind one lock, and small memory that threads keep for themselves.
//!
//! Messages are small, are made by one thread and are freed by another one. With a lock for each, two processors spend a third of
//! the time of many small calls on it. A thread with a [`Cached`] takes the lock once for several of them.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::Dlmalloc;

use super::Allocator;

/// The standard library's lock: one atomic operation, if nobody else holds it. The lock that dlmalloc brings is a call into
/// libc.
static MEMORY: Mutex<Dlmalloc> = Mutex::new(Dlmalloc::new());

thread_local! {
    /// The small memory of this thread. It has no destructor, so an allocator may read it at any time.
    static CACHE: Cell<*mut Lists> = const { Cell::new(null_mut()) };
}

/// The sizes of small memory are 8, 24, 40 and so on bytes: what dlmalloc makes of them has no bytes to spare.
const STEP: usize = 16;
const CLASSES: usize = 17;
const MAX_SMALL: usize = size_of_class(CLASSES - 1);
/// The alignment that all memory of dlmalloc has.
const ALIGN: usize = 2 * size_of::<usize>();
/// How many are taken from dlmalloc at once, at first, so that an idle process is small, and at most.
const FIRST_TAKEN: usize = 2;
const MOST_TAKEN: usize = 16;
/// How many of one size a thread keeps. Then it gives half of them back.
const KEPT: usize = 64;

const fn size_of_class(class: usize) -> usize {
    STEP * class + STEP / 2
}

/// The class of small memory. `None` if it is not small.
fn class_of(layout: Layout) -> Option<usize> {
    let is_small = layout.size() <= MAX_SMALL && layout.align() <= ALIGN;
    is_small.then_some((layout.size() + STEP / 2 - 1) / STEP)
}

fn memory() -> MutexGuard<'static, Dlmalloc> {
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory that was freed. Its first bytes are the link to the next one.
struct Block {
    next: *mut Self,
}

#[derive(Clone, Copy)]
struct List {
    first: *mut Block,
    count: usize,
    /// How many are taken from dlmalloc the next time.
    next_taken: usize,
}

type Lists = [List; CLASSES];

#[expect(unsafe_code, reason = "an allocator deals in raw memory")]
impl List {
    /// # Safety
    ///
    /// The memory is of the size of this list, and nobody uses it any more.
    unsafe fn push(&mut self, block: NonNull<Block>) {
        // SAFETY: the smallest memory has room for a link, and its alignment.
        unsafe { block.write(Block { next: self.first }) };
        self.first = block.as_ptr();
        self.count += 1;
    }

    fn pop(&mut self) -> Option<NonNull<Block>> {
        let first = NonNull::new(self.first)?;
        // SAFETY: what is in the list was written by `push`.
        self.first = unsafe { first.read() }.next;
        self.count -= 1;
        Some(first)
    }

    #[cold]
    fn fill(&mut self, class: usize) {
        let mut memory = memory();
        for _ in 0..self.next_taken {
            // SAFETY: dlmalloc keeps the promises of an allocator.
            let Some(block) = NonNull::new(unsafe { memory.malloc(size_of_class(class), ALIGN) }) else { return };
            // SAFETY: it is new, and has that size.
            unsafe { self.push(block.cast()) };
        }
        self.next_taken = MOST_TAKEN.min(2 * self.next_taken);
    }

    /// Gives memory back to dlmalloc until no more than `kept` is left.
    #[cold]
    fn empty(&mut self, class: usize, kept: usize) {
        let mut memory = memory();
        while self.count > kept
            && let Some(block) = self.pop()
        {
            // SAFETY: all memory of a class came from dlmalloc with this size.
            unsafe { memory.free(block.as_ptr().cast(), size_of_class(class), ALIGN) };
        }
    }
}

/// As long as it lives, its thread keeps some small memory that was freed, and takes that first.
#[derive(Debug)]
pub(crate) struct Cached {
    /// `None` if the thread has another one.
    lists: Option<NonNull<Lists>>,
    /// It stays on its thread.
    of_thread: PhantomData<*mut ()>,
}

impl Cached {
    pub(crate) fn here() -> Self {
        let is_first = CACHE.get().is_null();
        let lists = is_first.then(|| {
            let lists = Box::new([List { first: null_mut(), count: 0, next_taken: FIRST_TAKEN }; CLASSES]);
            NonNull::from(Box::leak(lists))
        });
        if let Some(lists) = lists {
            CACHE.set(lists.as_ptr());
        }
        Self { lists, of_thread: PhantomData }
    }
}

#[expect(unsafe_code, reason = "as above")]
impl Drop for Cached {
    fn drop(&mut self) {
        let Some(lists) = self.lists else { return };
        CACHE.set(null_mut());
        // SAFETY: it came from a box, and nothing finds it any more.
        let mut lists = unsafe { Box::from_raw(lists.as_ptr()) };
        lists.iter_mut().enumerate().for_each(|(class, list)| list.empty(class, 0));
    }
}

/// The list of this thread for a class, if it has any.
#[expect(unsafe_code, reason = "as above")]
fn list(class: usize) -> Option<&'static mut List> {
    // SAFETY: only this thread uses it, until its `Cached` is dropped. No two references live at the same time, as the callers
    // do not keep theirs and allocate nothing with it.
    unsafe { CACHE.get().as_mut() }.map(|lists| &mut lists[class])
}

// SAFETY: all memory comes from the one Dlmalloc, which keeps the promises of an allocator, under the lock. Memory is small by its
// layout alone, which is the same when it is freed; small memory always has the size of its class.
#[expect(unsafe_code, reason = "an allocator deals in raw memory")]
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            // SAFETY: the caller keeps what `GlobalAlloc` asks for, and that is what dlmalloc asks for.
            return unsafe { memory().malloc(layout.size(), layout.align()) };
        };
        let Some(list) = list(class) else {
            // SAFETY: as above.
            return unsafe { memory().malloc(size_of_class(class), ALIGN) };
        };
        if list.first.is_null() {
            list.fill(class);
        }
        list.pop().map_or(null_mut(), |block| block.as_ptr().cast())
    }

    #[inline]
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let Some(class) = class_of(layout) else {
            // SAFETY: as above; `place` came from this allocator.
            return unsafe { memory().free(place, layout.size(), layout.align()) };
        };
        let Some(list) = list(class) else {
            // SAFETY: as above.
            return unsafe { memory().free(place, size_of_class(class), ALIGN) };
        };
        // SAFETY: what an allocator has given out is not null. It has the size of its class, and the caller does not use it
        // any more.
        unsafe { list.push(NonNull::new_unchecked(place.cast())) };
        if list.count > KEPT {
            list.empty(class, KEPT / 2);
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if class_of(layout).is_none() {
            // SAFETY: as above.
            return unsafe { memory().calloc(layout.size(), layout.align()) };
        }
        // SAFETY: as above.
        let place = unsafe { self.alloc(layout) };
        if !place.is_null() {
            // SAFETY: it is new, and has that size.
            unsafe { place.write_bytes(0, layout.size()) };
        }
        place
    }

    #[inline]
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller sees to it that the size does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let (old, new) = (class_of(layout), class_of(wanted));
        if old.is_none() && new.is_none() {
            // SAFETY: as above.
            return unsafe { memory().realloc(place, layout.size(), layout.align(), size) };
        }
        if old == new {
            return place;
        }
        // SAFETY: as above. Both have at least as many bytes as are copied.
        unsafe {
            let larger = self.alloc(wanted);
            if !larger.is_null() {
                larger.copy_from_nonoverlapping(place, layout.size().min(size));
                self.dealloc(place, layout);
            }
            larger
        }
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "the allocator itself is tested")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Memory that was given out, filled with a number of its own.
    struct Held {
        place: *mut u8,
        layout: Layout,
        filling: u8,
    }

    // SAFETY: memory may be freed by any thread.
    unsafe impl Send for Held {}

    impl Held {
        fn new(layout: Layout, filling: u8, is_zeroed: bool) -> Self {
            // SAFETY: no size is 0.
            let place = unsafe { if is_zeroed { Allocator.alloc_zeroed(layout) } else { Allocator.alloc(layout) } };
            assert!(!place.is_null() && (place as usize).is_multiple_of(layout.align()));
            let mut held = Self { place, layout, filling };
            assert!(!is_zeroed || held.bytes().iter().all(|byte| *byte == 0));
            held.bytes().fill(filling);
            held
        }

        fn bytes(&mut self) -> &mut [u8] {
            // SAFETY: it is initialised, or about to be, and nobody else has it.
            unsafe { std::slice::from_raw_parts_mut(self.place, self.layout.size()) }
        }

        fn resize(&mut self, size: usize) {
            let (kept, filling) = (self.layout.size().min(size), self.filling);
            // SAFETY: it was given out with this layout.
            self.place = unsafe { Allocator.realloc(self.place, self.layout, size) };
            self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
            assert!((self.place as usize).is_multiple_of(self.layout.align()));
            assert!(self.bytes()[..kept].iter().all(|byte| *byte == filling));
            self.bytes().fill(filling);
        }

        fn free(mut self) {
            let filling = self.filling;
            assert!(self.bytes().iter().all(|byte| *byte == filling), "nobody else has written to it");
            // SAFETY: it was given out with this layout.
            unsafe { Allocator.dealloc(self.place, self.layout) };
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Take(usize, usize, bool),
        Resize(usize, usize),
        Free(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = || prop_oneof![1..300usize, 1..10_000usize];
        prop_oneof![
            (size(), 0..8u32, any::<bool>()).prop_map(|(size, align, zeroed)| Step::Take(size, 1 << align, zeroed)),
            (any::<usize>(), size()).prop_map(|(which, size)| Step::Resize(which, size)),
            any::<usize>().prop_map(Step::Free),
        ]
    }

    proptest! {
        #[test]
        fn memory_is_nobody_elses_whatever_is_kept(
            steps in proptest::collection::vec(step(), 0..400),
            changes in proptest::collection::vec(0..400usize, 0..6),
        ) {
            let (mut held, mut cached) = (Vec::<Held>::new(), None);
            for (nth, step) in steps.into_iter().enumerate() {
                if changes.contains(&nth) {
                    cached = if cached.is_none() { Some(Cached::here()) } else { None };
                }
                match step {
                    Step::Take(size, align, is_zeroed) => {
                        let layout = Layout::from_size_align(size, align).unwrap();
                        held.push(Held::new(layout, nth as u8, is_zeroed));
                    }
                    Step::Resize(..) | Step::Free(_) if held.is_empty() => {}
                    Step::Resize(which, size) => {
                        let which = which % held.len();
                        held[which].resize(size);
                    }
                    Step::Free(which) => held.swap_remove(which % held.len()).free(),
                }
            }
            held.into_iter().for_each(Held::free);
            drop(cached);
        }
    }

    #[test]
    fn what_one_thread_has_made_another_one_frees() {
        let (send, receive) = std::sync::mpsc::sync_channel::<Held>(1000);
        let maker = std::thread::spawn(move || {
            let _cached = Cached::here();
            for nth in 0..100_000_usize {
                send.send(Held::new(Layout::from_size_align(1 + nth % 280, 8).unwrap(), nth as u8, false)).unwrap();
            }
        });
        {
            let _cached = Cached::here();
            let _inner = Cached::here();
            receive.into_iter().for_each(Held::free);
            // SAFETY: it is that of this thread.
            let most = unsafe { *CACHE.get() }.iter().map(|list| list.count).max().unwrap();
            assert!((1..=KEPT).contains(&most), "{most} are kept");
        }
        maker.join().unwrap();
        assert!(CACHE.get().is_null());
    }

    #[test]
    fn each_size_has_a_class_with_room_for_it() {
        for size in 0..=MAX_SMALL {
            let class = class_of(Layout::from_size_align(size, 1).unwrap()).unwrap();
            assert!(size_of_class(class) >= size && size_of_class(class) < size.max(8) + STEP);
        }
        assert_eq!(class_of(Layout::from_size_align(MAX_SMALL + 1, 1).unwrap()), None);
        assert_eq!(class_of(Layout::from_size_align(8, 2 * ALIGN).unwrap()), None);
    }
}
