//! `setns`: a child in a container, by the namespaces of the container's first process. The engine only reports
//! that process. `namespace_entry` has the process that enters the container.

use std::ffi::OsString;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::connect::bootstrap::Diagnosis;
use crate::connect::methods::remote_command::{RemoteCommand, check_user};
use crate::connect::methods::{AnyMethod, Connect, Plan, Run, Variant};
use crate::wire::error::ConnectErrorKind;

/// The settings of a child in a container; see [`Router::setns`](crate::Router::setns).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setns {
    container: String,
    kind: SetnsKind,
    username: String,
    /// Paths of the clients, in the order of [`KINDS`].
    programs: [Option<String>; 6],
}

/// The engine that runs a container and so knows its first process.
///
/// [`Router::setns`](crate::Router::setns) has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SetnsKind {
    /// `docker inspect`.
    Docker,
    /// `podman inspect`.
    Podman,
    /// Classic LXC: `lxc-info`.
    Lxc,
    /// `lxc info`.
    Lxd,
    /// `incus info`.
    Incus,
    /// systemd-machined: `machinectl status`.
    Machinectl,
}

/// For each kind, in their order: its name, the client to ask for the first process, and its arguments.
const KINDS: [(SetnsKind, &str, &str, &str); 6] = [
    (SetnsKind::Docker, "docker", "docker", "inspect --format={{.State.Pid}}"),
    (SetnsKind::Podman, "podman", "podman", "inspect --format={{.State.Pid}}"),
    (SetnsKind::Lxc, "lxc", "lxc-info", "-n"),
    (SetnsKind::Lxd, "lxd", "lxc", "info"),
    (SetnsKind::Incus, "incus", "incus", "info"),
    (SetnsKind::Machinectl, "machinectl", "machinectl", "status"),
];

impl fmt::Display for SetnsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KINDS[*self as usize].1)
    }
}

impl SetnsKind {
    /// The kind of this name.
    ///
    /// # Errors
    ///
    /// The error text lists the kinds.
    pub(crate) fn by_name(name: &str) -> Result<Self, String> {
        let kind = KINDS.iter().find(|(_, known, ..)| *known == name);
        kind.map(|(kind, ..)| *kind).ok_or_else(|| {
            let names = KINDS.map(|(_, name, ..)| name).join(", ");
            format!("unsupported container kind: {name:?}; there are {names}")
        })
    }
}

/// The beginning of the two lines that the entering process prints if it fails: what happened, and what to do.
/// There is one beginning for refusals and one for other failures. The parent parses these lines.
pub(crate) const REFUSED: &str = "setns refused: ";
pub(crate) const FAILED: &str = "setns failed: ";
pub(crate) const ADVICE: &str = "setns advice: ";

impl Setns {
    pub(crate) fn new(container: String, kind: SetnsKind) -> Self {
        Self { container, kind, username: "root".into(), programs: [const { None }; 6] }
    }

    pub(super) fn name(&self) -> String {
        format!("setns.{}", self.container)
    }

    pub(super) fn plan(&self, remote: Option<&RemoteCommand>) -> Result<Plan, String> {
        if !cfg!(target_os = "linux") {
            return Err("setns is for containers of Linux, and this is another system".into());
        }
        if crate::connect::child::test_path().is_some() {
            return Err("setns cannot be used from a test that is its own child".into());
        }
        check_user("setns", &self.username)?;
        let container = &self.container;
        if container.is_empty() || container.starts_with('-') || container.contains(char::is_control) {
            return Err(format!("{} has no container called {container:?}", self.kind));
        }
        let (_, _, program, arguments) = KINDS[self.kind as usize];
        let mut ask = vec![self.programs[self.kind as usize].as_deref().unwrap_or(program).to_owned()];
        ask.extend(arguments.split(' ').map(str::to_owned));
        ask.push(container.clone());
        let command = remote.map(RemoteCommand::words).unwrap_or_default();
        Ok(Plan::new(Run::Inside { user: self.username.clone(), ask, command }, interpret))
    }
}

impl From<Setns> for AnyMethod {
    fn from(setns: Setns) -> Self {
        Self(Variant::Setns(setns))
    }
}

macro_rules! programs {
    ($($name:ident $at:literal $default:literal)*) => {
        impl Connect<Setns> {
            /// User to become in the container, by a name from its `/etc/passwd`. Default: `root`, who need not
            /// be in that file.
            pub fn username(mut self, user: impl Into<String>) -> Self {
                self.method.username = user.into();
                self
            }

            $(
                #[doc = concat!("The program that is asked for the first process. Default: `", $default, "`.")]
                pub fn $name(mut self, path: impl Into<String>) -> Self {
                    self.method.programs[$at] = Some(path.into());
                    self
                }
            )*
        }
    };
}

programs! {
    docker_path 0 "docker"
    podman_path 1 "podman"
    lxc_info_path 2 "lxc-info"
    lxc_path 3 "lxc"
    incus_path 4 "incus"
    machinectl_path 5 "machinectl"
}

/// The last arguments of the process that enters the container.
pub(crate) fn arguments(user: &str, ask: &[String], command: &[String]) -> Vec<OsString> {
    let head = [user.to_owned(), ask.len().to_string()];
    head.iter().chain(ask).chain(command).map(OsString::from).collect()
}

