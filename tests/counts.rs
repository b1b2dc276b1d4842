//! What a call costs in things that do not depend on the machine: allocations, reads and writes, changes of threads, frames and
//! bytes. A cost above its limit here means that calls have become slower everywhere. `--nocapture` prints the costs.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]
#![expect(clippy::print_stdout, reason = "the costs are for reading too")]
#![expect(unsafe_code, reason = "an allocator is unsafe")]

offshoot::testing!();

use std::alloc::{GlobalAlloc, Layout};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use offshoot::{Blob, Context, Econtext, Error, Router, Sender, export};

/// Calls of one measurement.
const CALLS: u64 = 2000;
/// The chunks of one measurement of bulk data, and the bytes of each.
const CHUNKS: u64 = 1000;
const CHUNK: usize = 64 * 1024;

/// The most allocations, reads and writes, and waits of a call that is made when the one before has returned, at each end. Two
/// allocations are the message and its answer, or the state of the call. A read or write wakes a thread, or moves a frame.
const ALONE: [f64; 3] = [2.1, 4.2, 6.0];
/// The same in a process that passes it on: it reads and writes a frame in each direction.
const HOP: [f64; 3] = [0.1, 4.2, 4.0];
/// The same of one of many calls that are made at once: their frames travel together.
const PIPELINED: [f64; 3] = [2.3, 0.5, 2.0];
const PIPELINED_HOP: [f64; 3] = [0.3, 0.5, 1.0];
/// The same of a piece of a stream.
const CHUNKED: [f64; 3] = [6.5, 4.0, 4.0];
const CHUNKED_HOP: [f64; 3] = [2.5, 4.0, 2.0];

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every operation goes to the allocator of the library, with the arguments that the caller gave.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { offshoot::alloc::Allocator.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { offshoot::alloc::Allocator.dealloc(place, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { offshoot::alloc::Allocator.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { offshoot::alloc::Allocator.realloc(place, layout, size) }
    }
}

/// Allocations, reads and writes, and times that a thread gave up the processor to wait, of this process since its start.
fn counted() -> std::io::Result<[u64; 3]> {
    let value = |line: &str| line.rsplit_once(':').and_then(|(_, number)| number.trim().parse::<u64>().ok());
    let sum = |text: &str, names: &[&str]| -> u64 {
        text.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).filter_map(value).sum()
    };
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    let io = sum(&std::fs::read_to_string("/proc/self/io")?, &["syscr:", "syscw:"]);
    let mut waits = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread that has just ended counts no more.
        let status = std::fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        waits += sum(&status, &["voluntary_ctxt_switches:"]);
    }
    Ok([allocations, io, waits])
}
export!(counted);

fn nothing() {}
export!(nothing);

async fn pour(_: &Econtext, to: Sender<Blob>) -> Result<(), Error> {
    for _ in 0..CHUNKS {
        to.send(Blob(vec![7; CHUNK])).await?;
    }
    Ok(())
}
export!(pour);

/// What `work` costs in each of these contexts and in this one, which comes first: for each of `units`, allocations, reads and
/// writes, and waits.
async fn cost(units: u64, there: &[&Context], work: impl AsyncFn()) -> Vec<[f64; 3]> {
    // Tables and queues grow to their size before anything counts.
    work().await;
    let all = async || {
        let mut all = vec![counted().unwrap()];
        for context in there {
            all.push(context.call(counted, ()).await.unwrap());
        }
        all
    };
    // What counting itself costs is counted too, and then subtracted.
    let before = all().await;
    let idle = all().await;
    work().await;
    let after = all().await;
    let costs = before.iter().zip(&idle).zip(&after).map(|((before, idle), after)| {
        [0, 1, 2].map(|nth| {
            let counting = idle[nth] - before[nth];
            (after[nth] - idle[nth]).saturating_sub(counting) as f64 / units as f64
        })
    });
    costs.collect()
}

/// Prints what something costs, and compares it with its limits.
fn check(what: &str, names: &[&str], costs: &[[f64; 3]], limits: &[[f64; 3]], wrong: &mut Vec<String>) {
    for ((name, cost), limit) in names.iter().zip(costs).zip(limits) {
        let [allocations, io, waits] = cost;
        println!("{what}, {name}: {allocations:.2} allocations, {io:.2} reads and writes, {waits:.2} waits");
        if cost.iter().zip(limit).any(|(cost, limit)| cost > limit) {
            wrong.push(format!("{what}, {name}: {cost:.2?} of at most {limit:?}"));
        }
    }
}

fn with_router<F: Future<Output = ()>>(work: impl FnOnce(Router) -> F) {
    let router = Router::new().unwrap();
    offshoot::block_on(work(router.clone()));
    router.blocking_shutdown();
}

#[test]
fn calls_and_streams_cost_no_more_than_they_did() {
    with_router(async |router| {
        let child = router.local().await.unwrap();
        let far = router.local().via(&child).await.unwrap();
        let mut wrong = Vec::new();

        let one_by_one = async |context: &Context| {
            for _ in 0..CALLS {
                context.call(nothing, ()).await.unwrap();
            }
        };
        let costs = cost(CALLS, &[&child], async || one_by_one(&child).await).await;
        check("call", &["caller", "callee"], &costs, &[ALONE; 2], &mut wrong);
        let costs = cost(CALLS, &[&child, &far], async || one_by_one(&far).await).await;
        check("call behind a hop", &["caller", "hop", "callee"], &costs, &[ALONE, HOP, ALONE], &mut wrong);

        let at_once = async |context: &Context| {
            let calls: Vec<_> = (0..CALLS).map(|_| context.call(nothing, ())).collect();
            for call in calls {
                call.await.unwrap();
            }
        };
        let costs = cost(CALLS, &[&child], async || at_once(&child).await).await;
        check("pipelined call", &["caller", "callee"], &costs, &[PIPELINED; 2], &mut wrong);
        let costs = cost(CALLS, &[&child, &far], async || at_once(&far).await).await;
        let limits = [PIPELINED, PIPELINED_HOP, PIPELINED];
        check("pipelined call behind a hop", &["caller", "hop", "callee"], &costs, &limits, &mut wrong);

        let drain = async |context: &Context| {
            let mut chunks = context.stream(pour, |to| (to,));
            while let Some(chunk) = chunks.next().await {
                chunk.unwrap();
            }
        };
        let costs = cost(CHUNKS, &[&child], async || drain(&child).await).await;
        check("chunk of 64 KiB", &["reader", "writer"], &costs, &[CHUNKED; 2], &mut wrong);
        let costs = cost(CHUNKS, &[&child, &far], async || drain(&far).await).await;
        let limits = [CHUNKED, CHUNKED_HOP, CHUNKED];
        check("chunk of 64 KiB behind a hop", &["reader", "hop", "writer"], &costs, &limits, &mut wrong);

        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}
