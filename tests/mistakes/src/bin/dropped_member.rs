//! Whether the member was added is not looked at.
#![deny(unused_must_use)]
use offshoot::{Error, Router, Select};

fn double(number: u32) -> u32 {
    2 * number
}
offshoot::export!(double);

fn main() -> Result<(), Error> {
    offshoot::child();
    let router = Router::new()?;
    let child = router.local().blocking_connect()?;
    let select = Select::new();
    select.add(child.call(double, (2,)));
    Ok(())
}
