//! What the kernel does with an executable: where it puts it, what else it loads, and what it lets the program do.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// An ELF file that can be loaded at any address.
const ET_DYN: u64 = 3;
/// Kinds of program headers: the program that loads this one, the stack, and what is read-only once it is relocated.
const PT_INTERP: u64 = 3;
const PT_GNU_STACK: u64 = 0x6474_e551;
const PT_GNU_RELRO: u64 = 0x6474_e552;
/// The flag of a segment from which the kernel executes.
const PF_X: u64 = 1;

/// Checks that an executable is position-independent, is loaded by the kernel alone, and has neither an executable stack
/// nor relocations that can be overwritten.
pub(super) fn check(file: &Path) -> Result<()> {
    let elf = fs::read(file)?;
    faults(&elf).with_context(|| file.display().to_string())
}

fn faults(elf: &[u8]) -> Result<()> {
    ensure!(elf.starts_with(b"\x7fELF") && elf.get(5) == Some(&1), "it is no ELF file with the lowest byte first");
    let is_64 = elf.get(4) == Some(&2);
    let number = |at: usize, length: usize| {
        let bytes = at.checked_add(length).and_then(|end| elf.get(at..end)).context("the file is cut")?;
        Ok::<_, anyhow::Error>(bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    // The places of the table, the size and the number of its entries, and the flags in an entry.
    let (table, size, count, flags) = if is_64 { ((32, 8), 54, 56, 4) } else { ((28, 4), 42, 44, 24) };
    let (table, size, count) = (number(table.0, table.1)?, number(size, 2)?, number(count, 2)?);
    ensure!(number(16, 2)? == ET_DYN, "it is loaded at a fixed address");
    let (mut stack, mut relro) = (None, false);
    for index in 0..count {
        let at = usize::try_from(table + index * size)?;
        match number(at, 4)? {
            PT_INTERP => bail!("it is loaded by another program"),
            PT_GNU_STACK => stack = Some(number(at + flags, 4)?),
            PT_GNU_RELRO => relro = true,
            _ => {}
        }
    }
    ensure!(stack.is_some_and(|flags| flags & PF_X == 0), "its stack is executable");
    ensure!(relro, "what the loader writes can be overwritten");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of 64 bits with a stack and with relocations that become read-only, and where their kinds are.
    fn good() -> Vec<u8> {
        let mut elf = vec![0; 64 + 2 * 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[16], elf[32], elf[54], elf[56]) = (3, 64, 56, 2);
        elf[64..68].copy_from_slice(&0x6474_e551_u32.to_le_bytes());
        elf[120..124].copy_from_slice(&0x6474_e552_u32.to_le_bytes());
        elf
    }

    #[test]
    fn what_is_fixed_loaded_by_others_or_can_be_overwritten_is_refused() {
        faults(&good()).unwrap();
        for (at, byte, says) in [
            (16, 2, "a fixed address"),
            (68, 1, "its stack is executable"),
            (67, 0, "its stack is executable"),
            (123, 0, "can be overwritten"),
            (0, 0, "no ELF file"),
            (56, 9, "the file is cut"),
        ] {
            let mut elf = good();
            elf[at] = byte;
            let error = faults(&elf).unwrap_err().to_string();
            assert!(error.contains(says), "{at}: {error}");
        }
        let mut elf = good();
        elf[120..124].copy_from_slice(&3_u32.to_le_bytes());
        assert!(faults(&elf).unwrap_err().to_string().contains("by another program"));
    }
}
