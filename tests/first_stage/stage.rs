//! One run of the first stage: starts it, talks to it, and looks for what it has left behind.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use nix::fcntl::{FcntlArg, fcntl};

use crate::support::lines::lines_of;
use crate::support::{PATIENCE, promised, wait_for};

/// The directories of the line. A test that needs others replaces them.
pub(super) const PLACES: &str = r#""${XDG_RUNTIME_DIR-}" /dev/shm /tmp /var/tmp "${HOME-}" ."#;

pub(super) type Outcome<T = ()> = anyhow::Result<T>;

/// An ordinary pipe or another kind of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Plain,
    /// A pipe that holds 4 KiB.
    Narrow,
    /// A non-blocking pipe: reading from it while it is empty fails.
    Impatient,
}

impl Input {
    fn make(self) -> Outcome<(OwnedFd, ChildStdin)> {
        let (theirs, ours) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        match self {
            Self::Plain => {}
            Self::Narrow => {
                fcntl(&ours, FcntlArg::F_SETPIPE_SZ(4096))?;
            }
            Self::Impatient => {
                fcntl(&theirs, FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
            }
        }
        Ok((theirs, ours.into()))
    }
}

/// The settings of a first stage.
#[derive(Clone)]
pub(super) struct Launch {
    /// The line, with both halves of its token.
    pub(super) line: String,
    pub(super) halves: [String; 2],
    /// A command before the shell, such as `unshare -m`.
    pub(super) prefix: Vec<OsString>,
    pub(super) env: HashMap<String, OsString>,
    /// The stdin of the line.
    pub(super) stdin: Input,
    pub(super) home: PathBuf,
}

impl Launch {
    /// Creates settings with a home directory of its own and a token of its own.
    pub(super) fn new(home: &Path) -> Outcome<Self> {
        let mut random = [0; 16];
        let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
        read.context("/dev/urandom")?;
        let hex = format!("{:032x}", u128::from_ne_bytes(random));
        let halves = [hex[..16].to_owned(), hex[16..].to_owned()];
        let line = offshoot::__private::first_stage_for_tests(&halves[0], &halves[1], false);
        check(line.matches(PLACES).count() == 1, "the line has its places in one spot")?;
        Ok(Self { line, halves, prefix: Vec::new(), env: HashMap::new(), stdin: Input::Plain, home: home.into() })
    }

    /// Allows it to keep images.
    pub(super) fn with_cache(mut self) -> Self {
        self.line = offshoot::__private::first_stage_for_tests(&self.halves[0], &self.halves[1], true);
        self
    }

    /// Sets other directories than usual.
    pub(super) fn with_places(mut self, places: &str) -> Self {
        self.line = self.line.replace(PLACES, places);
        self
    }

    /// Sets PATH to one directory only.
    pub(super) fn with_path(mut self, path: &Path) -> Self {
        self.env.insert("PATH".into(), path.into());
        self
    }

    pub(super) fn with_prefix(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(OsString::from).collect();
        self
    }

    pub(super) fn token(&self) -> String {
        self.halves.concat()
    }

