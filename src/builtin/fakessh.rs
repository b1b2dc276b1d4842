//! Runs programs of this machine whose every ssh goes to a context: rsync, git, scp and others that start ssh.
//!
//! ```
//! use std::process::Command;
//!
//! use offshoot::{Error, Router, fakessh};
//!
//! # fn main() -> std::process::ExitCode {
//! # offshoot::run(app) }
//! # async fn app(router: Router) -> Result<(), Error> {
//! let web = router.local().await?; // or router.ssh("bastion"), and sudo and a container behind it
//! // rsync -a site/ web:/srv/site, git clone web:site.git, scp app.conf web:/etc/
//! let status = fakessh::run(&web, Command::new("sh").args(["-c", "ssh web 'exit 7'"])).await?;
//! assert_eq!(status.code(), Some(7));
//! # Ok(()) }
//! ```

// - `stand_ins`: the programs that are found in place of ssh, scp and sftp; `options`: the command line of ssh
// - `remote`: what is done on the host; `pump`: the standard streams; `raw_terminal`: the terminal of an ssh

mod options;
pub(crate) mod pump;
mod raw_terminal;
pub(crate) mod remote;
pub(crate) mod stand_ins;

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener as StdListener;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use self::options::{Asked, Terminal, parse};
use self::raw_terminal::RawTerminal;
use self::stand_ins::StandIns;
use crate::api::context::Context;
use crate::builtin::process::WindowSize;
use crate::connect::ssh_stand_in::{self, OWN_FAULT};
use crate::engine::shared::Request;
use crate::engine::task_set;
use crate::sys::blocking::on_other_thread;
use crate::sys::passing;
use crate::wire::error::{Error, IoError};

/// The most bytes of arguments and environment. The system takes not many more.
const MAX_WORDS: u32 = 8 << 20;
/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// The name of the socket in the directory of the stand-ins.
const SOCKET: &str = "socket";

/// Runs a program of this machine, whose every ssh runs its command in `context`, and returns how the program has
/// ended. The name of the host and the options for the connection do not matter.
///
/// The program finds `ssh`, `scp` and `sftp` in a directory at the front of its `PATH`, and the variables `RSYNC_RSH`
/// and `GIT_SSH_COMMAND`. Only this user can enter the directory. It is removed at the end. A program that starts
/// `/usr/bin/ssh` by this path is not led anywhere. Several ssh may run at the same time. Each has its own streams and
/// exit code, as ssh has. `-t` gives the command a terminal of the size that the one here has then, `-W` connects to an
/// address or to the path of a socket in the context, and `-N` does nothing until the stand-in is ended.
///
/// The stand-in for ssh is a copy of this program, so `main` has to begin with [`run`](crate::run()) or
/// [`child`](crate::child).
///
/// Dropping the future ends the program by SIGTERM, and 5 s later by SIGKILL; the commands in the context end at once.
/// Code that is not async uses [`block_on`](crate::block_on). The [module](crate::fakessh) has an example.
///
/// # Errors
///
/// [`Error::Io`] if the program cannot be started.
pub async fn run(context: &Context, program: &mut Command) -> Result<ExitStatus, Error> {
    let started = start(program).map_err(|error| {
        let what = format!("cannot run {} with a stand-in for ssh", program.get_program().display());
        Error::Io(IoError::while_doing(&what, &error))
    })?;
    let (done, ended) = oneshot::channel();
    let (served, shared) = (context.clone(), context.shared());
    shared.request(Request::Do(Box::new(move |_| task_set::spawn(started.serve(served, done)))));
    ended.await.unwrap_or_else(|_| Err(Error::router_ended(shared.me)))
}

fn start(program: &mut Command) -> io::Result<Started> {
    let stand_ins =
        StandIns::new(&|directory| ssh_stand_in::line(&directory.join(SOCKET), &|word| stand_ins::line([word])))?;
    let listener = StdListener::bind(stand_ins.directory().join(SOCKET))?;
    listener.set_nonblocking(true)?;
    let child = program.envs(stand_ins.variables()).spawn()?;
    Ok(Started { child, listener, _stand_ins: stand_ins })
}

/// A program that runs. Dropping it ends the program.
struct Started {
    child: Child,
    listener: StdListener,
    _stand_ins: StandIns,
}

