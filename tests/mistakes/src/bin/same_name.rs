//! Two functions have one name.
use offshoot::{Error, Router};

fn one() {
    fn inner() {}
    offshoot::export!(inner);
}

mod other {
    // By `path`, a module can be there twice.
    pub fn double(number: u32) -> u32 {
        2 * number
    }
    offshoot::export!(double);
    offshoot::export!(double);
}

fn main() -> Result<(), Error> {
    one();
    offshoot::child();
    let router = Router::new()?;
    let child = router.local().blocking_connect()?;
    println!("{:?}", child.blocking_call(other::double, (2,)));
    Ok(())
}
