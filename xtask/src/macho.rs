//! What the headers of an executable for macOS say.

use anyhow::{Context, Result, ensure};
use object::Endianness;
use object::macho;
use object::read::macho::{LoadCommandVariant, MachHeader};

use super::target;

/// Checks that an executable is loaded at any address, and that the oldest macOS it runs on is the one that it was built for:
/// the one of the environment, or else the oldest that Rust supports.
pub(super) fn check(executable: &[u8], target: &str) -> Result<()> {
    let header = macho::MachHeader64::<Endianness>::parse(executable, 0).context("it is no executable for macOS")?;
    let endian = header.endian()?;
    ensure!(header.flags(endian).0 & macho::MH_PIE.0 != 0, "it is loaded at a fixed address");
    let (mut commands, mut oldest) = (header.load_commands(endian, executable, 0)?, None);
    while let Some(command) = commands.next()? {
        match command.variant()? {
            LoadCommandVariant::BuildVersion(command, _) => oldest = Some(command.minos.get(endian)),
            LoadCommandVariant::VersionMin(command) => oldest = Some(command.version.get(endian)),
            _ => {}
        }
    }
    let oldest = oldest.context("it does not say on which macOS it runs")?.0;
    let oldest = format!("{}.{}", oldest >> 16, oldest >> 8 & 0xff);
    let wanted = std::env::var(target::OLDEST_MACOS).ok();
    let wanted = wanted.as_deref().or_else(|| target::oldest_macos(target)).unwrap_or_default();
    ensure!(oldest == wanted, "it runs on macOS from {oldest} on, and was to run from {wanted} on");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with a flag, and with one command: the oldest version is 10.12 in the way of old systems.
    fn good() -> Vec<u8> {
        let numbers = [0xfeed_facf_u32, 0x0100_0007, 3, 2, 1, 16, 0x20_0000, 0, 0x24, 16, 0x000a_0c00, 0];
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn the_oldest_system_is_that_of_the_target() {
        check(&good(), "x86_64-apple-darwin").unwrap();
        let why = check(&good(), "aarch64-apple-darwin").unwrap_err().to_string();
        assert_eq!(why, "it runs on macOS from 10.12 on, and was to run from 11.0 on");
        for (at, byte, says) in [(26, 0, "a fixed address"), (32, 0x77, "on which macOS"), (0, 0, "no executable")] {
            let mut file = good();
            file[at] = byte;
            let why = check(&file, "x86_64-apple-darwin").unwrap_err().to_string();
            assert!(why.contains(says), "{at}: {why}");
        }
    }
}
