//! What is called is a closure that has a value of its own.
use offshoot::{Error, Router};

fn main() -> Result<(), Error> {
    offshoot::child();
    let router = Router::new()?;
    let child = router.local().blocking_connect()?;
    let factor = std::env::args().count() as u32;
    println!("{:?}", child.blocking_call(move |number: u32| factor * number, (2,)));
    Ok(())
}
