//! The result is of a type that nobody has called a value.
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Facts {
    name: String,
}

fn facts() -> Facts {
    Facts { name: "web1".into() }
}
offshoot::export!(facts);

fn main() {}
