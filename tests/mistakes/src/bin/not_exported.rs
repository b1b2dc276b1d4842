//! The function is not in the table.
use offshoot::{Error, Router};

fn double(number: u32) -> u32 {
    2 * number
}

fn main() -> Result<(), Error> {
    offshoot::child();
    let router = Router::new()?;
    let child = router.local().blocking_connect()?;
    println!("{:?}", child.blocking_call(double, (2,)).map_err(|error| error.to_string()));
    Ok(())
}
