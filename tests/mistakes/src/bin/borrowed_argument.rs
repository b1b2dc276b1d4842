//! An argument is borrowed.
fn length(text: &str) -> usize {
    text.len()
}
offshoot::export!(length);

fn main() {}
