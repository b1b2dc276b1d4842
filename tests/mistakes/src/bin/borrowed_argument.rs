//! Arguments are borrowed.
fn length(text: &str) -> usize {
    text.len()
}
async fn exists(_: &offshoot::Econtext, times: u32, path: &std::path::Path) -> bool {
    times > 0 && path.exists()
}
offshoot::export!(length, exists);

fn main() {}
