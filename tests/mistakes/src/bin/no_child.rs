//! `child()` is missing.
use offshoot::{Error, Router};

fn main() -> Result<(), Error> {
    let router = Router::new()?;
    let child = router.local().blocking_connect();
    println!("{:?}", child.map_err(|error| error.to_string()));
    Ok(())
}
