//! Facts about the machine of a context.
//!
//! ```
//! # use offshoot::{Error, Router};
//! # fn main() -> std::process::ExitCode {
//! # offshoot::run(app) }
//! # async fn app(router: Router) -> Result<(), Error> {
//! # let web = router.local().await?;
//! let facts = web.facts().await?;
//! println!("{} runs {} on {} processors", facts.hostname, facts.os, facts.cpus);
//! # Ok(()) }
//! ```

use serde::{Deserialize, Serialize};

use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::function::Value;
use crate::api::with_timeout::WithTimeout;
use crate::connect::handshake::whoami;

/// Facts about a context's machine; see [`Context::facts`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HostFacts {
    /// Host name.
    pub hostname: String,
    /// Operating system, such as `linux`.
    pub os: String,
    /// Processor that this program was built for, such as `x86_64`.
    pub arch: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor, in the kernel's notation.
    pub machine: String,
    /// Name of the distribution, from `/etc/os-release`.
    pub distribution: Option<String>,
    /// User that the context runs as, from `/etc/passwd`, or else from the environment.
    pub user: String,
    /// The effective user id of the context.
    pub uid: u32,
    /// The effective group id of the context.
    pub gid: u32,
    /// The variable `HOME` of the context, if it is set.
    pub home: Option<String>,
    /// Process id of the context.
    pub pid: u32,
    /// Number of processors that the context may use.
    pub cpus: u32,
    /// Memory of the machine in bytes, if the kernel reports it.
    pub memory: Option<u64>,
}

impl Value for HostFacts {}

impl Context {
    /// Returns facts about the machine and the user of the context. Dropping the future only ends
    /// the wait. The [module](crate::facts) has an example.
    ///
    /// # Errors
    ///
    /// [`Error::Call`](crate::Error::Call) if the kernel does not report its name, and the errors
    /// of [`Context::call`].
    pub fn facts(&self) -> Call<HostFacts> {
        self.call(host_facts, ())
    }
}

impl WithTimeout<'_> {
    /// As [`Context::facts`], but fails with [`Error::Timeout`](crate::Error::Timeout) when the time limit has
    /// passed.
    pub fn facts(&self) -> Call<HostFacts> {
        self.call(host_facts, ())
    }
}

/// Returns facts about the machine that this runs on. [`Context::facts`] calls it. Cancel safe.
/// Code that is not async uses [`block_on`](crate::block_on).
///
/// # Errors
///
/// If the kernel does not report its name.
///
/// The [module](crate::facts) has an example.
pub async fn host_facts() -> std::io::Result<HostFacts> {
    let uname = nix::sys::utsname::uname()?;
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let uid = nix::unistd::geteuid().as_raw();
    // `USER` may name an earlier user, as after setuid programs and in containers.
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    Ok(HostFacts {
        hostname: whoami().1,
        os: std::env::consts::OS.into(),
        arch: std::env::consts::ARCH.into(),
        kernel: text(uname.release()),
        machine: text(uname.machine()),
        distribution: distribution(&release),
        user: name_of(uid, &users).unwrap_or_else(|| whoami().0),
        uid,
        gid: nix::unistd::getegid().as_raw(),
        home: std::env::var("HOME").ok(),
        pid: std::process::id(),
        cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory: crate::sys::process::memory(),
    })
}
crate::export!(io host_facts);

/// The name of a user, from the lines of `/etc/passwd`.
fn name_of(uid: u32, users: &str) -> Option<String> {
    let uid = uid.to_string();
    let line = users.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
    line.split(':').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn distribution(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_name_that_the_system_knows() {
        let users = "root:x:0:0:root:/root:/bin/sh\n# a comment\nweb:x:33:33::/:\n:x:34:34::/:\n";
        assert_eq!(name_of(0, users).as_deref(), Some("root"));
        assert_eq!(name_of(33, users).as_deref(), Some("web"));
        assert_eq!((name_of(34, users), name_of(3, users)), (None, None));
    }

    #[test]
    fn the_name_of_the_distribution_is_read() {
        let release = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(distribution(release).as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
    }
}
