//! The argument is of a type that cannot be sent.
struct Disk {
    name: String,
}

fn size(disk: Disk) -> usize {
    disk.name.len()
}
offshoot::export!(size);

fn main() {}
