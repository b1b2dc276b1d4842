//! The I/O thread: jobs, timers, pausing, and its end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use offshoot::error::ChannelErrorKind;
use offshoot::{Broker, Econtext, Error, Receiver, Router, Sender, export};

use super::{Tree, block, block_on, eventually, is_alive, kind, pid};

/// Threads of this process that route.
fn io_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let named = tasks.filter(|task| {
        let name = std::fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| name.trim() == "offshoot-io")
    });
    named.map(|task| task.file_name().into_string().unwrap()).collect()
}

/// The number of the I/O thread of a broker.
fn thread_of(broker: &Broker) -> String {
    let link = broker.defer_sync(|| std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
    link.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn defer_sync_returns_what_the_job_returns() {
    let broker = Broker::new().unwrap();
    assert_eq!(broker.defer_sync(|| 7), Ok(7));
    let refused = broker.defer_sync(|| Err::<(), _>("no")).unwrap();
    assert_eq!(refused, Err("no"));
}

#[test]
fn defer_sync_passes_a_panic_on_and_the_thread_lives() {
    let broker = Broker::new().unwrap();
    let panic = std::panic::catch_unwind(|| broker.defer_sync(|| panic!("such is life")).unwrap_or(()));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"such is life"));
    assert_eq!(broker.defer_sync(|| 7), Ok(7));
}

#[test]
fn waiting_on_the_io_thread_for_itself_is_refused() {
    let broker = Broker::new().unwrap();
    let (own, joined) = (broker.clone(), broker.clone());
    let errors = broker.defer_sync(move || (own.defer_sync(|| ()), joined.join())).unwrap();
    assert!(matches!(errors, (Err(Error::Deadlock(_)), Err(Error::Deadlock(_)))), "{errors:?}");
}

#[test]
fn jobs_run_in_the_order_in_which_they_were_deferred() {
    let broker = Broker::new().unwrap();
    let (tell, told) = mpsc::channel();
    for number in 0..1000 {
        let tell = tell.clone();
        broker.defer(move || tell.send(number).unwrap()).unwrap();
    }
    drop(tell);
    assert!(told.iter().eq(0..1000));
}

#[test]
fn what_is_deferred_while_the_routers_end_is_done_and_later_nothing_is() {
    let broker = Broker::new().unwrap();
    let tree = Tree(Router::builder().broker(&broker).build().unwrap());
    let child = tree.child();
    // It takes its whole grace.
    broker.set_shutdown_timeout(Duration::from_millis(300));
    let process = child.blocking_call(pid, ()).unwrap();
    super::ending::stop(process);
    broker.shutdown();
    let start = Instant::now();
    let mut done = 0;
    while let Ok(number) = broker.defer_sync(move || done + 1) {
        done = number;
        std::thread::sleep(Duration::from_millis(1));
        assert!(start.elapsed() < Duration::from_secs(10), "the thread does not end");
    }
    assert!(done > 10, "{done} jobs were done during the grace");
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    assert!(matches!(broker.defer(|| ()), Err(Error::Closed(_))));
    assert!(!is_alive(process));
    broker.join().unwrap();
}

#[test]
fn jobs_that_were_accepted_are_done_whatever_happens() {
    let done = Arc::new(AtomicU32::new(0));
    let mut accepted = 0;
    for _ in 0..20 {
        let broker = Broker::new().unwrap();
        broker.shutdown();
        for _ in 0..100 {
            let done = Arc::clone(&done);
            accepted += u32::from(
                broker
                    .defer(move || {
                        done.fetch_add(1, Ordering::Relaxed);
                    })
                    .is_ok(),
            );
        }
        broker.join().unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), accepted);
}

