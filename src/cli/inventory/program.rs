//! Programs that print inventories or groups: their output, within limits of time and size.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::Duration;

use crate::sys::process::{Group, Program, Start, describe, groups_ended, null};
use crate::sys::unnamed_file::unnamed_file;

/// How long a program may run. Those that ask a cloud take some seconds.
const LIMIT: Duration = Duration::from_secs(30);
/// How often the size of the output is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How much of stderr an error shows, in bytes.
const SHOWN: u64 = 400;
/// Most bytes on stderr. They go to a file.
const MAX_STDERR: u64 = 1 << 20;

/// What a program is to do.
pub(crate) struct Task<'a> {
    pub(crate) program: &'a OsStr,
    pub(crate) args: &'a [&'a OsStr],
    /// Most bytes of its output.
    pub(crate) most: usize,
}

/// Runs a program and returns its output. Everything that it has started ends with it.
///
/// # Errors
///
/// If it fails, takes too long, or prints too much.
pub(crate) fn output(task: &Task<'_>) -> Result<String, String> {
    output_within(task, LIMIT)
}

fn output_within(task: &Task<'_>, limit: Duration) -> Result<String, String> {
    let io = |error: std::io::Error| format!("it cannot be started: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    let (mut stdout, mut stderr) = (unnamed_file("inventory").map_err(io)?, unnamed_file("inventory").map_err(io)?);
    let ended = runtime.block_on(async {
        let program = Program::new(&[&[task.program], task.args].concat()).map_err(io)?;
        let input = null().map_err(io)?;
        let outputs = [stdout.try_clone().map_err(io)?, stderr.try_clone().map_err(io)?].map(OwnedFd::from);
        let [output, errors] = outputs;
        let mut group = Group::start(Start::new(program, [input, output, errors])).map_err(io)?;
        let ended = tokio::select! {
            status = group.wait() => status.map_err(|error| error.to_string()),
            why = too_much(&stdout, &stderr, task.most as u64) => Err(why),
            () = tokio::time::sleep(limit) => Err(format!("it has not ended within {} s", limit.as_secs_f64())),
        };
        drop(group);
        groups_ended().await;
        ended
    });
    let text = |file: &mut File, most: u64| -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
        file.take(most).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    };
    let mut said = || String::from_utf8_lossy(&text(&mut stderr, SHOWN).unwrap_or_default()).trim().to_owned();
    let ended = ended.and_then(|status: ExitStatus| match status.success() {
        true => Ok(()),
        false => Err(format!("it {}", describe(status))),
    });
    if let Err(why) = ended {
        let said = said();
        let said = said.escape_debug();
        return Err(if said.to_string().is_empty() { why } else { format!("{why}; it says: {said}") });
    }
    let bytes = text(&mut stdout, task.most as u64 + 1)?;
    if bytes.len() > task.most {
        return Err(format!("it prints more than {} bytes", task.most));
    }
    String::from_utf8(bytes).map_err(|_| "its output is not UTF-8".into())
}

/// Waits until the files are too long.
async fn too_much(stdout: &File, stderr: &File, most: u64) -> String {
    loop {
        let length = |file: &File| file.metadata().map_or(0, |metadata| metadata.len());
        if length(stdout) > most {
            return format!("it prints more than {most} bytes");
        }
        if length(stderr) > MAX_STDERR {
            return format!("it prints more than {MAX_STDERR} bytes on stderr");
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str, most: usize, limit: Duration) -> Result<String, String> {
        let args = ["-c", line].map(OsStr::new);
        let task = Task { program: OsStr::new("sh"), args: &args, most };
        output_within(&task, limit)
    }

    #[test]
    fn a_program_has_limits_of_time_and_output() {
        let long = Duration::from_secs(20);
        assert_eq!(shell("echo web; cat", 100, long).unwrap(), "web\n");
        assert!(shell("yes", 1000, long).unwrap_err().contains("more than 1000 bytes"));
        assert!(shell("yes >&2", 1000, long).unwrap_err().contains("on stderr"));
        assert!(shell("sleep 1000", 100, Duration::from_millis(50)).unwrap_err().contains("within 0.05 s"));
        let failed = shell("echo no cloud >&2; exit 3", 100, long).unwrap_err();
        assert!(failed.contains('3') && failed.ends_with("it says: no cloud"), "{failed}");
    }
}
