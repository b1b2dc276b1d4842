//! A package that `cargo offshoot new` has made, and what is done with it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The results of builds are kept between runs of the tests; the sources are not.
pub(crate) struct Package {
    directory: TempDir,
    name: String,
    /// Further variables for the commands. One of them may be PATH.
    env: Vec<(&'static str, OsString)>,
    /// Whether crates may be downloaded.
    is_online: bool,
}

impl Package {
    /// Makes one that uses this library.
    pub(crate) fn new(name: &str) -> Self {
        let package = Self::of(name);
        let root = package.root();
        package.make(&root)
    }

    /// The same, with further variables for its commands. Crates that this repository does not have are downloaded.
    pub(crate) fn online(name: &str, env: &[(&'static str, OsString)]) -> Self {
        let package = Self { env: env.to_vec(), is_online: true, ..Self::of(name) };
        let root = package.root();
        package.make(&root)
    }

    fn of(name: &str) -> Self {
        // Paths of users may have spaces.
        let directory = tempfile::Builder::new().prefix("own packages ").tempdir().unwrap();
        Self { directory, name: name.to_owned(), env: Vec::new(), is_online: false }
    }

    /// The same in a workspace whose results are elsewhere.
    pub(crate) fn in_workspace(name: &str) -> Self {
        let package = Self { env: vec![("CARGO_TARGET_DIR", results().into())], ..Self::of(name) };
        let root = package.directory.path().to_owned();
        fs::write(root.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = []\n").unwrap();
        package.make(&root)
    }

    /// Makes the package. `root` is that of its workspace.
    fn make(self, root: &Path) -> Self {
        let package = self;
        let mut new = Command::new(env!("CARGO_BIN_EXE_cargo-offshoot"));
        new.args(["offshoot", "new", &package.name, "--library", env!("CARGO_MANIFEST_DIR")]);
        let output = package.clean(&mut new).current_dir(package.directory.path()).output().unwrap();
        assert!(said(&output).contains("cargo offshoot run"), "{output:?}");
        // Otherwise the newest versions are downloaded.
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
        if package.env.iter().all(|(name, _)| *name != "CARGO_TARGET_DIR") {
            std::os::unix::fs::symlink(results(), root.join("target")).unwrap();
        }
        package
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Runs `cargo offshoot` in it, where ssh reaches this machine by any name.
    pub(crate) fn offshoot(&self, args: &[&str]) -> Output {
        let tools = ssh_to("Linux x86_64");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-offshoot"));
        command.arg("offshoot").args(args);
        let path = self.env.iter().find(|(name, _)| *name == "PATH");
        let path = path.map_or_else(|| std::env::var_os("PATH").unwrap_or_default(), |(_, path)| path.clone());
        self.clean(&mut command).env("PATH", before(tools.path(), &path)).output().unwrap()
    }

    /// Runs cargo in it. The only program that can compile C refuses to.
    pub(crate) fn cargo_without_c(&self, args: &[&str]) -> Output {
        let tools = self.directory.path().join("tools");
        fs::create_dir_all(&tools).unwrap();
        let real = on_path("cc");
        let script = format!(
            "#!/bin/sh\nfor word; do case $word in *.c | *.cc | *.cpp | -c) echo 'it compiles C' >&2; exit 1 ;; esac; done\n\
             exec '{}' \"$@\"\n",
            real.display()
        );
        for name in ["cc", "gcc", "clang", "zig"] {
            write_program(&tools.join(name), &script);
        }
        let mut command = Command::new(env!("CARGO"));
        self.clean(command.args(args)).env("PATH", with_first(&tools)).output().unwrap()
    }

    /// Runs a program that reaches one host, a copy of this machine that calls itself something else.
    pub(crate) fn run_on(&self, machine: &str, program: &Path, host: &str) -> Output {
        let tools = ssh_to(machine);
        Command::new(program).arg(host).env("PATH", with_first(tools.path())).output().unwrap()
    }

    /// Without what the cargo that runs this test has set.
    fn clean<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_") && name != "CARGO_HOME" || name.starts_with("RUSTFLAGS") || name == "TARGET" {
                command.env_remove(name);
            }
        }
        let root = self.root();
        let directory = if root.exists() { root } else { self.directory.path().to_owned() };
        command.current_dir(directory).env("CARGO_TERM_COLOR", "never");
        if !self.is_online {
            command.env("CARGO_NET_OFFLINE", "true");
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        // What is asked here does not depend on how well it is optimised.
        for (name, value) in [("INCREMENTAL", "0"), ("PROFILE_RELEASE_LTO", "off"), ("PROFILE_RELEASE_OPT_LEVEL", "0")]
        {
            command.env(format!("CARGO_{name}"), value);
        }
        command
    }
}

/// The directory for what is built.
fn results() -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("own");
    fs::create_dir_all(&kept).unwrap();
    kept
}

/// A directory with an `ssh` that reaches this machine by any name. The machine calls itself `machine`.
fn ssh_to(machine: &str) -> TempDir {
    let tools = tempfile::tempdir().unwrap();
    let there = tools.path().join("there");
    fs::create_dir(&there).unwrap();
    write_program(&there.join("uname"), &format!("#!/bin/sh\necho '{machine}'\n"));
    let there = there.display();
    let ssh = format!("#!/bin/sh\nfor last; do :; done\nPATH='{there}':$PATH exec sh -c \"$last\"\n");
    write_program(&tools.path().join("ssh"), &ssh);
    tools
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The search path, and a directory before it.
pub(crate) fn with_first(directory: &Path) -> OsString {
    before(directory, &std::env::var_os("PATH").unwrap_or_default())
}

fn before(directory: &Path, path: &OsStr) -> OsString {
    let all = std::iter::once(directory.to_owned()).chain(std::env::split_paths(path));
    std::env::join_paths(all).unwrap()
}

fn on_path(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file()).unwrap()
}

/// What a command has printed on stdout. Fails if the command has failed.
pub(crate) fn said(output: &Output) -> &str {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    std::str::from_utf8(&output.stdout).unwrap()
}
