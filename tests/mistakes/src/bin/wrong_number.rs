//! There is one argument too many.
use offshoot::{Error, Router};

fn double(number: u32) -> u32 {
    2 * number
}
offshoot::export!(double);

fn main() -> Result<(), Error> {
    let router = Router::new()?;
    let child = router.local().blocking_connect()?;
    child.blocking_call(double, (2, 3))?;
    Ok(())
}
