//! The process that enters a container and becomes a child there.
//!
//! It runs the own image and has no second thread: a process with threads may not change its user namespace,
//! and between fork and exec it may do hardly anything. The process asks the engine for the container's first
//! process, joins the namespaces and the root of that process, and forks, because a pid namespace holds for new
//! processes only. The new process becomes the user and executes the image. The old process waits for it and
//! ends in the same way.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::connect::bootstrap::Nonce;
use crate::connect::methods::setns::leader;
use crate::connect::methods::setns::{ADVICE, FAILED, REFUSED};
use crate::image::executable::{Compression, Image};
use crate::sys::process::{self, Start};

/// Most bytes that are read of an engine's output, and of the files with users and groups.
const MAX_TEXT: u64 = 1 << 20;
/// The variables of the environment that the child keeps. The others describe the machine. They may be secret
/// or wrong in the container.
const KEPT: [&str; 4] = ["PATH", "TERM", "LANG", "TZ"];

/// The container to enter, and the user to become there.
#[derive(Debug)]
pub(crate) struct NamespaceEntry {
    user: String,
    /// The engine's command line, which ends with the container's name.
    ask: Vec<String>,
    /// The command to run instead of the image.
    command: Vec<String>,
}

impl NamespaceEntry {
    /// Reads the output of [`setns::arguments`](crate::connect::methods::setns::arguments). `None` if this
    /// process does not have to enter a container.
    pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut args = args.map(|arg| arg.to_string_lossy().into_owned());
        let user = args.next()?;
        let count = args.next()?.parse().ok()?;
        let ask: Vec<String> = args.by_ref().take(count).collect();
        (!ask.is_empty()).then(|| Self { user, ask, command: args.collect() })
    }

    /// Enters the container. Returns only if it fails, with the reason, in lines that the parent looks for.
    pub(crate) fn enter(&self, nonce: &Nonce) -> String {
        let Err(why) = self.try_enter(nonce);
        let mark = if why.is_refusal { REFUSED } else { FAILED };
        let text = why.text.trim().replace('\n', ", ");
        if why.advice.is_empty() { format!("{mark}{text}") } else { format!("{mark}{text}\n{ADVICE}{}", why.advice) }
    }

    fn try_enter(&self, nonce: &Nonce) -> Result<std::convert::Infallible, NotEntered> {
        let parent = std::os::unix::process::parent_id();
        if !nix::unistd::geteuid().is_root() {
            return Err(NotEntered::refused("setns needs root").but("become root first, by sudo"));
        }
        let container = self.ask.last().map_or("", String::as_str);
        let pid = self.leader()?;
        if pid == 0 {
            return Err(NotEntered::from(format!("the container {container} is not running")).but("start it"));
        }
        let namespaces = process::Namespaces::open(pid).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let text = format!("the container {container} has gone: its first process, {pid}, is not there");
                NotEntered::from(text).but("start it")
            }
            _ => format!("cannot open the namespaces of process {pid}, the first of {container}: {error}").into(),
        })?;
        let image = self.image(nonce)?;
        namespaces.join().map_err(|(name, error)| format!("cannot join the {name} of {container}: {error}"))?;
        let user = User::find(&self.user, &read("/etc/passwd"), &read("/etc/group"))
            .ok_or_else(|| NotEntered::refused(format!("no user {} in {container}", self.user)).but(SEE_PASSWD))?;
        namespaces.join_users().map_err(|error| format!("cannot join the user namespace of {container}: {error}"))?;
        // A change of rights may have reset this setting.
        process::die_with_parent(parent);
        process::wait_for_successor().map_err(|error| format!("cannot fork: {error}"))?;
        drop(namespaces);
        let as_user = |error| format!("cannot become {} in {container}: {error}", self.user);
        process::become_user(user.uid, &user.groups).map_err(as_user)?;
        if std::env::set_current_dir(&user.home).is_err() {
            let _ = std::env::set_current_dir("/");
        }
        process::replace_environment(
            |name| KEPT.contains(&name) || name.starts_with("LC_"),
            &[("HOME", &user.home), ("SHELL", &user.shell), ("LOGNAME", &user.name), ("USER", &user.name)],
        );
        let error = match image {
            Some(image) => image.exec(),
            None => process::Program::new(&self.command).map_or_else(|error| error, |program| program.exec()),
        };
        let what = self.command.first().map_or("the image", String::as_str);
        Err(format!("cannot execute {what} in {container}: {error}").into())
    }

    /// Asks the engine for the container's first process.
    fn leader(&self) -> Result<i32, NotEntered> {
        let tool = &self.ask[0];
        let failed = |error: io::Error| {
            NotEntered::from(format!("could not execute {tool:?}: {error}")).but("is it installed and in PATH?")
        };
        let (reader, writer) = io::pipe().map_err(failed)?;
        let program = process::Program::new(&self.ask).map_err(failed)?;
        let (null, output) = (process::null().map_err(failed)?, writer.try_clone().map_err(failed)?);
        let mut start = Start::new(program, [null, output.into(), writer.into()]);
        start.in_this_session();
        let mut child = start.spawn().map_err(failed)?;
        let said = text_of(reader);
        let status = child.wait_here().map_err(failed)?;
        match status.code() {
            Some(0) => leader(&said).ok_or_else(|| {
                let text = format!("could not find PID from {tool} output ({})", said.trim());
                NotEntered::from(text).but("is the container running?")
            }),
            Some(code) => {
                let text = format!("{tool} exitted with status {code}: {}", said.trim());
                Err(NotEntered::from(text).but("is there such a container?"))
            }
            None => {
                let text = format!("{tool} {}: {}", process::describe(status), said.trim());
                Err(NotEntered::from(text).but("try it by hand"))
            }
        }
    }

    /// A copy of the image in memory that cannot be written to. Root in a container can open the images of its
    /// processes, and must not be able to open a file of the machine in this way.
    fn image(&self, nonce: &Nonce) -> Result<Option<process::Program>, String> {
        if !self.command.is_empty() {
            return Ok(None);
        }
        let name = std::env::args_os().next().unwrap_or_default();
        let argv = [name, nonce.child_argument().into(), String::new().into(), String::new().into(), "{fd}".into()];
        let copy = |bytes: &[u8]| process::Program::image(process::sealed_copy(bytes)?, &argv);
        let packed = Image::own()?.pack(Compression::Plain);
        let exec = packed.and_then(|packed| copy(&packed.bytes));
        exec.map(Some).map_err(|error| format!("cannot copy the image to memory: {error}"))
    }
}