    /// Runs the line as `SHELL -c LINE`. With `login`, SHELL is a login shell that gets `sh -c 'LINE'`.
    pub(super) fn start(&self, shell: &[&str], login: bool) -> Outcome<Stage> {
        let line = if login { format!("sh -c '{}'", self.line) } else { self.line.clone() };
        let mut argv = self.prefix.clone();
        argv.extend(shell.iter().map(OsString::from));
        argv.extend(["-c".into(), line.into()]);
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).current_dir(&self.home).env("HOME", &self.home);
        command.env_remove("XDG_RUNTIME_DIR").env_remove("XDG_CACHE_HOME").envs(&self.env);
        let (theirs, ours) = self.stdin.make()?;
        command.stdin(theirs).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| argv[0].display().to_string())?;
        drop(command);
        let stdout = lines_of(child.stdout.take());
        let stderr = lines_of(child.stderr.take());
        Ok(Stage { launch: self.clone(), child, stdin: Some(ours), stdout, stderr })
    }

    /// Waits until no directory and no process of this run is left.
    pub(super) fn expect_nothing_left(&self, promise: Duration) -> Outcome {
        self.expect_nothing_left_by(Instant::now() + promised(promise))
    }

    /// Does the same until a point in time.
    pub(super) fn expect_nothing_left_by(&self, end: Instant) -> Outcome {
        let left = || self.left_directories().into_iter().chain(self.left_processes()).collect::<Vec<_>>();
        let gone = wait_for(end.saturating_duration_since(Instant::now()), || left().is_empty().then_some(()));
        check(gone.is_some(), &format!("nothing is left in time: {}", left().join(", ")))
    }

    /// The watcher must end when its work is done, even while the image runs.
    pub(super) fn expect_only_the_image(&self) -> Outcome {
        // `unshare` waits for the process that it has started.
        let waits = self.prefix.iter().any(|word| word == "-fpm");
        let left = self.left_processes();
        check(left.len() == 1 + usize::from(waits), &format!("the image is alone: {}", left.join(", ")))
    }

    pub(super) fn left_directories(&self) -> Vec<String> {
        let start = format!(".offshoot-{}-", self.halves[0]);
        let runtime = self.env.get("XDG_RUNTIME_DIR").map(PathBuf::from);
        let places = ["/dev/shm", "/tmp", "/var/tmp"].map(PathBuf::from).into_iter();
        let places = places.chain([self.home.clone()]).chain(runtime);
        let entries = places.flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
        let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&start));
        ours.map(|entry| entry.path().display().to_string()).collect()
    }

    /// Whether there is a `sleep`, which the watcher needs.
    fn has_sleep(&self) -> bool {
        self.env.get("PATH").is_none_or(|path| Path::new(path).join("sleep").exists())
    }

    /// Processes with our halves of the token in their command line: the stage, its watcher, the image. A
    /// zombie has no command line.
    fn left_processes(&self) -> Vec<String> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let command_line = |path: PathBuf| fs::read(path.join("cmdline")).unwrap_or_default();
        processes
            .map(|entry| entry.path())
            .filter(|path| String::from_utf8_lossy(&command_line(path.clone())).contains(&self.halves[0]))
            .map(|path| path.display().to_string())
            .collect()
    }
}

/// A running first stage.
pub(super) struct Stage {
    pub(super) launch: Launch,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Stage {
    /// Waits for the announcement, whatever output comes before it. Returns the text behind the token.
    pub(super) fn announcement(&mut self) -> Outcome<String> {
        let token = self.launch.token();
        loop {
            let line = self.line()?;
            if let Some((_, rest)) = line.split_once(&format!("{token} ")) {
                return Ok(rest.to_owned());
            }
        }
    }

    /// The next line on stdout.
    pub(super) fn line(&mut self) -> Outcome<String> {
        self.stdout.recv_timeout(PATIENCE).map_err(|error| {
            let _ = self.child.kill();
            let said: Vec<String> = self.stderr.iter().collect();
            anyhow!("no more lines on stdout ({error}); stderr: {}", said.join(" / "))
        })
    }

    /// Sends a request and an image. It is no error if the stage does not read any more.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
        }
    }

    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(super) fn kill(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for the end with stdin open.
    pub(super) fn ends_within(&mut self, promise: Duration) -> Outcome<ExitStatus> {
        let ended = wait_for(promised(promise), || self.child.try_wait().transpose());
        Ok(ended.with_context(|| format!("it still runs after {promise:?}"))??)
    }

    /// Closes stdin and waits. Returns the status, the rest of stdout, and stderr.
    pub(super) fn finish(mut self) -> Outcome<(ExitStatus, Vec<String>, Vec<String>)> {
        self.close_stdin();
        let status = self.child.wait()?;
        Ok((status, self.stdout.iter().collect(), self.stderr.iter().collect()))
    }

    /// Reads the report of the probe, and checks all of it.
    pub(super) fn check_probe(&mut self, probe: &Image, name: &str, in_memory: bool) -> Outcome {
        let first = self.line()?;
        check(first == "PROBE", &format!("the image runs, not {first:?}"))?;
        let argv = self.line()?;
        let argv: Vec<&str> = argv.trim_start_matches("argv=").split('|').collect();
        let [a, b] = self.launch.halves.clone();
        check(argv[0] == format!("offshoot:{name}"), &format!("argv[0] is {:?}", argv[0]))?;
        check(argv[1] == format!("offshoot-child:{a}:{b}"), &format!("argv[1] is {:?}", argv[1]))?;
        let path = self.line()?;
        let first_of_path = path.trim_start_matches("path=");
        if in_memory {
            check(argv[2..] == ["", ""], &format!("no directory and no watcher: {argv:?}"))?;
        } else {
            check(argv[2].contains(&format!("/.offshoot-{a}-")), &format!("the directory is {:?}", argv[2]))?;
            check(first_of_path == argv[2], &format!("PATH begins with {first_of_path:?}"))?;
            let watched = argv[3].parse::<u32>().is_ok() || argv[3].is_empty() && !self.launch.has_sleep();
            check(watched, &format!("the watcher is {:?}", argv[3]))?;
        }
        let image = self.line()?;
        check(image == format!("image={}", probe.description()), &format!("{image} on descriptor 9"))
    }
}

