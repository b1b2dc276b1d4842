//! The messages of shells and of the first stage's tools when they fail. No other module interprets them.

/// A file could not hold the image, because there is not enough space.
pub(super) fn is_full(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    is_limited(&said) || FULL.iter().any(|words| said.contains(words))
}

/// The account may write small files only.
pub(super) fn is_limited(said: &str) -> bool {
    said.to_ascii_lowercase().contains("file size limit")
}

/// The account may open too few files. Only shells and loaders without free descriptors print lines that end so.
pub(super) fn lacks_files(lines: &[String]) -> bool {
    lines.iter().any(|line| FEW_FILES.iter().any(|end| line.ends_with(end)))
}

/// The line that reports that a process could not be started. Each shell and tool has its own words.
pub(crate) fn cannot_fork(lines: &[String]) -> Option<&str> {
    let says = |line: &&String| {
        let line = line.to_ascii_lowercase();
        let out_of_processes = line.ends_with("resource temporarily unavailable")
            || line.contains("resource temporarily unavailable: ")
            || line.ends_with("cannot allocate memory");
        let forks = FORKS.iter().any(|word| line.contains(word));
        forks && out_of_processes
            || line.ends_with(": cannot fork")
            || line.ends_with("failed creating i/o thread pool")
            || line.ends_with("cannot fork user shell")
            || line == "no more processes."
    };
    lines.iter().rev().find(says).map(String::as_str)
}

/// ssh has logged in. It reports that if it was told to be verbose.
#[cfg(feature = "cli")]
pub(super) fn has_logged_in(lines: &[String]) -> bool {
    lines.iter().any(|line| line.starts_with("Authenticated to "))
}

/// The first stage may not execute any program: its shell reports this for the first program that the line
/// runs.
pub(super) fn may_not_execute(lines: &[String]) -> bool {
    lines.iter().any(|line| {
        ["uname: Permission denied", "uname: Operation not permitted"].iter().any(|words| line.contains(words))
    })
}

/// A shell has not found a command. Each shell has its own words.
pub(crate) fn lacks_command(said: &str) -> bool {
    NOT_FOUND.iter().any(|end| said.ends_with(end)) || NO_SUCH_COMMAND.iter().any(|words| said.contains(words))
}

/// Parses a tool's message about a directory. Returns whether the directory could not even be made, and the
/// system's words for the cause.
pub(super) fn refusal(said: &str) -> (PlaceFault, &str) {
    let cause = said.rsplit(": ").next().unwrap_or_default();
    let fault = if said.starts_with("mkdir") {
        PlaceFault::NotWritable
    } else if cause.eq_ignore_ascii_case("permission denied") {
        PlaceFault::NoExecution
    } else {
        PlaceFault::Unusable
    };
    (fault, cause)
}

/// The directory exists already: the place is one that was tried before, under another name.
pub(super) fn is_there_already(said: &str) -> bool {
    said.ends_with("File exists")
}

/// Why a place cannot hold or execute an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceFault {
    NotWritable,
    NoExecution,
    Unusable,
}

/// How such a line ends, and what else it may contain.
const NOT_FOUND: [&str; 4] =
    [": not found", ": command not found", ": Command not found.", ": inaccessible or not found"];
