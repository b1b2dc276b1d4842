//! What is called is a closure.
use offshoot::{Error, Router};

fn main() -> Result<(), Error> {
    offshoot::child();
    let router = Router::new()?;
    let child = router.local().blocking_connect()?;
    println!("{:?}", child.blocking_call(|number: u32| 2 * number, (2,)).map_err(|error| error.to_string()));
    Ok(())
}