#[test]
fn the_thread_ends_with_its_last_handle_and_router() {
    let broker = Broker::new().unwrap();
    let thread = thread_of(&broker);
    let router = Router::builder().broker(&broker).build().unwrap();
    drop(broker);
    assert!(block_on(router.stats()).is_ok());
    assert!(io_threads().contains(&thread));
    block_on(router.shutdown());
    eventually("the end of the thread", || !io_threads().contains(&thread));
    assert!(matches!(router.broker().defer(|| ()), Err(Error::Closed(_))));
}

#[test]
fn the_end_of_the_thread_that_installed_a_watcher_ends_everything() {
    let (broker, child) = std::thread::spawn(|| {
        let broker = Broker::new().unwrap();
        broker.install_watcher();
        let router = Router::builder().broker(&broker).build().unwrap();
        let child = router.local().blocking_connect().unwrap();
        let process = child.blocking_call(pid, ()).unwrap();
        std::mem::forget(router);
        (broker, process)
    })
    .join()
    .unwrap();
    broker.join().unwrap();
    assert!(!is_alive(child));
}

#[test]
fn timers_go_off_in_order_once_and_never_early() {
    let broker = Broker::new().unwrap();
    let (tell, told) = mpsc::channel();
    let start = Instant::now();
    let mut timers = Vec::new();
    for ms in [250, 50, 150, 0, 100] {
        let tell = tell.clone();
        let when = start + Duration::from_millis(ms);
        timers.push(broker.schedule(when, move || tell.send((ms, Instant::now())).unwrap()).unwrap());
    }
    // Long past.
    let late = tell.clone();
    broker
        .schedule(start.checked_sub(Duration::from_secs(1)).unwrap(), move || late.send((1, Instant::now())).unwrap())
        .unwrap();
    timers[2].cancel();
    drop((tell, timers));
    let mut fired = Vec::new();
    for (ms, when) in told {
        assert!(when >= start + Duration::from_millis(if ms == 1 { 0 } else { ms }), "{ms} ms came early");
        fired.push(ms);
    }
    fired[..2].sort_unstable();
    assert_eq!(fired, [0, 1, 50, 100, 250]);
}