/// An image, plain and packed.
pub(super) struct Image {
    pub(super) bytes: Vec<u8>,
}

impl Image {
    /// The request line and the bytes for a first stage.
    pub(super) fn request(&self, compression: &str, name: &str) -> Outcome<Vec<u8>> {
        let packed = match compression {
            "-" => self.bytes.clone(),
            tool => pack(tool, &self.bytes)?,
        };
        let number = if cfg!(target_arch = "x86_64") { 319 } else { 279 };
        let mut request =
            format!("{} {compression} {number} {} offshoot:{name}\n", packed.len(), self.bytes.len()).into_bytes();
        request.extend(packed);
        Ok(request)
    }

    /// The text with which the probe describes the file on descriptor 9.
    fn description(&self) -> String {
        let hash = self
            .bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{}:{hash:x}", self.bytes.len())
    }
}

/// The probe, built once.
pub(super) fn probe() -> Outcome<&'static Image> {
    static PROBE: OnceLock<Outcome<Image>> = OnceLock::new();
    PROBE.get_or_init(build_probe).as_ref().map_err(|error| anyhow!("{error:#}"))
}

fn build_probe() -> Outcome<Image> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/first_stage/probe.rs");
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("first-stage-probe");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    // Static, so that it runs without libraries. Linked by the linker of rustc, because there may be no
    // other.
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    command.args(["--edition=2024", "-Copt-level=s", "-Cstrip=symbols", "-Cpanic=abort", "-Clinker=rust-lld"]);
    command.args(["-Clink-self-contained=yes", "--target", &target]);
    let result = command.arg("-o").arg(&output).arg(source).output().context("rustc")?;
    check(result.status.success(), &String::from_utf8_lossy(&result.stderr))?;
    let bytes = fs::read(&output).with_context(|| output.display().to_string())?;
    Ok(Image { bytes })
}

/// A directory with links to some programs, for use as PATH.
pub(super) fn tools(parent: &Path, names: &[&str]) -> Outcome<PathBuf> {
    let directory = parent.join("tools");
    fs::create_dir_all(&directory)?;
    for name in names {
        let target =
            if *name == "python3" { python()? } else { which(name).with_context(|| format!("no {name} here"))? };
        std::os::unix::fs::symlink(target, directory.join(name))?;
    }
    Ok(directory)
}

/// The interpreter itself, because `python3` may be a script that looks for it.
fn python() -> Outcome<PathBuf> {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let output = output.context("python3")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

pub(super) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

pub(super) fn check(condition: bool, what: &str) -> Outcome {
    ensure!(condition, "not so: {what}");
    Ok(())
}

fn pack(tool: &str, bytes: &[u8]) -> Outcome<Vec<u8>> {
    let mut child = Command::new(tool)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| tool.to_owned())?;
    let stdin = child.stdin.take();
    let bytes = bytes.to_vec();
    let writer = thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&bytes)));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    Ok(output.stdout)
}
