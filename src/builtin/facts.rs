//! What a context knows of its machine.

use serde::{Deserialize, Serialize};

use crate::api::function::Value;
use crate::connect::handshake::whoami;

/// Facts about a context's machine; see [`host_facts`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HostFacts {
    /// Host name.
    pub hostname: String,
    /// Operating system, as `linux`.
    pub os: String,
    /// Processor that this program was built for, as `x86_64`.
    pub arch: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor, as the kernel names it.
    pub machine: String,
    /// Name of the distribution, as `/etc/os-release` has it.
    pub distribution: Option<String>,
    /// User that the context runs as.
    pub user: String,
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
    /// Its home directory, by the environment.
    pub home: Option<String>,
    /// Process id of the context.
    pub pid: u32,
    /// Processors that it may use.
    pub cpus: u32,
    /// Memory of the machine in bytes, if the kernel tells.
    pub memory: Option<u64>,
}

impl Value for HostFacts {}

/// Facts about the machine that this runs on.
///
/// # Errors
///
/// If the kernel does not tell its name.
pub async fn host_facts() -> std::io::Result<HostFacts> {
    let uname = nix::sys::utsname::uname()?;
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    Ok(HostFacts {
        hostname: whoami().1,
        os: std::env::consts::OS.into(),
        arch: std::env::consts::ARCH.into(),
        kernel: text(uname.release()),
        machine: text(uname.machine()),
        distribution: distribution(&release),
        user: whoami().0,
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        home: std::env::var("HOME").ok(),
        pid: std::process::id(),
        cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory: crate::sys::process::memory(),
    })
}
crate::export!(io host_facts);

fn distribution(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_distribution_is_read() {
        let release = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(distribution(release).as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
    }
}
