//! What an attacker can put on the terminal of the user.

use std::fs::{self, File};
use std::io::{self, Read};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::pty::openpty;

use crate::attack::{Attack, CHILD};
use crate::far_side::Far;
use crate::frame::frame;
use crate::kinds::{ADD_ROUTE, FORWARD_LOG};
use crate::support::tool::tool;
use crate::support::wait_for;
use crate::trial::{among_attackers, honest_command, prepare};
use crate::wire::{call_error, events_of, output, record, route};

/// Sets the title, moves the cursor, turns the text around: what a terminal acts on.
const NASTY: &str = "\u{1b}]0;evil\u{7}\u{9b}2J\u{7f}\u{202e}\u{2066}\u{2028}\u{8}";
/// The parts of it that must not arrive as they are.
const RAW: [&str; 8] = ["\u{1b}]0;", "\u{7}", "\u{9b}", "\u{7f}", "\u{202e}", "\u{2066}", "\u{2028}", "\u{8}"];
/// What makes a record look like one of another context.
const OTHER: &str = "stderr.[local.honest]: it burns";
const PATIENCE: Duration = Duration::from_secs(60);

/// It sends what a terminal acts on wherever it can send a text.
pub(crate) const ATTACK: Attack = Attack::new("what a terminal acts on", CHILD, act);

fn act(far: &mut Far) -> io::Result<()> {
    let (context, reply_to, call) = far.called()?;
    if let Some(first) = far.ask_for_ids()? {
        far.send(&far.control(ADD_ROUTE, &route(first, NASTY)))?;
        far.send(&frame(2, [0, first, first, FORWARD_LOG, 0], &record(NASTY, 1, NASTY)))?;
    }
    for target in ["stdout", "stderr", "offshoot", NASTY, OTHER] {
        for level in 1..=4 {
            far.send(&far.log(&record(target, level, NASTY)))?;
        }
    }
    if let Some(events) = events_of(&call) {
        for is_stderr in [false, true] {
            let line = output(is_stderr, format!("{NASTY}\n").as_bytes());
            far.send(&frame(1, [0, context, context, events, 0], &line))?;
        }
    }
    far.reply(context, reply_to, &call_error(NASTY))?;
    far.settle()
}

/// Runs the tool on a terminal, in each form of output.
pub(crate) fn shows_nothing_raw() -> Result<()> {
    for format in [&[][..], &["--json"], &["--jsonl"], &["-vv"], &["-vvv", "--jsonl"]] {
        let directory = tempfile::tempdir()?;
        let place = directory.path();
        prepare(place, ATTACK.name, env!("CARGO_BIN_EXE_offshoot").as_ref())?;
        fs::write(place.join("go"), "")?;
        let (line, hosts) = (honest_command(place), format!("{},{CHILD}", ATTACK.honest().join(",")));
        let args = [&["run", "-n", "-t", "30s", "-w", &hosts, "-s", &line], format].concat();
        let (mut command, _trace) = tool(&args);
        among_attackers(&mut command, place)?;
        let terminal = openpty(None, None)?;
        let (stdout, stderr) = (terminal.slave.try_clone()?, terminal.slave);
        let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn()?;
        // It holds our copies of the slave.
        drop(command);
        let shown = std::thread::spawn(move || all_of(File::from(terminal.master)));
        let status = wait_for(PATIENCE, || child.try_wait().transpose()).transpose()?;
        let _ = child.kill();
        let shown = shown.join().unwrap_or_default();
        let code = status.context("it does not end")?.code();
        ensure!(code.is_some_and(|code| code != 0 && code < 64), "{format:?} ends with {code:?}: {shown}");
        ensure!(shown.contains("evil1"), "{format:?} shows nothing of the attacker: {shown}");
        ensure!(!shown.contains(OTHER), "{format:?} shows another name than that of the attacker: {shown}");
        for raw in RAW {
            ensure!(!shown.contains(raw), "{format:?} shows {raw:?} as it is");
        }
    }
    Ok(())
}

/// Reads a terminal until nobody has it open.
fn all_of(mut master: File) -> String {
    let mut bytes = Vec::new();
    // The end of a terminal is an error.
    let _ = master.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