#[test]
fn a_timer_can_be_cancelled_by_one_that_is_due_at_the_same_time() {
    let broker = Broker::new().unwrap();
    let (fired, second) = (Arc::<AtomicU32>::default(), Arc::<Mutex<Option<offshoot::router::Timer>>>::default());
    let when = Instant::now() + Duration::from_millis(50);
    let (count, other) = (Arc::clone(&fired), Arc::clone(&second));
    broker
        .schedule(when, move || {
            count.fetch_add(1, Ordering::Relaxed);
            other.lock().unwrap().take().unwrap().cancel();
        })
        .unwrap();
    let count = Arc::clone(&fired);
    let timer = broker
        .schedule(when, move || {
            count.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    *second.lock().unwrap() = Some(timer);
    eventually("the first timer", || fired.load(Ordering::Relaxed) > 0);
    broker.defer_sync(|| ()).unwrap();
    assert_eq!(fired.load(Ordering::Relaxed), 1);
}

async fn count_up(_: &Econtext, to: Sender<u32>) -> Result<(), Error> {
    for number in 0.. {
        to.send(number).await?;
    }
    Ok(())
}
export!(concurrent count_up);

#[test]
fn a_child_that_is_not_read_says_nothing_and_is_slowed_down_until_it_is_read_again() {
    let tree = Tree::new();
    let broker = tree.0.broker();
    let (child, other) = (tree.child(), tree.child());
    let numbers = Receiver::<u32>::new(&tree.0);
    let counting = child.call(count_up, (numbers.sender(),));
    block_on(numbers.recv()).unwrap();
    broker.stop_receive(&child);
    broker.defer_sync(|| ()).unwrap();
    // What had arrived before may be taken.
    while block_on(async { numbers.recv_timeout(Duration::from_millis(200)).await }).is_ok() {}
    let call = child.call(pid, ());
    assert!(other.blocking_call(pid, ()).is_ok(), "others are read");
    assert!(block_on(numbers.recv_timeout(Duration::from_millis(100))).is_err());
    broker.start_receive(&child);
    assert!(block_on(call).is_ok());
    assert!(block_on(numbers.recv()).is_ok());
    drop(counting);
}

#[test]
fn a_child_that_is_not_read_can_be_ended() {
    let tree = Tree::new();
    let child = tree.child();
    let process = child.blocking_call(pid, ()).unwrap();
    tree.0.broker().stop_receive(&child);
    let start = Instant::now();
    child.blocking_shutdown();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(!is_alive(process));
}

#[test]
fn keep_alive_says_whether_there_is_something_to_end() {
    let tree = Tree::new();
    let broker = tree.0.broker();
    assert!(!block_on(broker.keep_alive()));
    let child = tree.child();
    assert!(block_on(broker.keep_alive()));
    child.blocking_shutdown();
    eventually("the end of all work", || !block_on(broker.keep_alive()));
    let timer = broker.schedule(Instant::now() + Duration::from_secs(1000), || ()).unwrap();
    assert!(block_on(broker.keep_alive()));
    timer.cancel();
    assert!(!block_on(broker.keep_alive()));
}

#[test]
fn the_shutdown_timeout_is_5_s_in_a_master_and_3_s_in_a_child_and_can_be_set() {
    let tree = Tree::new();
    let child = tree.child();
    let process = child.blocking_call(pid, ()).unwrap();
    assert_eq!(tree.0.broker().shutdown_timeout(), Duration::from_secs(5));
    assert_eq!(child.blocking_call(grace, ()).unwrap(), Duration::from_secs(3));
    tree.0.broker().set_shutdown_timeout(Duration::from_millis(200));
    super::ending::stop(process);
    let start = Instant::now();
    child.blocking_shutdown();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(start.elapsed() > Duration::from_millis(200), "{:?}", start.elapsed());
}

fn grace(econtext: &Econtext) -> Duration {
    econtext.router().broker().shutdown_timeout()
}
export!(grace);

#[test]
fn run_with_router_leaves_no_thread_and_no_child_also_after_a_panic() {
    let seen = Arc::<Mutex<Option<(String, u32)>>>::default();
    for fails in [false, true] {
        let run = offshoot::connect::run_with_router(async |router: Router| {
            let child = router.local().connect().await.unwrap();
            let process = child.call(pid, ()).await.unwrap();
            child.call(block, (1000,)).detach();
            *seen.lock().unwrap() = Some((thread_of(&router.broker()), process));
            assert!(!fails, "as was asked for");
            5
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block_on(run)));
        assert_eq!(result.is_err(), fails);
        assert!(result.is_err() || result.unwrap() == Ok(5));
        let (thread, process) = seen.lock().unwrap().take().unwrap();
        assert!(!is_alive(process), "the child has ended (fails: {fails})");
        // A join returns a moment before the kernel has taken it off its list.
        eventually("the end of the thread", || !io_threads().contains(&thread));
    }
}

#[test]
fn two_routers_on_one_thread_end_one_by_one_and_with_the_broker_together() {
    let broker = Broker::new().unwrap();
    let routers: Vec<Router> = (0..3).map(|_| Router::builder().broker(&broker).build().unwrap()).collect();
    let children: Vec<_> = routers.iter().map(|router| router.local().blocking_connect().unwrap()).collect();
    let processes: Vec<u32> = children.iter().map(|child| child.blocking_call(pid, ()).unwrap()).collect();
    routers[0].blocking_shutdown();
    assert!(!is_alive(processes[0]));
    assert!(children[1].blocking_call(pid, ()).is_ok());
    broker.shutdown();
    broker.join().unwrap();
    assert!(!processes.iter().any(|process| is_alive(*process)));
    assert_eq!(kind(children[2].blocking_call(pid, ()).unwrap_err()), ChannelErrorKind::RouterEnded);
}