const NO_SUCH_COMMAND: [&str; 3] = [": command not found: ", ": no such command `", "fish: Unknown command: "];
const FULL: [&str; 3] = ["file too large", "no space left", "quota exceeded"];
/// The operations that fail if no more processes can be started.
const FORKS: [&str; 5] = ["fork", "clone", "child process", "create new os thread", "pthread_create"];
/// The last one is what the loader of glibc prints for a library.
const FEW_FILES: [&str; 4] =
    ["Too many open files", "Bad file descriptor", ": Invalid argument", "cannot open shared object file: Error 24"];

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by coreutils, busybox, dash, bash and gzip.
    #[test]
    fn recorded_words_of_tools_are_understood() {
        for said in ["cat: write error: No space left on device", "File too large", "sh: Disk quota exceeded"] {
            assert!(is_full(said) && !is_limited(said), "{said}");
        }
        assert!(is_full("File size limit exceeded") && is_limited("sh: 1: File size limit exceeded (core dumped)"));
        assert!(!is_full("gzip: stdin: unexpected end of file"));
        let lacks = |said: &str| lacks_files(&[said.to_owned()]);
        assert!(lacks("sh: 1: 1: Invalid argument") && lacks("-bash: start_pipeline: pgrp pipe: Too many open files"));
        assert!(lacks("sh: error while loading shared libraries: libc.so.6: cannot open shared object file: Error 24"));
        assert!(!lacks("Too many open files here") && !lacks("Invalid argument"));
        for said in ["dash: 1: nosuch: not found", "zsh:1: command not found: nosuch", "yash: no such command `nosuch'"]
        {
            assert!(lacks_command(said), "{said}");
        }
        assert!(!lacks_command("sh: 1: /x: Permission denied"));
        // Recorded from dash 0.5.12, bash 5.2, busybox 1.35, zsh 5.9, mksh 59c, yash 2.52, tcsh 6.24 and csh,
        // fish 3.6, from timeout of coreutils 9.1, and from docker 20.10, which repeats the message of busybox.
        for said in [
            "sh: 1: Cannot fork",
            "bash: fork: retry: Resource temporarily unavailable",
            "bash: fork: Resource temporarily unavailable",
            "sh: can't fork: Resource temporarily unavailable",
            "zsh:1: fork failed: resource temporarily unavailable",
            "E: mksh: can't fork - try again: Resource temporarily unavailable",
            "yash: cannot make a child process: Resource temporarily unavailable",
            "No more processes.",
            "pthread_create: Resource temporarily unavailable",
            "timeout: fork system call failed: Resource temporarily unavailable",
            "sh: eval: line 0: can't fork: Resource temporarily unavailable",
            // zstd 1.5.4 with `ulimit -v`.
            "zstd: error 104 : Failed creating I/O thread pool",
        ] {
            assert_eq!(cannot_fork(&["hello".to_owned(), said.to_owned()]), Some(said));
        }
        // From the source code, because these programs print it only if root has a limit, or if one more thread
        // fails in runc.
        for said in [
            "-bash: fork: Resource temporarily unavailable",
            "su: failed to create child process: Resource temporarily unavailable",
            "su: cannot fork user shell: Resource temporarily unavailable",
            "sudo: unable to fork: Resource temporarily unavailable",
            "OCI runtime exec failed: exec failed: unable to start container process: read init-p: fork/exec /proc/self/fd/6: resource temporarily unavailable: unknown",
            "runtime: failed to create new OS thread (have 2 already; errno=11) fork/exec: resource temporarily unavailable",
        ] {
            assert_eq!(cannot_fork(&["hello".to_owned(), said.to_owned()]), Some(said));
        }
        for said in ["head: error reading 'standard input': Resource temporarily unavailable", "a fork in the road"] {
            assert_eq!(cannot_fork(&[said.to_owned()]), None);
        }
        assert!(may_not_execute(&["sh: 1: uname: Permission denied".to_owned()]));
        assert!(!may_not_execute(&["sh: 1: /proc/7/exe: Permission denied".to_owned()]));
    }

    #[test]
    fn a_place_is_refused_for_one_of_three_reasons() {
        let (fault, cause) = refusal("mkdir: cannot create directory '/x': Read-only file system");
        assert_eq!((fault, cause), (PlaceFault::NotWritable, "Read-only file system"));
        assert_eq!(refusal("sh: 1: /x/t: Permission denied").0, PlaceFault::NoExecution);
        assert_eq!(refusal("cat: write error: No space left on device").0, PlaceFault::Unusable);
        assert!(is_there_already("mkdir: /x: File exists") && !is_there_already("File exists, it says"));
    }
}
