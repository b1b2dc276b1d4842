//! The subsystem sftp of `offshoot rsh`. A host that has an sftp-server runs it. To another one this program sends itself
//! as the server: nothing of it is in the images, which every host gets.
//!
//! - `server`: what the program does there

mod server;

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use crate::builtin::fakessh::pump;
use crate::builtin::fakessh::remote::Remote;
use crate::builtin::process::run_process::{CommandLine, Script};
use crate::process::{Command, Exit, Stdin};
use crate::wire::codec::Blob;
use crate::{Context, Error};

pub(crate) use server::serve;

/// The subcommand that is the server.
const SUBCOMMAND: &str = "__sftp";

/// Runs the server with these streams until it has ended.
///
/// # Errors
///
/// In words: if there is no server and none can be sent, or the connection is lost.
pub(crate) async fn run(
    context: &Context,
    remote: &Remote,
    streams: [OwnedFd; 3],
    in_words: impl Fn(Error) -> String,
) -> Result<Exit, String> {
    let [shell, words @ ..] = remote.look_for_server();
    // A host without a shell has no server either.
    let is_there = match context.command(shell).args(words).status().await {
        Ok(exit) => exit.success(),
        Err(Error::Call(_)) => false,
        Err(error) => return Err(in_words(error)),
    };
    if is_there {
        return pump::run(remote.command(context, true), streams).await.map_err(in_words);
    }
    let own =
        std::fs::read("/proc/self/exe").map_err(|error| format!("cannot read this program to send it: {error}"))?;
    let line = CommandLine {
        argv: vec![OsString::new(), SUBCOMMAND.into()],
        script: Some(Script { text: Blob(own), argument: 0 }),
        ..CommandLine::default()
    };
    let command = Command::new(context, None, line).stdin(Stdin::piped()).with_whole_output();
    pump::run(command, streams).await.map_err(|error| match error {
        Error::Call(error) => format!(
            "the host has no sftp-server, and this program, which was sent as one, does not start there: {}; write \
             scp -O, which needs none",
            error.message
        ),
        error => in_words(error),
    })
}
