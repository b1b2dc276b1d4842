//! What `cargo install --path .` gives, which knows nothing of the other commands here.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{check, target_directory};

/// An ELF file that can be loaded at any address.
const ET_DYN: u16 = 3;
/// A program header that names the program that loads this one.
const PT_INTERP: u32 = 3;

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
    ensure!(is_static_pie(&tool)?, "{} is loaded by another program, or at a fixed address", tool.display());
    check(Command::new(&tool).args(["run", "-w", "local[1-2]/local1", "--", "true"]))?;
    println!("{} is static, position-independent, and sends itself", tool.display());
    Ok(())
}

/// Whether an executable of 64 bits, lowest byte first, is position-independent and loaded by the kernel alone.
fn is_static_pie(file: &Path) -> Result<bool> {
    let elf = fs::read(file).with_context(|| file.display().to_string())?;
    let word = |at: usize| elf.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    let (kind, size, count) = (word(16), word(54), word(56));
    let (Some(kind), Some(size), Some(count)) = (kind, size, count) else { return Ok(false) };
    let table = elf.get(32..40).and_then(|bytes| usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok());
    let table = table.context("the table of program headers lies beyond this machine's memory")?;
    let kinds = (0..usize::from(count)).map(|number| {
        let at = table + number * usize::from(size);
        elf.get(at..at + 4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    });
    let kinds: Vec<u32> = kinds.collect::<Option<_>>().context("a program header is missing")?;
    Ok(elf.starts_with(b"\x7fELF\x02\x01") && kind == ET_DYN && !kinds.contains(&PT_INTERP))
}
