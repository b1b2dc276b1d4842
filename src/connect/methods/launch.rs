//! The command of a launcher, and advice if it cannot be started.

use std::ffi::OsString;
use std::io;

use crate::connect::bootstrap::Nonce;
use crate::sys::process;

/// A command as errors show it: without the arguments that contain the nonce.
pub(super) fn without_stage(argv: &[String], nonce: &Nonce) -> Vec<String> {
    let [half, _] = nonce.halves();
    argv.iter().map(|word| if word.contains(half) { "...".into() } else { word.clone() }).collect()
}

/// The arguments of a child that is executed without a first stage.
pub(super) fn own_argv(nonce: &Nonce, remote_name: &str) -> Vec<OsString> {
    let argv0 = format!("offshoot:{remote_name}");
    let argument = nonce.child_argument();
    let words: Vec<&str> = match crate::connect::child::test_path() {
        // The test harness runs the one test that becomes the child. It takes our argument for the name of
        // another test.
        Some(path) => vec![&argv0, path, &argument, "--exact", "--nocapture", "--test-threads=1"],
        None => vec![&argv0, &argument, "", "", "{fd}"],
    };
    words.into_iter().map(OsString::from).collect()
}

/// Advice if the error is about too many open files.
pub(super) fn advice_on_files(error: &io::Error) -> Option<String> {
    let limit = process::open_files_limit().map(|limit| format!(" of {limit}")).unwrap_or_default();
    process::is_out_of_files(error).then(|| {
        format!(
            "the limit{limit} open files was reached and stayed so; raise it (`ulimit -n`), or have fewer \
             children at once (`-f` of the tool)"
        )
    })
}

/// Advice if a command could not be started.
pub(super) fn advice_on_start(error: &io::Error, command: &str) -> String {
    if let Some(advice) = advice_on_files(error) {
        return advice;
    }
    match error.kind() {
        io::ErrorKind::NotFound if command.contains('/') => {
            "see that it is there, and what its first line names".into()
        }
        io::ErrorKind::NotFound => "is it installed and in PATH?".into(),
        io::ErrorKind::PermissionDenied => "see that this user may execute it".into(),
        // The error of fork if there are too many processes.
        io::ErrorKind::WouldBlock => {
            "no more processes can be started here: raise the limit (`ulimit -u`, TasksMax, pids.max), or have \
             fewer children at once (`-f` of the tool)"
                .into()
        }
        _ => String::new(),
    }
}
