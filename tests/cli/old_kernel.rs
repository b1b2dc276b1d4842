//! The tool on a kernel that lacks what Linux has got since 3.10, the oldest that Rust supports and RHEL 7 has. A filter of
//! system calls has the new ones answer as such a kernel does.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use crate::helper::OLD_KERNEL;
use crate::support::tool::{Ended, program, run};
use crate::support::{AT_ONCE, long_time};

/// System calls that came after 3.10, and that this program or its libraries may try.
const NEW: [libc::c_long; 22] = [
    libc::SYS_sched_setattr,
    libc::SYS_sched_getattr,
    libc::SYS_renameat2,
    libc::SYS_getrandom,
    libc::SYS_memfd_create,
    libc::SYS_execveat,
    libc::SYS_membarrier,
    libc::SYS_mlock2,
    libc::SYS_copy_file_range,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_statx,
    libc::SYS_rseq,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_open,
    libc::SYS_clone3,
    libc::SYS_close_range,
    libc::SYS_openat2,
    libc::SYS_pidfd_getfd,
    libc::SYS_faccessat2,
    libc::SYS_epoll_pwait2,
    libc::SYS_io_uring_setup,
];

/// Sets the filter for this process and all that it starts, and executes the program in `args`.
pub(crate) fn become_old(args: &[String]) -> Result<()> {
    let (program, args) = args.split_first().context("no program")?;
    let rules: BTreeMap<_, _> = NEW.into_iter().map(|call| (call, Vec::new())).collect();
    let missing = SeccompAction::Errno(u32::try_from(libc::ENOSYS)?);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, std::env::consts::ARCH.try_into()?)?;
    let filter: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&filter)?;
    let memory = nix::sys::memfd::memfd_create(c"any", nix::sys::memfd::MFdFlags::empty());
    ensure!(memory.is_err_and(|error| error == nix::Error::ENOSYS), "the filter is not in force");
    Err(Command::new(program).args(args).exec().into())
}

/// Runs the tool there.
fn offshoot(directory: &Path, args: &[&str]) -> Result<Ended> {
    let own = std::env::current_exe()?;
    let (mut command, _) = program(&own, &[&[OLD_KERNEL, env!("CARGO_BIN_EXE_offshoot")], args].concat());
    std::fs::write(directory.join("config.toml"), "[methods.plain]\nargv = [\"env\", \"A={target}\"]\n")?;
    run(command.arg("--config").arg(directory.join("config.toml")))
}

pub(crate) fn the_main_jobs_are_done_on_a_kernel_of_2013() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let place = directory.path();
    // Children that have the image already, one that gets it by a shell, and one behind each.
    let hosts = "local1,local1/local2,plain:x,plain:x/local3";
    let mut ended = offshoot(place, &["run", "-w", hosts, "-s", "echo $((6 * 7))"])?;
    ended.stdout.sort_unstable();
    let expected = ["local1/local2: 42", "local1: 42", "plain:x/local3: 42", "plain:x: 42"];
    ensure!(ended.code == Some(0) && ended.stdout == expected, "{ended:?}");

    let source = place.join("tree");
    std::fs::create_dir_all(source.join("inner"))?;
    std::fs::write(source.join("inner/file"), vec![b'x'; 300_000])?;
    std::os::unix::fs::symlink("file", source.join("inner/link"))?;
    let (there, back) = (place.join("there"), place.join("back"));
    let [tree, there, back] = [&source, &there, &back].map(|path| path.to_string_lossy().into_owned());
    let ended = offshoot(place, &["push", "-w", "plain:x", &tree, &format!("{there}/")])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let ended = offshoot(place, &["pull", "-w", "plain:x/local3", &format!("{there}/tree"), &back])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let pulled = std::fs::read_dir(&back)?.next().context("a directory for the host")??.path();
    ensure!(std::fs::read(pulled.join("tree/inner/file"))? == vec![b'x'; 300_000], "the file has arrived");
    ensure!(std::fs::read_link(pulled.join("tree/inner/link"))? == Path::new("file"), "the link has arrived");

    let time = long_time();
    let own = std::env::current_exe()?;
    let tool = env!("CARGO_BIN_EXE_offshoot");
    let args = [OLD_KERNEL, tool, "run", "-t", "1s", "-w", "local1/local2", "-s", &format!("sleep {time}; true")];
    let (mut command, trace) = program(&own, &args);
    let mut trace = trace.with_needle(&time);
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(2) && ended.stderr.concat().contains("timed out"), "{ended:?}");
    trace.expect_nothing_left(AT_ONCE)
}
