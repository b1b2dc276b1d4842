//! The error is of a type that is none.
struct Broken;

fn check() -> Result<(), Broken> {
    Err(Broken)
}
offshoot::export!(check);

fn main() {}
