//! The roles of this binary when it was started by itself, other than being a child. The first argument names
//! the role.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::controller;

/// A controller. [`Controller`](controller::Controller) starts it.
pub(crate) const CONTROLLER: &str = "@controller";
/// A launcher that damages the bytes that pass through it. Arguments: how, where, the file for notes, and the
/// command to run.
pub(crate) const DAMAGE: &str = "@damage";
/// A launcher whose input is counted. Arguments: a file for the number of bytes, and the command to run.
pub(crate) const COUNT: &str = "@count";

/// A launcher that strikes at the link that passes through it. See [`interposer`](crate::faults::interposer). Arguments: a
/// directory, and those of ssh.
pub(crate) const INTERPOSE: &str = "@interpose";

/// The kernel of 2013, as it looks to the program whose command line follows.
pub(crate) const OLD_KERNEL: &str = "@old-kernel";

/// Plays the role. `None` if this process must run trials.
pub(crate) fn main() -> Option<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (what, rest) = args.split_first()?;
    match what.as_str() {
        CONTROLLER => Some(controller::main(rest)),
        DAMAGE => Some(exit_code("damage", damage(rest))),
        COUNT => Some(exit_code("count", count(rest))),
        INTERPOSE => Some(crate::faults::interposer::main(rest).unwrap_or(ExitCode::FAILURE)),
        OLD_KERNEL => Some(exit_code("old kernel", crate::cli::old_kernel::become_old(rest))),
        _ => None,
    }
}

fn exit_code(what: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{what}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a launcher, and writes down how many bytes have gone into it.
fn count(args: &[String]) -> Result<()> {
    let [file, program, args @ ..] = args else { anyhow::bail!("too few arguments") };
    // With pipes of its own on both sides, for the reason given below.
    let mut launcher = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut output = launcher.stdin.take().context("it has an input")?;
    let mut answers = launcher.stdout.take().context("it has an output")?;
    let mut stdout = fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let answering = std::thread::spawn(move || std::io::copy(&mut answers, &mut stdout));
    let mut input = std::io::stdin().lock();
    let mut counted = 0_usize;
    loop {
        let bytes = input.fill_buf()?;
        let count = bytes.len();
        if count == 0 {
            break;
        }
        output.write_all(bytes)?;
        input.consume(count);
        counted += count;
        // Written as bytes pass, because this process is killed when it is not wanted any more.
        fs::write(file, counted.to_string())?;
    }
    drop(output);
    launcher.wait()?;
    let _ = answering.join();
    Ok(())
}

/// Runs a launcher whose input is damaged on the way.
///
/// A first stage receives a line, which begins with the size of the image, and then the image. The place of
/// the damage is in thousandths of the image, or `line` for the middle of the line, or `last` for the last
/// byte of the image.
fn damage(args: &[String]) -> Result<()> {
    let [how, place, notes, program, args @ ..] = args else { anyhow::bail!("too few arguments") };
    // With pipes of its own on both sides, because ssh makes its descriptors non-blocking for every process
    // that shares them.
    let mut launcher = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut output = launcher.stdin.take().context("it has an input")?;
    let mut answers = launcher.stdout.take().context("it has an output")?;
    // Not through std's stdout, which keeps back an incomplete line.
    let mut stdout = fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let answering = std::thread::spawn(move || std::io::copy(&mut answers, &mut stdout));
    let mut input = BufReader::new(std::io::stdin());
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    let size = String::from_utf8_lossy(&line).split(' ').next().unwrap_or_default().parse().unwrap_or(0_u64);
    let line_length = line.len() as u64;
    let before = match (place.as_str(), place.parse::<u64>()) {
        ("line", _) => line_length / 2,
        ("last", _) => line_length + size.saturating_sub(1),
        (_, thousandths) => line_length + size * thousandths? / 1000,
    };
    let mut input = std::io::Cursor::new(line).chain(input);
    std::io::copy(&mut (&mut input).take(before), &mut output)?;
    fs::write(notes, format!("{}", std::time::UNIX_EPOCH.elapsed()?.as_micros()))?;
    match how.as_str() {
        "flip" => {
            let mut byte = [0];
            input.read_exact(&mut byte)?;
            output.write_all(&[byte[0] ^ 0x55])?;
            // It ends with this process at the latest.
            std::thread::spawn(move || std::io::copy(&mut input, &mut output));
        }
        // Only this direction of the connection ends.
        "cut" => drop(output),
        other => anyhow::bail!("{other} is no kind of damage"),
    }
    launcher.wait()?;
    let _ = answering.join();
    Ok(())
}
