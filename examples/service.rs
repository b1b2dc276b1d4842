//! A service of the controller that hands out work. Its children ask it for the next piece until nothing is left.
//!
//!     cargo run --example service

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::sync::{Mutex, PoisonError};

use offshoot::service::{Allow, Pool, Service};
use offshoot::{Context, Error, Router, export};

/// What is still to be done.
struct Work(Mutex<Vec<u64>>);

impl Work {
    fn next(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_up(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Service for Work {
    fn on_shutdown(&self) {
        println!("nothing is left: {}", self.next().is_none());
    }
}

// Every context may ask for work. Only those above may give it up: here the controller itself.
offshoot::service!(Work { next: Allow::Any, give_up: Allow::Parents });

/// Runs in a child. `office` is the context that has the service.
async fn square_all(office: Context) -> Result<Vec<u64>, Error> {
    let mut squares = Vec::new();
    while let Some(number) = office.call_service(Work::next, ()).await? {
        squares.push(number * number);
    }
    Ok(squares)
}
export!(square_all);

async fn app(router: Router) -> Result<(), Error> {
    let pool = Pool::new(&router);
    pool.add(Work(Mutex::new((1..=100).collect())))?;
    let workers = [router.local().await?, router.local().await?];
    let mut sum = 0;
    for call in workers.map(|worker| worker.call(square_all, (router.myself(),))) {
        sum += call.await?.iter().sum::<u64>();
    }
    println!("the sum of the squares is {sum}");
    assert_eq!(sum, 338_350);
    pool.stop().await;
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