impl Drop for Started {
    fn drop(&mut self) {
        // The status of one that has ended is kept, so this never concerns another process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Started {
    /// Serves every ssh of the program to its end.
    async fn serve(mut self, context: Context, mut done: oneshot::Sender<Result<ExitStatus, Error>>) {
        let result = tokio::select! {
            result = self.serve_all(&context) => result,
            () = done.closed() => return self.end().await,
        };
        // The directory is gone when the caller goes on.
        drop(self);
        let _ = done.send(result.map_err(|error| Error::Io(error.into())));
    }

    async fn serve_all(&mut self, context: &Context) -> io::Result<ExitStatus> {
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        let mut has_ended = signal(SignalKind::child())?;
        let mut open = JoinSet::new();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::select! {
                _ = has_ended.recv() => {}
                // Each has a task of its own, so none keeps another one waiting.
                accepted = listener.accept() => drop(open.spawn_local(in_place_of_ssh(accepted?.0, context.clone()))),
                Some(_) = open.join_next() => {}
            }
        }
    }

    async fn end(mut self) {
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw);
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), pid) {
            let _ = kill(pid, Signal::SIGTERM);
        }
        let Ok(mut has_ended) = signal(SignalKind::child()) else { return };
        let ending = async {
            while let Ok(None) = self.child.try_wait() {
                has_ended.recv().await;
            }
        };
        let _ = tokio::time::timeout(GRACE, ending).await;
    }
}

/// Does what one ssh is to do, and tells the stand-in the exit code.
async fn in_place_of_ssh(mut stand_in: UnixStream, context: Context) {
    let Ok((streams, argv, variables)) = hear(&mut stand_in).await else { return };
    let code = tokio::select! {
        code = carry_out(&context, streams, &argv, &variables) => code,
        // It was killed, and so is the command.
        _ = stand_in.read_u8() => return,
    };
    // If it is gone, it needs no code.
    let _ = stand_in.write_all(&[code]).await;
}

type Variables = Vec<(OsString, OsString)>;

/// The streams, the arguments and the environment of an ssh.
async fn hear(stand_in: &mut UnixStream) -> io::Result<([OwnedFd; 3], Vec<OsString>, Variables)> {
    let (streams, length) = stand_in.async_io(Interest::READABLE, || passing::receive(stand_in)).await?;
    if length > MAX_WORDS {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length as usize];
    stand_in.read_exact(&mut text).await?;
    let mut words = text.split(|byte| *byte == 0).map(OsStr::from_bytes);
    let argv = words.by_ref().take_while(|word| *word != "=").map(OsStr::to_owned).collect();
    let variables = words.filter_map(|word| {
        let at = word.as_bytes().iter().position(|byte| *byte == b'=')?;
        let (name, value) = word.as_bytes().split_at(at);
        Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(&value[1..]).to_owned()))
    });
    Ok((streams, argv, variables.collect()))
}

/// Returns the exit code.
async fn carry_out(context: &Context, streams: [OwnedFd; 3], argv: &[OsString], environment: &Variables) -> u8 {
    let [_, stdout, stderr] = &streams;
    let (Ok(stdout), Ok(stderr)) = (stdout.try_clone(), stderr.try_clone()) else { return OWN_FAULT };
    let why = match parse(argv) {
        Ok(Asked::Text(text)) => {
            say(stdout, text).await;
            return 0;
        }
        Ok(Asked::Connect(address)) => {
            drop(stdout);
            let connected = match address.starts_with('/') {
                true => context.connect_unix(address).await,
                false => context.connect_tcp(address).await,
            };
            match connected {
                Ok(stream) => match pump::carry(stream, streams).await {
                    Ok(()) => return 0,
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            }
        }
        Ok(Asked::Hold) => {
            let _ = context.closed().await;
            "the connection was lost".into()
        }
        Ok(Asked::Run { remote, has_stdin, variables, terminal }) => {
            drop(stdout);
            let mut command = remote.command(context, has_stdin);
            let is_wanted = has_stdin && terminal != Terminal::None;
            let here = is_wanted.then(|| RawTerminal::begin(&streams[0])).flatten();
            if terminal == Terminal::Always || here.is_some() {
                command = command.terminal(here.as_ref().map_or_else(WindowSize::default, RawTerminal::size));
            }
            for (name, value) in
                environment.iter().filter(|(name, _)| variables.iter().any(|sent| name == sent.as_str()))
            {
                command = command.env(name, value);
            }
            match pump::run(command, streams).await {
                Ok(exit) => match exit.code {
                    Some(code) => return u8::try_from(code).unwrap_or(OWN_FAULT),
                    None => format!("signal {} ended the command", exit.signal.unwrap_or_default()),
                },
                Err(error) => error.to_string(),
            }
        }
        Err(why) => why,
    };
    say(stderr, format!("offshoot: {}: {why}\n", context.name())).await;
    OWN_FAULT
}

/// Writes to a stream of a process, which may take its time.
async fn say(to: OwnedFd, text: String) {
    // If nobody reads it, nobody needs it.
    let _ = on_other_thread(move || io::Write::write_all(&mut std::fs::File::from(to), text.as_bytes())).await;
}
