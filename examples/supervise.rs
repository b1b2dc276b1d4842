//! Starts a new worker process when one has died.
//!
//!     cargo run --example supervise

#![expect(clippy::print_stdout, reason = "this is its output")]

use offshoot::{Context, Econtext, Error, Router, export};

const JOBS: u32 = 6;

/// Does a job. The first attempt at every third job kills the process.
fn work(econtext: &Econtext, job: u32, attempt: u32) -> String {
    if job % 3 == 2 && attempt == 0 {
        std::process::abort();
    }
    format!("job {job} done by {}", econtext.myself().id())
}
export!(work);

/// Starts a worker, and a thread that prints a message when the worker has ended.
async fn worker(router: &Router) -> Result<Context, Error> {
    let worker = router.local().connect().await?;
    let (name, closed) = (worker.to_string(), worker.closed());
    std::thread::spawn(move || {
        offshoot::block_on(closed);
        println!("{name} has ended");
    });
    Ok(worker)
}

async fn app(router: Router) -> Result<(), Error> {
    let mut current = worker(&router).await?;
    for job in 0..JOBS {
        for attempt in 0.. {
            match current.call(work, (job, attempt)).await {
                Ok(done) => {
                    println!("{done}");
                    break;
                }
                // The process has gone, and its job is lost. A new process repeats the job.
                Err(error) if error.is_disconnected() && attempt < 3 => current = worker(&router).await?,
                Err(error) => return Err(error),
            }
        }
    }
    assert_eq!(router.children(), [current]);
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
