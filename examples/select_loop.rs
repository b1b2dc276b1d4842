//! Five children at work, and one loop that hears of their progress and of
//! their results as they come.
//!
//!     cargo run --example select_loop
//!
//! The calls are members of a select of their own, which is empty when all
//! have ended; it and the receiver for progress are members of the one that
//! the loop waits on.

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::time::Duration;

use offshoot::{Error, Receiver, Router, Select, Sender, Value, export};
use serde::{Deserialize, Serialize};

const CHILDREN: u32 = 5;
const STEPS: u32 = 4;

#[derive(Serialize, Deserialize)]
enum News {
    Step { child: u32, step: u32 },
    Done { child: u32 },
}
impl Value for News {}

async fn work(news: Sender<News>, child: u32) -> Result<News, Error> {
    for step in 1..=STEPS {
        tokio::time::sleep(Duration::from_millis(u64::from(5 * child))).await;
        news.send(News::Step { child, step }).await?;
    }
    Ok(News::Done { child })
}
export!(work);

async fn app(router: Router) -> Result<(), Error> {
    let progress: Receiver<News> = Receiver::new(&router);
    let calls = Select::new();
    let mut names = Vec::new();
    for child in 0..CHILDREN {
        let context = router.local().connect().await?;
        calls.add(context.call(work, (progress.sender(), child)))?;
        names.push(context);
    }
    let both = Select::new().oneshot(false);
    both.add(progress)?;
    both.add(&calls)?;
    let (mut steps, mut done) = (0, 0);
    while !calls.is_empty() {
        match both.recv_timeout(Duration::from_secs(60)).await?.1 {
            News::Step { child, step } => {
                steps += 1;
                println!("{}: step {step} of {STEPS}", names[child as usize]);
            }
            News::Done { child } => {
                done += 1;
                println!("{}: done", names[child as usize]);
            }
        }
    }
    // What a function sends before it returns arrives before its result.
    assert_eq!((steps, done), (CHILDREN * STEPS, CHILDREN));
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