/// Why this process could not enter the container.
#[derive(Debug, PartialEq, Eq)]
struct NotEntered {
    /// Whether the failure is about rights.
    is_refusal: bool,
    text: String,
    /// What to do about it; empty if nothing is known.
    advice: &'static str,
}

impl NotEntered {
    fn refused(text: impl Into<String>) -> Self {
        Self { is_refusal: true, text: text.into(), advice: "" }
    }

    fn but(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }
}

impl From<String> for NotEntered {
    fn from(text: String) -> Self {
        Self { is_refusal: false, text, advice: "" }
    }
}

/// Advice if there is no such user.
const SEE_PASSWD: &str = "its /etc/passwd has the names";

/// A user, as the files below the current root describe it.
#[derive(Debug, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
    /// The group ids. The user's own group comes first.
    groups: Vec<u32>,
    home: String,
    shell: String,
}

impl User {
    fn find(name: &str, passwd: &str, group: &str) -> Option<Self> {
        let mut users = passwd.lines().filter_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
            [user, _, uid, gid, _, home, shell] if user == name => {
                Some((uid.parse().ok()?, gid.parse().ok()?, home, shell))
            }
            _ => None,
        });
        // Root exists, even if the files are missing.
        let root = || (name == "root").then_some((0, 0, "", ""));
        let (uid, gid, home, shell) = users.next().or_else(root)?;
        let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        let mut groups = vec![gid];
        groups.extend(group.lines().filter_map(|line| {
            let (gid, members) = line.splitn(3, ':').nth(2)?.split_once(':')?;
            members.split(',').any(|member| member == name).then(|| gid.parse::<u32>().ok())?
        }));
        groups.dedup();
        Some(Self { name: name.to_owned(), uid, groups, home: or(home, "/"), shell: or(shell, "/bin/sh") })
    }
}

/// A file of the container; empty if it cannot be read.
fn read(path: &str) -> String {
    File::open(Path::new(path)).map_or_else(|_| String::new(), text_of)
}

fn text_of(from: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = from.take(MAX_TEXT).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_out_as_they_went_in() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for command in ["", "nice sh -c x"] {
            let arguments =
                crate::connect::methods::setns::arguments("bob", &words("docker inspect app"), &words(command));
            let namespace_entry = NamespaceEntry::parse(arguments.into_iter()).unwrap();
            assert_eq!(namespace_entry.user, "bob");
            assert_eq!((namespace_entry.ask, namespace_entry.command), (words("docker inspect app"), words(command)));
        }
        assert!(NamespaceEntry::parse(std::iter::empty()).is_none());
    }

    #[test]
    fn a_user_is_found_with_all_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n# bob:\nbob:x:1000:100:Bob,,:/home/bob:\nbroken:x:a:b\n";
        let group = "root:x:0:\nusers:x:100:bob\naudio:x:29:amy,bob\nbobs:x:7:bobby\nbad:x:y:bob\nvideo:x:44:bob";
        let bob = User::find("bob", passwd, group).unwrap();
        assert_eq!((bob.uid, &bob.groups[..]), (1000, &[100, 29, 44][..]));
        assert_eq!((bob.home.as_str(), bob.shell.as_str()), ("/home/bob", "/bin/sh"));
        assert_eq!(User::find("root", passwd, group).unwrap().home, "/root");
        assert_eq!(User::find("broken", passwd, group), None);
        assert_eq!(User::find("amy", passwd, group), None);
    }

    #[test]
    fn root_needs_no_files() {
        let root = User::find("root", "", "").unwrap();
        assert_eq!((root.uid, &root.groups[..], root.home.as_str()), (0, &[0][..], "/"));
    }

    #[test]
    fn a_tool_that_is_not_there_fails_or_says_nothing_useful_is_named() {
        let ask = |words: &[&str]| {
            let ask = words.iter().map(|word| (*word).to_owned()).collect();
            NamespaceEntry { user: "root".into(), ask, command: Vec::new() }.leader()
        };
        assert_eq!(ask(&["echo", "42"]), Ok(42));
        let error = ask(&["/nonexistent/docker", "inspect"]).unwrap_err();
        assert!(error.text.starts_with("could not execute \"/nonexistent/docker\""), "{error:?}");
        let error = ask(&["sh", "-c", "echo no such thing >&2; exit 3"]).unwrap_err();
        let expected = NotEntered::from("sh exitted with status 3: no such thing".to_owned());
        assert_eq!(error, expected.but("is there such a container?"));
        let error = ask(&["echo", "hello"]).unwrap_err();
        assert!(error.text.starts_with("could not find PID from echo output"), "{error:?}");
        let error = ask(&["sh", "-c", "kill -9 $$"]).unwrap_err();
        assert!(error.text.starts_with("sh exited due to signal 9"), "{error:?}");
    }
}
