//! What `cargo install --path .` gives, which knows nothing of the other commands here.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::{check, elf, target_directory};

/// Installs the tool below `target`, and sees that it needs nothing of the machine, and starts children of itself.
///
/// It is not optimised, as what is asked here does not depend on that, and cargo has built it so already.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub(super) fn installed() -> Result<()> {
    let root = target_directory().join("installed");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["install", "--quiet", "--locked", "--debug", "--force", "--no-track", "--path", "."]);
    cargo.arg("--target-dir").arg(target_directory()).arg("--root").arg(&root);
    check(&mut cargo)?;
    let tool = root.join("bin/offshoot");
    elf::Headers::check(&fs::read(&tool)?)?;
    check(Command::new(&tool).args(["run", "-w", "local[1-2]/local1", "--", "true"]))?;
    println!("{} is static, position-independent, and sends itself", tool.display());
    Ok(())
}