/// Finds the first process of the container in the output of an engine. docker and podman print only its
/// number, the others print a line with it.
#[cfg(any(target_os = "linux", test))]
pub(crate) fn leader(said: &str) -> Option<i32> {
    said.lines().find_map(|line| {
        let (name, value) = line.split_once(':').unwrap_or(("pid", line));
        let name = name.trim();
        if !name.eq_ignore_ascii_case("pid") && name != "Leader" {
            return None;
        }
        value.split_whitespace().next()?.parse().ok().filter(|pid| *pid >= 0)
    })
}

/// Returns what the last lines of the entering process mean.
pub(super) fn interpret(lines: &[String]) -> Option<Diagnosis> {
    let last = |mark| lines.iter().rev().find_map(|line| line.split_once("offshoot: ")?.1.strip_prefix(mark));
    let (kind, text) = match (last(REFUSED), last(FAILED)) {
        (Some(text), _) => (ConnectErrorKind::Auth, text),
        (None, Some(text)) => (ConnectErrorKind::Start, text),
        (None, None) => return None,
    };
    let advice = lines.iter().rev().find_map(|line| line.strip_prefix(ADVICE));
    Some(Diagnosis::new(kind, text.to_owned(), advice.unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::methods::remote_command::for_tests;

    fn asked(setns: &Setns) -> Result<String, String> {
        match setns.plan(None)?.run {
            Run::Inside { user, ask, command } => Ok(format!("{user}: {} {}", ask.join(" "), command.join(" "))),
            other => Err(format!("{other:?}")),
        }
    }

    fn of(kind: &str) -> Setns {
        Setns::new("web".into(), SetnsKind::by_name(kind).unwrap())
    }

    #[test]
    fn each_kind_has_its_question() {
        assert!(KINDS.iter().enumerate().all(|(at, (kind, ..))| *kind as usize == at));
        for (kind, expected) in [
            ("docker", "root: docker inspect --format={{.State.Pid}} web "),
            ("podman", "root: podman inspect --format={{.State.Pid}} web "),
            ("lxc", "root: lxc-info -n web "),
            ("lxd", "root: lxc info web "),
            ("incus", "root: incus info web "),
            ("machinectl", "root: machinectl status web "),
        ] {
            assert_eq!(asked(&of(kind)).unwrap(), expected);
        }
        let mut other = of("lxc");
        other.programs[2] = Some("/opt/lxc-info".into());
        other.username = "bob".into();
        assert_eq!(asked(&other).unwrap(), "bob: /opt/lxc-info -n web ");
        assert_eq!(other.name(), "setns.web");
        let Run::Inside { command, .. } = other.plan(Some(&for_tests())).unwrap().run else { panic!() };
        assert_eq!(command, ["B", "x"]);
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_run() {
        let refused = SetnsKind::by_name("jail").unwrap_err();
        assert!(refused.starts_with("unsupported container kind: \"jail\""), "{refused}");
        for container in ["", "-x", "a\nb"] {
            assert!(asked(&Setns::new(container.into(), SetnsKind::Docker)).is_err());
        }
        assert!(asked(&Setns { username: "-x".into(), ..of("lxc") }).is_err());
    }

    /// Printed by docker 20.10, podman 4.3, lxc 5.0, LXD 5.0, Incus 6.0 and systemd 252.
    #[test]
    fn the_first_process_is_found_in_what_each_engine_prints() {
        for (said, expected) in [
            ("4711\n", Some(4711)),
            ("WARNING: Error loading config file: /root/.docker/config.json: denied\n4711\n", Some(4711)),
            ("0\n", Some(0)),
            (LXC, Some(31337)),
            ("Name:           c1\nState:          STOPPED\n", None),
            (LXD, Some(12852)),
            ("Name: c1\nStatus: STOPPED\nType: container\n", None),
            (MACHINE, Some(925)),
            ("", None),
            ("-3", None),
            ("99999999999999", None),
        ] {
            assert_eq!(leader(said), expected, "{said}");
        }
    }

    const LXC: &str = "Name:           c1
State:          RUNNING
PID:            31337
Memory use:     1.02 MiB
";
    const LXD: &str = "Name: l1
Status: RUNNING
Type: container
Architecture: x86_64
PID: 12852
Created: 2026/11/24 18:45 UTC

Resources:
  Processes: 2
";
    const MACHINE: &str = "box3(0123456789abcdef0123456789abcdef)
           Since: Tue 2026-11-24 18:45:12 UTC; 3s ago
          Leader: 925 (systemd)
         Service: systemd-nspawn; class container
            Root: /var/lib/machines/box3
";

    #[test]
    fn complaints_come_out_by_their_kind_and_nothing_else_does() {
        let of = |said: &str| {
            interpret(&format!("docker: a warning\n{said}").lines().map(str::to_owned).collect::<Vec<_>>())
        };
        let found = of("offshoot: setns refused: setns needs root\nsetns advice: become root first").unwrap();
        assert_eq!(found, Diagnosis::new(ConnectErrorKind::Auth, "setns needs root", "become root first"));
        let found = of("offshoot: setns failed: cannot fork").unwrap();
        assert_eq!(found, Diagnosis::plain(ConnectErrorKind::Start, "cannot fork"));
        assert_eq!(of("setns failed: setns needs root"), None);
    }
}
