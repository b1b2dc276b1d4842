//! What the kernel does with an executable: where it puts it, what else it loads, and what it lets the program do.
//!
//! `xtask` includes this file.

use anyhow::{Context, Result, bail, ensure};
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

/// What the headers of an executable for Linux or FreeBSD say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headers {
    /// Whether it is loaded at a fixed address.
    pub(crate) is_fixed: bool,
    /// The program that loads it, if it is dynamic.
    pub(crate) loader: Option<String>,
    /// Whether the kernel executes what is on its stack.
    pub(crate) has_executable_stack: bool,
    /// Whether what the loader writes becomes read-only.
    pub(crate) has_relro: bool,
}

impl Headers {
    /// Reads them. `None` for a file that is not ELF.
    pub(crate) fn of(executable: &[u8]) -> Result<Option<Self>> {
        let headers = match FileKind::parse(executable) {
            Ok(FileKind::Elf32) => Self::read::<elf::FileHeader32<Endianness>>(executable),
            Ok(FileKind::Elf64) => Self::read::<elf::FileHeader64<Endianness>>(executable),
            _ => return Ok(None),
        };
        headers.map(Some).context("its headers cannot be read")
    }

    fn read<H: FileHeader<Endian = Endianness>>(file: &[u8]) -> object::Result<Self> {
        let header = H::parse(file)?;
        let endian = header.endian()?;
        let is_fixed = header.e_type(endian) != elf::ET_DYN;
        let mut headers = Self { is_fixed, loader: None, has_executable_stack: true, has_relro: false };
        for segment in header.program_headers(endian, file)? {
            if let Some(loader) = segment.interpreter(endian, file)? {
                headers.loader = Some(String::from_utf8_lossy(loader).into_owned());
            }
            match segment.p_type(endian) {
                elf::PT_GNU_STACK => headers.has_executable_stack = (segment.p_flags(endian) & elf::PF_X).0 != 0,
                elf::PT_GNU_RELRO => headers.has_relro = true,
                _ => {}
            }
        }
        Ok(headers)
    }

    /// Checks that the executable is position-independent, is loaded by the kernel alone, and has neither an executable
    /// stack nor relocations that can be overwritten.
    pub(crate) fn check(executable: &[u8]) -> Result<()> {
        let Some(headers) = Self::of(executable)? else { bail!("it is no ELF file") };
        ensure!(!headers.is_fixed, "it is loaded at a fixed address");
        ensure!(headers.loader.is_none(), "it is loaded by another program");
        ensure!(!headers.has_executable_stack, "its stack is executable");
        ensure!(headers.has_relro, "what the loader writes can be overwritten");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of 64 bits with a stack and with relocations that become read-only, and where their kinds are.
    fn good() -> Vec<u8> {
        let mut file = vec![0; 64 + 2 * 56];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        (file[16], file[20], file[32], file[52], file[54], file[56]) = (3, 1, 64, 64, 56, 2);
        file[64..68].copy_from_slice(&0x6474_e551_u32.to_le_bytes());
        file[120..124].copy_from_slice(&0x6474_e552_u32.to_le_bytes());
        file
    }

    #[test]
    fn what_is_fixed_loaded_by_others_or_can_be_overwritten_is_refused() {
        Headers::check(&good()).unwrap();
        for (at, byte, says) in [
            (16, 2, "a fixed address"),
            (68, 1, "its stack is executable"),
            (67, 0, "its stack is executable"),
            (123, 0, "can be overwritten"),
            (0, 0, "no ELF file"),
            (56, 9, "cannot be read"),
        ] {
            let mut file = good();
            file[at] = byte;
            let error = format!("{:#}", Headers::check(&file).unwrap_err());
            assert!(error.contains(says), "{at}: {error}");
        }
        let mut file = good();
        file[120..124].copy_from_slice(&3_u32.to_le_bytes());
        file[128..136].copy_from_slice(&176_u64.to_le_bytes());
        file[152..160].copy_from_slice(&9_u64.to_le_bytes());
        file.extend_from_slice(b"/lib/ld.\0");
        assert_eq!(Headers::of(&file).unwrap().unwrap().loader.as_deref(), Some("/lib/ld."));
        assert!(Headers::check(&file).unwrap_err().to_string().contains("by another program"));
    }
}
