//! Five children that work, and one loop that receives their progress and their results as they arrive.
//!
//!     cargo run --example select_loop
//!
//! The calls are members of one select, which is empty when all calls have ended. That select and the
//! receiver for the progress are members of a second select. The loop waits on the second one.

#![expect(clippy::print_stdout, reason = "this is its output")]

use std::time::Duration;

use offshoot::{Error, Receiver, Router, Select, Sender, export};

const CHILDREN: u32 = 5;
const STEPS: u32 = 4;

/// Sends its number and the number of the step after each step. Returns its number and the number of steps.
async fn work(progress: Sender<(u32, u32)>, child: u32) -> Result<(u32, u32), Error> {
    for step in 1..=STEPS {
        tokio::time::sleep(Duration::from_millis(u64::from(5 * child))).await;
        progress.send((child, step)).await?;
    }
    Ok((child, STEPS))
}
export!(work);

async fn app(router: Router) -> Result<(), Error> {
    let progress: Receiver<(u32, u32)> = Receiver::new(&router);
    let calls = Select::new();
    for child in 0..CHILDREN {
        let context = router.local().await?;
        calls.add(context.call(work, (progress.sender(), child)))?;
    }
    let both = Select::new().oneshot(false);
    let progress = both.add(progress)?;
    both.add(&calls)?;
    let (mut steps, mut done) = (0, 0);
    while !calls.is_empty() {
        let (from, (child, step)) = both.recv_timeout(Duration::from_secs(60)).await?;
        if from == progress {
            steps += 1;
            println!("child {child}: step {step} of {STEPS}");
        } else {
            done += 1;
            println!("child {child}: done");
        }
    }
    // The values that a function sends before it returns arrive before its result.
    assert_eq!((steps, done), (CHILDREN * STEPS, CHILDREN));
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
